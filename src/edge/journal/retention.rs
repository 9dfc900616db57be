//! What leaves the store for the archive, and what leaves the archive.
//!
//! A command is archived when it is closed and the broker has its last update. It goes in whole segments,
//! the oldest first, when the nonces of all its commands are forgotten: they are in it alone.

use std::collections::HashMap;
use std::time::Duration;

use super::archive::Archive;
use super::entries::Entries;
use super::entry::{RECORDS, decode};
use super::error::Error;
use super::segment::Finished;
use crate::lifecycle::effect::{Batch, OutboxNumber};
use crate::lifecycle::record::Record;
use crate::lifecycle::time::Timestamp;

/// Commands that are archived together, at most.
pub const SEGMENT_COMMANDS: usize = 512;

/// How much is kept of finished commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Since the last update of a command, by a clock that was trusted then and is now.
    pub age: Duration,
    /// At least so many; at most a segment more, beside those that must stay.
    pub max_commands: u64,
}

impl Retention {
    /// The segments that may go, of a journal with so many commands in all. `floor`: nonces that expire
    /// before are forgotten; `now`: only if it can be trusted.
    pub(super) fn expired(
        &self,
        archive: &Archive,
        mut commands: u64,
        floor: Timestamp,
        now: Option<Timestamp>,
    ) -> Vec<(u64, u64)> {
        let mut expired = Vec::new();
        for (first, segment) in archive.segments() {
            if segment.has_nonces_in_use(floor) {
                break;
            }
            let left = commands - segment.commands;
            let is_old = now
                .zip(segment.newest)
                .and_then(|(now, newest)| now.duration_since(newest))
                .is_some_and(|age| age > self.age);
            if !is_old && left < self.max_commands {
                break;
            }
            commands = left;
            expired.push((*first, segment.commands));
        }
        expired
    }
}

/// How many updates of a command, by its number, wait for the broker.
#[derive(Debug, Default)]
pub struct Unpublished {
    command_of: HashMap<OutboxNumber, u64>,
    count: HashMap<u64, usize>,
}

impl Unpublished {
    pub fn add(&mut self, entry: OutboxNumber, command: u64) {
        if self.command_of.insert(entry, command).is_none() {
            *self.count.entry(command).or_default() += 1;
        }
    }

    pub fn follow(&mut self, batch: &Batch) {
        for (entry, record) in &batch.outbox {
            self.add(*entry, record.number);
        }
        for entry in &batch.published {
            let command = self.command_of.remove(entry);
            if let Some((command, count)) =
                command.and_then(|command| Some((command, self.count.get_mut(&command)?)))
            {
                *count -= 1;
                if *count == 0 {
                    self.count.remove(&command);
                }
            }
        }
    }

    /// How many updates there are.
    pub fn len(&self) -> u64 {
        self.command_of.len() as u64
    }

    fn has(&self, command: u64) -> bool {
        self.count.contains_key(&command)
    }
}

/// The oldest commands that may be archived, at most a segment's worth.
///
/// # Errors
/// Not readable or damaged.
pub fn archivable(entries: &Entries, unpublished: &Unpublished) -> Result<Vec<Finished>, Error> {
    let mut commands = Vec::new();
    for entry in entries.scan(RECORDS) {
        let (key, value) = entry?;
        let Record { number, command_id, nonce_expires, updated, closed, .. } =
            decode(&key, &value)?;
        if closed && !unpublished.has(number) {
            commands.push(Finished { number, command_id, updated, nonce_expires, value });
            if commands.len() == SEGMENT_COMMANDS {
                break;
            }
        }
    }
    Ok(commands)
}
