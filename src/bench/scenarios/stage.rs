//! The parts of one scenario: its agent, its vehicle, its way to the broker, its publisher.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rumqttc::v5::ConnectionError;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::spawn_blocking;
use toml::Table;
use uuid::Uuid;

use super::config::{self, Places};
use super::file::{LineKind, Scenario};
use super::{API_ID, Bench, DEVICE_ID};
use crate::bench::agent::{Agent, AgentError};
use crate::bench::client::{Publisher, PublisherError};
use crate::bench::pty::{Pty, PtyError};
use crate::bench::relay::Cuttable;
use crate::bench::vehicle::{Behaviours, Event, Px4, Signing, Tcp, Udp, Vehicle};
use crate::catalog;
use crate::guard::authentication::signer::{Occasion, Signer};
use crate::wire::signature::MQTT;
use crate::wire::topic::Topics;

const LOG: &str = "agent.log";
const CONFIG: &str = "downlinkd.toml";
const PORT: &str = "px4";
const SIGNING_KEY: &str = "mavlink.key";
const LOG_TAIL_LINES: usize = 12;
/// A line without a speed of its own.
const BAUD: u32 = 921_600;

#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("failed to prepare {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Pty(#[from] PtyError),
    #[error("failed to find a free port for the vehicle: {0}")]
    Port(#[source] io::Error),
    #[error("failed to start the simulated vehicle: {0}")]
    Vehicle(#[source] io::Error),
    #[error("the simulated vehicle lost its line: {0}")]
    Line(#[source] io::Error),
    #[error("failed to start the relay to the broker: {0}")]
    Relay(#[source] io::Error),
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Something that happened outside of the scenario's own task.
pub enum Incoming {
    Vehicle(Event),
    Mqtt(Publish),
    BrokerLost(ConnectionError),
}

/// Fields in the order in which they end: the agent before what it talks to.
pub struct Stage {
    agent: Option<Agent>,
    vehicle: Option<Simulated>,
    relay: Cuttable,
    publisher: Publisher,
    pub topics: Topics,
    folder: PathBuf,
}

struct Simulated {
    vehicle: Vehicle,
    place: Place,
    plugged: Option<Plugged>,
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

impl Stage {
    /// Starts everything but the agent. What happens arrives at the receiver.
    pub async fn set(
        bench: &Bench,
        scenario: &Scenario,
    ) -> Result<(Self, UnboundedReceiver<Incoming>), StageError> {
        let folder = bench.folder.path().join(&scenario.name);
        let failed = |source| StageError::Folder { path: folder.clone(), source };
        fs::create_dir_all(folder.join("journal")).map_err(failed)?;
        let (sender, events) = mpsc::unbounded_channel();
        let (vehicle, endpoint) = match &bench.endpoint {
            Some(endpoint) => (None, endpoint.to_string()),
            None => {
                let (vehicle, endpoint) = Simulated::start(scenario, &folder, sender.clone())?;
                (Some(vehicle), endpoint)
            }
        };
        let signing_key = folder.join(SIGNING_KEY);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StageError::Relay)?;
        let relay = Cuttable::start(listener, bench.broker).map_err(StageError::Relay)?;
        let places = Places {
            folder: &folder,
            broker: relay.address(),
            endpoint: &endpoint,
            issuer: &bench.issuer,
            signing_key: scenario.vehicle.signing.then_some(signing_key.as_path()),
        };
        let allowed = |name: &str| {
            bench.endpoint.is_none() || catalog::find(name).is_some_and(|it| bench.allows(it))
        };
        let config: Table = config::build(scenario, &places, allowed);
        fs::write(folder.join(CONFIG), config.to_string()).map_err(failed)?;

        let topics = Topics::new(&config::prefix(&scenario.name), DEVICE_ID);
        let filters = vec![
            topics.replies(API_ID),
            topics.lifecycle(API_ID, Uuid::nil()).replace(&Uuid::nil().to_string(), "+"),
            topics.presence(),
            topics.unmatched(),
        ];
        let client_id = format!("bench-{}", scenario.name);
        let publisher = Publisher::connect(bench.broker, &client_id, filters, move |message| {
            // Sending fails only when the scenario has ended and nobody looks any more.
            let _ = sender.send(message.map_or_else(Incoming::BrokerLost, Incoming::Mqtt));
        })
        .await?;
        Ok((Self { agent: None, vehicle, relay, publisher, topics, folder }, events))
    }

    /// Starts the agent, on a line that nobody has open.
    pub fn start_agent(&mut self) -> Result<(), StageError> {
        if let Some(Plugged::Pty(pty)) = self.vehicle.as_ref().and_then(|it| it.plugged.as_ref()) {
            pty.release()?;
        }
        self.agent = Some(Agent::start(&self.folder.join(CONFIG), &self.folder.join(LOG))?);
        Ok(())
    }

    pub fn kill_agent(&mut self) -> Result<(), StageError> {
        self.agent.take().map_or(Ok(()), Agent::kill)?;
        Ok(())
    }

    /// SIGTERM.
    pub fn terminate_agent(&self) -> Result<(), StageError> {
        self.agent.as_ref().map_or(Ok(()), Agent::terminate)?;
        Ok(())
    }

    /// How the agent ended, if it did.
    pub fn agent_ended(&mut self) -> Option<ExitStatus> {
        self.agent.as_mut()?.exited()
    }

    /// Whether the simulated vehicle hears the agent.
    pub fn is_connected(&self) -> bool {
        self.agent.is_some() && self.vehicle.as_ref().is_some_and(|it| it.plugged.is_some())
    }

    /// The agent that has ended is no part of the stage any more.
    pub fn forget_agent(&mut self) {
        self.agent = None;
    }

    pub fn vehicle(&self) -> Option<&Vehicle> {
        self.vehicle.as_ref().map(|it| &it.vehicle)
    }

    pub fn unplug(&mut self) -> Result<(), StageError> {
        let Some(simulated) = &mut self.vehicle else { return Ok(()) };
        simulated.vehicle.unplug();
        simulated.plugged = None;
        match &simulated.place {
            Place::Pty(port) => fs::remove_file(port)
                .map_err(|source| StageError::Folder { path: port.clone(), source }),
            Place::Udp(_) | Place::Tcp(_) => Ok(()),
        }
    }

    pub fn plug(&mut self) -> Result<(), StageError> {
        let Some(simulated) = &mut self.vehicle else { return Ok(()) };
        simulated.plugged = Some(match &simulated.place {
            Place::Pty(port) => {
                let pty = open(port)?;
                simulated.vehicle.plug(pty.clone());
                Plugged::Pty(pty)
            }
            Place::Udp(agent) => {
                simulated.vehicle.plug(Udp::new(*agent).map_err(StageError::Vehicle)?);
                Plugged::Network
            }
            Place::Tcp(address) => {
                simulated.vehicle.plug(Tcp::listen(*address).map_err(StageError::Vehicle)?);
                Plugged::Network
            }
        });
        Ok(())
    }

    pub fn cut_broker(&self) {
        self.relay.cut();
    }

    pub fn restore_broker(&self) {
        self.relay.restore();
    }

    pub async fn publish(&self, topic: &str, body: String) -> Result<(), StageError> {
        Ok(self.publisher.publish(topic, body).await?)
    }

    /// Ends the agent, then the vehicle after it has read the last byte on the line.
    pub async fn end(&mut self) -> Result<(), StageError> {
        self.kill_agent()?;
        let Some(Simulated { vehicle, .. }) = self.vehicle.take() else { return Ok(()) };
        // It listens for a moment; the other scenarios go on meanwhile.
        match spawn_blocking(|| vehicle.stop()).await {
            Ok(stopped) => stopped.map_err(StageError::Line),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The last lines of the agent's log; empty when it has written none.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Simulated {
    /// The vehicle, and the endpoint of its agent.
    fn start(
        scenario: &Scenario,
        folder: &Path,
        events: UnboundedSender<Incoming>,
    ) -> Result<(Self, String), StageError> {
        let setup = &scenario.vehicle;
        let px4 = px4(scenario, folder)?;
        let on_event = move |event| drop(events.send(Incoming::Vehicle(event)));
        let baud = setup.baud;
        let (vehicle, place, plugged, endpoint) = match setup.line {
            LineKind::Pty => {
                let port = folder.join(PORT);
                let pty = open(&port)?;
                let vehicle = Vehicle::start_at_speed(pty.clone(), baud, px4, on_event);
                let endpoint = format!("serial:{}:{}", port.display(), baud.unwrap_or(BAUD));
                (vehicle, Place::Pty(port), Plugged::Pty(pty), endpoint)
            }
            LineKind::Udp => {
                let agent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
                    .and_then(|free| free.local_addr())
                    .map_err(StageError::Port)?;
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
        Ok((Self { vehicle, place, plugged: Some(plugged) }, endpoint))
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

/// A clock before 1970 is refused like every wrong one.
fn unix_time() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The signed envelope of a body.
pub fn envelope(
    signer: &Signer,
    topic: &str,
    body: &str,
    nonce: Option<&str>,
    challenge: Option<&str>,
) -> String {
    let fresh = Uuid::new_v4().simple().to_string();
    let nonce = nonce.unwrap_or(&fresh);
    let timestamp = unix_time().as_secs();
    let occasion = Occasion { method: MQTT, path: topic, timestamp, nonce, challenge };
    signer.sign(body.as_bytes(), occasion).envelope(body)
}
