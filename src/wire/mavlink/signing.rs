//! MAVLink 2 message signing (mavlink.io, "Message Signing"): what we sign, and whether what we hear
//! counts.
//!
//! A timestamp is used once, ever. So it must lie below a bound that was made durable before: the
//! [`Signer`] is granted one after the other, and starts after a restart where the last one ended.
//! Nothing that was signed before that start is believed, so a recording of before the restart is
//! worth nothing either. The vehicle takes over any newer time that it hears, ours too, so its next
//! frame counts again.

mod key;

use std::collections::BTreeMap;
use std::time::Duration;

use mavlink::consts;
use mavlink::consts::v2::{
    IFLAG_SIGNED, SIGNATURE_LINK_ID_SIZE as LINK_ID_SIZE,
    SIGNATURE_TIMESTAMP_SIZE as TIMESTAMP_SIZE, SIGNATURE_VALUE_SIZE,
};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Address;
use super::checksum::{checksum, crc_extra};
use super::encode::FrameBytes;
use super::framer::Frame;
use crate::lifecycle::time::Timestamp;

pub use key::{Key, KeyError};

/// How far ahead of their use timestamps are made durable.
const LEASE: Duration = Duration::from_secs(300);
/// What is left of a lease when the next one is asked for.
const LEASE_LEFT: Duration = Duration::from_secs(60);
/// How far behind our time a stream that was not heard before may begin.
const MAX_BEHIND: Duration = Duration::from_secs(60);
/// Streams that are remembered: several times what a vehicle has.
const MAX_STREAMS: usize = 64;

/// The time in a signature: 48 bits of 10 µs since 2015-01-01, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SigningTime(u64);

/// Why a frame does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Rejection {
    #[error("not signed")]
    Unsigned,
    #[error("signed with another key")]
    BadSignature,
    /// Its timestamp is not newer than that of the frame before it.
    #[error(
        "a repetition, or two senders share a link id, or one has restarted and not heard our time yet"
    )]
    Replayed,
    /// The first of its stream, and over a minute old or perhaps of before our start.
    #[error("signed too long ago, or the sender has not heard our time yet")]
    Stale,
}

/// Signs frames with one link id, and verifies what comes in on the same link.
#[derive(Debug)]
pub struct Signer {
    key: Key,
    link_id: u8,
    /// The latest timestamp that we used, or that we believed: the next one is later.
    last: SigningTime,
    /// Timestamps before this one may be used.
    bound: SigningTime,
    streams: BTreeMap<Stream, SigningTime>,
    /// A stream that is not among them begins at this or later.
    new_streams_from: SigningTime,
}

/// Timestamps count up in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stream {
    source: Address,
    link_id: u8,
}

impl SigningTime {
    const EPOCH: Timestamp = Timestamp::from_secs(1_420_070_400);
    const PER_MILLISECOND: u64 = 100;
    const MAX: Self = Self((1 << (8 * TIMESTAMP_SIZE)) - 1);

    /// Later than 2104 is as late as can be written.
    pub const fn from_ticks(ticks: u64) -> Self {
        if ticks < Self::MAX.0 { Self(ticks) } else { Self::MAX }
    }

    /// In 10 µs.
    pub fn ticks(self) -> u64 {
        self.0
    }

    pub fn saturating_add(self, duration: Duration) -> Self {
        let ticks = u64::try_from(duration.as_micros() / 10).unwrap_or(u64::MAX);
        Self::from_ticks(self.0.saturating_add(ticks))
    }

    fn saturating_sub(self, duration: Duration) -> Self {
        let ticks = u64::try_from(duration.as_micros() / 10).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(ticks))
    }

    fn to_wire(self) -> [u8; TIMESTAMP_SIZE] {
        let [b0, b1, b2, b3, b4, b5, _, _] = self.0.to_le_bytes();
        [b0, b1, b2, b3, b4, b5]
    }
}

impl From<Timestamp> for SigningTime {
    /// A time before 2015 becomes 2015.
    fn from(time: Timestamp) -> Self {
        let since = time.as_millis().saturating_sub(Self::EPOCH.as_millis());
        Self::from_ticks(since.saturating_mul(Self::PER_MILLISECOND))
    }
}

impl Signer {
    /// `start`: no earlier timestamp is used, and none is believed; of a link that never signed, 0.
    pub fn new(key: Key, link_id: u8, start: SigningTime) -> Self {
        Self {
            key,
            link_id,
            last: SigningTime(start.0.saturating_sub(1)),
            bound: start,
            streams: BTreeMap::new(),
            new_streams_from: start,
        }
    }

    /// Timestamps before `until` may be used from now on: a restart would start there.
    pub fn grant(&mut self, until: SigningTime) {
        self.bound = self.bound.max(until);
    }

    /// The lease to make durable next, if what is left of this one is short.
    pub fn wanted(&self, now: SigningTime) -> Option<SigningTime> {
        let time = now.max(self.last);
        (time.saturating_add(LEASE_LEFT) > self.bound).then(|| time.saturating_add(LEASE))
    }

    /// The frame with our signature. `now`: what time it is, roughly. `None`: no timestamp is left
    /// that may be used.
    pub fn sign(&mut self, frame: &FrameBytes, now: SigningTime) -> Option<FrameBytes> {
        let last_of_lease = SigningTime(self.bound.0.checked_sub(1)?);
        let timestamp = now.max(SigningTime(self.last.0 + 1)).min(last_of_lease);
        if timestamp <= self.last {
            return None;
        }
        self.last = timestamp;
        Some(seal(frame, &self.key, self.link_id, timestamp))
    }

    /// Whether a frame counts. `now` as for [`Signer::sign`].
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(&mut self, frame: &Frame<'_>, now: SigningTime) -> Result<(), Rejection> {
        let Some((signed, signature)) = split(frame) else { return Err(Rejection::Unsigned) };
        if !bool::from(signature.ct_eq(&self.key.signature(signed))) {
            return Err(Rejection::BadSignature);
        }
        let (stream, timestamp) = origin(frame.source(), signed);
        match self.streams.get(&stream) {
            Some(before) if timestamp <= *before => return Err(Rejection::Replayed),
            Some(_) => {}
            None => self.begin(timestamp, now)?,
        }
        self.streams.insert(stream, timestamp);
        self.last = self.last.max(timestamp);
        Ok(())
    }

    /// Makes room for a stream whose first timestamp this is.
    fn begin(&mut self, timestamp: SigningTime, now: SigningTime) -> Result<(), Rejection> {
        let not_before = now.max(self.last).saturating_sub(MAX_BEHIND);
        if timestamp < not_before.max(self.new_streams_from) {
            return Err(Rejection::Stale);
        }
        if self.streams.len() >= MAX_STREAMS
            && let Some((&stream, &before)) = self.streams.iter().min_by_key(|(_, time)| **time)
        {
            // Its recordings must not count as a new stream.
            self.new_streams_from = self.new_streams_from.max(SigningTime(before.0 + 1));
            self.streams.remove(&stream);
        }
        Ok(())
    }
}

/// What is hashed and the signature, of a frame that has one.
fn split<'a>(frame: &Frame<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let bytes = frame.as_slice();
    frame.is_signed().then(|| bytes.split_at(bytes.len() - SIGNATURE_VALUE_SIZE))
}

/// The end of what is hashed: link id and timestamp.
fn origin(source: Address, signed: &[u8]) -> (Stream, SigningTime) {
    let mut ticks = [0; 8];
    let (rest, timestamp) = signed.split_at(signed.len() - TIMESTAMP_SIZE);
    ticks[..TIMESTAMP_SIZE].copy_from_slice(timestamp);
    let link_id = rest[rest.len() - LINK_ID_SIZE];
    (Stream { source, link_id }, SigningTime(u64::from_le_bytes(ticks)))
}

fn seal(frame: &FrameBytes, key: &Key, link_id: u8, timestamp: SigningTime) -> FrameBytes {
    let length = frame.as_slice().len();
    let id = frame.message_id();
    let mut bytes = (*frame).into_array();
    bytes[2] |= IFLAG_SIGNED;
    let checksum_at = length - consts::CHECKSUM_SIZE;
    let extra = crc_extra(id).expect("the messages that we write are in the dialect");
    let checksum = checksum(&bytes[consts::STX_SIZE..checksum_at], extra);
    bytes[checksum_at..length].copy_from_slice(&checksum.to_le_bytes());
    let timestamp_at = length + LINK_ID_SIZE;
    let signature_at = timestamp_at + TIMESTAMP_SIZE;
    bytes[length] = link_id;
    bytes[timestamp_at..signature_at].copy_from_slice(&timestamp.to_wire());
    let signature = key.signature(&bytes[..signature_at]);
    bytes[signature_at..signature_at + signature.len()].copy_from_slice(&signature);
    FrameBytes::from_array(bytes)
}

impl Key {
    /// Of a frame from its marker to its timestamp.
    fn signature(&self, signed: &[u8]) -> [u8; SIGNATURE_VALUE_SIZE] {
        let mut hash = Context::new(&SHA256);
        hash.update(self.as_bytes());
        hash.update(signed);
        *hash.finish().as_ref().first_chunk().expect("32 bytes hold 6")
    }
}

#[cfg(test)]
mod tests;
