//! CRC-16/MCRF4XX and CRC_EXTRA (mavlink.io, "Packet Serialization").

use crc::{CRC_16_MCRF4XX, Crc, Table};

include!(concat!(env!("OUT_DIR"), "/crc_extra.rs"));

// Sixteen bytes at a time: every byte of the vehicle's stream goes through it.
static CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_MCRF4XX);

/// Of a frame from behind its marker up to its checksum.
pub(super) fn checksum(checked: &[u8], extra: u8) -> u16 {
    let mut digest = CRC.digest();
    digest.update(checked);
    digest.update(&[extra]);
    digest.finalize()
}

/// CRC_EXTRA of a message. `None`: it is in no dialect that is known here.
pub(super) fn crc_extra(message_id: u32) -> Option<u8> {
    let Some(extra) = FIRST_CRC_EXTRA.get(message_id as usize) else {
        let index = OTHER_CRC_EXTRA.binary_search_by_key(&message_id, |&(id, _)| id).ok()?;
        return Some(OTHER_CRC_EXTRA[index].1);
    };
    *extra
}

#[cfg(test)]
mod tests {
    use mavlink::dialects::development::MavMessage;
    use mavlink::{Message as _, calculate_crc};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn crc_extra_is_that_of_the_mavlink_crate() {
        assert!(OTHER_CRC_EXTRA.is_sorted_by(|left, right| left.0 < right.0));
        let known = (0..100_000).filter(|&id| MavMessage::default_message_from_id(id).is_some());
        let mut count = 0;
        for id in known {
            assert_eq!(crc_extra(id), Some(MavMessage::extra_crc(id)), "message {id}");
            count += 1;
        }
        assert!(count > 200, "{count} messages compared");
        // Between known ones, and behind the last.
        assert_eq!(crc_extra(3), None);
        assert_eq!(crc_extra(0xFF_FFFF), None);
    }

    proptest! {
        #[test]
        fn it_is_the_checksum_of_the_mavlink_crate(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            extra: u8,
        ) {
            prop_assert_eq!(checksum(&bytes, extra), calculate_crc(&bytes, extra));
        }
    }
}
