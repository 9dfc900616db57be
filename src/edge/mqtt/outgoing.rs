//! What waits to leave on one connection, and whose PUBACK a packet id will be. Pure.

use std::collections::{HashMap, VecDeque};

use rumqttc::v5::mqttbytes::v5::Publish as PublishPacket;

use super::PublishId;
use super::packet::Prepared;

/// Unacknowledged publishes at most; less when the broker's receive maximum asks for it.
const WINDOW: usize = 16;

pub(super) struct Outgoing {
    window: usize,
    waiting: VecDeque<Prepared>,
    unacknowledged: HashMap<u16, Option<PublishId>>,
    last_packet_id: u16,
}

impl Outgoing {
    /// `receive_maximum`: the broker's, from 1.
    pub fn new(receive_maximum: u16) -> Self {
        Self {
            window: WINDOW.min(receive_maximum.into()),
            waiting: VecDeque::new(),
            unacknowledged: HashMap::new(),
            last_packet_id: 0,
        }
    }

    pub fn publish(&mut self, publish: Prepared) {
        self.waiting.push_back(publish);
    }

    /// The next one to send, with its packet id, if the window is open.
    pub fn next(&mut self) -> Option<PublishPacket> {
        if self.unacknowledged.len() >= self.window {
            return None;
        }
        let Prepared { id, mut packet } = self.waiting.pop_front()?;
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
        self.waiting.is_empty() && self.unacknowledged.is_empty()
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
        let publish = Publish {
            id: id.map(PublishId),
            topic: "t".into(),
            payload: b"{}".to_vec(),
            retain: false,
            correlation_data: None,
            message_expiry: None,
            user_properties: Vec::new(),
        };
        prepare(publish, u32::MAX).unwrap()
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
