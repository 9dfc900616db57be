//! What others want of the vehicle, as far as a COMMAND_ACK answers it.

use super::Address;
use super::framer::Frame;

const COMMAND_INT_ID: u32 = 75;
const COMMAND_INT_LENGTH: usize = 35;
const COMMAND_LONG_ID: u32 = 76;
const COMMAND_LONG_LENGTH: usize = 33;
const COMMAND_CANCEL_ID: u32 = 80;
const COMMAND_CANCEL_LENGTH: usize = 4;

/// COMMAND_LONG (76), COMMAND_INT (75) or COMMAND_CANCEL (80) of another than us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignCommand {
    /// Who is to answer; 0 addresses all.
    pub target: Address,
    /// The MAV_CMD number.
    pub command: u16,
}

impl ForeignCommand {
    /// `None` for every other message, and for a MAVLink 1 payload that lacks fields.
    pub fn of(frame: &Frame<'_>) -> Option<Self> {
        // On the wire the fields stand in order of their size (mavlink.io, "Field Reordering").
        let (command, system, component) = match frame.message_id() {
            COMMAND_LONG_ID => {
                let payload: [u8; COMMAND_LONG_LENGTH] = frame.full_payload()?;
                ([payload[28], payload[29]], payload[30], payload[31])
            }
            COMMAND_INT_ID => {
                let payload: [u8; COMMAND_INT_LENGTH] = frame.full_payload()?;
                ([payload[28], payload[29]], payload[30], payload[31])
            }
            COMMAND_CANCEL_ID => {
                let payload: [u8; COMMAND_CANCEL_LENGTH] = frame.full_payload()?;
                let [command0, command1, system, component] = payload;
                ([command0, command1], system, component)
            }
            _ => return None,
        };
        Some(Self { target: Address { system, component }, command: u16::from_le_bytes(command) })
    }
}

#[cfg(test)]
mod tests {
    use mavlink::dialects::development::{
        COMMAND_CANCEL_DATA, COMMAND_INT_DATA, COMMAND_LONG_DATA, HEARTBEAT_DATA, MavCmd,
        MavMessage,
    };
    use mavlink::{MAVLinkV1MessageRaw, MAVLinkV2MessageRaw, MavHeader};

    use super::*;
    use crate::wire::mavlink::Framer;

    fn read(bytes: &[u8]) -> Option<ForeignCommand> {
        let mut framer = Framer::new();
        framer.push(bytes);
        ForeignCommand::of(&framer.next().expect("a frame"))
    }

    #[test]
    fn all_that_a_command_ack_answers() {
        let header = MavHeader { system_id: 255, component_id: 190, sequence: 0 };
        let command = MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE;
        let (target_system, target_component) = (1, 100);
        let expected =
            Some(ForeignCommand { target: Address { system: 1, component: 100 }, command: 2001 });
        for (message, expected) in [
            (
                MavMessage::COMMAND_LONG(COMMAND_LONG_DATA {
                    command,
                    target_system,
                    target_component,
                    ..COMMAND_LONG_DATA::DEFAULT
                }),
                expected,
            ),
            (
                MavMessage::COMMAND_INT(COMMAND_INT_DATA {
                    command,
                    target_system,
                    target_component,
                    ..COMMAND_INT_DATA::DEFAULT
                }),
                expected,
            ),
            (
                MavMessage::COMMAND_CANCEL(COMMAND_CANCEL_DATA {
                    command,
                    target_system,
                    target_component,
                }),
                expected,
            ),
            (MavMessage::HEARTBEAT(HEARTBEAT_DATA::DEFAULT), None),
        ] {
            let mut v2 = MAVLinkV2MessageRaw::new();
            v2.serialize_message(header, &message);
            assert_eq!(read(v2.raw_bytes()), expected, "{message:?}");
            let mut v1 = MAVLinkV1MessageRaw::new();
            v1.serialize_message(header, &message);
            assert_eq!(read(v1.raw_bytes()), expected, "{message:?}");
        }
    }

    #[test]
    fn a_cut_target_is_a_broadcast() {
        let mut v2 = MAVLinkV2MessageRaw::new();
        let message = COMMAND_LONG_DATA {
            command: MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE,
            ..COMMAND_LONG_DATA::DEFAULT
        };
        v2.serialize_message(MavHeader::default(), &MavMessage::COMMAND_LONG(message));
        let target = Address { system: 0, component: 0 };
        assert_eq!(read(v2.raw_bytes()), Some(ForeignCommand { target, command: 2001 }));
    }
}
