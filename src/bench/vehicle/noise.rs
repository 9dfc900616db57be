//! What a bad line does to the vehicle's frames.

/// One in so many frames of the stream loses its second half; not one that divides the frames of a
/// second, or every HEARTBEAT could be among them.
const CUT_ONE_IN: u32 = 7;
const LONGEST_BURST: u32 = 24;
/// MAVLink's markers: a burst that holds one can, rarely, pass for a frame of no dialect, which takes
/// what follows with it, and then whether an answer arrives would be chance.
const MARKERS: [u8; 2] = [0xfd, 0xfe];

/// The same noise every time.
pub struct Noise {
    random: u32,
    frames: u32,
}

impl Default for Noise {
    fn default() -> Self {
        Self { random: 0x9e37_79b9, frames: 0 }
    }
}

impl Noise {
    /// What arrives of a frame: a burst of other bytes, then the frame, or half of it.
    pub fn disturb(&mut self, mut frame: Vec<u8>, is_answer: bool) -> Vec<u8> {
        let length = self.random() % LONGEST_BURST;
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| (self.random() >> 24) as u8)
            .filter(|byte| !MARKERS.contains(byte))
            .collect();
        if !is_answer {
            self.frames += 1;
            if self.frames.is_multiple_of(CUT_ONE_IN) {
                frame.truncate(frame.len() / 2);
            }
        }
        bytes.append(&mut frame);
        bytes
    }

    /// Xorshift (Marsaglia).
    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use mavlink::MavlinkReader;
    use mavlink::dialects::development::{HEARTBEAT_DATA, MavMessage};
    use mavlink::{MAVLinkV2MessageRaw, MavHeader};

    use super::*;

    #[test]
    fn what_is_not_cut_is_found_again_and_no_answer_is_cut() {
        let mut raw = MAVLinkV2MessageRaw::new();
        raw.serialize_message(
            MavHeader::default(),
            &MavMessage::HEARTBEAT(HEARTBEAT_DATA::DEFAULT),
        );
        let frame = raw.raw_bytes();
        let found = |is_answer: bool| {
            let mut noise = Noise::default();
            let line: Vec<u8> =
                (0..700).flat_map(|_| noise.disturb(frame.to_vec(), is_answer)).collect();
            assert!(line.len() > 700 * frame.len());
            let mut reader = MavlinkReader::new(line.as_slice());
            std::iter::from_fn(|| reader.read_any_message::<MavMessage>().ok()).count()
        };
        assert_eq!(found(true), 700);
        assert_eq!(found(false), 600);
    }
}
