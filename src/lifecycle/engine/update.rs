//! A command has taken a step: it is written down, and its update waits for the broker.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::lifecycle::effect::{Effect, OutboxNumber};
use crate::lifecycle::request::CommandId;
use crate::lifecycle::time::{Now, Stamp};
use crate::lifecycle::timers::Timer;

/// Writes that nothing waits for ride along with the next commit, or go after this time.
const LAZY_WRITES_AFTER: Duration = Duration::from_secs(1);
/// How long updates that the broker refused wait before they are offered again.
const OUTBOX_RETRY_AFTER: Duration = Duration::from_secs(5);

impl Engine {
    /// Makes the next update of a command and puts it into the outbox.
    pub(super) fn announce(&mut self, now: &Now, id: CommandId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.record.seq = live.record.next_seq();
        self.announce_as_numbered(now, id);
    }

    /// As [`Engine::announce`], with the number that the record already carries.
    pub(super) fn announce_as_numbered(&mut self, now: &Now, id: CommandId) {
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
    pub(super) fn write(&mut self, id: CommandId) {
        if let Some(live) = self.live.get(&id) {
            self.batch.records.insert(id, Arc::new(live.record.clone()));
        }
    }

    pub(super) fn write_lazily(&mut self, now: &Now) {
        if !self.timers.is_set(Timer::LazyWrites) {
            self.timers.set(Timer::LazyWrites, now.boot + LAZY_WRITES_AFTER);
        }
    }

    pub(super) fn on_published(&mut self, now: &Now, number: u64, accepted: bool) {
        if !accepted {
            self.outbox.refused(number);
            self.timers.set(Timer::OutboxRetry, now.boot + OUTBOX_RETRY_AFTER);
        } else if self.outbox.published(number) && self.forget_update(number) {
            self.write_lazily(now);
        }
    }

    /// Takes an update out of the journal; false when it never got there.
    pub(super) fn forget_update(&mut self, number: OutboxNumber) -> bool {
        self.batch.outbox.remove(&number).is_none() && self.batch.published.insert(number)
    }
}
