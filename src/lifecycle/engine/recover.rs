//! After a restart: nothing that may be out is sent again, nothing goes out late.

use std::time::Duration;

use super::Engine;
use super::live::Live;
use crate::catalog;
use crate::code::Code;
use crate::guard::grants::GrantId;
use crate::guard::nonces::NonceKey;
use crate::guard::set_aside::SetAside;
use crate::guard::{Candidate, Clearance, Refusal};
use crate::lifecycle::effect::OutboxNumber;
use crate::lifecycle::record::Record;
use crate::lifecycle::status::Status;
use crate::lifecycle::time::{Now, Timestamp};
use crate::lifecycle::timers::Timer;

impl Engine {
    /// Takes up what the journal holds: the records that are not closed, and the outbox. To be called once,
    /// before any input; the effects that follow end what cannot go on.
    pub fn recover(
        &mut self,
        now: &Now,
        mut records: Vec<Record>,
        outbox: impl IntoIterator<Item = (OutboxNumber, Record)>,
    ) {
        if self.settings.forwards {
            self.foreign.forget(now.boot);
        }
        self.outbox.restore(outbox);
        records.sort_by_key(|record| record.number);
        for record in records {
            if record.is_terminal() {
                self.recover_terminal(now, record);
            } else if record.dispatch.is_some() {
                self.recover_dispatched(now, record);
            } else {
                self.recover_queued(now, record);
            }
        }
    }

    /// Only a late COMMAND_ACK can still change it.
    fn recover_terminal(&mut self, now: &Now, record: Record) {
        let id = record.command_id;
        let left = record
            .updated
            .elapsed(now)
            .and_then(|elapsed| self.settings.late_ack_window.checked_sub(elapsed));
        let live = Live::new(record, now.boot);
        let slot = live.slot();
        self.live.insert(id, live);
        self.tell_doubtful_form(now, id);
        match left {
            // Records come in order of acceptance: a newer command of the slot takes it over.
            Some(left) => {
                if let Some(older) = self.late.insert(slot, id) {
                    self.close(older);
                    self.write(older);
                    self.write_lazily(now);
                }
                self.timers.set(Timer::LateWindow(id), now.boot + left);
            }
            None => self.on_late_window_over(now, id),
        }
    }

    /// Perhaps out already: it waits for what remains of its time, and is never sent again.
    fn recover_dispatched(&mut self, now: &Now, mut record: Record) {
        let id = record.command_id;
        let left = remaining(&record, now);
        // Where nobody knows when it was sent: not before it was accepted.
        let sent = record.dispatch.as_ref().and_then(|dispatch| dispatch.at.elapsed(now));
        let since = sent.or_else(|| record.accepted.elapsed(now));
        let left_of_progress =
            since.map_or(Duration::ZERO, |since| self.settings.max_progress.saturating_sub(since));
        let next_seq = record.next_seq();
        if let Some(dispatch) = record.dispatch.as_mut().filter(|it| it.sent_at.is_none()) {
            // DELIVERED may have been published under the reserved number before it was durable.
            dispatch.delivered_seq = next_seq;
        }
        let mut live = Live::new(record, now.boot + left.unwrap_or_default());
        live.recovered = true;
        live.progress_until = now.boot + left_of_progress;
        let slot = live.slot();
        let deadline = live.deadline;
        self.live.insert(id, live);
        self.in_flight.insert(slot, id);
        if left.is_some() {
            self.timers.set(Timer::Deadline(id), deadline);
        } else {
            self.on_deadline(now, id);
        }
    }

    /// Takes up the nonces in use, by entries of their own and by commands. To be called before any input.
    pub fn recover_nonces(
        &mut self,
        entries: Vec<(NonceKey, Timestamp)>,
        of_commands: Vec<(NonceKey, Timestamp)>,
    ) {
        self.nonce_entries.extend(entries.iter().map(|(key, _)| *key));
        self.nonces.restore(entries.into_iter().chain(of_commands));
    }

    /// Takes up that a journal was set aside; nothing, where none was. To be called before any input.
    pub fn recover_set_aside(&mut self, set_aside: Option<SetAside>) {
        self.set_aside = set_aside;
    }

    /// What the guard, as it is now, says of a journaled command; its state is asked at its turn.
    pub(super) fn permit(
        &self,
        now: &Now,
        record: &Record,
        held: Option<GrantId>,
    ) -> Result<Clearance, Refusal> {
        let command = catalog::find(&record.command_type).ok_or_else(|| {
            let message =
                format!("this version of the agent does not know {}", record.command_type);
            Refusal::new(Code::RequestUnknownCommand, message)
        })?;
        let candidate = Candidate {
            api_id: &record.api_id,
            command,
            content: &record.content,
            component: record.target.component,
            timeout_seconds: record.timeout_seconds,
        };
        self.guard.permit(candidate, &self.grants, held, now.boot)
    }

    /// Not sent yet: it may go if it is provably in time and still permitted. What the vehicle's state
    /// must be is asked when it is its turn: nothing has been heard of the vehicle yet.
    fn recover_queued(&mut self, now: &Now, record: Record) {
        let id = record.command_id;
        let left = remaining(&record, now);
        let permitted = self.permit(now, &record, None);
        let mut live = Live::new(record, now.boot + left.unwrap_or_default());
        live.waits_for_state = true;
        live.waits_for_link = true;
        let deadline = live.deadline;
        self.live.insert(id, live);
        match (left, permitted) {
            (None, _) => self.finish(
                now,
                id,
                Status::TimedOut,
                Code::RestartExpired,
                "not sent before the agent restarted, and not provably in time now",
            ),
            (Some(_), Err(refusal)) => {
                self.finish(now, id, Status::Failed, refusal.code, refusal.message);
            }
            (Some(_), Ok(clearance)) => {
                self.clear(now, id, clearance);
                self.queue.push_back(id);
                self.timers.set(Timer::Deadline(id), deadline);
            }
        }
    }
}

/// What is left of the command's time, if any and if it can be known.
fn remaining(record: &Record, now: &Now) -> Option<Duration> {
    let elapsed = record.accepted.elapsed(now)?;
    record.deadline().checked_sub(elapsed).filter(|left| !left.is_zero())
}
