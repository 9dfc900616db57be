//! The command line: arguments in, exit code out.

mod api;
mod catalog;
mod check;
mod completions;
mod grant;
mod guard;
mod journal;
mod keygen;
mod man;
mod manual;
mod panic;
mod presence;
mod query;
mod revoke;
mod run;
mod send;
mod status;
mod values;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::edge::journal::{Error, Trouble};

/// sysexits.h: the command was used wrongly.
const USAGE: u8 = 64;
/// sysexits.h: the journal is damaged, or of a newer version.
const DATA: u8 = 65;
/// sysexits.h: there is no journal.
const NO_INPUT: u8 = 66;
/// sysexits.h: the disk or the file system failed.
const IO: u8 = 74;
/// sysexits.h: another process has the journal; later it will do.
const TEMPORARY: u8 = 75;
/// sysexits.h: the journal is another user's.
const PERMISSION: u8 = 77;
/// sysexits.h: something in the configuration is wrong.
const CONFIGURATION: u8 = 78;
const DEFAULT_CONFIG: &str = "/etc/downlinkd/downlinkd.toml";

/// Guarded, journaled MAVLink command downlink for PX4 vehicles, driven over MQTT.
#[derive(Debug, Parser)]
#[command(name = "downlinkd", version, after_long_help = manual::help("downlinkd"))]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent
    Run(RunArguments),
    /// Check the surroundings of the agent: port, autopilot, broker, clock, disk, secrets
    Check(check::Arguments),
    /// Show the commands that the vehicle can be sent
    Catalog(catalog::Arguments),
    /// Look into the journal of a stopped agent, check it, or set it aside
    Journal(journal::Arguments),
    /// Make a key for an issuer, and print the lines of the configuration that name it
    Keygen(keygen::Arguments),
    /// Open the vehicle for commands that need a grant, or approve another's grant
    Grant(grant::Arguments),
    /// End a grant
    Revoke(revoke::Arguments),
    /// Ask the guard
    Guard(guard::Arguments),
    /// Send one command to a vehicle over MQTT, as a cloud client does, and follow it to its end
    Send(Box<send::Arguments>),
    /// Show how the agent is doing
    Status(status::Arguments),
    /// Print what makes a shell complete this command line
    Completions(completions::Arguments),
    /// Print the man page, or write those of all subcommands
    Man(man::Arguments),
    /// Show the running agent's newest commands, or one
    Query(query::Arguments),
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// The configuration; conf.d/*.toml beside it are read too
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Log every detail
    #[arg(long)]
    verbose: bool,
}

/// How a subcommand prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// The whole program, from the process's own arguments.
pub fn main() -> ExitCode {
    panic::ends_process();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A broken pipe here has no one to be told.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::Grant(arguments) => grant::run(&arguments),
        Command::Revoke(arguments) => revoke::run(&arguments),
        Command::Guard(arguments) => guard::run(&arguments),
        Command::Send(arguments) => send::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Query(arguments) => query::run(&arguments),
    }
}

/// Prints what a subcommand was asked for.
fn print(text: &[u8]) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("downlinkd: failed to write the output: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `future` to its end; what still blocks elsewhere, such as the lookup of a name, is not waited
/// for. Error: the exit code, the reason being told already.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        eprintln!("downlinkd: failed to start the runtime: {error}");
        ExitCode::FAILURE
    })?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

fn exit_code(error: &Error) -> u8 {
    match error.trouble() {
        Trouble::InUse => TEMPORARY,
        Trouble::Permission => PERMISSION,
        Trouble::Missing => NO_INPUT,
        Trouble::Disk => IO,
        Trouble::Damage => DATA,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
