//! AUTOPILOT_VERSION (148): which firmware the autopilot runs.

use std::fmt;

use super::framer::Frame;

const ID: u32 = 148;
/// Without its extension field, the second unique id.
const LENGTH: usize = 60;

/// The firmware's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutopilotVersion {
    /// `flight_sw_version`: major, minor and patch, and FIRMWARE_VERSION_TYPE in the lowest byte.
    pub flight_software: u32,
    /// The first eight bytes of the firmware's git hash, as PX4 fills them in: last byte first.
    pub flight_custom: [u8; 8],
}

/// `None` for every other message, and for a MAVLink 1 payload that lacks fields.
pub fn autopilot_version(frame: &Frame<'_>) -> Option<AutopilotVersion> {
    if frame.message_id() != ID {
        return None;
    }
    // On the wire the fields stand in order of their size (mavlink.io, "Field Reordering").
    let payload: [u8; LENGTH] = frame.full_payload()?;
    let (_capabilities_and_uid, rest) = payload.split_first_chunk::<16>()?;
    let (flight_software, rest) = rest.split_first_chunk::<4>()?;
    let (_other_versions_and_ids, rest) = rest.split_first_chunk::<16>()?;
    let (flight_custom, _) = rest.split_first_chunk::<8>()?;
    Some(AutopilotVersion {
        flight_software: u32::from_le_bytes(*flight_software),
        flight_custom: *flight_custom,
    })
}

impl fmt::Display for AutopilotVersion {
    /// `1.15.4 (official release), git 1a2b3c4d5e6f7081`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, kind] = self.flight_software.to_be_bytes();
        let kind = match kind {
            0..64 => "development",
            64..128 => "alpha",
            128..192 => "beta",
            192..255 => "release candidate",
            255 => "official release",
        };
        write!(f, "{major}.{minor}.{patch} ({kind})")?;
        if self.flight_custom != [0; 8] {
            write!(f, ", git {:016x}", u64::from_le_bytes(self.flight_custom))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mavlink::dialects::development::{AUTOPILOT_VERSION_DATA, HEARTBEAT_DATA};
    use mavlink::{MAVLinkV2MessageRaw, MavHeader, MessageData};

    use super::super::Framer;
    use super::*;

    fn read(message: &impl MessageData) -> Option<AutopilotVersion> {
        let mut raw = MAVLinkV2MessageRaw::new();
        raw.serialize_message_data(MavHeader::default(), message);
        let mut framer = Framer::new();
        framer.push(raw.raw_bytes());
        autopilot_version(&framer.next().unwrap())
    }

    #[test]
    fn what_the_crate_writes() {
        let sent = AUTOPILOT_VERSION_DATA {
            capabilities: Default::default(),
            uid: u64::MAX,
            flight_sw_version: 0x010F_04FF,
            middleware_sw_version: u32::MAX,
            board_version: 7,
            flight_custom_version: [0x81, 0x70, 0x6f, 0x5e, 0x4d, 0x3c, 0x2b, 0x1a],
            middleware_custom_version: [0xEE; 8],
            ..AUTOPILOT_VERSION_DATA::DEFAULT
        };
        let version = read(&sent).unwrap();
        assert_eq!(version.to_string(), "1.15.4 (official release), git 1a2b3c4d5e6f7081");
        assert_eq!(read(&HEARTBEAT_DATA::DEFAULT), None);
    }

    #[test]
    fn kinds_of_versions() {
        for (kind, text) in [
            (0, "1.2.3 (development)"),
            (64, "1.2.3 (alpha)"),
            (128, "1.2.3 (beta)"),
            (192, "1.2.3 (release candidate)"),
            (255, "1.2.3 (official release)"),
        ] {
            let version =
                AutopilotVersion { flight_software: 0x0102_0300 | kind, flight_custom: [0; 8] };
            assert_eq!(version.to_string(), text);
        }
    }
}
