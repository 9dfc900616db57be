//! Updates on their way to the broker: in order, at most a window of them unacknowledged, and never
//! more than a limit in all.
//!
//! At the limit old news give way: of every command the newest update stays, so the outcome of each
//! still arrives, with a gap in its numbers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::effect::OutboxNumber;
use super::record::Record;
use super::request::CommandId;

/// Updates that are kept at most: all three of each of 1 300 commands, or the last one of each of
/// 4 000. It bounds what an outage costs to about 4 MB of memory, and as much of the journal.
pub const MAX_UPDATES: usize = 4096;

/// Unacknowledged publishes at a time; below any broker's receive maximum in use.
pub const WINDOW: usize = 16;

#[derive(Clone, Debug)]
pub struct Outbox {
    limit: usize,
    waiting: BTreeMap<OutboxNumber, Arc<Record>>,
    in_flight: BTreeMap<OutboxNumber, Arc<Record>>,
    /// The broker refused an update of these; offered again later, so that it does not spin. Later
    /// updates of the same command wait with it, for their order.
    refused: HashSet<CommandId>,
    connected: bool,
    last: OutboxNumber,
}

impl Outbox {
    /// `limit`: updates that are kept at most, above [`WINDOW`].
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            refused: HashSet::new(),
            connected: false,
            last: 0,
        }
    }

    /// Takes up what the journal kept.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = (OutboxNumber, Record)>) {
        self.waiting.extend(entries.into_iter().map(|(number, it)| (number, Arc::new(it))));
        self.last = self.waiting.last_key_value().map_or(0, |(number, _)| *number);
    }

    /// Whether the last update of one more command will have room, even if the broker stays away and
    /// each of `open`, the commands that may still make updates, makes its own.
    pub fn has_room(&self, open: impl ExactSizeIterator<Item = CommandId>) -> bool {
        // What is in flight does not give way.
        let commands = self.limit.saturating_sub(WINDOW);
        if self.len() + open.len() < commands {
            return true;
        }
        let entries = self.waiting.values().chain(self.in_flight.values());
        let ids: HashSet<CommandId> = entries.map(|it| it.command_id).chain(open).collect();
        ids.len() < commands
    }

    pub fn push(&mut self, record: impl Into<Arc<Record>>) -> OutboxNumber {
        self.last += 1;
        self.waiting.insert(self.last, record.into());
        self.last
    }

    /// The update that came last.
    pub fn last(&self) -> OutboxNumber {
        self.last
    }

    /// Past the limit, drops updates that a later one of the same command replaces, oldest first;
    /// those of finished commands before those of commands under way. What is in flight stays. Returns
    /// what was dropped.
    pub fn collapse(&mut self) -> Vec<OutboxNumber> {
        if self.len() <= self.limit {
            return Vec::new();
        }
        let (mut finished, mut under_way) = (Vec::new(), Vec::new());
        let mut ends_as_terminal = HashMap::new();
        for (number, record) in self.waiting.iter().rev() {
            match ends_as_terminal.get(&record.command_id) {
                None => {
                    ends_as_terminal.insert(record.command_id, record.is_terminal());
                }
                Some(true) => finished.push(*number),
                Some(false) => under_way.push(*number),
            }
        }
        // Some more than needed, so that not every update looks through all of them.
        let excess = self.len() - (self.limit - self.limit / 8);
        let oldest_first = finished.into_iter().rev().chain(under_way.into_iter().rev());
        let dropped: Vec<OutboxNumber> = oldest_first.take(excess).collect();
        for number in &dropped {
            self.waiting.remove(number);
        }
        dropped
    }

    /// What was in flight on an earlier connection is sent again, in order.
    pub fn connected(&mut self) {
        self.connected = true;
        self.waiting.append(&mut self.in_flight);
        self.refused.clear();
    }

    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// The next update to publish now, if the window has room; none after `last`.
    pub fn next(&self, last: OutboxNumber) -> Option<OutboxNumber> {
        if !self.connected || self.in_flight.len() >= WINDOW {
            return None;
        }
        let held_back = |record: &Record| self.refused.contains(&record.command_id);
        let (number, _) = self.waiting.range(..=last).find(|(_, record)| !held_back(record))?;
        Some(*number)
    }

    /// As [`Outbox::next`]; from now on it is in flight.
    pub fn take_next(&mut self, last: OutboxNumber) -> Option<(OutboxNumber, Arc<Record>)> {
        let number = self.next(last)?;
        let record = self.waiting.remove(&number)?;
        self.in_flight.insert(number, record.clone());
        Some((number, record))
    }

    /// The broker has it. False when it was not in flight: an answer of an earlier connection.
    pub fn published(&mut self, number: OutboxNumber) -> bool {
        self.in_flight.remove(&number).is_some()
    }

    /// The broker refused it; it waits for [`Outbox::retry`].
    pub fn refused(&mut self, number: OutboxNumber) {
        if let Some(record) = self.in_flight.remove(&number) {
            self.refused.insert(record.command_id);
            self.waiting.insert(number, record);
        }
    }

    pub fn retry(&mut self) {
        self.refused.clear();
    }

    /// All that wait and are in flight.
    #[cfg(test)]
    pub fn entries(&self) -> impl Iterator<Item = (bool, OutboxNumber, &Record)> {
        let waiting = self.waiting.iter().map(|(number, record)| (false, *number, &**record));
        waiting.chain(self.in_flight.iter().map(|(number, record)| (true, *number, &**record)))
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
