//! What came over the link.

use crate::wire::mavlink::{self, Rejection};

/// Since the start, over all openings of the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What the bytes were.
    pub framed: mavlink::Counters,
    /// Intact frames of other systems than the vehicle.
    pub foreign: u64,
    // With a signing key: HEARTBEATs, COMMAND_ACKs and telemetry that did not count.
    pub unsigned: u64,
    pub bad_signature: u64,
    /// Their timestamp was not newer than the last one's.
    pub replayed: u64,
    /// The first of their stream, and too old.
    pub stale: u64,
}

impl Counters {
    pub(super) fn count(&mut self, why: Rejection) {
        *match why {
            Rejection::Unsigned => &mut self.unsigned,
            Rejection::BadSignature => &mut self.bad_signature,
            Rejection::Replayed => &mut self.replayed,
            Rejection::Stale => &mut self.stale,
        } += 1;
    }
}
