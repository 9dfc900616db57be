//! The parts of one scenario: its agent, its vehicle, its way to the broker, its publisher.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitStatus;

use rumqttc::v5::ConnectionError;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::spawn_blocking;
use toml::Table;

use super::config::{self, Places};
use super::file::Scenario;
use super::simulated::Simulated;
use super::{API_ID, Bench, DEVICE_ID};
use crate::bench::agent::{Agent, AgentError};
use crate::bench::client::{Publisher, PublisherError};
use crate::bench::pty::PtyError;
use crate::bench::relay::Cuttable;
use crate::bench::vehicle::{Event, Vehicle};
use crate::catalog;
use crate::wire::topic::{Topics, VENDOR};

const LOG: &str = "agent.log";
const CONFIG: &str = "downlinkd.toml";
/// In the scenario's folder, where it has a key.
pub const SIGNING_KEY: &str = "mavlink.key";
const LOG_TAIL_LINES: usize = 12;

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

        let prefix = config::prefix(&scenario.name);
        let topics = Topics::new(&prefix, DEVICE_ID);
        let filters = vec![
            topics.replies(API_ID),
            format!("{prefix}/{VENDOR}/{DEVICE_ID}/lifecycle/{API_ID}/+"),
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
        self.vehicle.as_mut().map_or(Ok(()), Simulated::release)?;
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

    pub fn is_agent_running(&mut self) -> bool {
        self.agent.as_mut().is_some_and(|agent| agent.exited().is_none())
    }

    /// Whether the simulated vehicle hears the agent.
    pub fn is_connected(&self) -> bool {
        self.agent.is_some() && self.vehicle.as_ref().is_some_and(Simulated::is_plugged)
    }

    /// The agent that has ended is no part of the stage any more.
    pub fn forget_agent(&mut self) {
        self.agent = None;
    }

    pub fn vehicle(&self) -> Option<&Vehicle> {
        self.vehicle.as_ref().map(Simulated::vehicle)
    }

    pub fn unplug(&mut self) -> Result<(), StageError> {
        self.vehicle.as_mut().map_or(Ok(()), Simulated::unplug)
    }

    pub fn plug(&mut self) -> Result<(), StageError> {
        self.vehicle.as_mut().map_or(Ok(()), Simulated::plug)
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
        let Some(vehicle) = self.vehicle.take() else { return Ok(()) };
        // It listens for a moment; the other scenarios go on meanwhile.
        match spawn_blocking(|| vehicle.stop()).await {
            Ok(stopped) => stopped,
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
