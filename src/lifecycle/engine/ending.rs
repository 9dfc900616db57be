//! A command ends; once nothing can change it any more it is closed.

use super::Engine;
use super::live::Slot;
use crate::code::Code;
use crate::lifecycle::effect::Effect;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::status::{Cause, Status};
use crate::lifecycle::time::Now;
use crate::lifecycle::timers::Timer;

impl Engine {
    /// Ends a command: the one place where a status becomes final.
    pub(super) fn finish(
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
    pub(super) fn close(&mut self, id: CommandId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.record.closed = true;
            let slot = live.slot();
            if self.late.get(&slot) == Some(&id) {
                self.late.remove(&slot);
            }
            self.free_slot(slot, id);
            self.timers.cancel_command(id);
            self.closing.push(id);
        }
    }

    pub(super) fn free_slot(&mut self, slot: Slot, id: CommandId) {
        if self.in_flight.get(&slot) == Some(&id) {
            self.in_flight.remove(&slot);
        }
    }
}
