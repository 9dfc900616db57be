//! The real daemon as a child process, so that it can be killed as a power cut would.
//!
//! The child is this very program under the name `downlinkd`: no second binary has to be built, and
//! the code that runs is the same.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};

use super::measurement;

const NAME: &str = "downlinkd";
/// This program under this name becomes the daemon that its first argument names.
const STEP: &str = "downlinkd-step";
/// The service's unit, whose environment an agent gets: what is measured of it is what operators see.
const UNIT: &str = include_str!("../../systemd/downlinkd.service");

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("failed to open the agent's log {0}: {1}")]
    Log(String, #[source] io::Error),
    #[error("failed to start the agent: {0}")]
    Start(#[source] io::Error),
    #[error("failed to kill the agent: {0}")]
    Kill(#[source] io::Error),
    #[error("failed to run downlinkd keygen: {0}")]
    Keygen(#[source] io::Error),
    #[error("downlinkd keygen made no key: {0}")]
    NoKey(String),
}

/// Runs `daemon`, or another one, if this process was started as an [`Agent`]; else `None`. First thing
/// in `main`.
pub fn run_if_child(daemon: fn() -> ExitCode) -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let name = arguments.next()?;
    if name != NAME && name != STEP {
        return None;
    }
    // An agent must not outlive a bench that was killed. Where that cannot be had it still runs.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if name == NAME {
        return Some(daemon());
    }
    // The signal stays set over exec (prctl(2)), which only returns when it fails.
    let file = arguments.next()?;
    let error = Command::new(&file).arg0(NAME).args(arguments).exec();
    measurement::say(format_args!("failed to start {}: {error}", file.display()));
    Some(ExitCode::FAILURE)
}

/// Runs `downlinkd keygen`: the secret goes to `folder`, as `{issuer}-{kid}.hmac`. Returns the lines
/// for the configuration.
///
/// The program's `main` must call [`run_if_child`].
pub fn keygen(issuer: &str, kid: &str, folder: &Path) -> Result<String, AgentError> {
    let mut command = program().map_err(AgentError::Keygen)?;
    command.args(["keygen", "--issuer", issuer, "--kid", kid, "--out"]).arg(folder);
    let output = command.output().map_err(AgentError::Keygen)?;
    if !output.status.success() {
        return Err(AgentError::NoKey(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A running daemon. Dropping it kills it.
pub struct Agent {
    child: Child,
}

impl Agent {
    /// Starts `downlinkd run --config CONFIG` with its output appended to `log`.
    ///
    /// The program's `main` must call [`run_if_child`]. The agent lives no longer than the thread
    /// that starts it.
    pub fn start(config: &Path, log: &Path) -> Result<Self, AgentError> {
        Self::spawn(program().map_err(AgentError::Start)?, config, log)
    }

    /// Starts an agent as a service manager does. `file`: another program than this one; `ready`: a
    /// datagram socket that gets `READY=1` (sd_notify(3)).
    pub fn start_as_service(
        file: Option<&Path>,
        config: &Path,
        log: &Path,
        ready: &Path,
    ) -> Result<Self, AgentError> {
        let mut command = program().map_err(AgentError::Start)?;
        if let Some(file) = file {
            command.arg0(STEP).arg(file);
        }
        command.env("NOTIFY_SOCKET", ready);
        Self::spawn(command, config, log)
    }

    fn spawn(mut command: Command, config: &Path, log: &Path) -> Result<Self, AgentError> {
        let failed = |error| AgentError::Log(log.display().to_string(), error);
        let output = File::options().create(true).append(true).open(log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        command.arg("run").arg("--config").arg(config);
        command.stdout(output).stderr(errors);
        // A Ctrl-C at the terminal is for the bench, which then ends the agent itself.
        command.process_group(0);
        Ok(Self { child: command.spawn().map_err(AgentError::Start)? })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL: no handler runs, nothing is written any more.
    pub fn kill(mut self) -> Result<(), AgentError> {
        self.end().map_err(AgentError::Kill)
    }

    /// SIGTERM: the agent finishes what it is about and ends.
    pub fn terminate(&self) -> Result<(), AgentError> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(|error| AgentError::Kill(error.into()))
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and needs not be.
        let _ = self.end();
    }
}

/// This program, as `downlinkd`.
fn program() -> io::Result<Command> {
    std::env::current_exe().map(as_downlinkd)
}

fn as_downlinkd(file: PathBuf) -> Command {
    let mut command = Command::new(file);
    command.arg0(NAME).stdin(Stdio::null()).envs(environment(UNIT));
    for name in inherited_settings() {
        command.env_remove(name);
    }
    command
}

/// Variables of our own surroundings that would change what the agent does: its settings, and the
/// service manager that would be told of it.
fn inherited_settings() -> Vec<OsString> {
    let manager = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"];
    let names = std::env::vars_os().map(|(name, _)| name);
    names
        .filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("DOWNLINKD_") || manager.contains(&&*name)
        })
        .collect()
}

/// What the `Environment=` lines of a unit set (systemd.exec(5)); values with spaces are not known.
fn environment(unit: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    lines.flat_map(str::split_whitespace).filter_map(|setting| setting.split_once('='))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn an_agent_gets_the_environment_of_the_unit() {
        let command = as_downlinkd("downlinkd".into());
        let set: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
        let expected = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "65536")];
        assert_eq!(set, expected.map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    }
}
