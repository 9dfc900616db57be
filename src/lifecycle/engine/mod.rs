//! The state machine of all commands: [`Engine::handle`] what happened, then drain
//! [`Engine::poll_effect`] until it is empty, then sleep until [`Engine::poll_timeout`].
//!
//! Several inputs may be handled before one drain; their writes then share one `Persist`. A
//! `Persist` always comes before every effect that makes its content visible outside. What happened
//! during a `Persist` is best handled right after it: it can still take back a frame that waits.
//!
//! Reading order: `intake` (a request arrives), `dispatch` (its frame goes out), `answer` (its
//! COMMAND_ACK comes, or does not), `foreign` (or it is perhaps another's), `recover` (all of it after
//! a restart), `grant` (what may be sent at all meanwhile).

mod answer;
mod dispatch;
mod foreign;
mod grant;
mod intake;
mod recover;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::effect::{Batch, Effect, Input, OutboxNumber, Ticket};
use super::outbox::Outbox;
use super::record::Record;
use super::request::{CommandId, Origin};
use super::status::{Cause, Status};
use super::time::{Now, Stamp, Timestamp};
use super::timers::{Timer, Timers};
use crate::code::Code;
use crate::guard::autopilot::Autopilot;
use crate::guard::extra_link::{ExtraLink, LinkId};
use crate::guard::grants::{GrantId, Grants};
use crate::guard::nonces::{NonceKey, Nonces};
use crate::guard::policy::Retransmit;
use crate::guard::rate::Rates;
use crate::guard::set_aside::SetAside;
use crate::guard::vehicle::{LinkState, Vehicle};
use crate::guard::{Clearance, Guard, Refusal};
use crate::wire::mavlink::{Address, Heartbeat};
use foreign::ForeignCommands;

/// Writes that nothing waits for ride along with the next commit, or go after this time.
const LAZY_WRITES_AFTER: Duration = Duration::from_secs(1);
/// How long a command that nobody waits for keeps its slot: long enough for its COMMAND_ACK, so
/// that the vehicle's short queue does not overflow.
const RELEASE_AFTER: Duration = Duration::from_secs(1);
/// How long updates that the broker refused wait before they are offered again.
const OUTBOX_RETRY_AFTER: Duration = Duration::from_secs(5);

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

/// COMMAND_ACK tells commands apart by nothing but who answers and the MAV_CMD.
type Slot = (Address, u16);

/// A command that something can still happen to, or whose last write is not durable yet.
#[derive(Clone, Debug)]
struct Live {
    record: Record,
    /// On the boot clock: when waiting ends.
    deadline: Duration,
    /// It was dispatched by an earlier process.
    recovered: bool,
    /// The vehicle told this process that it works on it.
    progressed: bool,
    /// It waits since before a restart, so the vehicle may yet have to tell its state.
    waits_for_state: bool,
    /// It waits since before a restart, and its link has not been ready since.
    waits_for_link: bool,
    retransmit: Option<Retransmit>,
    /// It may be sent while this grant holds.
    grant: Option<GrantId>,
    /// COMMAND_LONG.confirmation: how often it was written again.
    confirmation: u8,
    /// A frame that waits among the effects.
    unsent: Option<Ticket>,
    /// A frame was handed out, by this process or perhaps by an earlier one.
    may_be_out: bool,
    /// An answer came that may be to the command of another.
    perhaps_answered: bool,
}

impl Live {
    fn new(record: Record, deadline: Duration) -> Self {
        Self {
            may_be_out: record.dispatch.is_some(),
            record,
            deadline,
            recovered: false,
            progressed: false,
            waits_for_state: false,
            waits_for_link: false,
            retransmit: None,
            grant: None,
            confirmation: 0,
            unsent: None,
            perhaps_answered: false,
        }
    }

    fn slot(&self) -> Slot {
        (self.record.target, self.record.content.command)
    }
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
            Input::LinkClosed(link) => self.vehicle.closed(link),
            Input::Heartbeat(link, heartbeat, age) => {
                self.on_heartbeat(link, &heartbeat, now.boot.saturating_sub(age));
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
        self.fire_timers(now);
        self.forget_nonces(now);
        self.follow_links(now);
        self.follow_grants(now);
        self.dispatch(now);
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

    fn on_heartbeat(&mut self, link: LinkId, heartbeat: &Heartbeat, heard: Duration) {
        let was_known = self.vehicle.autopilot().system.is_some();
        self.vehicle.heartbeat(link, heartbeat, heard);
        if let Some(autopilot) = self.vehicle.autopilot().address().filter(|_| !was_known) {
            self.effects.push_back(Effect::Learned(autopilot));
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

    fn on_published(&mut self, now: &Now, number: u64, accepted: bool) {
        if !accepted {
            self.outbox.refused(number);
            self.timers.set(Timer::OutboxRetry, now.boot + OUTBOX_RETRY_AFTER);
        } else if self.outbox.published(number) && self.forget_update(number) {
            self.write_lazily(now);
        }
    }

    /// Takes an update out of the journal; false when it never got there.
    fn forget_update(&mut self, number: OutboxNumber) -> bool {
        self.batch.outbox.remove(&number).is_none() && self.batch.published.insert(number)
    }

    /// Reports changes of the links' states; commands that wait for a link that is gone end.
    fn follow_links(&mut self, now: &Now) {
        if let Some(stale_at) = self.vehicle.stale_at(now.boot) {
            self.timers.set(Timer::LinkStale, stale_at);
        }
        for link in self.vehicle.links() {
            let state = self.vehicle.link_state(link, now.boot);
            let before = self.link_states.insert(link, state);
            if before == Some(state) {
                continue;
            }
            self.effects.push_back(Effect::Link(link, state));
            if link == LinkId::MAIN && before == Some(LinkState::Ready) {
                self.grants.link_lost(now.boot);
            }
        }
        self.end_unreachable(now);
    }

    /// Ends what waits for a link that was lost, or for another vehicle than this one.
    fn end_unreachable(&mut self, now: &Now) {
        let mut lost = Vec::new();
        for id in &self.queue {
            let Some(live) = self.live.get_mut(id) else { continue };
            let target = live.record.target;
            if self.vehicle.ready_for(target, now.boot) {
                live.waits_for_link = false;
            } else if let Some(system) =
                self.vehicle.autopilot().system.filter(|it| *it != target.system)
            {
                // Accepted before a restart.
                let message = format!(
                    "the command was accepted for system {}, and the vehicle is system {system}; it was not sent",
                    target.system
                );
                lost.push((*id, message));
            } else if !live.waits_for_link {
                // It was ready when the guard let the command in, or since.
                let link = self.vehicle.link_of(target.component);
                let link = self.vehicle.link_name(link).unwrap_or("to the vehicle");
                let message =
                    format!("the link {link} was lost while the command waited for its turn");
                lost.push((*id, message));
            }
        }
        for (id, message) in lost {
            self.finish(now, id, Status::Failed, Code::TransportLost, message);
        }
    }

    /// Ends a command: the one place where a status becomes final.
    fn finish(
        &mut self,
        now: &Now,
        id: CommandId,
        status: Status,
        cause: impl Into<Cause>,
        message: impl Into<String>,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let cause = cause.into();
        let record = &mut live.record;
        record.status = status;
        record.cause = Some(cause);
        record.message = Some(message.into());
        let slot = live.slot();
        let takes_late_ack = matches!(
            cause,
            Cause::Agent(Code::TimeoutAck | Code::TimeoutProgress | Code::RestartOutcomeUnknown)
        );
        if let Some(unsent) = live.unsent.take() {
            self.tickets.remove(&unsent);
            for effects in [&mut self.ready, &mut self.effects] {
                effects
                    .retain(|it| !matches!(it, Effect::Send { ticket, .. } if *ticket == unsent));
            }
        }
        self.queue.retain(|queued| *queued != id);
        self.free_slot(slot, id);
        self.timers.cancel_command(id);
        if takes_late_ack {
            self.late.insert(slot, id);
            self.timers.set(Timer::LateWindow(id), now.boot + self.settings.late_ack_window);
        } else {
            self.close(id);
        }
        self.announce(now, id);
        self.urgent = true;
    }

    /// Nothing can change this command any more. The write is the caller's.
    fn close(&mut self, id: CommandId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.record.closed = true;
            let slot = live.slot();
            if self.late.get(&slot) == Some(&id) {
                self.late.remove(&slot);
            }
            self.timers.cancel_command(id);
            self.closing.push(id);
        }
    }

    fn free_slot(&mut self, slot: Slot, id: CommandId) {
        if self.in_flight.get(&slot) == Some(&id) {
            self.in_flight.remove(&slot);
        }
    }

    /// Makes the next update of a command and puts it into the outbox.
    fn announce(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.record.seq = live.record.next_seq();
        self.announce_as_numbered(now, id);
    }

    /// As [`Engine::announce`], with the number that the record already carries.
    fn announce_as_numbered(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.record.updated = Stamp::of(now);
        let record = Arc::new(live.record.clone());
        self.effects.push_back(Effect::Step(record.clone()));
        self.batch.records.insert(id, record.clone());
        self.batch.outbox.insert(self.outbox.push(record.clone()), record);
        for replaced in self.outbox.collapse() {
            self.forget_update(replaced);
            // Or a crash would bring it back after its successor was published.
            self.urgent = true;
        }
    }

    /// Adds a command to the batch as it stands.
    fn write(&mut self, id: CommandId) {
        if let Some(live) = self.live.get(&id) {
            self.batch.records.insert(id, Arc::new(live.record.clone()));
        }
    }

    fn write_lazily(&mut self, now: &Now) {
        if !self.timers.is_set(Timer::LazyWrites) {
            self.timers.set(Timer::LazyWrites, now.boot + LAZY_WRITES_AFTER);
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
