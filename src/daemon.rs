//! The one loop: inputs in, one commit, effects out. It alone knows the engine and all adapters.
//!
//! Tasks, all on one thread: this loop; `edge/mqtt`, which owns the connection; `edge/link`, one for
//! each port; `edge/api`, which serves HTTP. Threads: `edge/journal` for commits, `edge/log` for
//! output. The loop waits only in `wait` (its branches are cancel-safe receives) and for a commit.

mod admission;
mod autopilots;
mod links;
mod local_api;
mod metrics;
mod outgoing;
mod signing;
mod stop;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::code::Code;
use crate::config::{self, Config};
use crate::edge::clock::{self, Clock};
use crate::edge::journal::{self, Journal};
use crate::edge::{api, link, mqtt, systemd};
use crate::guard::extra_link::LinkId;
use crate::lifecycle::effect::{Batch, DeliveryId, Effect, Input, Ticket};
use crate::lifecycle::engine::{Engine, Settings};
use crate::lifecycle::outbox::MAX_UPDATES;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::{CommandId, Origin};
use crate::lifecycle::time::Now;
use crate::wire::outbound;
use crate::wire::topic::Topics;
use admission::{Admission, Admitted, Denied};
use autopilots::Autopilots;
use links::Links;
use local_api::{Calls, Listings};
use metrics::Metrics;
use signing::Leases;

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
        let watchdog = systemd::watchdog_interval();
        loop {
            match self.wait(watchdog, &mut signals).await? {
                Woken::Link(link, event) => self.on_link(link, event),
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
            if watchdog.is_some() {
                systemd::ping_watchdog();
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
            if let Some((link, event)) = self.links.waiting_event() {
                self.on_link(link, event);
            } else if let Ok(event) = self.mqtt_events.try_recv() {
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

    fn on_link(&mut self, link: LinkId, event: link::Event) {
        let input = match event {
            link::Event::SigningLease { until } => return self.leases.ask(until),
            link::Event::Rejected { source, why, count } => {
                return signing::log_rejected(source, why, count);
            }
            link::Event::Opened => {
                info!("the link {} is open", self.links.describe(link));
                Input::LinkOpened(link)
            }
            link::Event::Closed { reason } => {
                warn!("the link {} is closed: {reason}", self.links.describe(link));
                Input::LinkClosed(link)
            }
            link::Event::Heartbeat(heartbeat) => {
                self.handle(Input::Heartbeat(link, heartbeat));
                // By now it may be the target.
                self.autopilots.hear(&heartbeat, self.engine.autopilot());
                return;
            }
            // The autopilot's alone counts, and it is behind the main link.
            link::Event::Telemetry(_) if link != LinkId::MAIN => return,
            link::Event::Telemetry(telemetry) => Input::Telemetry(telemetry),
            link::Event::CommandAck(ack) => Input::CommandAck(link, ack),
            link::Event::ForeignCommand(command) => Input::ForeignCommand(command),
            link::Event::ForwardOpened { endpoint } => {
                info!("the vehicle's stream is forwarded at {endpoint}");
                return;
            }
            link::Event::ForwardFailed { endpoint, reason } => {
                warn!("the vehicle's stream is not forwarded at {endpoint}: {reason}");
                return;
            }
            link::Event::Sent { ticket } => Input::Sent { ticket: Ticket(ticket) },
            link::Event::NotSent { ticket, cause } => {
                let (code, message) = match cause {
                    link::NotSent::Lost => (
                        Code::TransportLost,
                        "the link closed before the frame could be written".to_owned(),
                    ),
                    link::NotSent::WriteFailed(reason) => (
                        Code::TransportWriteFailed,
                        format!("the frame could not be written: {reason}"),
                    ),
                };
                Input::NotSent { ticket: Ticket(ticket), code, message }
            }
            link::Event::Unknown { ticket, reason } => {
                warn!("perhaps a frame did not leave whole, its COMMAND_ACK will tell: {reason}");
                Input::SendUnknown { ticket: Ticket(ticket) }
            }
        };
        self.handle(input);
    }

    fn on_mqtt(&mut self, event: mqtt::Event) -> Result<(), Error> {
        match event {
            mqtt::Event::Connected { session_present, broker, .. } => {
                let session = if session_present { "resumed" } else { "new" };
                info!("connected to {broker}, {session} session");
                self.broker = Some(broker.to_string());
                self.metrics.broker_connected();
                self.handle(Input::BrokerConnected);
                self.publish_presence();
                self.tell_systemd();
            }
            mqtt::Event::Disconnected { reason } => {
                warn!("not connected to the broker: {reason}");
                self.broker = None;
                self.handle(Input::BrokerDisconnected);
                self.tell_systemd();
            }
            mqtt::Event::Message(message) => self.on_message(message)?,
            mqtt::Event::Published { id, outcome } => {
                if let Err(reason) = &outcome {
                    warn!("the broker refused a lifecycle update: {reason}");
                }
                self.handle(Input::Published { number: id.0, accepted: outcome.is_ok() });
            }
        }
        Ok(())
    }

    fn on_message(&mut self, message: mqtt::Message) -> Result<(), Error> {
        let now = self.now();
        let (admitted, reply_to) = self.admission.read(self.engine.guard(), &message, &now);
        let delivery = self.deliveries.add(message.acknowledgement);
        let input = match admitted {
            Admitted::Request(request) => {
                let stored = self.stored(request.command_id)?;
                Input::Request { request, stored, origin: Origin::Mqtt { reply_to, delivery } }
            }
            Admitted::Query(query) => {
                let stored = self.stored(query.command_id)?;
                Input::Query { query, stored, origin: Origin::Mqtt { reply_to, delivery } }
            }
            Admitted::Grant(message) => Input::GrantMessage { message, reply_to, delivery },
            Admitted::Refused(Denied { code, reply }) => {
                if reply.is_none() {
                    self.metrics.refused(code);
                }
                Input::Refused { error: reply.map(|reply| *reply), reply_to, delivery }
            }
        };
        self.engine.handle(&now, input);
        Ok(())
    }

    fn stored(&self, id: CommandId) -> Result<Option<Box<Record>>, Error> {
        Ok(self.journal.get(id)?.map(Box::new))
    }

    /// Drains the engine up to its second commit: what came during the first shares that one. After a
    /// commit its frames, then the rest. What an effect leads to at once is handled when the drain is
    /// over; what the link told during the commit, right after it: it can still stop a frame.
    async fn carry_out(&mut self) -> Result<(), Error> {
        let mut committed = false;
        loop {
            let mut late = Vec::new();
            let mut others = std::mem::take(&mut self.others);
            while !(committed && self.engine.is_commit_next())
                && let Some(effect) = self.engine.poll_effect()
            {
                match effect {
                    Effect::Persist(_) => {
                        committed = true;
                        self.carry_out_others(&mut others, &mut late).await?;
                        self.carry_out_one(effect, &mut late).await?;
                        for _ in 0..MAX_INPUTS_PER_COMMIT {
                            let Some((link, event)) = self.links.waiting_event() else { break };
                            self.on_link(link, event);
                        }
                    }
                    Effect::Send { .. } => {
                        self.carry_out_one(effect, &mut late).await?;
                        others.after_frames = true;
                    }
                    other => others.effects.push(other),
                }
            }
            self.carry_out_others(&mut others, &mut late).await?;
            self.others = others;
            if late.is_empty() {
                break;
            }
            for input in late {
                self.handle(input);
            }
        }
        if self.leases.wanted().is_some() && !self.engine.is_commit_next() {
            // No commit comes along that could take it.
            self.commit(Batch::default()).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, batch: Batch) -> Result<(), Error> {
        let now = self.now();
        let lease = self.leases.wanted();
        let moment = journal::Moment {
            last_number: self.engine.last_number(),
            clock_floor: self.clock.floor(),
            trusted_now: now.wall_trusted.then_some(now.wall),
            set_aside: self.engine.set_aside(),
            signing_bound: lease.unwrap_or_default(),
        };
        let since = Instant::now();
        self.journal.commit(batch, moment).await?;
        self.metrics.committed(since.elapsed());
        if let Some(until) = lease {
            self.leases.granted(until);
            self.links.grant(link::Lease { now: signing::time(&self.clock, &now), until });
        }
        Ok(())
    }

    /// The link's task writes frames of the same commit first: the vehicle need not wait for what is
    /// said about a command.
    async fn carry_out_others(
        &mut self,
        others: &mut Others,
        late: &mut Vec<Input>,
    ) -> Result<(), Error> {
        if std::mem::take(&mut others.after_frames) {
            tokio::task::yield_now().await;
        }
        for effect in others.effects.drain(..) {
            self.carry_out_one(effect, late).await?;
        }
        Ok(())
    }

    async fn carry_out_one(&mut self, effect: Effect, late: &mut Vec<Input>) -> Result<(), Error> {
        match effect {
            Effect::Persist(batch) => self.commit(batch).await?,
            Effect::Acknowledge(delivery) => {
                if let Some(acknowledgement) = self.deliveries.take(delivery) {
                    self.mqtt.send(mqtt::Command::Acknowledge(acknowledgement));
                }
            }
            Effect::Reply { origin, reply } => self.reply(origin, reply),
            Effect::Step(record) => {
                self.metrics.step(&record);
                outgoing::log_step(&record);
            }
            Effect::Publish { number, record } => {
                self.publish_update(mqtt::PublishId(number), &record);
            }
            Effect::Send { link, ticket, frame, not_after } => {
                // The commit took its time; a frame must never go out late.
                if self.now().boot < not_after {
                    self.links.send(link, link::Send { ticket: ticket.0, frame });
                } else {
                    late.push(Input::NotSent {
                        ticket,
                        code: Code::TimeoutQueue,
                        message: "the deadline passed before the frame could be written".to_owned(),
                    });
                }
            }
            Effect::Unmatched(ack) => {
                self.metrics.unmatched();
                self.publish_unmatched(&ack);
            }
            Effect::Learned(autopilot) => {
                info!("the vehicle is system {}, learned from its HEARTBEAT", autopilot.system);
                self.links.tell_vehicle(autopilot.system);
            }
            Effect::Link(link, state) => {
                if link == LinkId::MAIN {
                    self.metrics.link_changed(state);
                }
                let name = self.links.name(link).map(|it| format!(" {it}")).unwrap_or_default();
                info!("the link{name} is {}", state.as_str());
                self.publish_presence();
                self.tell_systemd();
            }
            Effect::GrantReply { call, outcome } => self.calls.answer(call, outcome),
            Effect::Grants { ended } => {
                for (id, ending) in ended {
                    local_api::log_ended(id, ending);
                }
                self.publish_presence();
            }
        }
        Ok(())
    }

    /// Takes up a new `[guard]`, keys included; commands and connections stay as they are. With a
    /// mistake in the configuration the old one goes on.
    fn reload(&mut self) {
        match Config::load(&self.config_path) {
            Ok(config) => {
                self.engine.replace_guard(&self.now(), config.guard);
                info!("the guard's configuration was read again");
                self.publish_presence();
                self.tell_systemd();
            }
            Err(error) => error!("the guard's configuration stays as it was: {error}"),
        }
    }
}

/// Effects since a commit that are neither commits nor frames; kept for its memory.
#[derive(Default)]
struct Others {
    effects: Vec<Effect>,
    /// There were frames, too.
    after_frames: bool,
}

/// The withheld PUBACKs, in the order of arrival, which is the order in which they are sent.
#[derive(Default)]
struct Deliveries {
    last: u64,
    waiting: VecDeque<(DeliveryId, mqtt::Acknowledgement)>,
}

impl Deliveries {
    fn add(&mut self, acknowledgement: mqtt::Acknowledgement) -> DeliveryId {
        self.last += 1;
        self.waiting.push_back((DeliveryId(self.last), acknowledgement));
        DeliveryId(self.last)
    }

    fn take(&mut self, delivery: DeliveryId) -> Option<mqtt::Acknowledgement> {
        let (first, _) = self.waiting.front()?;
        debug_assert_eq!(*first, delivery, "PUBACKs go out in the order of arrival");
        self.waiting.pop_front().map(|(_, acknowledgement)| acknowledgement)
    }
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
        brokers: config.mqtt.brokers.clone(),
        tls: config.mqtt.tls.clone(),
        client_id: config.mqtt.client_id.clone(),
        username: config.mqtt.username.clone(),
        password: config.mqtt.password.clone(),
        keep_alive: config.mqtt.keep_alive,
        session_expiry: config.mqtt.session_expiry,
        subscriptions: topics.subscriptions(),
        will: Some(mqtt::Will {
            topic: topics.presence(),
            payload: outbound::absence(session, &config.device_id),
        }),
    }
}
