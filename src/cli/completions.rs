//! `downlinkd completions`

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::builder::PossibleValue;
use clap_complete::Shell as Script;

use super::print;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whose script to print, such as for /usr/share/bash-completion/completions/downlinkd
    shell: Shell,
}

/// Those that somebody has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl clap::ValueEnum for Shell {
    fn value_variants<'a>() -> &'a [Self] {
        &[Shell::Bash, Shell::Zsh, Shell::Fish]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        self.script().to_possible_value()
    }
}

impl Shell {
    fn script(self) -> Script {
        match self {
            Shell::Bash => Script::Bash,
            Shell::Zsh => Script::Zsh,
            Shell::Fish => Script::Fish,
        }
    }
}

pub fn run(arguments: &Arguments) -> ExitCode {
    print(&script(arguments.shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell.script(),
        &mut super::Arguments::command(),
        "downlinkd",
        &mut script,
    );
    script
}
