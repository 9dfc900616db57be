//! Messages of no public dialect: their checksum is seeded with a CRC_EXTRA that only their senders
//! know (mavlink.io, "CRC_EXTRA Calculation").
//!
//! A frame fits to at most one seed, noise fits to one by chance in 256. Two frames of one message id
//! that fit to the same seed are as good a proof as the checksum of a known message: from then on the
//! seed counts as known.

use std::collections::VecDeque;

use super::super::checksum::checksum;

/// Message ids that are remembered; noise must not fill the memory.
const MAX_MESSAGES: usize = 64;

/// What the frames so far tell of the seeds.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    /// By message id, the oldest first: the seed that the last frame fitted to.
    seen: VecDeque<(u32, u8)>,
}

impl Seeds {
    /// Takes in the seed of a frame. Whether the frame of this message before it had the same.
    pub(super) fn confirm(&mut self, message_id: u32, seed: u8) -> bool {
        if self.seen.contains(&(message_id, seed)) {
            return true;
        }
        self.seen.retain(|(id, _)| *id != message_id);
        if self.seen.len() == MAX_MESSAGES {
            self.seen.pop_front();
        }
        self.seen.push_back((message_id, seed));
        false
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

/// The seed that fits, if there is one. `checked`: from behind the marker up to the checksum, which is
/// stated behind it.
pub(super) fn seed(checked: &[u8], stated: u16) -> Option<u8> {
    // The checksum is linear: what a seed changes does not depend on the bytes before it.
    let change = checksum(checked, 0) ^ stated;
    let none = checksum(&[], 0);
    (0..=u8::MAX).find(|seed| checksum(&[], *seed) ^ none == change)
}
