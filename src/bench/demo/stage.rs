//! The parts on one machine: broker, vehicle, agent, publisher, and the folder they live in.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use rumqttc::v5::ConnectionError;
use rumqttc::v5::mqttbytes::v5::Publish;
use tempfile::TempDir;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::by_hand;
use super::commands::{API_ID, COMMANDS, DEVICE_ID, VENDOR, topic};
use super::message::Message;
use crate::bench::agent::{Agent, AgentError};
use crate::bench::broker::{self, BrokerError};
use crate::bench::client::{Publisher, PublisherError};
use crate::bench::issuer::{Issuer, IssuerError, envelope, key_file};
use crate::bench::pty::{Pty, PtyError};
use crate::bench::vehicle::{Behaviours, Event, Px4, Vehicle};
use crate::guard::authentication::signer::Signer;

const LOG: &str = "agent.log";
const CONFIG: &str = "downlinkd.toml";
const PORT: &str = "px4";
const JOURNAL: &str = "journal";
const SCRIPT: &str = "publish.sh";
const LOG_TAIL_LINES: usize = 30;

#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("failed to prepare the temporary folder: {0}")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Pty(#[from] PtyError),
    #[error("failed to start the simulated vehicle: {0}")]
    Vehicle(#[source] io::Error),
    #[error("the simulated vehicle lost its serial line: {0}")]
    Line(#[source] io::Error),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Something that happened outside the demo's own task.
pub struct Incoming {
    pub at: Instant,
    pub what: What,
}

pub enum What {
    Vehicle(Event),
    Mqtt(Publish),
    BrokerLost(ConnectionError),
}

/// Fields in the order in which they end: the agent before what it talks to, the folder last.
pub struct Stage {
    agent: Option<Agent>,
    vehicle: Option<Vehicle>,
    line: Arc<Pty>,
    publisher: Publisher,
    signer: Signer,
    broker: SocketAddr,
    folder: TempDir,
}

impl Stage {
    /// Starts everything but the agent. What happens arrives at the receiver.
    pub async fn set() -> Result<(Self, UnboundedReceiver<Incoming>), StageError> {
        let folder = tempfile::Builder::new()
            .prefix("downlinkd-demo-")
            .tempdir()
            .map_err(StageError::Folder)?;
        let line = Arc::new(Pty::open()?);
        let broker = broker::start()?;
        let issuer = Issuer::make(API_ID, folder.path())?;
        let script = by_hand::script(broker, &key_file(API_ID));
        prepare(folder.path(), &line, &config(folder.path(), broker, &issuer.lines))
            .and_then(|()| fs::write(folder.path().join(SCRIPT), script))
            .map_err(StageError::Folder)?;

        let (sender, events) = mpsc::unbounded_channel();
        let from_vehicle = sender.clone();
        // Sending fails only when the demo has ended and nobody looks any more.
        let px4 = Px4::new(Instant::now(), Behaviours::px4());
        let vehicle = Vehicle::start(line.clone(), px4, move |event| {
            let _ = from_vehicle.send(Incoming { at: Instant::now(), what: What::Vehicle(event) });
        })
        .map_err(StageError::Vehicle)?;
        let publisher =
            Publisher::connect(broker, "downlink-demo", Message::filters(), move |message| {
                let what = message.map_or_else(What::BrokerLost, What::Mqtt);
                let _ = sender.send(Incoming { at: Instant::now(), what });
            })
            .await?;
        let (vehicle, signer) = (Some(vehicle), issuer.signer);
        Ok((Self { agent: None, vehicle, line, publisher, signer, broker, folder }, events))
    }

    /// Starts the agent, on a line that nobody has open. Returns its process id.
    pub fn start_agent(&mut self) -> Result<u32, StageError> {
        self.line.release()?;
        let folder = self.folder.path();
        let agent = self.agent.insert(Agent::start(&folder.join(CONFIG), &folder.join(LOG))?);
        Ok(agent.id())
    }

    /// kill -9.
    pub fn kill_agent(&mut self) -> Result<(), StageError> {
        self.agent.take().map_or(Ok(()), Agent::kill)?;
        Ok(())
    }

    /// How the agent ended, if it did so by itself.
    pub fn agent_ended(&mut self) -> Option<ExitStatus> {
        self.agent.as_mut()?.exited()
    }

    /// Ends the vehicle after it has read the last byte on the line.
    pub fn stop_vehicle(&mut self) -> Result<(), StageError> {
        self.vehicle.take().map_or(Ok(()), Vehicle::stop).map_err(StageError::Line)
    }

    /// Signs a command request and publishes it. `challenge`: from presence.
    pub async fn request(&self, body: &str, challenge: Option<&str>) -> Result<(), StageError> {
        let topic = topic(&format!("commands/{API_ID}"));
        let envelope = envelope(&self.signer, &topic, body, None, challenge);
        Ok(self.publisher.publish(&topic, envelope).await?)
    }

    pub fn broker(&self) -> SocketAddr {
        self.broker
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What signs and publishes a request by hand.
    pub fn script(&self) -> PathBuf {
        self.folder.path().join(SCRIPT)
    }

    /// The last lines of the agent's log; empty when it has written none.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

fn prepare(folder: &Path, line: &Pty, config: &str) -> io::Result<()> {
    symlink(line.path(), folder.join(PORT))?;
    fs::create_dir(folder.join(JOURNAL))?;
    fs::write(folder.join(CONFIG), config)
}

/// `issuer`: the lines that keygen printed.
fn config(folder: &Path, broker: SocketAddr, issuer: &str) -> String {
    let port = folder.join(PORT);
    let journal = folder.join(JOURNAL);
    let rules: String = COMMANDS
        .iter()
        .map(|command| {
            // The five requests of the reference, as they are; nobody opens a grant in the demo.
            format!("[[guard.command]]\ntype = \"{}\"\ngrant = false\n", command.command_type)
        })
        .collect();
    format!(
        r#"[device]
vendor = "{VENDOR}"
id = "{DEVICE_ID}"
[mqtt]
url = "mqtt://{broker}"
[link]
endpoint = "serial:{}:921600"
target_system = 1
target_component = 1
[guard]
mode = "guarded"
{issuer}{rules}[journal]
dir = "{}"
[api]
socket = "{}"
"#,
        port.display(),
        journal.display(),
        journal.with_extension("sock").display()
    )
}
