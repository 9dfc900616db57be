//! Finds the frames in a byte stream that may start anywhere and carry noise.
//!
//! A candidate whose checksum does not fit costs one byte, so a frame behind noise is found as soon
//! as the noise is told from a frame. A candidate that is still incomplete holds back what follows
//! it: what looks like a frame there may be this frame's payload (a log or a tunnel carries whole
//! frames), and a COMMAND_ACK must never be read out of one. For the same reason a message that is in no
//! dialect is taken whole. A caller who sees the stream pause
//! inside of a candidate says so with [`Framer::resynchronize`].

mod unknown;

use mavlink::{MAV_STX, MAV_STX_V2, consts};

use super::checksum::{checksum, crc_extra};
use super::{Address, full_length};
use unknown::Seeds;

const V1_HEADER: usize = consts::STX_SIZE + consts::v1::HEADER_SIZE;
const V2_HEADER: usize = consts::STX_SIZE + consts::v2::MIN_HEADER_SIZE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// One intact frame. Its signature is not looked at here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    version: Version,
    bytes: &'a [u8],
}

/// What went through a [`Framer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub bytes: u64,
    /// Intact frames of known messages.
    pub frames: u64,
    /// Those of them that are MAVLink 1.
    pub mavlink_1: u64,
    /// Candidates whose checksum did not fit.
    pub bad_checksum: u64,
    /// Frames with a message id that is in no dialect: their checksum fits with some CRC_EXTRA, as it
    /// does for one noise in 256.
    pub unknown_message: u64,
    /// Candidates with incompatibility flags that we do not know; noise mostly.
    pub unknown_flags: u64,
    /// Bytes that belonged to no frame that was returned.
    pub skipped_bytes: u64,
}

/// An incremental reader of MAVLink 1 and 2 frames. Each frame is checked once.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the first byte stands that is neither skipped nor part of a returned frame.
    start: usize,
    seeds: Seeds,
    counters: Counters,
}

impl<'a> Frame<'a> {
    pub fn version(&self) -> Version {
        self.version
    }

    pub fn sequence(&self) -> u8 {
        match self.version {
            Version::V1 => self.bytes[2],
            Version::V2 => self.bytes[4],
        }
    }

    pub fn source(&self) -> Address {
        let (system, component) = match self.version {
            Version::V1 => (self.bytes[3], self.bytes[4]),
            Version::V2 => (self.bytes[5], self.bytes[6]),
        };
        Address { system, component }
    }

    pub fn message_id(&self) -> u32 {
        message_id(self.version, self.bytes)
    }

    /// Whether a signature follows the checksum. Nobody here has checked it.
    pub fn is_signed(&self) -> bool {
        self.version == Version::V2 && self.bytes[2] & consts::v2::IFLAG_SIGNED != 0
    }

    /// As it was sent: without the trailing zeros in MAVLink 2.
    pub fn payload(&self) -> &'a [u8] {
        let header = header_length(self.version);
        &self.bytes[header..header + usize::from(self.bytes[consts::PAYLOAD_LEN_OFFSET])]
    }

    /// The payload at its full length of `N`, without what a newer dialect appends. `None`: it lacks fields.
    /// Only MAVLink 2 cuts trailing zeros off; a short MAVLink 1 payload is some other message's.
    pub(super) fn full_payload<const N: usize>(&self) -> Option<[u8; N]> {
        let payload = self.payload();
        let is_full = self.version == Version::V2 || payload.len() >= N;
        is_full.then(|| full_length(payload))
    }

    /// The whole frame, from its marker to its checksum or signature.
    pub fn as_slice(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Framer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Its counters go on from those of another one.
    pub fn counting_from(counters: Counters) -> Self {
        Self { counters, ..Self::default() }
    }

    /// Takes in what was read. The buffer stays below the size of one read and one frame, provided
    /// that the frames are taken out in between.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
        self.counters.bytes += bytes.len() as u64;
    }

    /// The next intact frame; `None` until more bytes come. Of a message that is in no dialect the
    /// first frame is skipped, and those that follow are returned: they are proven by it.
    #[expect(
        clippy::should_implement_trait,
        reason = "an Iterator cannot lend from its own buffer"
    )]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        loop {
            let held = &self.buffer[self.start..];
            match examine(held) {
                Candidate::Incomplete => return None,
                Candidate::Frame { version, length } => {
                    let frame = self.start..self.start + length;
                    self.start = frame.end;
                    self.counters.frames += 1;
                    self.counters.mavlink_1 += u64::from(version == Version::V1);
                    return Some(Frame { version, bytes: &self.buffer[frame] });
                }
                Candidate::BadChecksum => {
                    self.counters.bad_checksum += 1;
                    self.skip(1);
                }
                Candidate::UnknownMessage { version, length, seed } => {
                    let message_id = message_id(version, held);
                    self.counters.unknown_message += 1;
                    if self.seeds.confirm(message_id, seed) {
                        let frame = self.start..self.start + length;
                        self.start = frame.end;
                        return Some(Frame { version, bytes: &self.buffer[frame] });
                    }
                    self.skip(length);
                }
                Candidate::UnknownFlags => {
                    self.counters.unknown_flags += 1;
                    self.skip(1);
                }
                Candidate::Noise => {
                    let noise = held.iter().position(is_marker).unwrap_or(held.len());
                    self.skip(noise.max(1));
                }
            }
        }
    }

    /// Whether an incomplete candidate is held, once [`Framer::next`] has returned `None`.
    pub fn is_holding(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Gives up an incomplete candidate if an intact frame stands behind it, and says so; then
    /// [`Framer::next`] goes on with that frame. For a stream that paused for longer than senders
    /// pause inside of a frame, and for the end of a datagram. Without an intact frame behind it the
    /// candidate is kept: it may still be completed.
    pub fn resynchronize(&mut self) -> bool {
        let held = &self.buffer[self.start..];
        let intact = (0..held.len()).find(|&offset| {
            matches!(
                examine(&held[offset..]),
                Candidate::Frame { .. } | Candidate::UnknownMessage { .. }
            )
        });
        if let Some(offset) = intact {
            self.skip(offset);
        }
        intact.is_some()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.counters.skipped_bytes += bytes as u64;
    }
}

/// What the bytes at hand begin with.
enum Candidate {
    /// No frame begins here.
    Noise,
    /// A frame may begin here; more bytes will tell. Also: there are no bytes.
    Incomplete,
    UnknownMessage {
        version: Version,
        length: usize,
        /// The CRC_EXTRA that its checksum fits with.
        seed: u8,
    },
    UnknownFlags,
    BadChecksum,
    Frame {
        version: Version,
        length: usize,
    },
}

fn examine(bytes: &[u8]) -> Candidate {
    let (version, signature) = match bytes {
        [] | [MAV_STX_V2] | [MAV_STX_V2, _] => return Candidate::Incomplete,
        [MAV_STX, ..] => (Version::V1, 0),
        [MAV_STX_V2, _, 0, ..] => (Version::V2, 0),
        [MAV_STX_V2, _, consts::v2::IFLAG_SIGNED, ..] => (Version::V2, consts::v2::SIGNATURE_SIZE),
        // To be dropped, says the protocol.
        [MAV_STX_V2, ..] => return Candidate::UnknownFlags,
        _ => return Candidate::Noise,
    };
    let header = header_length(version);
    if bytes.len() < header {
        return Candidate::Incomplete;
    }
    let checksum_at = header + usize::from(bytes[consts::PAYLOAD_LEN_OFFSET]);
    let length = checksum_at + consts::CHECKSUM_SIZE + signature;
    if bytes.len() < length {
        return Candidate::Incomplete;
    }
    let stated = u16::from_le_bytes([bytes[checksum_at], bytes[checksum_at + 1]]);
    let checked = &bytes[consts::STX_SIZE..checksum_at];
    match crc_extra(message_id(version, bytes)) {
        Some(extra) if checksum(checked, extra) == stated => Candidate::Frame { version, length },
        Some(_) => Candidate::BadChecksum,
        None => match unknown::seed(checked, stated) {
            Some(seed) => Candidate::UnknownMessage { version, length, seed },
            None => Candidate::BadChecksum,
        },
    }
}

fn is_marker(byte: &u8) -> bool {
    matches!(*byte, MAV_STX | MAV_STX_V2)
}

fn header_length(version: Version) -> usize {
    match version {
        Version::V1 => V1_HEADER,
        Version::V2 => V2_HEADER,
    }
}

fn message_id(version: Version, bytes: &[u8]) -> u32 {
    match version {
        Version::V1 => bytes[5].into(),
        Version::V2 => u32::from_le_bytes([bytes[7], bytes[8], bytes[9], 0]),
    }
}

#[cfg(test)]
mod tests;
