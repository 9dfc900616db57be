//! What waits to leave on one connection, and whose PUBACK a packet id will be. Pure.
//!
//! rumqttc chooses packet ids only when it takes a publish from its channel. So publishes are
//! matched in the order in which they went in: first handed over, then `sent` with a packet id, then
//! acknowledged.

use std::collections::{HashMap, VecDeque};

use super::packet::Prepared;
use super::{Acknowledgement, PublishId};

/// Unacknowledged publishes at most; less when the broker's receive maximum asks for it.
pub(super) const PUBLISH_WINDOW: usize = 16;
/// Acknowledgements inside of rumqttc's channel at most.
pub(super) const ACKNOWLEDGEMENT_WINDOW: usize = 32;

pub(super) struct Outgoing {
    publish_window: usize,
    publishes: VecDeque<Prepared>,
    /// Given to rumqttc, which has not chosen a packet id yet.
    handed_over: VecDeque<Option<PublishId>>,
    unacknowledged: HashMap<u16, Option<PublishId>>,
    acknowledgements: VecDeque<Acknowledgement>,
    acknowledgements_handed_over: usize,
}

impl Outgoing {
    pub fn new() -> Self {
        Self {
            publish_window: PUBLISH_WINDOW,
            publishes: VecDeque::new(),
            handed_over: VecDeque::new(),
            unacknowledged: HashMap::new(),
            acknowledgements: VecDeque::new(),
            acknowledgements_handed_over: 0,
        }
    }

    /// The broker's receive maximum, from 1. We stay one below where possible: at the maximum
    /// rumqttc stops taking anything from its channel, acknowledgements too.
    pub fn limit(&mut self, receive_maximum: u16) {
        let below = usize::from(receive_maximum).saturating_sub(1).max(1);
        self.publish_window = PUBLISH_WINDOW.min(below);
    }

    pub fn publish(&mut self, publish: Prepared) {
        self.publishes.push_back(publish);
    }

    pub fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        self.acknowledgements.push_back(acknowledgement);
    }

    /// The next publish to hand over, if the window is open.
    pub fn next_publish(&mut self) -> Option<Prepared> {
        if self.handed_over.len() + self.unacknowledged.len() >= self.publish_window {
            return None;
        }
        let publish = self.publishes.pop_front()?;
        self.handed_over.push_back(publish.id);
        Some(publish)
    }

    /// The next acknowledgement to hand over.
    pub fn next_acknowledgement(&mut self) -> Option<Acknowledgement> {
        if self.acknowledgements_handed_over >= ACKNOWLEDGEMENT_WINDOW {
            return None;
        }
        let acknowledgement = self.acknowledgements.pop_front()?;
        self.acknowledgements_handed_over += 1;
        Some(acknowledgement)
    }

    /// The oldest publish that was handed over got this packet id.
    pub fn publish_sent(&mut self, packet_id: u16) {
        if let Some(id) = self.handed_over.pop_front() {
            self.unacknowledged.insert(packet_id, id);
        }
    }

    pub fn acknowledgement_sent(&mut self) {
        self.acknowledgements_handed_over = self.acknowledgements_handed_over.saturating_sub(1);
    }

    /// The broker's PUBACK: whose publish it was, if the caller wants to know.
    pub fn publish_acknowledged(&mut self, packet_id: u16) -> Option<PublishId> {
        self.unacknowledged.remove(&packet_id).flatten()
    }

    /// Everything has left, and the broker has taken all publishes.
    pub fn is_idle(&self) -> bool {
        self.publishes.is_empty()
            && self.handed_over.is_empty()
            && self.unacknowledged.is_empty()
            && self.acknowledgements.is_empty()
            && self.acknowledgements_handed_over == 0
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;

    use super::super::Publish;
    use super::super::packet::prepare;
    use super::*;

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

    fn hand_over_all(outgoing: &mut Outgoing) -> usize {
        std::iter::from_fn(|| outgoing.next_publish()).count()
    }

    #[test]
    fn the_window_bounds_what_is_under_way() {
        let mut outgoing = Outgoing::new();
        (0..40).for_each(|id| outgoing.publish(publish(Some(id))));
        assert_eq!(hand_over_all(&mut outgoing), PUBLISH_WINDOW);
        outgoing.publish_sent(1);
        assert_eq!(hand_over_all(&mut outgoing), 0, "sent is not acknowledged");
        assert_eq!(outgoing.publish_acknowledged(1), Some(PublishId(0)));
        assert_eq!(hand_over_all(&mut outgoing), 1);
    }

    #[test]
    fn the_window_stays_below_the_brokers_receive_maximum() {
        for (receive_maximum, window) in [(1, 1), (2, 1), (10, 9), (17, 16), (u16::MAX, 16)] {
            let mut outgoing = Outgoing::new();
            outgoing.limit(receive_maximum);
            (0..40).for_each(|id| outgoing.publish(publish(Some(id))));
            assert_eq!(hand_over_all(&mut outgoing), window, "{receive_maximum}");
        }
    }

    #[test]
    fn packet_ids_are_matched_in_order_and_may_be_acknowledged_out_of_order() {
        let mut outgoing = Outgoing::new();
        for id in [Some(7), None, Some(9)] {
            outgoing.publish(publish(id));
        }
        assert_eq!(hand_over_all(&mut outgoing), 3);
        (4..7).for_each(|packet_id| outgoing.publish_sent(packet_id));
        assert_eq!(outgoing.publish_acknowledged(6), Some(PublishId(9)));
        assert_eq!(outgoing.publish_acknowledged(5), None);
        assert!(!outgoing.is_idle());
        assert_eq!(outgoing.publish_acknowledged(4), Some(PublishId(7)));
        assert_eq!(outgoing.publish_acknowledged(4), None, "a packet id answers once");
        assert!(outgoing.is_idle());
    }

    #[test]
    fn acknowledgements_keep_their_order_and_window() {
        let mut outgoing = Outgoing::new();
        let many = ACKNOWLEDGEMENT_WINDOW as u16 + 3;
        for packet_id in 1..=many {
            outgoing.acknowledge(Acknowledgement {
                generation: 1,
                packet_id,
                qos: QoS::AtLeastOnce,
            });
        }
        let mut left = Vec::new();
        while left.len() < usize::from(many) {
            while let Some(acknowledgement) = outgoing.next_acknowledgement() {
                left.push(acknowledgement.packet_id);
            }
            assert_eq!(outgoing.acknowledgements_handed_over, ACKNOWLEDGEMENT_WINDOW);
            outgoing.acknowledgement_sent();
        }
        assert_eq!(left, (1..=many).collect::<Vec<_>>());
    }
}
