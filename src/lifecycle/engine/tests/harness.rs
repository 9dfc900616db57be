//! The engine between a model journal, a model link and a publisher, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::*;
use crate::catalog::{self, Transport};
use crate::code::Code;
use crate::guard::authentication::Authenticated;
use crate::guard::grants::{Action, Answer, Ending, GrantId, Opener};
use crate::guard::nonces::NonceKey;
use crate::guard::policy::{Policy, Rule};
use crate::guard::{Mode, Refusal};
use crate::lifecycle::effect::{CallId, DeliveryId, OutboxNumber, Reply};
use crate::lifecycle::outbox::MAX_UPDATES;
use crate::lifecycle::request::{CommandRequest, GrantMessage, Origin, Query, ReplyTo, command_id};
use crate::lifecycle::status::Cause;
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::{Body, CommandAck, CommandFrame, Heartbeat};

pub const US: Address = Address { system: 1, component: 191 };
pub const AUTOPILOT: Address = Address { system: 1, component: 1 };
pub const CAMERA: Address = Address { system: 1, component: 100 };
/// Where [`two_links`] puts the camera.
pub const EXTRA: LinkId = LinkId(1);
pub const BOOT: Uuid = Uuid::from_u128(1);

/// What a commit made durable.
#[derive(Clone, Debug, Default)]
pub struct ModelJournal {
    pub records: BTreeMap<CommandId, Record>,
    pub outbox: BTreeMap<OutboxNumber, Record>,
    pub nonces: BTreeMap<NonceKey, Timestamp>,
    pub last_number: u64,
}

impl ModelJournal {
    pub fn commit(&mut self, batch: Batch, last_number: u64) {
        let records = batch.records.into_iter();
        self.records.extend(records.map(|(id, record)| (id, Arc::unwrap_or_clone(record))));
        let outbox = batch.outbox.into_iter();
        self.outbox.extend(outbox.map(|(number, record)| (number, Arc::unwrap_or_clone(record))));
        for number in batch.published {
            self.outbox.remove(&number);
        }
        self.nonces.extend(batch.nonces);
        for nonce in batch.expired_nonces {
            self.nonces.remove(&nonce);
        }
        self.last_number = last_number;
    }

    pub fn nonces_of_commands(&self) -> impl Iterator<Item = (NonceKey, Timestamp)> {
        self.records.values().filter_map(|record| record.nonce.zip(record.nonce_expires))
    }

    /// An engine that knows what this journal knows.
    pub fn recover(&self, now: &Now, settings: Settings, guard: Guard) -> Engine {
        let mut engine = Engine::new(settings, guard, self.last_number);
        let open = self.records.values().filter(|record| !record.closed).cloned().collect();
        let entries = self.nonces.clone().into_iter().collect();
        engine.recover_nonces(entries, self.nonces_of_commands().collect());
        engine.recover(now, open, self.outbox.clone());
        engine
    }
}

pub struct Harness {
    pub engine: Engine,
    pub now: Now,
    pub journal: ModelJournal,
    pub guard: Guard,
    pub settings: Settings,
    pub persists: usize,
    pub frames: Vec<CommandFrame>,
    /// By which they went.
    pub links: Vec<LinkId>,
    pub replies: Vec<Reply>,
    pub published: Vec<(OutboxNumber, Record)>,
    pub grant_replies: Vec<Result<Answer, Refusal>>,
    ended_grants: Vec<(GrantId, Ending)>,
    /// The broker does not acknowledge.
    pub keep_unpublished: bool,
    pub commit_takes: Duration,
    /// What the link tells during the next commit.
    pub heard_while_committing: Vec<Input>,
    tickets: Vec<Ticket>,
    deliveries: u64,
    bodies: u64,
}

impl Harness {
    /// Connected to the broker, the link not open.
    pub fn new(mode: Mode) -> Self {
        Self::with_guard(guard(mode, []))
    }

    /// Guarded, with a ready link.
    pub fn ready() -> Self {
        let mut it = Self::new(Mode::Guarded);
        it.link_up();
        it.drain();
        it
    }

    pub fn with_rule(command: &'static str, rule: Rule) -> Self {
        Self::with_rules([(command, rule)])
    }

    /// As [`Harness::ready`], with more rules.
    pub fn with_rules(rules: impl IntoIterator<Item = (&'static str, Rule)>) -> Self {
        let mut it = Self::with_guard(guard(Mode::Guarded, rules));
        it.link_up();
        it.drain();
        it
    }

    /// Guarded, with a ready link, and no broker to take the updates.
    pub fn without_broker(max_updates: usize) -> Self {
        let settings = Settings { max_updates, ..settings() };
        let mut it = Self::with_settings(settings, guard(Mode::Guarded, []));
        it.input(Input::BrokerDisconnected);
        it.link_up();
        it.drain();
        it
    }

    pub fn with_guard(guard: Guard) -> Self {
        Self::with_settings(settings(), guard)
    }

    pub fn with_settings(settings: Settings, guard: Guard) -> Self {
        let mut it = Self {
            engine: Engine::new(settings.clone(), guard.clone(), 0),
            now: now(),
            journal: ModelJournal::default(),
            guard,
            settings,
            persists: 0,
            frames: Vec::new(),
            links: Vec::new(),
            replies: Vec::new(),
            published: Vec::new(),
            grant_replies: Vec::new(),
            ended_grants: Vec::new(),
            keep_unpublished: false,
            commit_takes: Duration::ZERO,
            heard_while_committing: Vec::new(),
            tickets: Vec::new(),
            deliveries: 0,
            bodies: 0,
        };
        it.input(Input::BrokerConnected);
        it
    }

    /// The process dies here and comes back after `down`, on the same boot.
    pub fn crash(&mut self, down: Duration) {
        self.now.boot += down;
        self.now.wall = self.now.wall.saturating_add(down);
        self.restart();
    }

    /// The machine reboots.
    pub fn reboot(&mut self, down: Duration, clock_trusted: bool) {
        self.now.boot_id = Uuid::new_v5(&self.now.boot_id, b"next");
        self.now.boot = seconds(10);
        self.now.wall = self.now.wall.saturating_add(down);
        self.now.wall_trusted = clock_trusted;
        self.restart();
    }

    fn restart(&mut self) {
        self.engine = self.journal.recover(&self.now, self.settings.clone(), self.guard.clone());
        self.tickets.clear();
        self.input(Input::BrokerConnected);
    }

    pub fn input(&mut self, input: Input) {
        self.engine.handle(&self.now, input);
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now.boot + time;
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) {
            self.step_to(due.max(self.now.boot));
        }
        self.step_to(end);
    }

    fn step_to(&mut self, boot: Duration) {
        self.now.wall = self.now.wall.saturating_add(boot - self.now.boot);
        self.now.boot = boot;
        self.input(Input::Tick);
    }

    pub fn link_up(&mut self) {
        self.input(Input::LinkOpened(LinkId::MAIN));
        self.heartbeat();
    }

    pub fn link_down(&mut self) {
        self.input(Input::LinkClosed(LinkId::MAIN));
    }

    /// Of the autopilot and the camera.
    pub fn heartbeat(&mut self) {
        for source in [AUTOPILOT, CAMERA] {
            self.input(Input::Heartbeat(LinkId::MAIN, heartbeat(source), Duration::ZERO));
        }
    }

    pub fn ack(&mut self, ack: CommandAck) {
        self.input(Input::CommandAck(LinkId::MAIN, ack));
    }

    pub fn sent(&mut self) {
        let ticket = self.ticket();
        self.input(Input::Sent { ticket });
    }

    pub fn not_sent(&mut self, code: Code) {
        let ticket = self.ticket();
        self.input(Input::NotSent { ticket, code, message: "because".to_owned() });
    }

    pub fn send_unknown(&mut self) {
        let ticket = self.ticket();
        self.input(Input::SendUnknown { ticket });
    }

    /// Of the last frame.
    pub fn ticket(&self) -> Ticket {
        *self.tickets.last().expect("a frame was sent")
    }

    pub fn request(&mut self, command: &str, key: &str) -> CommandId {
        self.with_request(command, key, |_| {})
    }

    pub fn with_request(
        &mut self,
        command: &str,
        key: &str,
        change: impl FnOnce(&mut CommandRequest),
    ) -> CommandId {
        let mut request = request(command, key);
        change(&mut request);
        let origin = self.publish();
        self.request_from(request, origin)
    }

    /// A request by HTTP.
    pub fn call(&mut self, command: &str, key: &str) -> CommandId {
        self.request_from(request(command, key), Origin::Http(CallId(1)))
    }

    fn request_from(&mut self, mut request: CommandRequest, origin: Origin) -> CommandId {
        let id = request.command_id;
        if request.request_sha256.is_empty() {
            // Of no other request, so that it is no repetition by its body.
            self.bodies += 1;
            request.request_sha256 = format!("body {}", self.bodies);
        }
        self.input(Input::Request {
            request: Box::new(request),
            stored: self.journal.records.get(&id).cloned().map(Box::new),
            origin,
        });
        id
    }

    fn publish(&mut self) -> Origin {
        self.deliveries += 1;
        let delivery = DeliveryId(self.deliveries);
        Origin::Mqtt { reply_to: ReplyTo::default(), delivery }
    }

    /// A request whose frame has left.
    pub fn request_and_send(&mut self, command: &str, key: &str) -> CommandId {
        let id = self.request(command, key);
        self.drain();
        self.sent();
        self.drain();
        id
    }

    /// An operator at the vehicle wants something of the grants.
    pub fn grant(&mut self, action: Action) {
        let opener = Opener::Operator { uid: 1000 };
        self.input(Input::Grant { action, opener, call: CallId(1) });
    }

    /// A message of the issuer `cloud` about grants.
    pub fn grant_message(&mut self, action: Action, authenticated: Authenticated) {
        self.deliveries += 1;
        let message = GrantMessage {
            action,
            request_id: None,
            request_sha256: String::new(),
            authenticated: Some(authenticated),
        };
        let reply_to = ReplyTo { api_id: "cloud".to_owned(), ..ReplyTo::default() };
        let delivery = DeliveryId(self.deliveries);
        self.input(Input::GrantMessage { message: Box::new(message), reply_to, delivery });
    }

    pub fn query(&mut self, id: CommandId, api_id: &str) {
        let origin = self.publish();
        self.query_from(id, Some(api_id.to_owned()), origin);
    }

    /// A query by HTTP, which is nobody's in particular.
    pub fn look_up(&mut self, id: CommandId) {
        self.query_from(id, None, Origin::Http(CallId(1)));
    }

    fn query_from(&mut self, id: CommandId, api_id: Option<String>, origin: Origin) {
        let query = Query {
            command_id: id,
            api_id,
            idempotency_key: None,
            request_id: None,
            request_sha256: String::new(),
        };
        let stored = self.journal.records.get(&id).cloned().map(Box::new);
        self.input(Input::Query { query, stored, origin });
    }

    /// Carries out all effects in the daemon's order, and tells them in short.
    pub fn drain(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        let mut later = Vec::new();
        loop {
            while let Some(effect) = poll_effect(&mut self.engine) {
                if let Some(short) = self.carry_out(effect, &mut later) {
                    told.push(short);
                }
            }
            if later.is_empty() {
                return told;
            }
            for input in std::mem::take(&mut later) {
                self.input(input);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, later: &mut Vec<Input>) -> Option<String> {
        Some(match effect {
            Effect::Persist(batch) => {
                self.persists += 1;
                self.journal.commit(batch, self.engine.last_number());
                self.now.boot += self.commit_takes;
                for input in std::mem::take(&mut self.heard_while_committing) {
                    self.engine.hear(&self.now, input);
                }
                self.input(Input::Tick);
                "persist".to_owned()
            }
            Effect::Acknowledge(_) => "acknowledge".to_owned(),
            Effect::Reply { reply, .. } => {
                let short = match &reply {
                    Reply::Created { record, duplicate: false } => {
                        format!("reply {}", record.status.as_str())
                    }
                    Reply::Created { record, duplicate: true } => {
                        format!("reply {} duplicate", record.status.as_str())
                    }
                    Reply::Found { record, .. } => {
                        format!("reply found {}", record.status.as_str())
                    }
                    Reply::Grant { .. } => "reply grant".to_owned(),
                    Reply::Error(error) => format!("reply error {}", error.violations[0].code),
                };
                self.replies.push(reply);
                short
            }
            Effect::Step(record) => format!("step {} {}", record.status.as_str(), record.seq),
            Effect::Publish { number, record } => {
                let short = format!("publish {} {}", record.status.as_str(), record.seq);
                self.published.push((number, Arc::unwrap_or_clone(record)));
                if !self.keep_unpublished {
                    later.push(Input::Published { number, accepted: true });
                }
                short
            }
            Effect::Send { ticket, not_after, .. } if self.now.boot >= not_after => {
                later.push(Input::NotSent {
                    ticket,
                    code: Code::TimeoutQueue,
                    message: "late".to_owned(),
                });
                return None;
            }
            Effect::Send { link, ticket, frame, .. } => {
                let form = match frame.body {
                    Body::Long(_) => "LONG",
                    Body::Int { .. } => "INT",
                };
                let short = format!("send {form} {}", frame.command);
                self.tickets.push(ticket);
                self.frames.push(frame);
                self.links.push(link);
                short
            }
            Effect::Unmatched(ack) => format!("unmatched {}", ack.command),
            Effect::Learned(autopilot) => format!("learned {autopilot}"),
            Effect::Link(..) => return None,
            Effect::GrantReply { outcome, .. } => {
                let short = match &outcome {
                    Ok(_) => "grant reply".to_owned(),
                    Err(refusal) => format!("grant refused {}", refusal.code),
                };
                self.grant_replies.push(outcome);
                short
            }
            Effect::Grants { ended } => {
                let short = format!("grants changed, {} ended", ended.len());
                self.ended_grants.extend(ended);
                short
            }
        })
    }

    /// Since the last call.
    pub fn ended_grants(&mut self) -> Vec<(GrantId, Ending)> {
        self.drain();
        std::mem::take(&mut self.ended_grants)
    }

    pub fn knows(&self, id: CommandId) -> bool {
        self.engine.live.contains_key(&id) || self.journal.records.contains_key(&id)
    }

    /// As the engine has it, else as the journal has it.
    pub fn record(&self, id: CommandId) -> Record {
        match self.engine.live.get(&id) {
            Some(live) => live.record.clone(),
            None => self.journal.records[&id].clone(),
        }
    }

    pub fn expect(&self, id: CommandId, status: Status, code: Code) {
        let record = self.record(id);
        assert_eq!((record.status, record.cause), (status, Some(Cause::Agent(code))));
    }

    pub fn commands_sent(&self) -> Vec<u16> {
        self.frames.iter().map(|frame| frame.command).collect()
    }

    pub fn forms(&self) -> Vec<Transport> {
        self.frames
            .iter()
            .map(|frame| match frame.body {
                Body::Long(_) => Transport::CommandLong,
                Body::Int { .. } => Transport::CommandInt,
            })
            .collect()
    }
}

/// What the engine says comes next does come.
pub fn poll_effect(engine: &mut Engine) -> Option<Effect> {
    let is_commit_next = engine.is_commit_next();
    let effect = engine.poll_effect();
    assert_eq!(matches!(effect, Some(Effect::Persist(_))), is_commit_next, "{effect:?}");
    effect
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn now() -> Now {
    Now {
        boot: seconds(1000),
        boot_id: BOOT,
        wall: Timestamp::from_secs(1_781_481_600),
        wall_trusted: true,
    }
}

pub fn settings() -> Settings {
    Settings {
        source: US,
        target: AUTOPILOT.into(),
        extra_links: Vec::new(),
        default_timeout_seconds: 30,
        max_outstanding: 3,
        max_queue: 4,
        late_ack_window: seconds(300),
        max_progress: seconds(600),
        session: 1,
        max_updates: MAX_UPDATES,
        forwards: false,
    }
}

/// With a link of its own for the camera.
pub fn two_links(settings: Settings) -> Settings {
    let camera = ExtraLink { name: "camera".to_owned(), components: [100].into() };
    Settings { extra_links: vec![camera], ..settings }
}

/// With a system that only its HEARTBEAT tells.
pub fn learning(settings: Settings) -> Settings {
    Settings { target: Autopilot { system: None, ..settings.target }, ..settings }
}

pub fn guard(mode: Mode, extra: impl IntoIterator<Item = (&'static str, Rule)>) -> Guard {
    let camera = Rule { target_components: [100].into(), ..Rule::default() };
    let without_grant = Rule { grant: Some(false), ..Rule::default() };
    let rules = [
        ("image_stop_capture", camera),
        ("request_camera_capture_status", Rule::default()),
        ("do_digicam_control", Rule::default()),
        ("preflight_reboot_shutdown", without_grant.clone()),
        ("nav_roi", without_grant),
    ];
    let domains = [("gimbal".to_owned(), 154)].into();
    let policy = Policy::new(AUTOPILOT.component, domains, rules.into_iter().chain(extra));
    Guard::example(mode, policy)
}

/// Of a disarmed PX4 that holds its position.
pub fn heartbeat(source: Address) -> Heartbeat {
    Heartbeat {
        source,
        autopilot: 12,
        vehicle_type: 2,
        base_mode: 0x1D,
        custom_mode: 0x0304_0000,
        system_status: 3,
    }
}

pub fn ack(source: Address, command: u16, result: u8) -> CommandAck {
    CommandAck {
        source,
        command,
        result,
        progress: 0,
        result_param2: 0,
        target_system: 0,
        target_component: 0,
    }
}

pub fn id(key: &str) -> CommandId {
    command_id("px4-real-1", "cloud", key)
}

pub fn request(command_type: &str, key: &str) -> CommandRequest {
    let command = catalog::find(command_type).expect("a command of the catalogue");
    let payload: Map<String, Value> = match command_type {
        "nav_roi" => json!({"roi_mode": 0, "wp_index": 0, "x": 0, "y": 0, "z": 30.0}),
        _ => json!({}),
    }
    .as_object()
    .cloned()
    .unwrap_or_default();
    CommandRequest {
        command_id: id(key),
        api_id: "cloud".to_owned(),
        idempotency_key: key.to_owned(),
        command,
        content: command.encode(&payload, None).expect("a valid payload"),
        target_component: None,
        timeout_seconds: None,
        message_expiry: None,
        request_sha256: String::new(),
        authenticated: None,
    }
}
