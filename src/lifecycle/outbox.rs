//! Updates on their way to the broker: in order, at most a window of them unacknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::OutboxNumber;
use super::record::Record;

/// Unacknowledged publishes at a time; below any broker's receive maximum in use.
const WINDOW: usize = 16;

#[derive(Debug, Default)]
pub struct Outbox {
    waiting: BTreeMap<OutboxNumber, Record>,
    in_flight: BTreeMap<OutboxNumber, Record>,
    /// Refused by the broker; offered again later, so that it does not spin.
    refused: BTreeSet<OutboxNumber>,
    connected: bool,
    last: OutboxNumber,
}

impl Outbox {
    /// The outbox as the journal kept it.
    pub fn restore(entries: impl IntoIterator<Item = (OutboxNumber, Record)>) -> Self {
        let waiting: BTreeMap<_, _> = entries.into_iter().collect();
        let last = waiting.last_key_value().map_or(0, |(number, _)| *number);
        Self { waiting, last, ..Self::default() }
    }

    pub fn push(&mut self, record: Record) -> OutboxNumber {
        self.last += 1;
        self.waiting.insert(self.last, record);
        self.last
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

    /// The next update to publish now, if the window has room.
    pub fn next(&mut self) -> Option<(OutboxNumber, Record)> {
        if !self.connected || self.in_flight.len() >= WINDOW {
            return None;
        }
        let number =
            *self.waiting.keys().find(|number| !self.refused.contains(number))?;
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
            self.waiting.insert(number, record);
            self.refused.insert(number);
        }
    }

    pub fn retry(&mut self) {
        self.refused.clear();
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
