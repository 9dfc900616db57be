//! Broker, publisher and stations, and the one channel on which everything is told.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rumqttc::v5::ConnectionError;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use uuid::Uuid;

use super::craft::{Make, Seen};
use super::kind::{Kind, UnknownKind};
use super::process::ProcessError;
use super::station::{Station, StationConfig};
use super::traces;
use crate::bench::agent::AgentError;
use crate::bench::broker::{self, BrokerError};
use crate::bench::client::{Publisher, PublisherError};
use crate::bench::issuer::{Issuer, IssuerError, envelope};
use crate::bench::pty::PtyError;
use crate::bench::relay;

/// The issuer, as the agents' configuration and the topics name it.
pub const API_ID: &str = "bench";
const DEVICES: &str = "downlink/v1/px4/";
const READY_LIMIT: Duration = Duration::from_secs(60);
const ECHO_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum RigError {
    #[error("failed to prepare the bench's folder: {0}")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Pty(#[from] PtyError),
    #[error("failed to start the vehicle: {0}")]
    Vehicle(#[source] io::Error),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("failed to reach the broker at {0}: {1}")]
    NoBroker(SocketAddr, #[source] io::Error),
    #[error("failed to start the relay to the broker: {0}")]
    Relay(#[source] io::Error),
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    #[error("the agent of {device_id} ended by itself: {status}; its log ends with:\n{tail}")]
    AgentEnded { device_id: String, status: ExitStatus, tail: String },
    #[error("the agent of {0} was not ready within {n} s", n = .1.as_secs())]
    NotReady(String, Duration),
    #[error("the connection to the broker broke: {0}")]
    BrokerLost(#[source] Box<ConnectionError>),
    #[error("the broker did not return a message within {n} s", n = .0.as_secs())]
    NoEcho(Duration),
    #[error("an unreadable message on {topic}: {source}")]
    Message { topic: String, source: serde_json::Error },
    #[error("a command was refused: {0}")]
    Refused(String),
    #[error("{0} commands got no outcome, for {n} s nothing happened", n = .1.as_secs())]
    Stalled(usize, Duration),
}

/// How the stations of a site are made.
pub struct SiteOptions<'a> {
    /// Journals and everything else lie in a new folder in this one.
    pub dir: &'a Path,
    /// One that runs already; `None`: the embedded one.
    pub broker: Option<SocketAddr>,
    pub make: Make,
    pub kinds: Vec<Kind>,
    pub max_outstanding: usize,
    /// The agent, if it is not this program.
    pub agent: Option<PathBuf>,
}

/// Something that happened, and to which station.
pub struct Incoming {
    pub at: Instant,
    pub what: What,
}

pub enum What {
    Vehicle { station: usize, seen: Seen },
    Mqtt(Publish),
    BrokerLost(Box<ConnectionError>),
}

/// A message of a station's agent.
#[derive(Debug, Deserialize)]
pub struct Message {
    pub idempotency_key: Option<String>,
    /// Of a reply or an update.
    pub status: Option<String>,
    pub terminal: Option<bool>,
    /// Only a create reply has it.
    pub duplicate: Option<bool>,
    pub error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Deserialize)]
struct Presence {
    online: bool,
    challenge: Option<String>,
    link: Option<PresentLink>,
}

#[derive(Debug, Deserialize)]
struct PresentLink {
    state: String,
}

/// Fields in the order in which they end: the stations before what they talk to, the folder last.
pub struct Site {
    pub stations: Vec<Station>,
    publisher: Publisher,
    issuer: Issuer,
    broker: SocketAddr,
    /// Of a broker that others use, too: where to clear up.
    shared: Option<SocketAddr>,
    /// What the stations' names begin with.
    name: String,
    echo_topic: String,
    make: Make,
    pub kinds: Vec<Kind>,
    max_outstanding: usize,
    agent: Option<PathBuf>,
    sender: UnboundedSender<Incoming>,
    pub events: UnboundedReceiver<Incoming>,
    pub runs: usize,
    folder: TempDir,
}

impl Site {
    /// Broker and publisher; no stations yet.
    pub async fn open(options: SiteOptions<'_>) -> Result<Self, RigError> {
        let folder = tempfile::Builder::new().prefix("downlink-bench-").tempdir_in(options.dir);
        let folder = folder.map_err(RigError::Folder)?;
        let shared = match options.broker {
            Some(broker) => Some(relay_to(broker).await?),
            None => None,
        };
        let broker = options.broker.map_or_else(broker::start, Ok)?;
        let name = match shared {
            // Other benches may be there.
            Some(_) => format!("bench-{:.8}", Uuid::new_v4().simple().to_string()),
            None => "bench".to_owned(),
        };
        let echo_topic = format!("downlink-bench/{name}/echo");
        let issuer = Issuer::make(API_ID, folder.path())?;
        let (sender, events) = mpsc::unbounded_channel();
        let from_broker = sender.clone();
        let topics = ["replies/#", "lifecycle/#", "presence"].map(|it| format!("{DEVICES}+/{it}"));
        let topics = [&topics[..], std::slice::from_ref(&echo_topic)].concat();
        let client_id = format!("downlink-{name}");
        let publisher =
            Publisher::connect(shared.unwrap_or(broker), &client_id, topics, move |message| {
                let lost = |error| What::BrokerLost(Box::new(error));
                let what = message.map_or_else(lost, What::Mqtt);
                // Nobody looks any more when the site has ended.
                let _ = from_broker.send(Incoming { at: Instant::now(), what });
            })
            .await?;
        let SiteOptions { make, kinds, max_outstanding, agent, .. } = options;
        Ok(Self {
            stations: Vec::new(),
            publisher,
            issuer,
            broker,
            shared,
            name,
            echo_topic,
            make,
            kinds,
            max_outstanding,
            agent,
            sender,
            events,
            runs: 0,
            folder,
        })
    }

    /// Adds a vehicle; its agent does not run yet. Returns its number.
    pub fn add_station(&mut self) -> Result<usize, RigError> {
        let number = self.stations.len();
        let device_id = format!("{}-{}", self.name, number + 1);
        let folder = self.folder.path().join(&device_id);
        fs::create_dir(&folder).map_err(RigError::Folder)?;
        let sender = self.sender.clone();
        let config = StationConfig {
            broker: self.broker,
            issuer: &self.issuer.lines,
            kinds: &self.kinds,
            max_outstanding: self.max_outstanding,
            agent: self.agent.as_deref(),
        };
        let station = Station::new(&folder, device_id, self.make, &config, move |at, seen| {
            let what = What::Vehicle { station: number, seen };
            let _ = sender.send(Incoming { at, what });
        })?;
        self.stations.push(station);
        Ok(number)
    }

    /// Starts a station's agent and waits until it is online and its link ready. How long it took
    /// until it told so to a service manager, which is earlier.
    pub async fn start_agent(&mut self, station: usize) -> Result<Duration, RigError> {
        let took = self.stations[station].start_agent().await?;
        let deadline = tokio::time::Instant::now() + READY_LIMIT;
        while !self.stations[station].ready {
            let incoming = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let device_id = || self.stations[station].device_id.clone();
            // The site holds a sender itself.
            let Ok(Some(incoming)) = incoming else {
                return Err(RigError::NotReady(device_id(), READY_LIMIT));
            };
            self.note(incoming)?;
        }
        Ok(took)
    }

    /// Adds a vehicle and starts its agent.
    pub async fn add_running_station(&mut self) -> Result<usize, RigError> {
        let station = self.add_station()?;
        self.start_agent(station).await?;
        Ok(station)
    }

    /// Signs a request and publishes it.
    pub async fn request(&self, station: usize, body: &str) -> Result<(), RigError> {
        let Station { device_id, challenge, .. } = &self.stations[station];
        let topic = format!("{DEVICES}{device_id}/commands/{API_ID}");
        let envelope = envelope(&self.issuer.signer, &topic, body, None, challenge.as_deref());
        Ok(self.publisher.publish(&topic, envelope).await?)
    }

    /// How long the broker takes to bring a message of `length` bytes back to its publisher.
    pub async fn echo(&mut self, length: usize) -> Result<Duration, RigError> {
        // The broker may still hold others.
        let body = format!("{:*<length$}", Uuid::new_v4().to_string());
        let begun = Instant::now();
        self.publisher.publish(&self.echo_topic, body.clone()).await?;
        let deadline = tokio::time::Instant::now() + ECHO_LIMIT;
        loop {
            match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(Incoming { at, what: What::Mqtt(publish) }))
                    if publish.payload == body.as_bytes() =>
                {
                    return Ok(at - begun);
                }
                Ok(Some(incoming)) => drop(self.note(incoming)?),
                Ok(None) | Err(_) => return Err(RigError::NoEcho(ECHO_LIMIT)),
            }
        }
    }

    /// Takes up a presence. Returns what else it is: a message of a station's agent.
    pub fn note(&mut self, incoming: Incoming) -> Result<Option<(usize, Message)>, RigError> {
        let publish = match incoming.what {
            What::Mqtt(publish) => publish,
            What::BrokerLost(error) => return Err(RigError::BrokerLost(error)),
            What::Vehicle { .. } => return Ok(None),
        };
        let topic = String::from_utf8_lossy(&publish.topic);
        let Some((device, rest)) = topic.strip_prefix(DEVICES).and_then(|it| it.split_once('/'))
        else {
            return Ok(None);
        };
        let Some(station) = self.stations.iter().position(|it| it.device_id == device) else {
            return Ok(None);
        };
        let failed = |source| RigError::Message { topic: topic.to_string(), source };
        if rest == "presence" {
            let presence: Presence = serde_json::from_slice(&publish.payload).map_err(failed)?;
            let station = &mut self.stations[station];
            let link = presence.link.is_some_and(|link| link.state == "ready");
            station.ready = presence.online && link;
            station.challenge = presence.challenge.or(station.challenge.take());
            return Ok(None);
        }
        let message = serde_json::from_slice(&publish.payload).map_err(failed)?;
        Ok(Some((station, message)))
    }

    /// Errors when an agent has ended by itself.
    pub fn check_agents(&mut self) -> Result<(), RigError> {
        for station in &mut self.stations {
            if let Some(status) = station.agent_ended() {
                return Err(station.ended(status));
            }
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The configuration's default of a client_id.
        let agent = |it: &Station| {
            (format!("downlinkd-{}", it.device_id), format!("{DEVICES}{}/presence", it.device_id))
        };
        let agents: Vec<(String, String)> = self.stations.iter().map(agent).collect();
        self.stations.clear();
        if let Some(broker) = self.shared {
            traces::clear(broker, &agents);
        }
    }
}

/// Where the publisher connects, whose own ACKs would be late; the embedded broker has such a relay.
async fn relay_to(broker: SocketAddr) -> Result<SocketAddr, RigError> {
    // The relay could not tell why it fails.
    let reached = tokio::net::TcpStream::connect(broker).await;
    reached.map_err(|error| RigError::NoBroker(broker, error))?;
    relay::start_on_free_port(broker).map_err(RigError::Relay)
}
