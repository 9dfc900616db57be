//! Small worlds, explored whole: a command or two of one MAV_CMD, a duplicate, a vehicle, a crash, a
//! broken connection, and every order in which what they do can happen. Their histories come to an
//! end by themselves, since everything happens a limited number of times; nothing limits their depth.
//!
//! The process takes its steps as the daemon does: it handles some inputs, then carries out the
//! effects; between those it may die, and after a commit it listens to the link. Worlds that have
//! become equal are explored once.
//!
//! `SMALL_WORLD=deep` explores larger ones too, in minutes.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::harness::{ModelJournal, guard, now, poll_effect, request};
use super::promises::Witness;
use super::*;
use crate::lifecycle::effect::DeliveryId;
use crate::lifecycle::request::{Origin, ReplyTo};

/// The requests, and how often the rest may happen.
const WORLDS: [(&[&str], Left); 4] = [
    (&["a", "b"], Left { answers: 1, ..CRASH }),
    (&["a"], Left { answers: 2, other_forms: 1, ..CRASH }),
    (&["a", "a"], Left { deadlines: 1, answers: 1, ..CRASH }),
    (&["a"], Left { reconnects: 1, deadlines: 1, answers: 1, ..CRASH }),
];
const DEEP_WORLDS: [(&[&str], Left); 4] = [
    (&["a", "b"], Left { deadlines: 1, answers: 1, ..CRASH }),
    (&["a", "b", "a"], Left { answers: 1, ..CRASH }),
    (&["a", "a"], Left { reconnects: 1, deadlines: 1, answers: 1, ..CRASH }),
    (&["a"], Left { deadlines: 2, answers: 2, other_forms: 1, progress: 1, ..CRASH }),
];
const CRASH: Left =
    Left { crashes: 1, reconnects: 0, deadlines: 0, answers: 0, other_forms: 0, progress: 0 };

#[test]
fn no_history_of_a_small_world_breaks_a_promise() {
    let deep = std::env::var("SMALL_WORLD").is_ok_and(|depth| depth == "deep");
    let worlds = WORLDS.iter().chain(DEEP_WORLDS.iter().filter(|_| deep));
    for (requests, left) in worlds {
        let mut explorer = Explorer::default();
        let histories = explorer.explore(&World::new(requests, left.clone()), 0);
        println!(
            "{requests:?}, {left:?}: {} states, {histories} histories of up to {} steps",
            explorer.known.len(),
            explorer.longest,
        );
        assert!(explorer.known.len() > 2000, "only {} states", explorer.known.len());
    }
}

/// One thing that can happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The broker hands over the next request.
    Request,
    /// The process carries out its next effect.
    Effect,
    /// The link says that a frame left.
    Sent,
    /// The vehicle answers, with a MAV_RESULT.
    Answer(u8),
    /// The broker takes the updates under way, and their PUBACKs arrive.
    Pubacks,
    /// The connection breaks; what was under way on it is lost.
    Reconnect,
    /// A deadline passes.
    Pass,
    Crash(Restart),
}

#[derive(Clone, Copy, Debug)]
enum Restart {
    /// Some of the command's time is left.
    InTime,
    AfterTheDeadline,
    /// Into another boot, with a clock that proves nothing.
    Reboot,
}

#[derive(Default)]
struct Explorer {
    /// How many histories follow from a world, by its digest.
    known: HashMap<u64, u128>,
    trail: Vec<Step>,
    longest: usize,
}

impl Explorer {
    fn explore(&mut self, world: &World, depth: usize) -> u128 {
        let digest = world.digest();
        if let Some(histories) = self.known.get(&digest) {
            return *histories;
        }
        self.longest = self.longest.max(depth);
        if world.idle {
            world.clone().come_to_rest();
        }
        let mut histories = 0;
        for step in world.steps() {
            self.trail.push(step);
            let mut next = world.clone();
            next.take(step);
            histories += self.explore(&next, depth + 1);
            self.trail.pop();
        }
        let histories = histories.max(1);
        self.known.insert(digest, histories);
        histories
    }
}

impl Drop for Explorer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("a promise is broken after {:?}", self.trail);
        }
    }
}

/// How often something may still happen.
#[derive(Clone, Debug)]
struct Left {
    crashes: u8,
    reconnects: u8,
    deadlines: u8,
    answers: u8,
    other_forms: u8,
    progress: u8,
}

#[derive(Clone)]
struct World {
    left: Left,
    now: Now,
    engine: Engine,
    journal: ModelJournal,
    /// Not acknowledged by the agent, in order: its key and what names the delivery.
    at_broker: VecDeque<(&'static str, u64)>,
    handed_over: usize,
    deliveries: u64,
    /// Updates published on this connection, without a PUBACK.
    publishing: VecDeque<(OutboxNumber, Record)>,
    /// Frames that leave, of which the link has not spoken.
    leaving: VecDeque<Ticket>,
    witness: Witness,
    /// The process carries out effects, and takes in nothing, unless a commit is next.
    draining: bool,
    /// The last effect was a commit: the process listens to the link.
    committed: bool,
    /// Nothing has happened since the effects ran out.
    idle: bool,
    /// What happened since then.
    inputs: usize,
}

/// Inputs that share a commit; the daemon takes more.
const MAX_INPUTS_PER_COMMIT: usize = 2;

/// The time of every command, and more than half of the window for late answers.
const DEADLINE: Duration = Duration::from_secs(2);

fn small_settings() -> Settings {
    Settings {
        default_timeout_seconds: DEADLINE.as_secs() as u32,
        late_ack_window: seconds(3),
        ..harness::settings()
    }
}

impl World {
    fn new(requests: &[&'static str], left: Left) -> Self {
        let mut it = Self {
            left,
            now: now(),
            engine: Engine::new(small_settings(), guard(Mode::Guarded, []), 0),
            journal: ModelJournal::default(),
            at_broker: requests.iter().copied().zip(1..).collect(),
            handed_over: 0,
            deliveries: requests.len() as u64,
            publishing: VecDeque::new(),
            leaving: VecDeque::new(),
            witness: Witness::default(),
            draining: false,
            committed: false,
            idle: false,
            inputs: 0,
        };
        it.start();
        it
    }

    /// Connections come up, and the process has done what it does at its start.
    fn start(&mut self) {
        for input in [
            Input::BrokerConnected,
            Input::LinkOpened(LinkId::MAIN),
            Input::Heartbeat(LinkId::MAIN, heartbeat(AUTOPILOT), Duration::ZERO),
        ] {
            self.handle(input);
        }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let is_draining = self.draining && !self.engine.is_commit_next();
        let takes_in = !is_draining && self.inputs < MAX_INPUTS_PER_COMMIT;
        if self.draining || !self.idle {
            steps.push(Step::Effect);
        }
        if takes_in || self.committed {
            steps.extend(self.leaving.front().map(|_| Step::Sent));
            if self.left.answers > 0 && !self.witness.frames.is_empty() {
                steps.push(Step::Answer(0));
                steps.extend((self.left.other_forms > 0).then_some(Step::Answer(8)));
                steps.extend((self.left.progress > 0).then_some(Step::Answer(5)));
            }
        }
        if takes_in {
            steps.extend((self.handed_over < self.at_broker.len()).then_some(Step::Request));
            steps.extend(self.publishing.front().map(|_| Step::Pubacks));
            steps.extend((self.left.reconnects > 0).then_some(Step::Reconnect));
            steps.extend((self.left.deadlines > 0).then_some(Step::Pass));
        }
        if self.left.crashes > 0 {
            let restarts = [Restart::InTime, Restart::AfterTheDeadline, Restart::Reboot];
            steps.extend(restarts.map(Step::Crash));
        }
        steps
    }

    fn take(&mut self, step: Step) {
        self.inputs += 1;
        match step {
            Step::Request => self.hand_over(),
            Step::Effect => self.carry_out_next(),
            Step::Sent => {
                let ticket = self.leaving.pop_front().expect("a frame is leaving");
                self.handle(Input::Sent { ticket });
            }
            Step::Answer(result) => {
                self.left.answers -= 1;
                match result {
                    8 => self.left.other_forms -= 1,
                    5 => self.left.progress -= 1,
                    _ => {}
                }
                self.handle(Input::CommandAck(LinkId::MAIN, ack(AUTOPILOT, DIGICAM, result)));
            }
            Step::Pubacks => self.take_updates(),
            Step::Reconnect => {
                self.left.reconnects -= 1;
                self.forget_connection();
                self.handle(Input::BrokerDisconnected);
                self.handle(Input::BrokerConnected);
            }
            Step::Pass => {
                self.left.deadlines -= 1;
                self.pass(DEADLINE);
            }
            Step::Crash(restart) => self.crash(restart),
        }
    }

    fn handle(&mut self, input: Input) {
        self.idle = false;
        self.engine.handle(&self.now, input);
    }

    fn hand_over(&mut self) {
        let (key, delivery) = self.at_broker[self.handed_over];
        self.handed_over += 1;
        let request = request("do_digicam_control", key);
        let id = request.command_id;
        let before = self.record(id).cloned();
        self.handle(Input::Request {
            request: Box::new(request),
            stored: self.journal.records.get(&id).cloned().map(Box::new),
            origin: Origin::Mqtt { reply_to: ReplyTo::default(), delivery: DeliveryId(delivery) },
        });
        if before.is_some() {
            assert_eq!(before.as_ref(), self.record(id), "a duplicate changed its command");
        }
    }

    fn record(&self, id: CommandId) -> Option<&Record> {
        self.engine.live.get(&id).map(|live| &live.record).or(self.journal.records.get(&id))
    }

    /// One effect that can be seen outside, with those before it that cannot.
    fn carry_out_next(&mut self) {
        self.draining = true;
        self.committed = false;
        self.inputs = 0;
        loop {
            match poll_effect(&mut self.engine) {
                None => {
                    self.draining = false;
                    self.idle = true;
                }
                Some(Effect::Persist(batch)) => {
                    self.journal.commit(batch, self.engine.last_number());
                    self.committed = true;
                }
                Some(Effect::Acknowledge(DeliveryId(delivery))) => self.acknowledge(delivery),
                Some(Effect::Publish { number, record }) => {
                    self.witness.publish(&self.journal, &record);
                    self.publishing.push_back((number, Arc::unwrap_or_clone(record)));
                }
                Some(Effect::Send { link, ticket, frame, not_after }) => {
                    // Time passes between the steps of this process only.
                    assert!(self.now.boot < not_after, "a frame goes out late");
                    self.witness.send(&self.engine, &self.journal, link, frame);
                    self.leaving.push_back(ticket);
                }
                Some(Effect::Reply { reply, .. }) => {
                    self.witness.reply(&self.journal, &reply);
                    continue;
                }
                Some(
                    Effect::Step(_)
                    | Effect::Unmatched(_)
                    | Effect::Learned(_)
                    | Effect::Link(..)
                    | Effect::GrantReply { .. }
                    | Effect::Grants { .. },
                ) => continue,
            }
            return;
        }
    }

    fn acknowledge(&mut self, delivery: u64) {
        // One of an earlier connection is void.
        if self.at_broker.front().is_some_and(|(_, first)| *first == delivery) {
            let (key, _) = self.at_broker.pop_front().expect("it has a front");
            self.handed_over -= 1;
            self.witness.acknowledge(&self.engine, &self.journal, harness::id(key));
        }
    }

    fn take_updates(&mut self) {
        for (number, record) in std::mem::take(&mut self.publishing) {
            self.witness.arrive(&record);
            self.handle(Input::Published { number, accepted: true });
        }
    }

    /// The broker hands over again what was not acknowledged, under other packet ids.
    fn forget_connection(&mut self) {
        self.publishing.clear();
        self.handed_over = 0;
        for (_, delivery) in &mut self.at_broker {
            self.deliveries += 1;
            *delivery = self.deliveries;
        }
    }

    fn sleep(&mut self, span: Duration) {
        self.now.boot += span;
        self.now.wall = self.now.wall.saturating_add(span);
    }

    fn pass(&mut self, span: Duration) {
        self.sleep(span);
        self.handle(Input::Heartbeat(LinkId::MAIN, heartbeat(AUTOPILOT), Duration::ZERO));
    }

    fn crash(&mut self, restart: Restart) {
        self.left.crashes -= 1;
        match restart {
            Restart::InTime => self.sleep(DEADLINE / 4),
            Restart::AfterTheDeadline => self.sleep(DEADLINE),
            Restart::Reboot => {
                self.now.boot_id = uuid::Uuid::from_u128(2);
                self.now.boot = seconds(5);
                self.now.wall_trusted = false;
            }
        }
        self.forget_connection();
        self.leaving.clear();
        (self.draining, self.committed, self.inputs) = (false, false, 0);
        let guard = guard(Mode::Guarded, []);
        self.engine = self.journal.recover(&self.now, small_settings(), guard);
        self.start();
    }

    /// Nothing new happens, everything under way arrives, and all time passes.
    fn come_to_rest(&mut self) {
        for _ in 0..6 {
            loop {
                if self.handed_over < self.at_broker.len() {
                    self.hand_over();
                } else if let Some(ticket) = self.leaving.pop_front() {
                    self.handle(Input::Sent { ticket });
                } else if !self.publishing.is_empty() {
                    self.take_updates();
                } else if self.idle {
                    break;
                }
                while self.draining || !self.idle {
                    self.carry_out_next();
                }
            }
            self.pass(DEADLINE);
        }
        while self.draining || !self.idle {
            self.carry_out_next();
        }
        assert!(self.at_broker.is_empty(), "requests were never acknowledged");
        self.witness.at_rest(&self.engine, &self.journal);
    }

    /// Of everything that what follows can depend on.
    fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        let engine = &self.engine;
        for live in engine.live.values() {
            digest.record(&live.record);
            digest.debug(&(
                live.deadline,
                live.recovered,
                live.waits_for_state,
                live.waits_for_link,
            ));
            digest.debug(&(live.retransmit, live.confirmation, live.unsent, live.may_be_out));
        }
        digest.debug(&(&engine.queue, &engine.in_flight, &engine.late, &engine.tickets));
        digest.debug(&(&engine.closing, &engine.closed, &engine.timers, engine.urgent));
        digest.debug(&(engine.ready.len(), engine.ready_updates));
        digest.debug(&(&engine.link_states, engine.last_ticket, engine.last_number));
        for (in_flight, number, record) in engine.outbox.entries() {
            digest.debug(&(in_flight, number));
            digest.record(record);
        }
        for record in engine.batch.records.values() {
            digest.record(record);
        }
        for (number, record) in &engine.batch.outbox {
            digest.debug(number);
            digest.record(record);
        }
        digest.debug(&engine.batch.published);
        for effect in engine.ready.iter().chain(&engine.effects) {
            match effect {
                Effect::Step(_) | Effect::Reply { .. } => {}
                effect => digest.debug(effect),
            }
        }
        for record in self.journal.records.values() {
            digest.record(record);
        }
        for (number, record) in &self.journal.outbox {
            digest.debug(number);
            digest.record(record);
        }
        for (number, _) in &self.publishing {
            digest.debug(number);
        }
        for record in self.witness.published() {
            digest.record(record);
        }
        digest.debug(&(&self.witness.acknowledged, &self.witness.arrived));
        for (command, frames) in &self.witness.frames {
            digest.debug(&(command, frames.len()));
        }
        digest.debug(&(&self.left, &self.now, self.journal.last_number));
        digest.debug(&(&self.at_broker, self.handed_over, self.deliveries, &self.leaving));
        digest.debug(&(self.draining, self.committed, self.idle, self.inputs));
        digest.0.finish()
    }
}

/// Takes in what is written to it.
#[derive(Default)]
struct Digest(DefaultHasher);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Digest {
    fn debug(&mut self, value: &impl std::fmt::Debug) {
        write!(self, "{value:?};").expect("a digest takes everything");
    }

    /// All of a record that can change after its acceptance, and when that was.
    fn record(&mut self, record: &Record) {
        (record.command_id, record.status, record.seq, record.closed).hash(&mut self.0);
        (record.accepted.boot_ms, record.updated.boot_ms, record.deadline_ms).hash(&mut self.0);
        record.cause.map(Cause::response_code).hash(&mut self.0);
        for acknowledged in [&record.ack, &record.stray] {
            acknowledged.as_ref().map(|it| (it.ack.result, it.at)).hash(&mut self.0);
        }
        let dispatch = record.dispatch.as_ref().map(|it| {
            (it.transport == Transport::CommandInt, it.delivered_seq, it.other_form, it.sent_at)
        });
        dispatch.hash(&mut self.0);
        record.dispatch.as_ref().map(|it| it.at.boot_ms).hash(&mut self.0);
    }
}
