//! `downlink-bench vehicle`: the simulated PX4 alone, for an agent that somebody else starts.
//!
//! The vehicle's thread prints what happens; one task on a current-thread runtime waits for the end.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use crate::bench::clock::unix_time;
use crate::bench::pty::{Pty, PtyError};
use crate::bench::signals::Signals;
use crate::bench::vehicle::{
    Behaviours, Camera, Event, Line, Px4, Signing, Tcp, Telemetry, Udp, Vehicle,
};
use crate::catalog::find_by_id;
use crate::wire::mavlink::{Key, KeyError, result_name};

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
    #[error("the line failed: {0}")]
    Line(#[source] io::Error),
    #[error("failed to read the key {}: {source}", path.display())]
    KeyFile { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("failed to handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error("failed to start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

#[derive(Args)]
pub struct Options {
    /// Where the port is to be, for an endpoint such as serial:/tmp/px4:921600
    #[arg(long, value_name = "PATH", default_value = "/tmp/px4")]
    port: PathBuf,
    /// In place of a port: the agent's address, for an endpoint such as udpin:127.0.0.1:14540
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["port", "tcp"])]
    udp: Option<SocketAddr>,
    /// In place of a port: where to listen, for an endpoint such as tcpout:127.0.0.1:4560
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "port")]
    tcp: Option<SocketAddr>,
    /// Carry no more than a UART at this rate; without it as much as there is
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1200..=3_000_000))]
    baud: Option<u32>,
    /// How much the autopilot streams
    #[arg(long, value_enum, default_value_t)]
    telemetry: Telemetry,
    /// Whether there is a camera (1/100), and whether PX4 forwards to it
    #[arg(long, value_enum, default_value_t)]
    camera: Camera,
    /// The key to sign with, as the agent's [link] signing_key_file
    #[arg(long, value_name = "FILE")]
    signing_key_file: Option<PathBuf>,
    /// Noise and half frames on the line
    #[arg(long)]
    noise: bool,
}

/// Runs the vehicle until SIGINT, SIGTERM or SIGHUP.
pub fn main(options: &Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(StandaloneError::Runtime)
        .and_then(|runtime| runtime.block_on(run(options)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("downlink-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), StandaloneError> {
    let mut signals = Signals::new().map_err(StandaloneError::Signals)?;
    let end = signals.recv();
    let px4 = px4(options)?;
    if let Some(agent) = options.udp {
        let line = Udp::new(agent).map_err(StandaloneError::Start)?;
        let vehicle = start(line, options, px4, &format!("sending to {agent}"))?;
        end.await;
        return vehicle.stop().map_err(StandaloneError::Line);
    }
    if let Some(address) = options.tcp {
        let line = Tcp::listen(address).map_err(StandaloneError::Start)?;
        let vehicle = start(line, options, px4, &format!("listening on {address}"))?;
        end.await;
        return vehicle.stop().map_err(StandaloneError::Line);
    }
    let line = Arc::new(Pty::open()?);
    let port = &options.port;
    let _port = Port::make(port, line.path())
        .map_err(|source| StandaloneError::Port { path: port.clone(), source })?;
    let vehicle = start(line.clone(), options, px4, &format!("at {}", port.display()))?;
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            () = tokio::time::sleep(RENEWAL) => line.end_exclusive_use()?,
        }
    }
    vehicle.stop().map_err(StandaloneError::Line)
}

fn px4(options: &Options) -> Result<Px4, StandaloneError> {
    let now = Instant::now();
    let px4 = Px4::new(now, Behaviours::px4())
        .with_telemetry(options.telemetry)
        .with_camera(options.camera);
    let Some(path) = &options.signing_key_file else { return Ok(px4) };
    let content =
        fs::read(path).map_err(|source| StandaloneError::KeyFile { path: path.clone(), source })?;
    let key = Key::read(&content)
        .map_err(|source| StandaloneError::Key { path: path.clone(), source })?;
    Ok(px4.with_signing(Signing::new(*key.as_bytes(), now, unix_time())))
}

fn start(
    line: impl Line + 'static,
    options: &Options,
    px4: Px4,
    place: &str,
) -> Result<Vehicle, StandaloneError> {
    let vehicle = Vehicle::start_at_speed(line, options.baud, px4, |event| print(&event))
        .map_err(StandaloneError::Start)?;
    vehicle.set_noise(options.noise);
    say(&format!("a simulated PX4 {place}"));
    Ok(vehicle)
}

/// A link that goes with the vehicle.
struct Port<'path> {
    path: &'path Path,
    target: &'path Path,
}

impl<'path> Port<'path> {
    fn make(path: &'path Path, target: &'path Path) -> io::Result<Self> {
        let port = Self { path, target };
        // That of a vehicle that was killed leads nowhere, or to the pty that is ours now.
        if path.is_symlink() && (!path.exists() || port.is_ours()) {
            fs::remove_file(path)?;
        }
        symlink(target, path)?;
        Ok(port)
    }

    fn is_ours(&self) -> bool {
        fs::read_link(self.path).is_ok_and(|target| target == self.target)
    }
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(self.path);
        }
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

        symlink("/dev/null", &path).unwrap();
        let port = Port::make(&path, Path::new("/dev/null")).unwrap();
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        drop(port);
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/zero"), "it is another's now");
        assert!(Port::make(&path, Path::new("/dev/null")).is_err());
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/zero"));
        fs::remove_file(&path).unwrap();

        fs::write(&path, "somebody's").unwrap();
        assert!(Port::make(&path, Path::new("/dev/null")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    }
}
