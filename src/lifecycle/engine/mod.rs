//! The state machine of all commands: [`Engine::handle`] what happened, then drain
//! [`Engine::poll_effect`] until it is empty, then sleep until [`Engine::poll_timeout`].
//!
//! Several inputs may be handled before one drain; their writes then share one `Persist`. A
//! `Persist` always comes before every effect that makes its content visible outside. What happened
//! during a `Persist` is best handled right after it: it can still take back a frame that waits.
//!
//! Reading order: `intake` (a request arrives), `live` (what is kept of it), `update` (it takes a step),
//! `dispatch` (its frame goes out), `answer` (its COMMAND_ACK comes, or does not), `foreign` (or it is
//! perhaps another's), `ending` (all is known of it), `recover` (all of it after a restart); meanwhile
//! `links` and `grant` (what may be sent at all).

mod answer;
mod dispatch;
mod ending;
mod foreign;
mod grant;
mod intake;
mod links;
mod live;
mod recover;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::effect::{Batch, Effect, Input, OutboxNumber, Ticket};
use super::outbox::Outbox;
use super::record::Record;
use super::request::{CommandId, Origin};
use super::status::Status;
use super::time::{Now, Timestamp};
use super::timers::{Timer, Timers};
use crate::guard::autopilot::Autopilot;
use crate::guard::extra_link::{ExtraLink, LinkId};
use crate::guard::grants::Grants;
use crate::guard::nonces::{NonceKey, Nonces};
use crate::guard::rate::Rates;
use crate::guard::set_aside::SetAside;
use crate::guard::vehicle::{LinkState, Vehicle};
use crate::guard::{Clearance, Guard, Refusal};
use crate::wire::mavlink::Address;
use foreign::ForeignCommands;
use live::{Live, Slot};

/// Nonces that are remembered at most: one command every 12 ms for twice the window. A full store
/// refuses.
const MAX_NONCES: usize = 10_000;

/// The engine's part of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own MAVLink address.
    pub source: Address,
    /// The autopilot.
    pub target: Autopilot,
    /// In the order of their [`LinkId`]s.
    pub extra_links: Vec<ExtraLink>,
    /// Seconds, 1 to 300.
    pub default_timeout_seconds: u32,
    /// Commands that wait for their COMMAND_ACK at a time.
    pub max_outstanding: usize,
    /// Commands that wait for their turn.
    pub max_queue: usize,
    /// How long after its timeout a command still takes a COMMAND_ACK.
    pub late_ack_window: Duration,
    /// How long after its dispatch IN_PROGRESS can keep a command waiting.
    pub max_progress: Duration,
    /// Names this process in the ids of its grants.
    pub session: u32,
    /// Updates that wait for the broker at most; see [`MAX_UPDATES`](super::outbox::MAX_UPDATES).
    pub max_updates: usize,
    /// Others command the vehicle through us.
    pub forwards: bool,
}

#[derive(Clone, Debug)]
pub struct Engine {
    settings: Settings,
    guard: Guard,
    vehicle: Vehicle,
    rates: Rates,
    nonces: Nonces,
    /// Which of them have an entry of their own in the journal.
    nonce_entries: BTreeSet<NonceKey>,
    grants: Grants,
    /// While signatures of before may still be valid.
    set_aside: Option<SetAside>,
    live: BTreeMap<CommandId, Live>,
    /// Accepted, in order, not dispatched.
    queue: VecDeque<CommandId>,
    /// Dispatched, holding one of `max_outstanding` places.
    in_flight: BTreeMap<Slot, CommandId>,
    /// No longer waited for, but a late COMMAND_ACK would be theirs.
    late: BTreeMap<Slot, CommandId>,
    foreign: ForeignCommands,
    tickets: BTreeMap<Ticket, CommandId>,
    timers: Timers,
    outbox: Outbox,
    batch: Batch,
    /// Something visible waits for `batch` to be durable.
    urgent: bool,
    /// Closed by `batch`; forgotten once that is durable and the journal answers for them.
    closing: Vec<CommandId>,
    /// Closed by a batch that has been handed out.
    closed: Vec<CommandId>,
    effects: VecDeque<Effect>,
    /// Those of them that wait for no commit any more, and the last update of which that is so.
    ready: VecDeque<Effect>,
    ready_updates: OutboxNumber,
    /// As last told.
    link_states: BTreeMap<LinkId, LinkState>,
    last_ticket: u64,
    last_number: u64,
    stopping: bool,
}

impl Engine {
    /// An engine with nothing to remember; see [`Engine::recover`].
    /// `last_number`: the highest `Record::number` ever journaled.
    pub fn new(settings: Settings, guard: Guard, last_number: u64) -> Self {
        let vehicle = Vehicle::with_extra_links(settings.target, &settings.extra_links);
        Self {
            link_states: vehicle.links().map(|link| (link, LinkState::Closed)).collect(),
            vehicle,
            rates: Rates::default(),
            nonces: Nonces::new(MAX_NONCES),
            nonce_entries: BTreeSet::new(),
            grants: Grants::new(guard.grant_limits().clone(), settings.session),
            set_aside: None,
            outbox: Outbox::new(settings.max_updates),
            settings,
            guard,
            live: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            late: BTreeMap::new(),
            foreign: ForeignCommands::default(),
            tickets: BTreeMap::new(),
            timers: Timers::default(),
            batch: Batch::default(),
            urgent: false,
            closing: Vec::new(),
            closed: Vec::new(),
            effects: VecDeque::new(),
            ready: VecDeque::new(),
            ready_updates: 0,
            last_ticket: 0,
            last_number,
            stopping: false,
        }
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// From now on another guard judges: new commands, and those that wait for their turn. Where
    /// commands go stays as it is, since the links do.
    pub fn replace_guard(&mut self, now: &Now, guard: Guard) {
        self.grants.reconfigure(now.boot, guard.grant_limits(), guard.mode() != self.guard.mode());
        self.guard = guard.with_components_of(&self.guard);
        for id in self.queue.clone() {
            let live = &self.live[&id];
            match self.permit(now, &live.record, live.grant) {
                Ok(clearance) => self.clear(now, id, clearance),
                Err(refusal) => {
                    self.finish(now, id, Status::Failed, refusal.code, refusal.message);
                }
            }
        }
    }

    /// The autopilot's wall time at `boot`, under a 3D fix.
    pub fn autopilot_time(&self, boot: Duration) -> Option<Timestamp> {
        self.vehicle.gps_time(boot)
    }

    /// As configured, or as learned by now.
    pub fn autopilot(&self) -> Autopilot {
        self.vehicle.autopilot()
    }

    pub fn link_state(&self, link: LinkId) -> LinkState {
        self.link_states[&link]
    }

    /// The highest `Record::number` given so far.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// What is left to make up for since a journal was set aside; for the journal.
    pub fn set_aside(&self) -> Option<SetAside> {
        self.set_aside
    }

    /// A command as it stands, while something can still happen to it; `None` also while the journal's
    /// is the one to be seen, since this one must be durable first.
    pub fn live(&self, id: CommandId) -> Option<&Record> {
        let waits_for_commit = self.urgent && self.batch.records.contains_key(&id);
        self.live.get(&id).filter(|_| !waits_for_commit).map(|live| &live.record)
    }

    /// Commands that wait for their turn.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Commands that hold a place while the vehicle decides.
    pub fn outstanding(&self) -> usize {
        self.in_flight.len()
    }

    /// Updates that the broker has not acknowledged.
    pub fn unpublished(&self) -> usize {
        self.outbox.len()
    }

    /// Takes in what happened, then whatever became due by `now`: what is known of a frame counts
    /// before its deadline does.
    pub fn handle(&mut self, now: &Now, input: Input) {
        self.hear(now, input);
        self.fire_timers(now);
        self.forget_nonces(now);
        self.follow_links(now);
        self.follow_grants(now);
        self.dispatch(now);
    }

    /// As [`Engine::handle`], but what became due has to wait for that: more happened before `now` and
    /// is still to be told. A HEARTBEAT may not be the last one, and an answer may be behind it.
    pub fn hear(&mut self, now: &Now, input: Input) {
        self.set_aside = self.set_aside.and_then(|it| it.follow(now));
        match input {
            Input::Request { request, stored, origin } => {
                self.on_request(now, *request, stored, origin);
            }
            Input::Query { query, stored, origin } => self.on_query(query, stored, origin),
            Input::Refused { error, reply_to, delivery } => {
                self.on_refused(error, Origin::Mqtt { reply_to, delivery });
            }
            Input::Grant { action, opener, call } => self.on_grant(now, action, opener, call),
            Input::GrantMessage { message, reply_to, delivery } => {
                self.on_grant_message(now, *message, reply_to, delivery);
            }
            Input::BrokerConnected => self.outbox.connected(),
            Input::BrokerDisconnected => self.outbox.disconnected(),
            Input::Published { number, accepted } => self.on_published(now, number, accepted),
            Input::LinkOpened(link) => self.vehicle.opened(link),
            Input::LinkClosed(link) => self.on_link_closed(now, link),
            Input::Heartbeat(link, heartbeat, age) => {
                self.on_heartbeat(now, link, &heartbeat, now.boot.saturating_sub(age));
            }
            Input::Telemetry(telemetry, age) => {
                self.vehicle.telemetry(&telemetry, now.boot.saturating_sub(age));
            }
            Input::Tick => {}
            Input::CommandAck(link, ack) => self.on_command_ack(now, link, ack),
            Input::ForeignCommand(command) => self.foreign.passed(command, now.boot),
            Input::Sent { ticket } => self.on_sent(now, ticket),
            Input::NotSent { ticket, code, message } => {
                self.on_not_sent(now, ticket, code, message);
            }
            Input::SendUnknown { ticket } => self.on_send_unknown(now, ticket),
            Input::Stop => {
                self.stopping = true;
                self.urgent = !self.batch.is_empty();
            }
        }
    }

    /// The next thing to do outside; `None`: nothing now. What is durable comes before the commit of
    /// what happened since.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        for id in self.closed.drain(..) {
            self.live.remove(&id);
        }
        self.poll_ready().or_else(|| {
            std::mem::swap(&mut self.ready, &mut self.effects);
            self.ready_updates = self.outbox.last();
            if !std::mem::take(&mut self.urgent) {
                return self.poll_ready();
            }
            self.timers.cancel(Timer::LazyWrites);
            self.closed.append(&mut self.closing);
            Some(Effect::Persist(std::mem::take(&mut self.batch)))
        })
    }

    /// Whether the next thing to do is a commit.
    pub fn is_commit_next(&self) -> bool {
        self.urgent && self.ready.is_empty() && self.outbox.next(self.ready_updates).is_none()
    }

    /// When [`Input::Tick`] is due at the latest, on the boot clock.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    fn poll_ready(&mut self) -> Option<Effect> {
        if let Some(effect) = self.ready.pop_front() {
            if let Effect::Send { ticket, .. } = &effect {
                self.handed_out(*ticket);
            }
            return Some(effect);
        }
        let (number, record) = self.outbox.take_next(self.ready_updates)?;
        Some(Effect::Publish { number, record })
    }

    fn handed_out(&mut self, ticket: Ticket) {
        if let Some(live) = self.tickets.get(&ticket).and_then(|id| self.live.get_mut(id)) {
            live.unsent = None;
            live.may_be_out = true;
        }
    }

    fn fire_timers(&mut self, now: &Now) {
        while let Some(timer) = self.timers.pop_due(now.boot) {
            match timer {
                // `follow_links` looks at the clock itself.
                Timer::LinkStale => {}
                // So does `follow_grants`.
                Timer::GrantExpiry => {}
                Timer::LazyWrites => self.urgent = !self.batch.is_empty(),
                Timer::OutboxRetry => self.outbox.retry(),
                Timer::Deadline(id) => self.on_deadline(now, id),
                Timer::Retransmit(id) => self.on_retransmit(now, id),
                Timer::Release(id) => self.on_release(now, id),
                Timer::LateWindow(id) => self.on_late_window_over(now, id),
            }
        }
    }

    fn forget_nonces(&mut self, now: &Now) {
        for key in self.nonces.expire(now) {
            if self.nonce_entries.remove(&key) && self.batch.nonces.remove(&key).is_none() {
                self.batch.expired_nonces.insert(key);
                self.write_lazily(now);
            }
        }
    }

    /// What the guard has cleared the command for.
    fn clear(&mut self, now: &Now, id: CommandId, clearance: Clearance) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.retransmit = clearance.retransmit;
        let held = std::mem::replace(&mut live.grant, clearance.grant);
        if let Some(grant) = clearance.grant.filter(|grant| held != Some(*grant)) {
            self.grants.consume(now.boot, grant);
        }
    }

    /// The layers that may refuse a command while it waits, once more before a frame of it goes.
    fn recheck(&self, now: &Now, id: CommandId) -> Result<(), Refusal> {
        let live = &self.live[&id];
        self.guard.check_state(&live.record.command_type, &self.vehicle, now.boot)?;
        live.grant.map_or(Ok(()), |grant| self.grants.holds(now.boot, grant))
    }

    fn ticket(&mut self, id: CommandId) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.tickets.insert(ticket, id);
        ticket
    }
}
