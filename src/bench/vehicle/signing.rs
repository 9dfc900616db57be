//! MAVLink 2 message signing as the autopilot does it (mavlink.io, "Message Signing"); nothing in here
//! is the agent's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mavlink::consts::v2::{IFLAG_SIGNED, SIGNATURE_SIZE};
use mavlink::{MAVLinkMessageRaw, calculate_crc};
use sha2::{Digest as _, Sha256};

const CHECKSUM_SIZE: usize = 2;
const SIGNATURE_VALUE_SIZE: usize = 6;
const LINK_ID: u8 = 0;
/// 2015-01-01, where the time in signatures begins, in seconds since 1970.
const EPOCH: Duration = Duration::from_secs(1_420_070_400);

/// A key, and what time the autopilot believes it is.
pub struct Signing {
    key: [u8; 32],
    started: Instant,
    /// In 10 µs since 2015.
    start: u64,
    last: u64,
    /// The latest timestamp of each system, component and link id.
    heard: BTreeMap<[u8; 3], u64>,
}

impl Signing {
    /// `unix`: the time since 1970 at `now`.
    pub fn new(key: [u8; 32], now: Instant, unix: Duration) -> Self {
        let start = ticks(unix.saturating_sub(EPOCH));
        Self { key, started: now, start, last: start, heard: BTreeMap::new() }
    }

    /// Signs a MAVLink 2 frame; `extra` is the CRC_EXTRA of its message.
    pub fn sign(&mut self, now: Instant, frame: &mut Vec<u8>, extra: u8) {
        let time = self.start + ticks(now.saturating_duration_since(self.started));
        self.last = time.max(self.last + 1);
        frame[2] |= IFLAG_SIGNED;
        let checksum_at = frame.len() - CHECKSUM_SIZE;
        let checksum = calculate_crc(&frame[1..checksum_at], extra);
        frame[checksum_at..].copy_from_slice(&checksum.to_le_bytes());
        frame.push(LINK_ID);
        frame.extend_from_slice(&self.last.to_le_bytes()[..6]);
        let value = self.value(frame);
        frame.extend_from_slice(&value);
    }

    /// Whether a frame is signed with the key, at a time that its sender has not used yet. A time that is
    /// later than ours becomes ours.
    pub fn admits(&mut self, raw: &MAVLinkMessageRaw) -> bool {
        let MAVLinkMessageRaw::V2(raw) = raw else { return false };
        let bytes = raw.raw_bytes();
        if raw.incompatibility_flags() & IFLAG_SIGNED == 0 {
            return false;
        }
        let (signed, value) = bytes.split_at(bytes.len() - SIGNATURE_VALUE_SIZE);
        if self.value(signed) != value {
            return false;
        }
        let mut time = [0; 8];
        let link_id_at = bytes.len() - SIGNATURE_SIZE;
        time[..6].copy_from_slice(&signed[link_id_at + 1..]);
        let time = u64::from_le_bytes(time);
        let stream = [bytes[5], bytes[6], bytes[link_id_at]];
        if self.heard.get(&stream).is_some_and(|last| time <= *last) {
            return false;
        }
        self.heard.insert(stream, time);
        self.last = self.last.max(time);
        true
    }

    fn value(&self, signed: &[u8]) -> [u8; SIGNATURE_VALUE_SIZE] {
        let hash = Sha256::new().chain_update(self.key).chain_update(signed).finalize();
        std::array::from_fn(|index| hash[index])
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_micros() / 10).unwrap_or(u64::MAX)
}
