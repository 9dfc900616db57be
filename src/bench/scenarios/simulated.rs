//! The simulated vehicle of one scenario, and the line between it and the agent.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::file::{LineKind, Scenario};
use super::stage::{Incoming, SIGNING_KEY, StageError};
use crate::bench::clock::unix_time;
use crate::bench::pty::Pty;
use crate::bench::vehicle::{Behaviours, Px4, Signing, Tcp, Udp, Vehicle};
use crate::catalog;

const PORT: &str = "px4";
/// A line without a speed of its own.
const BAUD: u32 = 921_600;

pub struct Simulated {
    vehicle: Vehicle,
    place: Place,
    plugged: Option<Plugged>,
    /// Keeps others from the agent's port until the agent takes it.
    reserved: Option<UdpSocket>,
}

/// Where agent and vehicle meet.
enum Place {
    Pty(PathBuf),
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

/// What the bench itself holds of a line.
enum Plugged {
    Pty(Arc<Pty>),
    Network,
}

impl Simulated {
    /// Starts the vehicle; returns it, and the endpoint of its agent.
    pub fn start(
        scenario: &Scenario,
        folder: &Path,
        events: UnboundedSender<Incoming>,
    ) -> Result<(Self, String), StageError> {
        let setup = &scenario.vehicle;
        let px4 = px4(scenario, folder)?;
        let on_event = move |event| drop(events.send(Incoming::Vehicle(event)));
        let baud = setup.baud;
        let mut reserved = None;
        let (vehicle, place, plugged, endpoint) = match setup.line {
            LineKind::Pty => {
                let port = folder.join(PORT);
                let pty = open(&port)?;
                let vehicle = Vehicle::start_at_speed(pty.clone(), baud, px4, on_event);
                let endpoint = format!("serial:{}:{}", port.display(), baud.unwrap_or(BAUD));
                (vehicle, Place::Pty(port), Plugged::Pty(pty), endpoint)
            }
            LineKind::Udp => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StageError::Port)?;
                let agent = socket.local_addr().map_err(StageError::Port)?;
                reserved = Some(socket);
                let line = Udp::new(agent).map_err(StageError::Vehicle)?;
                let vehicle = Vehicle::start_at_speed(line, baud, px4, on_event);
                (vehicle, Place::Udp(agent), Plugged::Network, format!("udpin:{agent}"))
            }
            LineKind::Tcp => {
                let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .and_then(|free| free.local_addr())
                    .map_err(StageError::Port)?;
                let line = Tcp::listen(address).map_err(StageError::Vehicle)?;
                let vehicle = Vehicle::start_at_speed(line, baud, px4, on_event);
                (vehicle, Place::Tcp(address), Plugged::Network, format!("tcpout:{address}"))
            }
        };
        let vehicle = vehicle.map_err(StageError::Vehicle)?;
        Ok((Self { vehicle, place, plugged: Some(plugged), reserved }, endpoint))
    }

    pub fn vehicle(&self) -> &Vehicle {
        &self.vehicle
    }

    pub fn is_plugged(&self) -> bool {
        self.plugged.is_some()
    }

    /// Before an agent opens the port: it is free, and what its last user has left there is gone.
    pub fn release(&mut self) -> Result<(), StageError> {
        self.reserved = None;
        match &self.plugged {
            Some(Plugged::Pty(pty)) => Ok(pty.release()?),
            Some(Plugged::Network) | None => Ok(()),
        }
    }

    pub fn unplug(&mut self) -> Result<(), StageError> {
        self.vehicle.unplug();
        self.plugged = None;
        match &self.place {
            Place::Pty(port) => fs::remove_file(port)
                .map_err(|source| StageError::Folder { path: port.clone(), source }),
            Place::Udp(_) | Place::Tcp(_) => Ok(()),
        }
    }

    pub fn plug(&mut self) -> Result<(), StageError> {
        self.plugged = Some(match &self.place {
            Place::Pty(port) => {
                let pty = open(port)?;
                self.vehicle.plug(pty.clone());
                Plugged::Pty(pty)
            }
            Place::Udp(agent) => {
                self.vehicle.plug(Udp::new(*agent).map_err(StageError::Vehicle)?);
                Plugged::Network
            }
            Place::Tcp(address) => {
                self.vehicle.plug(Tcp::listen(*address).map_err(StageError::Vehicle)?);
                Plugged::Network
            }
        });
        Ok(())
    }

    /// Ends the vehicle after it has read the last byte on the line.
    pub fn stop(self) -> Result<(), StageError> {
        self.vehicle.stop().map_err(StageError::Line)
    }
}

fn px4(scenario: &Scenario, folder: &Path) -> Result<Px4, StageError> {
    let setup = &scenario.vehicle;
    let now = Instant::now();
    let mut px4 =
        Px4::new(now, Behaviours::px4()).with_telemetry(setup.telemetry).with_camera(setup.camera);
    for (name, answering) in &setup.commands {
        if let Some(command) = catalog::find(name) {
            px4.set_behaviour(command.mavlink_command_id.into(), answering.behaviour());
        }
    }
    if setup.signing {
        let mut key = [0; 32];
        key[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        let path = folder.join(SIGNING_KEY);
        write_secret(&path, &key).map_err(|source| StageError::Folder { path, source })?;
        px4 = px4.with_signing(Signing::new(key, now, unix_time()));
    }
    Ok(px4)
}

fn write_secret(path: &Path, secret: &[u8]) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, secret)
}

/// A pty behind the name `port`.
fn open(port: &Path) -> Result<Arc<Pty>, StageError> {
    let pty = Arc::new(Pty::open()?);
    symlink(pty.path(), port)
        .map_err(|source| StageError::Folder { path: port.to_owned(), source })?;
    Ok(pty)
}
