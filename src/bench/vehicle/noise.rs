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
