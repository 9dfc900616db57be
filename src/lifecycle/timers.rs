//! One small set of all deadlines, on the boot clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::request::CommandId;

/// What can become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// A heartbeat becomes too old for its link to be ready.
    LinkStale,
    /// A grant's time is over.
    GrantExpiry,
    /// Writes that need no haste have waited long enough.
    LazyWrites,
    /// Updates that the broker refused are offered again.
    OutboxRetry,
    /// Waiting in the queue or for the COMMAND_ACK ends.
    Deadline(CommandId),
    /// A repeatable command is written again.
    Retransmit(CommandId),
    /// A command that nobody waits for gives its slot back.
    Release(CommandId),
    /// A late COMMAND_ACK counts no longer.
    LateWindow(CommandId),
}

#[derive(Clone, Debug, Default)]
pub struct Timers {
    due: BTreeSet<(Duration, Timer)>,
    at: BTreeMap<Timer, Duration>,
}

impl Timers {
    /// Sets or moves a timer to a point on the boot clock.
    pub fn set(&mut self, timer: Timer, at: Duration) {
        if self.at.get(&timer) == Some(&at) {
            return;
        }
        self.cancel(timer);
        self.at.insert(timer, at);
        self.due.insert((at, timer));
    }

    pub fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// Ends every timer of one command.
    pub fn cancel_command(&mut self, id: CommandId) {
        for timer in
            [Timer::Deadline(id), Timer::Retransmit(id), Timer::Release(id), Timer::LateWindow(id)]
        {
            self.cancel(timer);
        }
    }

    pub fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        let (at, timer) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }
}
