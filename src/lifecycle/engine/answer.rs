//! A COMMAND_ACK comes, or the time for it is over (mavlink.io, "Command Protocol").

use std::time::Duration;

use super::Engine;
use super::live::Slot;
use crate::catalog::Transport;
use crate::code::Code;
use crate::guard::extra_link::LinkId;
use crate::lifecycle::effect::Effect;
use crate::lifecycle::record::Acknowledged;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::status::{Cause, Status};
use crate::lifecycle::time::Now;
use crate::lifecycle::timers::Timer;
use crate::wire::mavlink::{CommandAck, result, result_name};

impl Engine {
    pub(super) fn on_command_ack(&mut self, now: &Now, link: LinkId, ack: CommandAck) {
        let ours = self.settings.source;
        let for_other_system = ack.target_system != 0 && ack.target_system != ours.system;
        let for_other_component =
            ack.target_component != 0 && ack.target_component != ours.component;
        if for_other_system || for_other_component {
            return;
        }
        let slot: Slot = (ack.source, ack.command);
        let names_us = (ack.target_system, ack.target_component) == (ours.system, ours.component);
        if !names_us && self.foreign.may_be_answered(&ack, now.boot) {
            self.perhaps_answered(slot);
            return;
        }
        // Whoever was asked answers by the link that the frame went by.
        let by_its_link = self.vehicle.link_of(ack.source.component) == link;
        // What comes before the frame is out answers something else.
        let asked = self.in_flight.get(&slot).copied().filter(|id| self.live[id].may_be_out);
        if let Some(id) = asked.filter(|_| by_its_link) {
            self.answered(now, id, ack);
        } else if let Some(id) = self.late.get(&slot).copied().filter(|_| by_its_link) {
            self.answered_late(now, id, ack);
        } else if let Some(id) = self.waiting_for_another_component(link, &ack) {
            self.strayed(now, id, ack);
        } else {
            self.effects.push_back(Effect::Unmatched(ack));
        }
    }

    pub(super) fn on_deadline(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if !live.may_be_out {
            let message = "the deadline passed in the queue; the command was not sent";
            self.finish(now, id, Status::TimedOut, Code::TimeoutQueue, message);
            return;
        }
        if let Some(stray) = live.record.stray.clone() {
            let message = format!(
                "{} answered {} instead of the addressed {}",
                stray.ack.source,
                result_name(stray.ack.result),
                live.record.target
            );
            let cause = Cause::Result(stray.ack.result);
            live.record.ack = Some(stray);
            self.finish(now, id, Status::UnmatchedResponse, cause, message);
            return;
        }
        let in_progress = live.record.ack.as_ref().is_some_and(|it| it.ack.is_in_progress());
        let (code, message) = if live.recovered && !live.progressed {
            (
                Code::RestartOutcomeUnknown,
                "perhaps sent before the agent restarted; no COMMAND_ACK came in time",
            )
        } else if in_progress && now.boot >= live.progress_until {
            (
                Code::TimeoutProgress,
                "the vehicle reported progress for longer than max_progress allows",
            )
        } else if in_progress {
            (Code::TimeoutProgress, "the vehicle reported progress, then no more COMMAND_ACK came")
        } else if live.perhaps_answered {
            (
                Code::TimeoutAck,
                "no COMMAND_ACK came in time that can only be the answer to this command: another \
                 sent the same to the vehicle, which does not say whom it answers",
            )
        } else {
            (Code::TimeoutAck, "no COMMAND_ACK came in time")
        };
        self.finish(now, id, Status::TimedOut, code, message);
    }

    /// The answer to somebody, perhaps to us: nothing is known by it.
    fn perhaps_answered(&mut self, slot: Slot) {
        let live = self.in_flight.get(&slot).and_then(|id| self.live.get_mut(id));
        if let Some(live) = live.filter(|live| live.may_be_out) {
            live.perhaps_answered = true;
        }
    }

    /// The answer that this command waits for.
    fn answered(&mut self, now: &Now, id: CommandId, ack: CommandAck) {
        let wanted_form = match ack.result {
            result::COMMAND_LONG_ONLY => Some(Transport::CommandLong),
            result::COMMAND_INT_ONLY => Some(Transport::CommandInt),
            _ => None,
        };
        if wanted_form.is_some_and(|wanted| self.has_got_its_form(id, wanted)) {
            // An answer to the first frame, come twice; the second frame's is still to come.
            return;
        }
        // An answer proves that the frame went out, whatever the link knows.
        self.delivered(now, id);
        match wanted_form {
            Some(wanted) => self.other_form(now, id, ack, wanted),
            None if ack.is_in_progress() => self.progressed(now, id, ack),
            None => self.decided(now, id, ack),
        }
    }

    fn has_got_its_form(&self, id: CommandId, wanted: Transport) -> bool {
        let dispatch = self.live.get(&id).and_then(|live| live.record.dispatch.as_ref());
        dispatch.is_some_and(|dispatch| dispatch.other_form && dispatch.transport == wanted)
    }

    fn decided(&mut self, now: &Now, id: CommandId, ack: CommandAck) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.record.ack = Some(Acknowledged { ack, at: now.wall });
        let (status, message) = if ack.result == result::ACCEPTED {
            (Status::Succeeded, "the vehicle accepted the command")
        } else {
            (Status::Failed, "the vehicle refused the command")
        };
        let cause = Cause::Result(ack.result);
        self.finish(now, id, status, cause, format!("{message}: {}", cause.response_code()));
    }

    /// Work goes on at the vehicle: the wait starts anew, within `max_progress`.
    fn progressed(&mut self, now: &Now, id: CommandId, ack: CommandAck) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.progressed = true;
        if live.record.timeout_seconds != 0 {
            let wait = Duration::from_secs(live.record.timeout_seconds.into());
            let deadline = live.deadline.max((now.boot + wait).min(live.progress_until));
            let moved = deadline - live.deadline;
            live.deadline = deadline;
            live.record.deadline_ms += moved.as_millis() as u64;
            self.timers.set(Timer::Deadline(id), deadline);
        }
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.record.ack.as_ref().is_some_and(|told| told.ack == ack) {
            // The same news again is no update: a vehicle may repeat it many times a second. So a query
            // finds it as it was told.
            self.write(id);
            self.write_lazily(now);
            return;
        }
        live.record.ack = Some(Acknowledged { ack, at: now.wall });
        live.record.cause = Some(Cause::Result(result::IN_PROGRESS));
        live.record.message = Some("the vehicle is working on the command".to_owned());
        self.announce(now, id);
        self.urgent = true;
    }

    /// COMMAND_LONG_ONLY and COMMAND_INT_ONLY refuse the form, not the command: the other form goes
    /// out, once.
    fn other_form(&mut self, now: &Now, id: CommandId, ack: CommandAck, wanted: Transport) {
        let state = self.recheck(now, id);
        let Some(live) = self.live.get_mut(&id) else { return };
        let sendable = self.vehicle.ready_for(live.record.target, now.boot) && !self.stopping;
        let Some(dispatch) = &live.record.dispatch else { return };
        // What an earlier process sent is never sent again: what let it in may be gone.
        let swaps = sendable
            && !live.recovered
            && !dispatch.other_form
            && dispatch.transport != wanted
            && now.boot < live.deadline;
        live.record.ack = Some(Acknowledged { ack, at: now.wall });
        live.confirmation = 0;
        self.timers.cancel(Timer::Retransmit(id));
        if swaps && let Err(refusal) = state {
            let message = format!("the vehicle asked for {wanted} instead; {}", refusal.message);
            self.finish(now, id, Status::Failed, refusal.code, message);
            return;
        }
        if !(swaps && self.send(now, id, wanted, true)) {
            self.decided(now, id, ack);
        }
    }

    /// The oldest command of this MAV_CMD that went out by this link and whose outcome somebody waits
    /// for, from another component of the same system.
    fn waiting_for_another_component(&self, link: LinkId, ack: &CommandAck) -> Option<CommandId> {
        self.in_flight
            .iter()
            .filter(|((target, command), id)| {
                *command == ack.command
                    && *target != ack.source
                    && target.system == ack.source.system
                    && self.vehicle.link_of(target.component) == link
                    && self.live[id].may_be_out
                    && !self.live[id].record.is_terminal()
            })
            .map(|(_, id)| *id)
            .min_by_key(|id| self.live[id].record.number)
    }

    fn strayed(&mut self, now: &Now, id: CommandId, ack: CommandAck) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.record.stray = Some(Acknowledged { ack, at: now.wall });
        self.write(id);
        self.write_lazily(now);
    }

    fn answered_late(&mut self, now: &Now, id: CommandId, ack: CommandAck) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.record.status == Status::Delivered {
            // Nobody waited, so it is not late: the answer completes the command.
            if ack.is_in_progress() {
                self.progressed(now, id, ack);
            } else {
                self.decided(now, id, ack);
            }
            return;
        }
        live.record.ack = Some(Acknowledged { ack, at: now.wall });
        let cause = Cause::Result(ack.result);
        let message = format!("the vehicle answered {} after the timeout", cause.response_code());
        self.finish(now, id, Status::UnmatchedResponse, cause, message);
    }
}
