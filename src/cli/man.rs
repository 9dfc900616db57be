//! `downlinkd man`: the man pages, from the same definitions as `--help`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::manual::{self, Section};
use super::print;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write the pages of all subcommands into this folder, which must exist; without it the main page
    /// is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write {}: {source}", path.display())]
struct Error {
    path: PathBuf,
    source: io::Error,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let mut command = super::Arguments::command();
    command.build();
    let Some(out) = &arguments.out else { return print(&page(&command)) };
    match write_pages(&command, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("downlinkd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `downlinkd.1`, `downlinkd-journal.1`, `downlinkd-journal-list.1`, …
fn write_pages(command: &Command, out: &Path) -> Result<(), Error> {
    let path = out.join(format!("{}.1", name(command)));
    std::fs::write(&path, page(command)).map_err(|source| Error { path, source })?;
    documented(command).try_for_each(|subcommand| write_pages(subcommand, out))
}

/// All but clap's own `help`, which shows what the pages show.
fn documented(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| it.get_name() != "help")
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> Vec<u8> {
    let release = concat!("downlinkd ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(release).manual("downlinkd");
    let mut page = Vec::new();
    let written = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page));
    written.expect("a Vec takes everything");
    let mut rest = Roff::new();
    subcommands(&mut rest, command);
    for section in manual::sections(command.get_name()) {
        definitions(&mut rest, &section);
    }
    page.extend(rest.render().into_bytes());
    page
}

fn subcommands(roff: &mut Roff, command: &Command) {
    let mut subcommands = documented(command).peekable();
    if subcommands.peek().is_none() {
        return;
    }
    roff.control("SH", ["SUBCOMMANDS"]);
    for subcommand in subcommands {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        roff.control("TP", []);
        roff.text([bold(name(subcommand)), roman("(1)")]);
        roff.text([roman(about)]);
    }
}

fn definitions(roff: &mut Roff, section: &Section) {
    roff.control("SH", [section.title.to_uppercase().as_str()]);
    for (term, meaning) in &section.items {
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text([roman(*meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = crate::cli::Arguments::command();
        command.build();
        write_pages(&command, dir.path()).unwrap();
        for name in ["downlinkd", "downlinkd-send", "downlinkd-journal-set-aside", "downlinkd-man"]
        {
            let page = std::fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
            assert!(
                page.contains(&format!("{name} \\- "))
                    || page.contains(&format!("{} \\- ", name.replace('-', "\\-"))),
                "{page}"
            );
        }
        let main = std::fs::read_to_string(dir.path().join("downlinkd.1")).unwrap();
        for title in ["EXIT STATUS", "FILES", "ENVIRONMENT", "SUBCOMMANDS"] {
            assert!(
                main.contains(&format!(".SH \"{title}\""))
                    || main.contains(&format!(".SH {title}")),
                "{main}"
            );
        }
        assert!(!dir.path().join("downlinkd-help.1").exists());
    }
}
