//! Updates on their way to the broker: in order, at most a window of them unacknowledged.

use std::collections::BTreeMap;

use super::effect::OutboxNumber;
use super::record::Record;
use super::request::CommandId;

/// Unacknowledged publishes at a time; below any broker's receive maximum in use.
const WINDOW: usize = 16;

#[derive(Debug, Default)]
pub struct Outbox {
    waiting: BTreeMap<OutboxNumber, Record>,
    in_flight: BTreeMap<OutboxNumber, Record>,
    /// Refused by the broker; offered again later, so that it does not spin. Later updates of the same
    /// command wait with it, for their order.
    refused: BTreeMap<OutboxNumber, CommandId>,
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
    pub fn take_next(&mut self) -> Option<(OutboxNumber, Record)> {
        if !self.connected || self.in_flight.len() >= WINDOW {
            return None;
        }
        let held_back = |record: &Record| self.refused.values().any(|id| *id == record.command_id);
        let number = *self.waiting.iter().find(|(_, record)| !held_back(record))?.0;
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
            self.refused.insert(number, record.command_id);
            self.waiting.insert(number, record);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_refuses_holds_back_its_command_only() {
        let mut outbox = Outbox::default();
        outbox.connected();
        let one = Record::example();
        let other = Record { command_id: uuid::Uuid::nil(), ..Record::example() };
        for record in [&one, &one, &other] {
            outbox.push(record.clone());
        }
        assert_eq!(outbox.take_next().map(|(number, _)| number), Some(1));
        outbox.refused(1);
        assert_eq!(outbox.take_next().map(|(number, _)| number), Some(3));
        assert_eq!(outbox.take_next(), None);
        outbox.retry();
        assert_eq!(outbox.take_next().map(|(number, _)| number), Some(1));
        assert_eq!(outbox.take_next().map(|(number, _)| number), Some(2));
        assert!(outbox.published(1) && outbox.published(2) && outbox.published(3));
        assert!(outbox.is_empty());
    }
}
