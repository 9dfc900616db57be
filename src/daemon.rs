//! The one loop: inputs in, one commit, effects out. It alone knows the engine and all adapters.
//!
//! Tasks, all on one thread: this loop; `edge/mqtt`, which owns the connection; `edge/link`, one for
//! each port and one for each forward; `edge/api`, one for each listener and each connection. Threads:
//! `edge/journal` for commits, `edge/log` for output, `edge/clock` for the kernel's word.
//!
//! The loop waits at three places: in `wait`, whose branches are cancel-safe receives; for a commit;
//! and, after frames, for one turn of the other tasks (`carry_out_others`). The latter two are never
//! cancelled.
//!
//! Reading order: `start` (the parts are made), this file (the loop), `incoming` (an event becomes an
//! input; `admission` and `local_api` read what issuers and operators say), `effects` (what the engine
//! asks for is done; `outgoing` says it), `deliveries` (withheld PUBACKs), `stop` (the end).

mod admission;
mod autopilots;
mod deliveries;
mod effects;
mod incoming;
mod links;
mod local_api;
mod metrics;
mod outgoing;
mod signing;
mod start;
mod stop;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::edge::clock::{self, Clock};
use crate::edge::journal::{self, Journal};
use crate::edge::{api, link, mqtt, systemd};
use crate::guard::extra_link::LinkId;
use crate::lifecycle::effect::Input;
use crate::lifecycle::engine::Engine;
use crate::lifecycle::time::Now;
use crate::wire::topic::Topics;
use admission::Admission;
use autopilots::Autopilots;
use deliveries::Deliveries;
use effects::Others;
use links::Links;
use local_api::{Calls, Listings};
use metrics::Metrics;
use signing::Leases;

pub use start::run;

/// Inputs that share one commit; more only make the first of them wait.
const MAX_INPUTS_PER_COMMIT: usize = 64;
/// Events that an adapter may be ahead of the loop.
const EVENTS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Clock(#[from] clock::Error),
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error("failed to watch for signals: {0}")]
    Signal(#[source] std::io::Error),
    #[error("the {0} adapter has ended")]
    AdapterEnded(&'static str),
}

struct Daemon {
    device_id: String,
    /// All that are tried in turn: `mqtts://HOST:PORT, mqtt://HOST:PORT`.
    brokers: String,
    /// The one in use; `None` while there is no connection.
    broker: Option<String>,
    topics: Topics,
    admission: Admission,
    session: Uuid,
    clock: Clock,
    journal: Journal,
    engine: Engine,
    links: Links,
    leases: Leases,
    autopilots: Autopilots,
    mqtt: mqtt::Handle,
    mqtt_events: mpsc::Receiver<mqtt::Event>,
    config_path: PathBuf,
    /// Those that could be started.
    apis: Vec<api::Handle>,
    api_events: mpsc::Receiver<api::Request>,
    calls: Calls,
    listings: Listings,
    metrics: Metrics,
    deliveries: Deliveries,
    others: Others,
    /// As last published.
    clock_trusted: bool,
    stop_timeout: Duration,
}

/// What ended a wait.
enum Woken {
    Link(LinkId, link::Event),
    Mqtt(mqtt::Event),
    Api(api::Request),
    Time,
    Reload,
    Stop,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Reload `[guard]`.
    hangup: Signal,
}

impl Daemon {
    async fn run(mut self, mut signals: Signals) -> Result<(), Error> {
        // What a restart ended is durable before anything new is taken in.
        self.carry_out().await?;
        systemd::ready();
        self.tell_systemd();
        let mut watchdog = systemd::Watchdog::start();
        loop {
            let longest = watchdog.as_ref().map(systemd::Watchdog::due_in);
            match self.wait(longest, &mut signals).await? {
                Woken::Link(link, event) => self.hear_links(Some((link, event))),
                Woken::Mqtt(event) => self.on_mqtt(event)?,
                Woken::Api(request) => self.on_api(request)?,
                Woken::Time => self.handle(Input::Tick),
                Woken::Reload => self.reload(),
                Woken::Stop => break,
            }
            self.take_waiting_events()?;
            self.carry_out().await?;
            self.list()?;
            self.follow_clock();
            if let Some(watchdog) = &mut watchdog {
                watchdog.ping_if_due();
            }
        }
        self.stop(&mut signals).await
    }

    /// For at most `longest`.
    async fn wait(
        &mut self,
        longest: Option<Duration>,
        signals: &mut Signals,
    ) -> Result<Woken, Error> {
        let due = self.engine.poll_timeout().map(|at| at.saturating_sub(self.now().boot));
        let sleep = match (due, longest) {
            (Some(due), Some(longest)) => due.min(longest),
            (Some(span), None) | (None, Some(span)) => span,
            (None, None) => Duration::from_secs(3600),
        };
        // These go on when nothing else is to be done, and the other tasks have had their turn.
        let goes_on = self.engine.is_commit_next() || !self.listings.is_empty();
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => Ok(Woken::Stop),
            _ = signals.interrupt.recv() => Ok(Woken::Stop),
            _ = signals.hangup.recv() => Ok(Woken::Reload),
            event = self.links.next_event() => {
                let (link, event) = event.ok_or(Error::AdapterEnded("link"))?;
                Ok(Woken::Link(link, event))
            }
            event = self.mqtt_events.recv() => {
                event.map(Woken::Mqtt).ok_or(Error::AdapterEnded("MQTT"))
            }
            request = self.api_events.recv(), if !self.apis.is_empty() => {
                request.map(Woken::Api).ok_or(Error::AdapterEnded("local API"))
            }
            () = tokio::task::yield_now(), if goes_on => Ok(Woken::Time),
            () = tokio::time::sleep(sleep) => Ok(Woken::Time),
        }
    }

    /// Whatever is here already shares the coming commit.
    fn take_waiting_events(&mut self) -> Result<(), Error> {
        for _ in 0..MAX_INPUTS_PER_COMMIT {
            if let Ok(event) = self.mqtt_events.try_recv() {
                self.on_mqtt(event)?;
            } else if let Ok(request) = self.api_events.try_recv() {
                self.on_api(request)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn now(&self) -> Now {
        self.clock.now(|boot| self.engine.autopilot_time(boot))
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(&self.now(), input);
    }

    fn hear(&mut self, input: Input) {
        self.engine.hear(&self.now(), input);
    }
}
