//! Random histories in virtual time, with a crash possible between any two effects.
//!
//! The world: a broker that redelivers what was not acknowledged and may drop its connection, HTTP
//! callers, a journal that holds what was committed, a vehicle that answers at once, late, twice, wrongly or
//! never. Every history is checked against what the product promises.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::harness::{ModelJournal, guard, now, request};
use super::promises::Witness;
use super::*;
use crate::chance::Chance;
use crate::lifecycle::effect::{CallId, DeliveryId, OutboxNumber};
use crate::lifecycle::outbox::WINDOW;
use crate::lifecycle::request::{CommandRequest, Origin, ReplyTo};
use crate::wire::mavlink::CommandFrame;

const HISTORIES: u64 = 3000;
const COMMANDS: [&str; 4] =
    ["do_digicam_control", "image_stop_capture", "request_camera_capture_status", "nav_roi"];

/// Few enough that a short outage reaches it.
const MAX_UPDATES: usize = WINDOW + 10;

fn settings() -> Settings {
    Settings { max_updates: MAX_UPDATES, ..harness::settings() }
}

#[test]
fn nothing_is_lost_and_nothing_is_sent_twice() {
    let first = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = match first {
        Some(seed) => seed..seed + 1,
        None => 1..HISTORIES + 1,
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let history = std::panic::catch_unwind(|| World::new(seed).run());
        match history {
            Ok(more) => seen.add(&more),
            Err(_) => {
                panic!("history {seed} broke a promise; SIMULATION_SEED={seed} runs it alone")
            }
        }
    }
    if first.is_none() {
        seen.expect_variety();
    }
}

/// Which endings and events all histories together went through: a test that never crashes, or
/// never times out, proves nothing about it.
#[derive(Default)]
struct Seen {
    statuses: HashSet<Status>,
    crashes: usize,
    other_forms: usize,
    duplicates: usize,
    responses: usize,
}

impl Seen {
    fn add(&mut self, more: &Seen) {
        self.statuses.extend(&more.statuses);
        self.crashes += more.crashes;
        self.other_forms += more.other_forms;
        self.duplicates += more.duplicates;
        self.responses += more.responses;
    }

    fn expect_variety(&self) {
        assert_eq!(self.statuses.len(), 6, "{:?}", self.statuses);
        assert!(self.crashes > 1000, "{} crashes", self.crashes);
        assert!(self.other_forms > 50, "{} other forms", self.other_forms);
        assert!(self.duplicates > 1000, "{} duplicates", self.duplicates);
        assert!(self.responses > 1000, "{} responses", self.responses);
    }
}

struct World {
    chance: Chance,
    now: Now,
    engine: Engine,
    journal: ModelJournal,
    /// Not acknowledged by the agent, in order.
    at_broker: VecDeque<(Option<DeliveryId>, CommandRequest)>,
    /// Handed over on this connection.
    handed_over: usize,
    deliveries: u64,
    /// By HTTP, not answered yet.
    calls: BTreeSet<CallId>,
    last_call: u64,
    connected: bool,
    witness: Witness,
    /// Publishes whose PUBACK is on its way.
    /// Published, on their way to the publisher.
    in_transit: VecDeque<(OutboxNumber, Record)>,
    /// The wall clock does not go on.
    clock_stands: bool,
    true_wall: Timestamp,
    /// Answers on their way, by when they arrive.
    answers: Vec<(Duration, CommandAck)>,
    link_events: VecDeque<Input>,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut it = Self {
            chance: Chance(seed),
            now: now(),
            engine: Engine::new(settings(), guard(Mode::Guarded, []), 0),
            journal: ModelJournal::default(),
            at_broker: VecDeque::new(),
            handed_over: 0,
            deliveries: 0,
            calls: BTreeSet::new(),
            last_call: 0,
            connected: false,
            witness: Witness::default(),
            in_transit: VecDeque::new(),
            clock_stands: false,
            true_wall: now().wall,
            answers: Vec::new(),
            link_events: VecDeque::new(),
            seen: Seen::default(),
        };
        it.connect();
        it.handle(Input::LinkOpened);
        it.handle(Input::Heartbeat(heartbeat(AUTOPILOT)));
        it
    }

    fn run(mut self) -> Seen {
        for _ in 0..120 {
            self.step();
        }
        self.settle();
        self.check();
        self.seen
    }

    fn step(&mut self) {
        match self.chance.below(12) {
            0 | 1 => self.publish(),
            2 if self.chance.in_percent(25) => {
                self.disconnect();
                self.handle(Input::BrokerDisconnected);
            }
            2 if !self.connected => self.connect(),
            3 if self.chance.in_percent(10) => {
                self.handle(Input::LinkClosed);
                self.drain(true);
                self.handle(Input::LinkOpened);
            }
            4 | 5 => {
                let span = Duration::from_millis(self.chance.below(8000));
                self.pass(span);
            }
            6 => self.deliver_update(),
            8 if self.chance.in_percent(5) => self.disturb_clock(),
            7 if self.chance.in_percent(15) => self.crash(),
            _ => {
                self.handle(Input::Heartbeat(heartbeat(AUTOPILOT)));
                self.deliver_link_events();
                self.hand_over();
            }
        }
        self.drain(true);
    }

    /// A publisher sends a new command, or one of its old ones again.
    fn publish(&mut self) {
        let command = COMMANDS[self.chance.below(4) as usize];
        let key = format!("{command}-{}", self.chance.below(6));
        let mut request = request(command, &key);
        request.timeout_seconds = [None, Some(0), Some(2), Some(10)][self.chance.below(4) as usize];
        if self.chance.in_percent(30) {
            self.call(request);
        } else {
            self.at_broker.push_back((None, request));
            self.hand_over();
        }
    }

    /// The same by HTTP: nobody repeats it but the sender.
    fn call(&mut self, request: CommandRequest) {
        self.last_call += 1;
        let call = CallId(self.last_call);
        self.calls.insert(call);
        self.take_in(request, Origin::Http(call));
    }

    fn take_in(&mut self, request: CommandRequest, origin: Origin) {
        let stored = self.journal.records.get(&request.command_id).cloned().map(Box::new);
        self.seen.duplicates += usize::from(stored.is_some());
        self.handle(Input::Request { request: Box::new(request), stored, origin });
    }

    fn connect(&mut self) {
        self.disconnect();
        self.connected = true;
        self.handle(Input::BrokerConnected);
        self.hand_over();
    }

    /// An update reaches the publisher, and its PUBACK the agent.
    fn deliver_update(&mut self) {
        if let Some((number, record)) = self.in_transit.pop_front() {
            self.witness.arrive(&record);
            self.handle(Input::Published { number, accepted: true });
        }
    }

    /// The wall clock stops, goes on, or jumps to either side; it is not trusted from then on.
    fn disturb_clock(&mut self) {
        let span = Duration::from_secs(self.chance.below(100_000));
        self.now.wall_trusted = false;
        match self.chance.below(3) {
            0 => self.clock_stands = !self.clock_stands,
            1 => self.now.wall = self.now.wall.saturating_add(span),
            _ => {
                let back = self.now.wall.as_millis().saturating_sub(span.as_millis() as u64);
                self.now.wall = Timestamp::from_millis(back);
            }
        }
    }

    /// A trusted clock is right.
    fn trust_clock(&mut self) {
        self.now.wall_trusted = true;
        self.now.wall = self.true_wall;
        self.clock_stands = false;
    }

    /// Nothing is acknowledged any more on this connection; some of the updates arrived.
    fn disconnect(&mut self) {
        self.connected = false;
        self.handed_over = 0;
        for (delivery, _) in &mut self.at_broker {
            *delivery = None;
        }
        let arrived = self.chance.below(self.in_transit.len() as u64 + 1);
        for (_, record) in std::mem::take(&mut self.in_transit).into_iter().take(arrived as usize) {
            self.witness.arrive(&record);
        }
    }

    fn hand_over(&mut self) {
        while self.connected && self.handed_over < self.at_broker.len() {
            self.deliveries += 1;
            let delivery = DeliveryId(self.deliveries);
            self.at_broker[self.handed_over].0 = Some(delivery);
            let request = self.at_broker[self.handed_over].1.clone();
            self.handed_over += 1;
            self.take_in(request, Origin::Mqtt { reply_to: ReplyTo::default(), delivery });
            if self.chance.in_percent(50) {
                return;
            }
        }
    }

    fn deliver_link_events(&mut self) {
        while let Some(input) = self.link_events.pop_front() {
            self.handle(input);
        }
        let now = self.now.boot;
        let due: Vec<CommandAck> =
            self.answers.iter().filter(|(at, _)| *at <= now).map(|(_, ack)| *ack).collect();
        self.answers.retain(|(at, _)| *at > now);
        for ack in due {
            self.handle(Input::CommandAck(ack));
        }
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(&self.now, input);
    }

    fn clock_goes_on(&mut self, span: Duration) {
        self.now.boot += span;
        self.true_wall = self.true_wall.saturating_add(span);
        if !self.clock_stands {
            self.now.wall = self.now.wall.saturating_add(span);
        }
    }

    fn pass(&mut self, span: Duration) {
        self.clock_goes_on(span);
        self.handle(Input::Tick);
    }

    /// With `may_crash`, the process may die after any effect.
    fn drain(&mut self, may_crash: bool) {
        let mut late = Vec::new();
        while let Some(effect) = self.engine.poll_effect() {
            let is_commit = matches!(effect, Effect::Persist(_));
            self.carry_out(effect, &mut late);
            if is_commit {
                // What the link told meanwhile.
                self.deliver_link_events();
            }
            if may_crash && self.chance.in_percent(1) {
                self.crash();
                return;
            }
        }
        for input in late {
            self.handle(input);
        }
    }

    fn carry_out(&mut self, effect: Effect, late: &mut Vec<Input>) {
        match effect {
            Effect::Persist(batch) => {
                if self.chance.in_percent(5) {
                    let stall = Duration::from_millis(self.chance.below(4000));
                    self.clock_goes_on(stall);
                }
                self.journal.commit(batch, self.engine.last_number());
                let kept = self.journal.outbox.len();
                assert!(kept <= MAX_UPDATES, "{kept} updates are journaled");
            }
            Effect::Acknowledge(delivery) => {
                if self.at_broker.front().is_some_and(|(first, _)| *first == Some(delivery)) {
                    let (_, request) = self.at_broker.pop_front().unwrap();
                    self.handed_over -= 1;
                    self.witness.acknowledge(&self.engine, &self.journal, request.command_id);
                }
            }
            Effect::Publish { number, record } => {
                self.seen.statuses.insert(record.status);
                self.witness.publish(&self.journal, &record);
                self.in_transit.push_back((number, *record));
            }
            Effect::Send { ticket, not_after, .. } if self.now.boot >= not_after => {
                late.push(Input::NotSent {
                    ticket,
                    code: Code::TimeoutQueue,
                    message: "late".to_owned(),
                });
            }
            Effect::Send { ticket, frame, .. } => self.vehicle_gets(ticket, frame),
            Effect::Reply { origin: Origin::Mqtt { .. }, reply } => {
                self.witness.reply(&self.journal, &reply);
            }
            Effect::Reply { origin: Origin::Http(call), reply } => {
                assert!(self.calls.remove(&call), "two responses to one request");
                self.seen.responses += 1;
                self.witness.respond(&self.journal, &reply);
            }
            Effect::Step(_)
            | Effect::Unmatched(_)
            | Effect::Link(_)
            | Effect::GrantReply { .. }
            | Effect::Grants { .. } => {}
        }
    }

    fn vehicle_gets(&mut self, ticket: Ticket, frame: CommandFrame) {
        let command = self.witness.send(&self.engine, &self.journal, frame);
        let first = self.witness.frames[&command].len() == 1;
        self.link_events.push_back(match self.chance.below(20) {
            0 => Input::SendUnknown { ticket },
            _ => Input::Sent { ticket },
        });
        let after = |world: &mut Self, bound| {
            world.now.boot + Duration::from_millis(world.chance.below(bound))
        };
        let answer = |result| ack(frame.target, frame.command, result);
        match self.chance.below(10) {
            0 | 1 => {}
            2 => {
                for _ in 0..2 {
                    let at = after(self, 3000);
                    self.answers.push((at, answer(0)));
                }
            }
            3 => {
                let at = after(self, 60_000);
                self.answers.push((at, answer(0)));
            }
            4 => {
                let at = after(self, 1000);
                self.answers.push((at, ack(CAMERA, frame.command, 3)));
            }
            5 if first => {
                let wish = if matches!(frame.body, Body::Long(_)) { 8 } else { 7 };
                let at = after(self, 500);
                self.answers.push((at, answer(wish)));
                self.seen.other_forms += 1;
            }
            6 => {
                let at = after(self, 1000);
                self.answers.push((at, CommandAck { progress: 30, ..answer(5) }));
                let at = at + Duration::from_millis(self.chance.below(20_000));
                self.answers.push((at, answer(0)));
            }
            7 => {
                let at = after(self, 1000);
                self.answers.push((at, answer(2)));
            }
            _ => {
                let at = after(self, 1000);
                self.answers.push((at, answer(0)));
            }
        }
    }

    /// What was not committed is gone; the broker hands over again what was not acknowledged.
    fn crash(&mut self) {
        self.seen.crashes += 1;
        let down = Duration::from_millis(self.chance.below(10_000));
        self.clock_goes_on(down);
        if self.chance.in_percent(30) {
            self.now.boot_id = uuid::Uuid::new_v5(&self.now.boot_id, b"next");
            self.now.boot = Duration::from_secs(5);
            self.answers.clear();
        }
        self.now.wall_trusted = false;
        if self.chance.in_percent(70) {
            self.trust_clock();
        }
        self.link_events.clear();
        // Their connections are gone.
        self.calls.clear();
        self.engine = self.journal.recover(&self.now, settings(), guard(Mode::Guarded, []));
        self.connect();
        self.handle(Input::LinkOpened);
    }

    /// The world comes to rest: everything arrives, no more crashes.
    fn settle(&mut self) {
        self.connect();
        for _ in 0..400 {
            self.hand_over();
            self.deliver_link_events();
            while !self.in_transit.is_empty() {
                self.deliver_update();
            }
            self.handle(Input::Heartbeat(heartbeat(AUTOPILOT)));
            self.drain(false);
            self.pass(Duration::from_secs(2));
            self.drain(false);
        }
    }

    fn check(&self) {
        assert!(self.at_broker.is_empty(), "requests were never acknowledged");
        assert!(self.calls.is_empty(), "HTTP requests were never answered");
        self.witness.at_rest(&self.engine, &self.journal);
    }
}
