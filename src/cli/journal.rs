//! `downlinkd journal`: what a stopped agent's journal holds, whether it is whole, and what to do if
//! it is not.

mod text;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use serde_json::{json, to_string};
use uuid::Uuid;

use super::{CONFIGURATION, DATA, DEFAULT_CONFIG, Output, exit_code};
use crate::config::Config;
use crate::edge::journal::{Error, Reader, set_aside};
use crate::lifecycle::time::Timestamp;
use crate::wire::outbound;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The agent's configuration, which says where the journal is
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// For people or for machines
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every command in it, in order of acceptance
    List,
    /// One command
    Show {
        #[arg(value_name = "COMMAND_ID")]
        command_id: Uuid,
    },
    /// Everything as it is journaled, one JSON object per line
    Export,
    /// Read everything and see that nothing is missing or damaged
    Check,
    /// Keep a damaged journal under another name, and begin a new one
    ///
    /// Nothing is deleted. What was in it is not known any more, so for a while the agent refuses what
    /// may have been sent before: what was signed before.
    SetAside,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Journal(#[from] Error),
    #[error("failed to write the output: {0}")]
    Output(#[from] io::Error),
    #[error("the journal has no command {0}")]
    Unknown(Uuid),
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("downlinkd: {error}");
            return ExitCode::from(CONFIGURATION);
        }
    };
    // It writes every line at once, so a panic over damage loses none of those before it.
    let mut output = io::stdout().lock();
    let result = act(arguments, &config, &mut output);
    match result.and_then(|code| output.flush().map(|()| code).map_err(Failure::from)) {
        Ok(code) => code,
        // The reader has seen enough, as `head` does.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("downlinkd: {failure}");
            match failure {
                Failure::Journal(error) => {
                    let reads = matches!(arguments.action, Action::List | Action::Show { .. });
                    if reads && matches!(error, Error::InUse(_)) {
                        eprintln!("downlinkd: of a running agent, ask with `downlinkd query`");
                    }
                    ExitCode::from(exit_code(&error))
                }
                Failure::Output(_) | Failure::Unknown(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn act(
    arguments: &Arguments,
    config: &Config,
    output: &mut impl Write,
) -> Result<ExitCode, Failure> {
    let dir = &config.journal.dir;
    let is_json = arguments.output == Output::Json;
    match arguments.action {
        Action::List => list(dir, &config.device_id, is_json, output)?,
        Action::Show { command_id } => {
            let record = Reader::open(dir)?.get(command_id)?;
            let record = record.ok_or(Failure::Unknown(command_id))?;
            if is_json {
                output.write_all(&outbound::update(&config.device_id, &record))?;
                writeln!(output)?;
            } else {
                write!(output, "{}", text::page(&record))?;
            }
        }
        Action::Export => export(dir, output)?,
        Action::Check => {
            let report = Reader::open(dir)?.check();
            if is_json {
                writeln!(output, "{}", to_string(&report).expect("plain data"))?;
            } else {
                write!(output, "{}", text::report(&report))?;
            }
            if !report.problems.is_empty() {
                return Ok(ExitCode::from(DATA));
            }
        }
        Action::SetAside => {
            let kept = set_aside(dir, &name(Timestamp::from(SystemTime::now())))?;
            if is_json {
                writeln!(output, "{}", json!({ "kept": kept }))?;
            } else {
                writeln!(output, "the journal is kept in {}; a new one begins", kept.display())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(
    dir: &Path,
    device_id: &str,
    is_json: bool,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let reader = Reader::open(dir)?;
    if !is_json {
        writeln!(output, "{}", text::HEADING)?;
        for record in reader.commands() {
            writeln!(output, "{}", text::line(&record?))?;
        }
        return Ok(());
    }
    write!(output, "[")?;
    for (record, separator) in
        reader.commands().zip(std::iter::once("").chain(std::iter::repeat(",")))
    {
        write!(output, "{separator}\n  ")?;
        output.write_all(&outbound::update(device_id, &record?))?;
    }
    writeln!(output, "\n]")?;
    Ok(())
}

fn export(dir: &Path, output: &mut impl Write) -> Result<(), Failure> {
    let reader = Reader::open(dir)?;
    writeln!(output, "{}", json!({ "meta": reader.meta() }))?;
    for record in reader.commands() {
        writeln!(output, "{}", json!({ "command": record? }))?;
    }
    for entry in reader.outbox() {
        let (number, record) = entry?;
        writeln!(output, "{}", json!({ "update": record, "outbox_number": number }))?;
    }
    for (nonce, until) in reader.nonces()? {
        writeln!(output, "{}", json!({ "nonce": nonce, "until": until }))?;
    }
    Ok(())
}

/// Such as 20260615T000000123Z.
fn name(now: Timestamp) -> String {
    now.to_string().chars().filter(|c| !matches!(c, '-' | ':' | '.')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_time() {
        assert_eq!(name(Timestamp::from_millis(1_781_481_600_123)), "20260615T000000123Z");
    }
}
