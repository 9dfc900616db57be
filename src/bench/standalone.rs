//! `downlink-bench vehicle`: the simulated PX4 alone, for an agent that somebody else starts.
//!
//! The vehicle's thread prints what happens; one task on a current-thread runtime waits for the end.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::bench::pty::{Pty, PtyError};
use crate::bench::vehicle::{Behaviours, Event, Px4, Vehicle};
use crate::catalog::find_by_id;
use crate::wire::mavlink::result_name;

/// How soon a port that its last user has left can be opened again.
const RENEWAL: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
enum StandaloneError {
    #[error(transparent)]
    Pty(#[from] PtyError),
    #[error("failed to make the port {}: {source}", path.display())]
    Port { path: PathBuf, source: io::Error },
    #[error("failed to start the vehicle: {0}")]
    Start(#[source] io::Error),
    #[error("the serial line failed: {0}")]
    Line(#[source] io::Error),
    #[error("failed to handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error("failed to start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// Runs the vehicle until SIGINT or SIGTERM; `port` becomes a link to its end of the line.
pub fn main(port: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(StandaloneError::Runtime).and_then(|runtime| runtime.block_on(run(port)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("downlink-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(port: &Path) -> Result<(), StandaloneError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StandaloneError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StandaloneError::Signals)?;
    let line = Arc::new(Pty::open()?);
    let _port = Port::make(port, line.path())
        .map_err(|source| StandaloneError::Port { path: port.to_owned(), source })?;
    let px4 = Px4::new(Instant::now(), Behaviours::px4());
    let vehicle =
        Vehicle::start(line.clone(), px4, |event| print(&event)).map_err(StandaloneError::Start)?;
    say(&format!("a simulated PX4 at {}", port.display()));
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(RENEWAL) => line.end_exclusive_use()?,
        }
    }
    vehicle.stop().map_err(StandaloneError::Line)
}

/// A link that goes with the vehicle.
struct Port<'path>(&'path Path);

impl<'path> Port<'path> {
    fn make(path: &'path Path, target: &Path) -> io::Result<Self> {
        // That of a vehicle that was killed; nothing else is taken away.
        if path.is_symlink() {
            fs::remove_file(path)?;
        }
        symlink(target, path)?;
        Ok(Self(path))
    }
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

fn print(event: &Event) {
    match event {
        Event::Heartbeat { .. } => {}
        Event::Command(frame) => {
            let (system, component) = frame.source;
            let form = frame.form.as_str();
            say(&format!("<- {form} {:?} of {system}/{component}", frame.command));
        }
        Event::Undecodable { bytes } => say(&format!("<- not understood: {bytes:02x?}")),
        Event::Answered { command, result } => {
            let name =
                find_by_id(*command).map_or("a command of no dialect", |it| it.mavlink_command);
            say(&format!("-> {name} {}", result_name(*result)));
        }
    }
}

/// Whoever reads may have gone.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_goes_with_the_vehicle_and_takes_no_other_files_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("px4");
        symlink("/of/one/that/was/killed", &path).unwrap();
        let port = Port::make(&path, Path::new("/dev/null")).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/null"));
        drop(port);
        assert!(!path.is_symlink());

        fs::write(&path, "somebody's").unwrap();
        assert!(Port::make(&path, Path::new("/dev/null")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    }
}
