//! The frames that we write: COMMAND_LONG, COMMAND_INT and our own HEARTBEAT, as MAVLink 2.

use mavlink::consts::MAX_FRAME_SIZE;
use mavlink::dialects::development::{
    COMMAND_INT_DATA, COMMAND_LONG_DATA, HEARTBEAT_DATA, MavAutopilot, MavMessage, MavModeFlag,
    MavState, MavType,
};
use mavlink::error::ParserError;
use mavlink::utils::remove_trailing_zeroes;
use mavlink::{MAVLinkV2MessageRaw, MavHeader, MavlinkVersion, MessageData};

use super::{Address, full_length};
use crate::catalog::{IntParams, LongParams};

/// One command, ready to be framed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommandFrame {
    pub target: Address,
    /// The MAV_CMD number.
    pub command: u16,
    /// 0 for the first transmission, then counted up; COMMAND_LONG only.
    pub confirmation: u8,
    pub body: Body,
}

/// In which message the command goes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    Long(LongParams),
    Int {
        /// The MAV_FRAME number.
        frame: u8,
        params: IntParams,
    },
}

/// A whole MAVLink 2 frame, from its marker to its checksum or signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBytes(MAVLinkV2MessageRaw);

impl FrameBytes {
    pub fn as_slice(&self) -> &[u8] {
        self.0.raw_bytes()
    }

    pub(super) fn message_id(&self) -> u32 {
        self.0.message_id()
    }

    /// The frame, with room for a signature behind it.
    pub(super) fn into_array(self) -> [u8; MAX_FRAME_SIZE] {
        self.0.into_inner()
    }

    /// The frame that begins the array; its flags tell whether it is signed.
    pub(super) fn from_array(bytes: [u8; MAX_FRAME_SIZE]) -> Self {
        Self(MAVLinkV2MessageRaw::from_bytes_unparsed(bytes))
    }
}

/// COMMAND_LONG (76) or COMMAND_INT (75).
pub fn command(sequence: u8, source: Address, frame: &CommandFrame) -> FrameBytes {
    let CommandFrame { target, command, confirmation, body } = *frame;
    match body {
        Body::Long(LongParams(params)) => {
            frame_bytes(sequence, source, &CommandLong { params, command, target, confirmation })
        }
        Body::Int { frame, params } => {
            frame_bytes(sequence, source, &CommandInt { params, command, target, frame })
        }
    }
}

/// HEARTBEAT (0) of a companion computer: MAV_TYPE_ONBOARD_CONTROLLER, no autopilot, active.
pub fn heartbeat(sequence: u8, source: Address) -> FrameBytes {
    let message = HEARTBEAT_DATA {
        custom_mode: 0,
        mavtype: MavType::MAV_TYPE_ONBOARD_CONTROLLER,
        autopilot: MavAutopilot::MAV_AUTOPILOT_INVALID,
        base_mode: MavModeFlag::empty(),
        system_status: MavState::MAV_STATE_ACTIVE,
        // The minor version of the MAVLink XML: 3 since 2013, the same for every dialect.
        mavlink_version: 3,
    };
    frame_bytes(sequence, source, &message)
}

fn frame_bytes(sequence: u8, source: Address, message: &impl MessageData) -> FrameBytes {
    let header =
        MavHeader { system_id: source.system.into(), component_id: source.component, sequence };
    let mut raw = MAVLinkV2MessageRaw::new();
    raw.serialize_message_data(header, message);
    FrameBytes(raw)
}

/// COMMAND_LONG with its numbers as they are: the crate's own type holds only commands that its
/// dialect knows, and framing must not be able to fail.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CommandLong {
    params: [f32; 7],
    command: u16,
    target: Address,
    confirmation: u8,
}

impl MessageData for CommandLong {
    type Message = MavMessage;

    const ID: u32 = COMMAND_LONG_DATA::ID;
    const NAME: &'static str = COMMAND_LONG_DATA::NAME;
    const EXTRA_CRC: u8 = COMMAND_LONG_DATA::EXTRA_CRC;
    const ENCODED_LEN: usize = COMMAND_LONG_DATA::ENCODED_LEN;

    fn ser(&self, version: MavlinkVersion, payload: &mut [u8]) -> usize {
        let payload = &mut payload[..Self::ENCODED_LEN];
        for (field, param) in payload.chunks_exact_mut(4).zip(self.params) {
            field.copy_from_slice(&param.to_le_bytes());
        }
        payload[28..30].copy_from_slice(&self.command.to_le_bytes());
        payload[30..].copy_from_slice(&[
            self.target.system,
            self.target.component,
            self.confirmation,
        ]);
        sent_length(version, payload)
    }

    fn deser(_: MavlinkVersion, payload: &[u8]) -> Result<Self, ParserError> {
        let payload = full_length::<{ Self::ENCODED_LEN }>(payload);
        Ok(Self {
            params: std::array::from_fn(|index| f32::from_le_bytes(word(&payload, 4 * index))),
            command: u16::from_le_bytes([payload[28], payload[29]]),
            target: Address { system: payload[30], component: payload[31] },
            confirmation: payload[32],
        })
    }
}

/// COMMAND_INT with its numbers as they are; `current` and `autocontinue` stay 0.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CommandInt {
    params: IntParams,
    command: u16,
    target: Address,
    frame: u8,
}

impl MessageData for CommandInt {
    type Message = MavMessage;

    const ID: u32 = COMMAND_INT_DATA::ID;
    const NAME: &'static str = COMMAND_INT_DATA::NAME;
    const EXTRA_CRC: u8 = COMMAND_INT_DATA::EXTRA_CRC;
    const ENCODED_LEN: usize = COMMAND_INT_DATA::ENCODED_LEN;

    fn ser(&self, version: MavlinkVersion, payload: &mut [u8]) -> usize {
        let IntParams { param1, param2, param3, param4, x, y, z } = self.params;
        let words = [
            param1.to_le_bytes(),
            param2.to_le_bytes(),
            param3.to_le_bytes(),
            param4.to_le_bytes(),
            x.to_le_bytes(),
            y.to_le_bytes(),
            z.to_le_bytes(),
        ];
        let payload = &mut payload[..Self::ENCODED_LEN];
        payload[..28].copy_from_slice(words.as_flattened());
        payload[28..30].copy_from_slice(&self.command.to_le_bytes());
        payload[30..].copy_from_slice(&[
            self.target.system,
            self.target.component,
            self.frame,
            0,
            0,
        ]);
        sent_length(version, payload)
    }

    fn deser(_: MavlinkVersion, payload: &[u8]) -> Result<Self, ParserError> {
        let payload = full_length::<{ Self::ENCODED_LEN }>(payload);
        Ok(Self {
            params: IntParams {
                param1: f32::from_le_bytes(word(&payload, 0)),
                param2: f32::from_le_bytes(word(&payload, 4)),
                param3: f32::from_le_bytes(word(&payload, 8)),
                param4: f32::from_le_bytes(word(&payload, 12)),
                x: i32::from_le_bytes(word(&payload, 16)),
                y: i32::from_le_bytes(word(&payload, 20)),
                z: f32::from_le_bytes(word(&payload, 24)),
            },
            command: u16::from_le_bytes([payload[28], payload[29]]),
            target: Address { system: payload[30], component: payload[31] },
            frame: payload[32],
        })
    }
}

fn word(payload: &[u8], offset: usize) -> [u8; 4] {
    std::array::from_fn(|index| payload[offset + index])
}

/// MAVLink 2 does not send trailing zeros.
fn sent_length(version: MavlinkVersion, payload: &[u8]) -> usize {
    match version {
        MavlinkVersion::V1 => payload.len(),
        MavlinkVersion::V2 => remove_trailing_zeroes(payload),
    }
}

#[cfg(test)]
mod tests;
