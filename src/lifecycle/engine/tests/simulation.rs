//! Random histories in virtual time, with a crash possible between any two effects.
//!
//! The world: a broker that redelivers what was not acknowledged and may drop its connection, HTTP
//! callers, a journal that holds what was committed, an autopilot and, behind a link of its own, a camera
//! that answer at once, late, twice, wrongly or never. In a third of the histories who the autopilot is must
//! be learned, and may be another one after a crash. Every history is checked against what the product
//! promises.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use super::harness::{EXTRA, ModelJournal, guard, learning, now, poll_effect, request, two_links};
use super::promises::{BY_ANOTHER_LINK, FOR_ANOTHER, Witness};
use super::*;
use crate::catalog;
use crate::chance::Chance;
use crate::lifecycle::effect::{CallId, DeliveryId, OutboxNumber};
use crate::lifecycle::outbox::WINDOW;
use crate::lifecycle::request::{CommandRequest, Origin, ReplyTo};
use crate::wire::mavlink::{CommandFrame, ForeignCommand};

const HISTORIES: u64 = 3000;
const COMMANDS: [&str; 4] =
    ["do_digicam_control", "image_stop_capture", "request_camera_capture_status", "nav_roi"];

/// Behind the same link as whoever was asked.
const SECOND_CAMERA: u8 = 101;
/// Autopilots that there may be on the line are 1 to this.
const SYSTEMS: u64 = 3;

/// Few enough that a short outage reaches it.
const MAX_UPDATES: usize = WINDOW + 10;

fn settings() -> Settings {
    two_links(Settings { max_updates: MAX_UPDATES, forwards: true, ..harness::settings() })
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
    foreign_commands: usize,
    by_extra_link: usize,
    by_another_link: usize,
    responses: usize,
    other_autopilots: usize,
    before_learning: usize,
    for_another_vehicle: usize,
}

impl Seen {
    fn add(&mut self, more: &Seen) {
        self.statuses.extend(&more.statuses);
        self.crashes += more.crashes;
        self.other_forms += more.other_forms;
        self.duplicates += more.duplicates;
        self.foreign_commands += more.foreign_commands;
        self.by_extra_link += more.by_extra_link;
        self.by_another_link += more.by_another_link;
        self.responses += more.responses;
        self.other_autopilots += more.other_autopilots;
        self.before_learning += more.before_learning;
        self.for_another_vehicle += more.for_another_vehicle;
    }

    fn expect_variety(&self) {
        assert_eq!(self.statuses.len(), 6, "{:?}", self.statuses);
        assert!(self.crashes > 1000, "{} crashes", self.crashes);
        assert!(self.other_forms > 50, "{} other forms", self.other_forms);
        assert!(self.duplicates > 1000, "{} duplicates", self.duplicates);
        assert!(self.foreign_commands > 1000, "{} foreign commands", self.foreign_commands);
        assert!(self.by_extra_link > 1000, "{} frames to the camera", self.by_extra_link);
        assert!(self.by_another_link > 1000, "{} answers astray", self.by_another_link);
        assert!(self.responses > 1000, "{} responses", self.responses);
        let Seen { other_autopilots, before_learning, for_another_vehicle, .. } = self;
        assert!(*other_autopilots > 1000, "{other_autopilots} heartbeats of others");
        assert!(*before_learning > 100, "{before_learning} commands before anybody spoke");
        assert!(*for_another_vehicle > 10, "{for_another_vehicle} commands for another vehicle");
    }
}

struct World {
    chance: Chance,
    settings: Settings,
    /// The autopilot's system.
    vehicle: u8,
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
    /// Answers on their way, by when they arrive, and by which link.
    answers: Vec<(Duration, LinkId, CommandAck)>,
    link_events: VecDeque<Input>,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> Self {
        let learns = seed.is_multiple_of(3);
        let settings = if learns { learning(settings()) } else { settings() };
        let mut it = Self {
            chance: Chance(seed),
            engine: Engine::new(settings.clone(), guard(Mode::Guarded, []), 0),
            settings,
            vehicle: AUTOPILOT.system,
            now: now(),
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
        it.open_links();
        it.all_speak();
        it
    }

    fn open_links(&mut self) {
        self.handle(Input::LinkOpened(LinkId::MAIN));
        self.handle(Input::LinkOpened(EXTRA));
    }

    fn all_speak(&mut self) {
        self.autopilot_speaks();
        self.camera_speaks();
    }

    fn autopilot_speaks(&mut self) {
        self.handle(Input::Heartbeat(
            LinkId::MAIN,
            heartbeat(self.on_board(AUTOPILOT.component)),
            Duration::ZERO,
        ));
    }

    fn camera_speaks(&mut self) {
        self.handle(Input::Heartbeat(
            EXTRA,
            heartbeat(self.on_board(CAMERA.component)),
            Duration::ZERO,
        ));
    }

    /// Another autopilot on the line, or that of the vehicle once more. Who speaks first where that
    /// decides is the vehicle.
    fn any_autopilot_speaks(&mut self) {
        let system = 1 + self.chance.below(SYSTEMS) as u8;
        if self.engine.autopilot().system.is_none() {
            self.vehicle = system;
        }
        self.seen.other_autopilots += usize::from(system != self.vehicle);
        let source = Address { system, ..AUTOPILOT };
        self.handle(Input::Heartbeat(LinkId::MAIN, heartbeat(source), Duration::ZERO));
        let command = catalog::find(COMMANDS[self.chance.below(4) as usize]).unwrap();
        let answer = ack(source, command.mavlink_command_id, self.chance.below(4) as u8);
        self.answers.push((self.now.boot, LinkId::MAIN, answer));
    }

    fn on_board(&self, component: u8) -> Address {
        Address { system: self.vehicle, component }
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
                let link = [LinkId::MAIN, EXTRA][self.chance.below(2) as usize];
                self.handle(Input::LinkClosed(link));
                self.drain(true);
                self.handle(Input::LinkOpened(link));
            }
            4 | 5 => {
                let span = Duration::from_millis(self.chance.below(8000));
                self.pass(span);
            }
            6 => self.deliver_update(),
            8 if self.chance.in_percent(5) => self.disturb_clock(),
            7 if self.chance.in_percent(15) => self.crash(),
            9 if self.chance.in_percent(20) => self.forward(),
            10 if self.chance.in_percent(20) => self.any_autopilot_speaks(),
            _ => {
                match self.chance.below(10) {
                    0 => self.autopilot_speaks(),
                    1 => self.camera_speaks(),
                    _ => self.all_speak(),
                }
                self.deliver_link_events();
                self.hand_over();
            }
        }
        self.drain(true);
    }

    /// A ground station sends one of the same commands by our link. The vehicle answers soon, and may
    /// not say whom.
    fn forward(&mut self) {
        self.seen.foreign_commands += 1;
        let command =
            catalog::find(COMMANDS[self.chance.below(4) as usize]).unwrap().mavlink_command_id;
        let target = self.on_board(AUTOPILOT.component);
        self.handle(Input::ForeignCommand(ForeignCommand { target, command }));
        let result = self.chance.below(4) as u8;
        let mut answer = CommandAck { result_param2: FOR_ANOTHER, ..ack(target, command, result) };
        if self.chance.in_percent(30) {
            (answer.target_system, answer.target_component) = (255, 190);
        }
        let at = self.now.boot + Duration::from_millis(self.chance.below(20_000));
        self.answers.push((at, LinkId::MAIN, answer));
    }

    /// A publisher sends a new command, or one of its old ones again.
    fn publish(&mut self) {
        let command = COMMANDS[self.chance.below(4) as usize];
        let number = self.chance.below(6);
        let mut request = request(command, &format!("{command}-{number}"));
        // Of the same MAV_CMD some go to the autopilot and some to the camera.
        let to_camera = command == "image_stop_capture" && number.is_multiple_of(2);
        request.target_component = to_camera.then_some(CAMERA.component);
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
        // To others the vehicle answers soon or never.
        self.answers.retain(|(at, _, ack)| {
            ack.result_param2 != FOR_ANOTHER || now < *at + Duration::from_secs(9)
        });
        let due: Vec<_> = self.answers.iter().filter(|(at, ..)| *at <= now).copied().collect();
        self.answers.retain(|(at, ..)| *at > now);
        for (_, link, ack) in due {
            self.handle(Input::CommandAck(link, ack));
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

    /// Up to the second commit, as the daemon does. With `may_crash`, the process may die after any effect.
    fn drain(&mut self, may_crash: bool) {
        let mut late = Vec::new();
        let mut committed = false;
        while !(committed && self.engine.is_commit_next())
            && let Some(effect) = poll_effect(&mut self.engine)
        {
            let is_commit = matches!(effect, Effect::Persist(_));
            self.carry_out(effect, &mut late);
            if is_commit {
                committed = true;
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
                self.see_whom_it_was_for(&record);
                self.witness.publish(&self.journal, &record);
                self.in_transit.push_back((number, Arc::unwrap_or_clone(record)));
            }
            Effect::Send { ticket, not_after, .. } if self.now.boot >= not_after => {
                late.push(Input::NotSent {
                    ticket,
                    code: Code::TimeoutQueue,
                    message: "late".to_owned(),
                });
            }
            Effect::Send { link, ticket, frame, .. } => self.vehicle_gets(link, ticket, frame),
            Effect::Unmatched(ack) => self.witness.unmatched(&ack),
            Effect::Reply { origin: Origin::Mqtt { .. }, reply } => {
                self.witness.reply(&self.journal, &reply);
            }
            Effect::Reply { origin: Origin::Http(call), reply } => {
                assert!(self.calls.remove(&call), "two responses to one request");
                self.seen.responses += 1;
                self.witness.respond(&self.journal, &reply);
            }
            Effect::Step(_)
            | Effect::Learned(_)
            | Effect::Link(..)
            | Effect::GrantReply { .. }
            | Effect::Grants { .. } => {}
        }
    }

    fn see_whom_it_was_for(&mut self, record: &Record) {
        let is_for_another = |it: &String| it.contains("and the vehicle is system");
        self.seen.before_learning += usize::from(record.target.system == 0);
        self.seen.for_another_vehicle +=
            usize::from(record.message.as_ref().is_some_and(is_for_another));
    }

    fn vehicle_gets(&mut self, link: LinkId, ticket: Ticket, frame: CommandFrame) {
        assert_eq!(frame.target.system, self.vehicle, "a frame to another vehicle");
        let command = self.witness.send(&self.engine, &self.journal, link, frame);
        self.seen.by_extra_link += usize::from(link == EXTRA);
        let first = self.witness.frames[&command].len() == 1;
        self.link_events.push_back(match self.chance.below(20) {
            0 => Input::SendUnknown { ticket },
            _ => Input::Sent { ticket },
        });
        let after = |world: &mut Self, bound| {
            world.now.boot + Duration::from_millis(world.chance.below(bound))
        };
        let answer = |result| ack(frame.target, frame.command, result);
        if self.chance.in_percent(20) {
            self.seen.by_another_link += 1;
            let astray = CommandAck { result_param2: BY_ANOTHER_LINK, ..answer(2) };
            let at = after(self, 40_000);
            self.answers.push((at, if link == EXTRA { LinkId::MAIN } else { EXTRA }, astray));
        }
        match self.chance.below(10) {
            0 | 1 => {}
            2 => {
                for _ in 0..2 {
                    let at = after(self, 3000);
                    self.answers.push((at, link, answer(0)));
                }
            }
            3 => {
                let at = after(self, 60_000);
                self.answers.push((at, link, answer(0)));
            }
            4 => {
                let at = after(self, 1000);
                let source = self.on_board(SECOND_CAMERA);
                self.answers.push((at, link, ack(source, frame.command, 3)));
            }
            5 if first => {
                let wish = if matches!(frame.body, Body::Long(_)) { 8 } else { 7 };
                let at = after(self, 500);
                self.answers.push((at, link, answer(wish)));
                self.seen.other_forms += 1;
            }
            6 => {
                let at = after(self, 1000);
                self.answers.push((at, link, CommandAck { progress: 30, ..answer(5) }));
                let at = at + Duration::from_millis(self.chance.below(20_000));
                self.answers.push((at, link, answer(0)));
            }
            7 => {
                let at = after(self, 1000);
                self.answers.push((at, link, answer(2)));
            }
            _ => {
                let at = after(self, 1000);
                self.answers.push((at, link, answer(0)));
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
        self.perhaps_another_vehicle();
        let settings = self.settings.clone();
        self.engine = self.journal.recover(&self.now, settings, guard(Mode::Guarded, []));
        self.connect();
        self.open_links();
    }

    /// Where the autopilot is learned. Or it is learned no more, but configured.
    fn perhaps_another_vehicle(&mut self) {
        if self.settings.target.system.is_none() && self.chance.in_percent(30) {
            self.vehicle = 1 + self.chance.below(SYSTEMS) as u8;
            let is_configured = self.chance.in_percent(30);
            self.settings.target.system = is_configured.then_some(self.vehicle);
        }
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
            self.all_speak();
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
