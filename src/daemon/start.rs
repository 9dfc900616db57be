//! The start: the journal is read, the engine takes its commands up again, the adapters begin.

use std::path::PathBuf;

use log::{error, info, warn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::admission::Admission;
use super::autopilots::Autopilots;
use super::deliveries::Deliveries;
use super::effects::Others;
use super::links::Links;
use super::local_api::{Calls, Listings};
use super::metrics::Metrics;
use super::signing::{self, Leases};
use super::{Daemon, EVENTS, Error, Signals};
use crate::config::{self, Config};
use crate::edge::clock::Clock;
use crate::edge::journal::Journal;
use crate::edge::{api, link, mqtt};
use crate::lifecycle::engine::{Engine, Settings};
use crate::lifecycle::outbox::MAX_UPDATES;
use crate::wire::outbound;
use crate::wire::topic::Topics;

/// Runs the agent until SIGTERM or SIGINT. `config_path`: what SIGHUP reads again.
///
/// # Errors
/// What makes going on unsafe: above all a journal that cannot be read or written.
pub async fn run(config: Config, config_path: PathBuf) -> Result<(), Error> {
    let terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let hangup = signal(SignalKind::hangup()).map_err(Error::Signal)?;
    let clock = Clock::new()?;
    let (journal, recovered) = Journal::open(&config.journal.dir, config.journal.retention)?;
    if let Some(floor) = recovered.clock_floor {
        clock.raise_floor(floor);
    }
    let mode = config.guard.mode();
    let brokers: Vec<_> = config.mqtt.brokers.iter().map(ToString::to_string).collect();
    let brokers = brokers.join(", ");
    info!(
        "{} commands to take up again, {} updates to publish, mode {}, link {}, broker {}",
        recovered.open.len(),
        recovered.outbox.len(),
        mode.as_str(),
        config.link.endpoint,
        brokers
    );
    warn_of_forwards(&config.forwards);
    let session = Uuid::new_v4();
    let mut engine =
        Engine::new(settings(&config, session), config.guard.clone(), recovered.last_number);
    let now = clock.now(|_| None);
    engine.recover_set_aside(recovered.set_aside);
    engine.recover_nonces(recovered.nonce_entries, recovered.nonces_of_commands);
    engine.recover(&now, recovered.open, recovered.outbox);

    let topics = Topics::new(&config.mqtt.prefix, &config.device_id);
    let (mqtt_sender, mqtt_events) = mpsc::channel(EVENTS);
    let links = Links::spawn(&config, recovered.signing_bound, signing::time(&clock, &now));
    let mqtt = mqtt::spawn(mqtt_options(&config, &topics, session), mqtt_sender);
    let (requests, api_events) = mpsc::channel(EVENTS);
    let apis = spawn_apis(&config.api, &config.device_id, requests);
    let daemon = Daemon {
        admission: Admission::new(
            config.device_id.clone(),
            topics.clone(),
            Uuid::new_v4().simple().to_string(),
        ),
        device_id: config.device_id,
        brokers,
        broker: None,
        topics,
        session,
        clock,
        journal,
        engine,
        links,
        mqtt,
        leases: Leases::default(),
        autopilots: Autopilots::default(),
        mqtt_events,
        config_path,
        apis,
        api_events,
        calls: Calls::default(),
        listings: Listings::default(),
        metrics: Metrics::new(),
        deliveries: Deliveries::default(),
        others: Others::default(),
        clock_trusted: false,
        stop_timeout: config.delivery.stop_timeout,
    };
    let signals = Signals { terminate, interrupt, hangup };
    daemon.run(signals).await
}

/// What the operator may not have meant.
fn warn_of_forwards(forwards: &[link::ForwardOptions]) {
    for link::ForwardOptions { endpoint, direction } in forwards {
        let others = if endpoint.is_loopback() { "this computer" } else { "the network" };
        match direction {
            link::Direction::Both => warn!(
                "the forward {endpoint} lets others on {others} command the vehicle past the guard"
            ),
            link::Direction::Out if !endpoint.is_loopback() => {
                warn!("the forward {endpoint} shows the vehicle's stream to the network");
            }
            link::Direction::Out => {}
        }
    }
}

/// Without the socket nobody can open a grant, without a port nobody can ask by TCP; everything else
/// goes on.
fn spawn_apis(
    config: &config::Api,
    device_id: &str,
    requests: mpsc::Sender<api::Request>,
) -> Vec<api::Handle> {
    let agent = api::Agent { device_id: device_id.to_owned(), requests };
    let by_tcp = config.listen.map(|address| {
        if !address.ip().is_loopback() {
            warn!(
                "the local API is open to the network at {address} ([api] listen): nothing on its \
                 way is encrypted"
            );
        }
        api::spawn_tcp(address, agent.clone()).map(|(address, handle)| {
            info!("the local API is at http://{address}");
            handle
        })
    });
    [Some(api::spawn(&config.socket, agent)), by_tcp]
        .into_iter()
        .flatten()
        .filter_map(|spawned| {
            spawned.inspect_err(|error| error!("the local API is not there: {error}")).ok()
        })
        .collect()
}

fn settings(config: &Config, session: Uuid) -> Settings {
    Settings {
        source: config.link.source,
        target: config.link.target,
        extra_links: config.link.extra.iter().map(|it| it.link.clone()).collect(),
        default_timeout_seconds: config.delivery.default_timeout_seconds,
        max_outstanding: config.delivery.max_outstanding,
        max_queue: config.delivery.max_queue,
        late_ack_window: config.delivery.late_ack_window,
        max_progress: config.delivery.max_progress,
        session: session.as_fields().0,
        max_updates: MAX_UPDATES,
        forwards: config.forwards.iter().any(|forward| forward.direction == link::Direction::Both),
    }
}

fn mqtt_options(config: &Config, topics: &Topics, session: Uuid) -> mqtt::Options {
    mqtt::Options {
        subscriptions: topics.subscriptions(),
        will: Some(mqtt::Will {
            topic: topics.presence(),
            payload: outbound::absence(session, &config.device_id),
        }),
        ..config.mqtt.options()
    }
}
