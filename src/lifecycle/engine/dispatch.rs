//! A command's frame goes out: one in flight per target and MAV_CMD, a window in all.

use std::time::Duration;

use super::Engine;
use super::live::Slot;
use crate::catalog::{Encoded, Transport};
use crate::code::Code;
use crate::lifecycle::effect::{Effect, Ticket};
use crate::lifecycle::record::Dispatch;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::status::Status;
use crate::lifecycle::time::{Now, Stamp};
use crate::lifecycle::timers::Timer;
use crate::wire::mavlink::{Body, CommandFrame};

/// How long a command that nobody waits for keeps its slot: long enough for its COMMAND_ACK, so
/// that the vehicle's short queue does not overflow.
const RELEASE_AFTER: Duration = Duration::from_secs(1);

impl Engine {
    /// Sends what may go now, in the order of acceptance.
    pub(super) fn dispatch(&mut self, now: &Now) {
        self.withdraw(now);
        if self.stopping {
            return;
        }
        let mut at = 0;
        while at < self.queue.len() && self.in_flight.len() < self.settings.max_outstanding {
            let id = self.queue[at];
            let slot = self.live[&id].slot();
            let (target, _) = slot;
            if self.in_flight.contains_key(&slot) || !self.vehicle.ready_for(target, now.boot) {
                at += 1;
                continue;
            }
            if let Err(refusal) = self.recheck(now, id) {
                if refusal.code == Code::StateUnknown && self.live[&id].waits_for_state {
                    at += 1;
                } else {
                    self.finish(now, id, Status::Failed, refusal.code, refusal.message);
                }
                continue;
            }
            self.queue.remove(at);
            self.close_superseded(now, slot);
            self.in_flight.insert(slot, id);
            let transport = self.live[&id].record.content.transport;
            self.send(now, id, transport, false);
        }
    }

    /// Takes back frames that still wait among the effects, when news of the vehicle have come
    /// meanwhile or what was known of it is too old by now; but no copy of one that is out.
    pub(super) fn withdraw(&mut self, now: &Now) {
        let is_unsent = |ticket, id| {
            let live = self.live.get(id);
            live.is_some_and(|live| live.unsent == Some(ticket) && live.confirmation == 0)
        };
        let waiting: Vec<CommandId> = self
            .tickets
            .iter()
            .filter(|(ticket, id)| is_unsent(**ticket, id))
            .map(|(_, id)| *id)
            .collect();
        for id in waiting {
            let target = self.live[&id].record.target;
            if let Err(refusal) = self.recheck(now, id) {
                self.finish(now, id, Status::Failed, refusal.code, refusal.message);
            } else if !self.vehicle.ready_for(target, now.boot) {
                let message = format!("{target} was lost before the frame could be written");
                self.finish(now, id, Status::Failed, Code::TransportLost, message);
            }
        }
    }

    /// Journals that a frame may be out from now on, and sends it after that is durable.
    /// False: the command cannot be put into this form.
    pub(super) fn send(
        &mut self,
        now: &Now,
        id: CommandId,
        transport: Transport,
        other_form: bool,
    ) -> bool {
        let Some(live) = self.live.get_mut(&id) else { return false };
        let Some(body) = body(&live.record.content, transport) else { return false };
        live.progress_until = now.boot + self.settings.max_progress;
        live.record.dispatch = Some(Dispatch {
            transport,
            delivered_seq: live.record.next_seq(),
            at: Stamp::of(now),
            sent_at: None,
            other_form,
        });
        self.write(id);
        self.urgent = true;
        self.hand_to_link(id, body);
        true
    }

    pub(super) fn on_sent(&mut self, now: &Now, ticket: Ticket) {
        if let Some(id) = self.tickets.remove(&ticket) {
            self.delivered(now, id);
        }
    }

    pub(super) fn on_not_sent(&mut self, now: &Now, ticket: Ticket, code: Code, message: String) {
        let Some(id) = self.tickets.remove(&ticket) else { return };
        let Some(live) = self.live.get(&id) else { return };
        let waits_to_be_sent =
            live.record.dispatch.as_ref().is_some_and(|dispatch| dispatch.sent_at.is_none());
        if !live.record.is_undecided() || !waits_to_be_sent {
            // A retransmission that failed takes nothing back.
            return;
        }
        let status = if code == Code::TimeoutQueue { Status::TimedOut } else { Status::Failed };
        self.finish(now, id, status, code, message);
    }

    /// Perhaps the frame is out: only a COMMAND_ACK can tell.
    pub(super) fn on_send_unknown(&mut self, now: &Now, ticket: Ticket) {
        if let Some(id) = self.tickets.remove(&ticket) {
            self.tell_doubtful_form(now, id);
        }
    }

    /// Perhaps a command that nobody waits for went out again in the other form: no deadline will tell,
    /// and a query must not find anything else under a number that was told.
    pub(super) fn tell_doubtful_form(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let record = &mut live.record;
        let Some(dispatch) = &record.dispatch else { return };
        let is_told = dispatch.sent_at.is_some() || record.seq > dispatch.delivered_seq;
        if record.status != Status::Delivered || !record.is_terminal() || is_told {
            return;
        }
        record.message =
            Some(format!("perhaps sent again as {}, as the vehicle asked", dispatch.transport));
        self.announce(now, id);
        self.urgent = true;
    }

    /// The frame is out: told by the link, or proven by an answer.
    pub(super) fn delivered(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if !live.record.is_undecided() {
            return;
        }
        let Some(dispatch) = &mut live.record.dispatch else { return };
        if dispatch.sent_at.is_some() {
            return;
        }
        // When an earlier process sent it nobody knows better than by when it was to.
        dispatch.sent_at = Some(if live.recovered { dispatch.at.wall } else { now.wall });
        // The number is passed only where a doubt was told meanwhile.
        live.record.seq = dispatch.delivered_seq.max(live.record.seq + 1);
        live.record.status = Status::Delivered;
        live.record.message = Some("the frame left for the vehicle".to_owned());
        let nobody_waits = live.record.timeout_seconds == 0;
        let retransmit = live.retransmit;
        // An earlier process reserved another number than this one.
        self.urgent |= live.recovered;
        self.announce_as_numbered(now, id);
        if nobody_waits {
            // Terminal, so it must be durable before it is visible.
            self.urgent = true;
            self.timers.cancel(Timer::Deadline(id));
            self.timers.set(Timer::Release(id), now.boot + RELEASE_AFTER);
            // As long as it has its place at least, or an answer would find nobody.
            let late_ack_window = self.settings.late_ack_window.max(RELEASE_AFTER);
            self.timers.set(Timer::LateWindow(id), now.boot + late_ack_window);
        } else {
            // Its number was reserved with the dispatch: it rides along with the next commit.
            self.write_lazily(now);
            if let Some(retransmit) = retransmit {
                self.timers.set(Timer::Retransmit(id), now.boot + retransmit.interval);
            }
        }
    }

    pub(super) fn on_retransmit(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get(&id) else { return };
        let Some(retransmit) = live.retransmit else { return };
        let in_progress = live.record.ack.as_ref().is_some_and(|it| it.ack.is_in_progress());
        if live.record.is_terminal() || in_progress || live.confirmation >= retransmit.times {
            return;
        }
        self.timers.set(Timer::Retransmit(id), now.boot + retransmit.interval);
        let sendable = self.vehicle.ready_for(live.record.target, now.boot) && !self.stopping;
        // A frame that waits still is enough: only one could be taken back.
        if !sendable || live.unsent.is_some() || self.recheck(now, id).is_err() {
            return;
        }
        let Some(live) = self.live.get_mut(&id) else { return };
        live.confirmation += 1;
        let transport = live.record.dispatch.as_ref().map(|dispatch| dispatch.transport);
        if let Some(body) = transport.and_then(|form| body(&live.record.content, form)) {
            self.hand_to_link(id, body);
        }
    }

    /// Nobody waits for this command: its place is free again, a late answer still completes it.
    pub(super) fn on_release(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get(&id) else { return };
        if live.unsent.is_some() {
            // The other form is on its way, and needs the place.
            self.timers.set(Timer::Release(id), now.boot + RELEASE_AFTER);
            return;
        }
        let slot = live.slot();
        self.free_slot(slot, id);
        self.late.insert(slot, id);
    }

    pub(super) fn on_late_window_over(&mut self, now: &Now, id: CommandId) {
        self.close(id);
        self.write(id);
        self.write_lazily(now);
    }

    /// With a newer send of the same MAV_CMD a late answer is no longer this command's.
    fn close_superseded(&mut self, now: &Now, slot: Slot) {
        if let Some(id) = self.late.get(&slot).copied() {
            self.on_late_window_over(now, id);
        }
    }

    fn hand_to_link(&mut self, id: CommandId, body: Body) {
        let ticket = self.ticket(id);
        let Some(live) = self.live.get_mut(&id) else { return };
        live.unsent = Some(ticket);
        let target = live.record.target;
        let frame = CommandFrame {
            target,
            command: live.record.content.command,
            confirmation: live.confirmation,
            body,
        };
        let link = self.vehicle.link_of(target.component);
        self.effects.push_back(Effect::Send { link, ticket, frame, not_after: live.deadline });
    }
}

/// `None`: the form cannot say the same.
fn body(content: &Encoded, transport: Transport) -> Option<Body> {
    match transport {
        Transport::CommandLong => (!content.needs_frame()).then(|| Body::Long(content.long())),
        Transport::CommandInt => {
            content.int().map(|params| Body::Int { frame: content.frame, params })
        }
    }
}
