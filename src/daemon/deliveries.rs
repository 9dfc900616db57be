//! The PUBACKs that wait for their messages' commit.

use std::collections::VecDeque;

use crate::edge::mqtt;
use crate::lifecycle::effect::DeliveryId;

/// The withheld PUBACKs, in the order of arrival, which is the order in which they are sent.
#[derive(Default)]
pub struct Deliveries {
    last: u64,
    waiting: VecDeque<(DeliveryId, mqtt::Acknowledgement)>,
}

impl Deliveries {
    pub fn add(&mut self, acknowledgement: mqtt::Acknowledgement) -> DeliveryId {
        self.last += 1;
        self.waiting.push_back((DeliveryId(self.last), acknowledgement));
        DeliveryId(self.last)
    }

    pub fn take(&mut self, delivery: DeliveryId) -> Option<mqtt::Acknowledgement> {
        let (first, _) = self.waiting.front()?;
        debug_assert_eq!(*first, delivery, "PUBACKs go out in the order of arrival");
        self.waiting.pop_front().map(|(_, acknowledgement)| acknowledgement)
    }
}
