//! As much as PX4 sends in onboard mode: 520 frames and 33 kB in a second.

use std::time::Duration;

use mavlink::dialects::development::MavMessage;
use mavlink::{MAV_STX_V2, Message as _, calculate_crc};

/// Message id, payload bytes as PX4 fills them, frames in a second. Of these the agent reads
/// SYS_STATUS (1), GPS_RAW_INT (24), HOME_POSITION (242) and EXTENDED_SYS_STATE (245).
const RATES: [(u32, u8, u32); 26] = [
    (30, 28, 100),
    (31, 48, 50),
    (105, 63, 50),
    (33, 28, 50),
    (26, 24, 50),
    (32, 28, 30),
    (331, 232, 30),
    (36, 37, 10),
    (83, 37, 10),
    (85, 51, 10),
    (87, 51, 10),
    (375, 140, 10),
    (74, 20, 10),
    (141, 32, 10),
    (111, 16, 10),
    (231, 40, 10),
    (230, 42, 10),
    (24, 52, 10),
    (106, 44, 10),
    (330, 167, 10),
    (285, 40, 10),
    (1, 31, 5),
    (245, 2, 5),
    (147, 41, 5),
    (241, 32, 4),
    (242, 52, 1),
];

/// No zeros, which MAVLink 2 cuts off at the end; and GPS_RAW_INT.fix_type is a 3D fix.
const FILLER: u8 = 3;

/// One frame of a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Due {
    /// From the second's begin.
    pub at: Duration,
    pub message_id: u32,
    length: u8,
}

/// A second of the stream, in order; the messages' phases are spread over their periods.
pub fn second() -> Vec<Due> {
    let mut second: Vec<Due> = RATES
        .iter()
        .zip(0..)
        .flat_map(|(&(message_id, length, rate), row)| {
            let period = Duration::from_secs(1) / rate;
            let phase = period * row / RATES.len() as u32;
            (0..rate).map(move |count| Due { at: phase + period * count, message_id, length })
        })
        .collect();
    second.sort_by_key(|due| due.at);
    second
}

impl Due {
    /// The frame, of system 1, component 1.
    pub fn frame(&self, sequence: u8) -> Vec<u8> {
        frame(sequence, self.message_id, &vec![FILLER; self.length.into()])
    }
}

/// A MAVLink 2 frame of system 1, component 1.
pub fn frame(sequence: u8, message_id: u32, payload: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = message_id.to_le_bytes();
    let length = u8::try_from(payload.len()).expect("a payload has at most 255 bytes");
    let mut bytes = vec![MAV_STX_V2, length, 0, 0, sequence, 1, 1, low, middle, high];
    bytes.extend_from_slice(payload);
    let checksum = calculate_crc(&bytes[1..], MavMessage::extra_crc(message_id));
    bytes.extend(checksum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mavlink::Framer;

    #[test]
    fn a_second_is_as_large_as_px4s_and_every_frame_of_it_is_intact() {
        let mut framer = Framer::new();
        let second = second();
        let mut bytes = 0;
        for (due, sequence) in second.iter().zip((0..=u8::MAX).cycle()) {
            assert!(due.at < Duration::from_secs(1));
            let frame = due.frame(sequence);
            bytes += frame.len();
            framer.push(&frame);
            assert_eq!(framer.next().map(|frame| frame.message_id()), Some(due.message_id));
        }
        assert_eq!(second.len(), 520);
        assert!((32_000..35_000).contains(&bytes), "{bytes}");
        assert!(second.is_sorted_by_key(|due| due.at));
    }
}
