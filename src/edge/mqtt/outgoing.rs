//! What waits to leave on one connection, and whose PUBACK a packet id will be. Pure, but for a line in
//! the log.

use std::collections::{HashMap, VecDeque};

use rumqttc::v5::mqttbytes::v5::Publish as PublishPacket;

use super::PublishId;
use super::packet::Prepared;

/// Unacknowledged publishes at most; less when the broker's receive maximum asks for it.
const WINDOW: usize = 16;
/// Publishes without an id that wait at most. The caller does not bound them: answers, as many as
/// there are messages, which the broker may bring faster than it takes the answers.
const WAITING: usize = 4096;

pub(super) struct Outgoing {
    window: usize,
    /// The window has room for them, so they leave in their order.
    leaving: VecDeque<Prepared>,
    /// Retained ones without an id. These go first; they are as few as their topics.
    states: VecDeque<Prepared>,
    /// With an id. The caller may have so many that one always waits, so these and the others take
    /// turns.
    updates: VecDeque<Prepared>,
    others: VecDeque<Prepared>,
    /// Whose turn it is.
    others_next: bool,
    dropped: u64,
    unacknowledged: HashMap<u16, Option<PublishId>>,
    last_packet_id: u16,
}

impl Outgoing {
    /// `receive_maximum`: the broker's, from 1.
    pub fn new(receive_maximum: u16) -> Self {
        Self {
            window: WINDOW.min(receive_maximum.into()),
            leaving: VecDeque::new(),
            states: VecDeque::new(),
            updates: VecDeque::new(),
            others: VecDeque::new(),
            others_next: false,
            dropped: 0,
            unacknowledged: HashMap::new(),
            last_packet_id: 0,
        }
    }

    /// One without an id is dropped when too many wait, unless it is retained.
    pub fn publish(&mut self, publish: Prepared) {
        let waiting = [&self.states, &self.updates, &self.others];
        let none_waits = waiting.into_iter().all(VecDeque::is_empty);
        if none_waits && self.leaving.len() + self.unacknowledged.len() < self.window {
            self.leaving.push_back(publish);
        } else if publish.id.is_some() {
            self.updates.push_back(publish);
        } else if publish.packet.retain {
            self.keep_newest(publish);
        } else if self.others.len() < WAITING {
            self.others.push_back(publish);
        } else {
            self.count_dropped();
        }
    }

    /// The next one to send, with its packet id, if the window is open.
    pub fn next(&mut self) -> Option<PublishPacket> {
        if self.unacknowledged.len() >= self.window {
            return None;
        }
        let Prepared { id, mut packet } = self.next_in_turn()?;
        packet.pkid = self.next_packet_id();
        self.unacknowledged.insert(packet.pkid, id);
        Some(packet)
    }

    /// The broker's PUBACK: whose publish it was, if the caller wants to know.
    pub fn acknowledged(&mut self, packet_id: u16) -> Option<PublishId> {
        self.unacknowledged.remove(&packet_id).flatten()
    }

    /// Everything has left, and the broker has taken it.
    pub fn is_idle(&self) -> bool {
        let waiting = [&self.leaving, &self.states, &self.updates, &self.others];
        waiting.into_iter().all(VecDeque::is_empty) && self.unacknowledged.is_empty()
    }

    fn next_in_turn(&mut self) -> Option<Prepared> {
        let first = self.leaving.pop_front().or_else(|| self.states.pop_front());
        if first.is_some() {
            return first;
        }
        let mut queues = [&mut self.updates, &mut self.others];
        if self.others_next {
            queues.reverse();
        }
        let next = queues.into_iter().find_map(VecDeque::pop_front)?;
        self.others_next = next.id.is_some();
        Some(next)
    }

    /// Of a state the broker keeps the newest only.
    fn keep_newest(&mut self, publish: Prepared) {
        let topic = &publish.packet.topic;
        self.states.retain(|it| it.packet.topic != *topic);
        self.states.push_back(publish);
    }

    /// Says so ever more rarely.
    fn count_dropped(&mut self) {
        self.dropped += 1;
        if self.dropped.is_power_of_two() {
            log::warn!(
                "{WAITING} answers wait for the broker; dropped on this connection: {}",
                self.dropped
            );
        }
    }

    /// MQTT 5, 2.2.1: not 0, and none that is in use.
    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.unacknowledged.contains_key(&self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Publish;
    use super::super::packet::prepare;
    use super::*;

    fn outgoing(receive_maximum: u16, publishes: u64) -> Outgoing {
        let mut outgoing = Outgoing::new(receive_maximum);
        (0..publishes).for_each(|id| outgoing.publish(publish(Some(id))));
        outgoing
    }

    fn publish(id: Option<u64>) -> Prepared {
        prepared(id, "t", "{}", false)
    }

    fn prepared(id: Option<u64>, topic: &str, payload: &str, retain: bool) -> Prepared {
        let publish = Publish {
            id: id.map(PublishId),
            topic: topic.into(),
            payload: payload.into(),
            retain,
            ..Publish::default()
        };
        prepare(publish, u32::MAX).unwrap()
    }

    /// The payloads, if the broker takes one after the other.
    fn drain(outgoing: &mut Outgoing) -> Vec<String> {
        let mut payloads = Vec::new();
        while let Some(packet) = outgoing.next() {
            payloads.push(String::from_utf8(packet.payload.to_vec()).unwrap());
            outgoing.acknowledged(packet.pkid);
        }
        payloads
    }

    fn send_all(outgoing: &mut Outgoing) -> Vec<u16> {
        std::iter::from_fn(|| outgoing.next()).map(|packet| packet.pkid).collect()
    }

    #[test]
    fn the_window_bounds_what_is_under_way() {
        let mut outgoing = outgoing(u16::MAX, 40);
        assert_eq!(send_all(&mut outgoing), (1..=16).collect::<Vec<_>>());
        assert_eq!(outgoing.acknowledged(1), Some(PublishId(0)));
        assert_eq!(send_all(&mut outgoing), [17]);
    }

    #[test]
    fn the_window_is_not_above_the_brokers_receive_maximum() {
        for (receive_maximum, window) in [(1, 1), (2, 2), (10, 10), (17, 16), (u16::MAX, 16)] {
            let mut outgoing = outgoing(receive_maximum, 40);
            assert_eq!(send_all(&mut outgoing).len(), window, "{receive_maximum}");
        }
    }

    #[test]
    fn what_the_window_has_room_for_leaves_in_its_order() {
        let mut outgoing = outgoing(2, 0);
        for (id, payload) in [(None, "answer"), (Some(1), "update")] {
            outgoing.publish(prepared(id, "t", payload, false));
        }
        assert_eq!(drain(&mut outgoing), ["answer", "update"]);
    }

    #[test]
    fn of_what_waits_updates_and_others_take_turns_each_kind_in_its_order() {
        let mut outgoing = outgoing(1, 1);
        for (id, payload) in [(None, "a"), (Some(1), "1"), (None, "b"), (Some(2), "2")] {
            outgoing.publish(prepared(id, "t", payload, false));
        }
        let first = outgoing.next().unwrap();
        outgoing.acknowledged(first.pkid);
        // There is room now, but not for one that comes after those.
        for (id, payload) in [(None, "c"), (Some(3), "3"), (None, "d"), (None, "e")] {
            outgoing.publish(prepared(id, "t", payload, false));
        }
        assert!(!outgoing.is_idle());
        assert_eq!(drain(&mut outgoing), ["1", "a", "2", "b", "3", "c", "d", "e"]);
        assert!(outgoing.is_idle());
    }

    /// The caller publishes the next update whenever one was acknowledged.
    #[test]
    fn an_answer_and_a_state_wait_for_one_update_and_not_for_the_whole_outbox() {
        let mut outgoing = outgoing(1, 3);
        let mut left = Vec::new();
        for round in 0..4 {
            let packet = outgoing.next().unwrap();
            left.push(packet.payload);
            outgoing.acknowledged(packet.pkid);
            outgoing.publish(publish(Some(9)));
            if round == 0 {
                outgoing.publish(prepared(None, "t", "answer", false));
                outgoing.publish(prepared(None, "presence", "state", true));
            }
        }
        assert_eq!(left, ["{}", "state", "{}", "answer"]);
    }

    #[test]
    fn answers_beyond_those_that_may_wait_are_dropped_and_updates_are_not() {
        let mut outgoing = outgoing(1, 1);
        for number in 0..WAITING + 3 {
            outgoing.publish(prepared(None, "t", &format!("answer {number}"), false));
            outgoing.publish(prepared(Some(1), "t", "update", false));
        }
        assert_eq!(outgoing.dropped, 3);
        let left = drain(&mut outgoing);
        assert_eq!(left.iter().filter(|payload| *payload == "update").count(), WAITING + 3);
        let answers = (0..WAITING).map(|number| format!("answer {number}"));
        let left = left.into_iter().filter(|payload| payload != "update").skip(1);
        assert_eq!(left.collect::<Vec<_>>(), answers.collect::<Vec<_>>());
    }

    #[test]
    fn a_state_is_never_dropped_and_waits_behind_nothing_else() {
        let mut outgoing = outgoing(1, 1);
        for number in 0..WAITING {
            outgoing.publish(prepared(None, "t", &number.to_string(), false));
        }
        for (topic, payload) in [("presence", "old"), ("other", "state"), ("presence", "new")] {
            outgoing.publish(prepared(None, topic, payload, true));
        }
        outgoing.publish(prepared(Some(1), "t", "update", false));
        assert_eq!(drain(&mut outgoing)[1..5], ["state", "new", "update", "0"]);
        assert_eq!(outgoing.dropped, 0);
    }

    #[test]
    fn publishes_may_be_acknowledged_out_of_order_and_once() {
        let mut outgoing = Outgoing::new(u16::MAX);
        for id in [Some(7), None, Some(9)] {
            outgoing.publish(publish(id));
        }
        assert_eq!(send_all(&mut outgoing), [1, 2, 3]);
        assert_eq!(outgoing.acknowledged(3), Some(PublishId(9)));
        assert_eq!(outgoing.acknowledged(2), None);
        assert!(!outgoing.is_idle());
        assert_eq!(outgoing.acknowledged(1), Some(PublishId(7)));
        assert_eq!(outgoing.acknowledged(1), None, "a packet id answers once");
        assert!(outgoing.is_idle());
    }

    #[test]
    fn a_packet_id_is_never_0_and_never_given_twice() {
        let mut outgoing = outgoing(u16::MAX, 70_000);
        assert_eq!(outgoing.next().unwrap().pkid, 1);
        let mut before = 1;
        for _ in 0..69_999 {
            let packet_id = outgoing.next().unwrap().pkid;
            // 1 stays unacknowledged.
            assert_eq!(packet_id, if before == u16::MAX { 2 } else { before + 1 });
            outgoing.acknowledged(packet_id);
            before = packet_id;
        }
    }
}
