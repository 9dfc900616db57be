//! The two messages that we read: HEARTBEAT (0) and COMMAND_ACK (77), as raw integers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::framer::{Frame, Version};
use super::{Address, full_length};

const HEARTBEAT_ID: u32 = 0;
const HEARTBEAT_LENGTH: usize = 9;
const COMMAND_ACK_ID: u32 = 77;
const COMMAND_ACK_LENGTH: usize = 10;
/// Without its extension fields, which MAVLink 1 does not carry.
const COMMAND_ACK_BASE_LENGTH: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Heartbeat(Heartbeat),
    CommandAck(CommandAck),
}

/// HEARTBEAT (0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub source: Address,
    /// The MAV_AUTOPILOT number.
    pub autopilot: u8,
    /// The MAV_TYPE number.
    pub vehicle_type: u8,
    /// MAV_MODE_FLAG bits; 128 is MAV_MODE_FLAG_SAFETY_ARMED.
    pub base_mode: u8,
    pub custom_mode: u32,
    /// The MAV_STATE number.
    pub system_status: u8,
}

/// COMMAND_ACK (77). Fields that the sender did not fill in are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAck {
    pub source: Address,
    /// The MAV_CMD number.
    pub command: u16,
    /// The MAV_RESULT number; see [`result_name`].
    pub result: u8,
    /// Percent; 255 where it is not known. Means something with MAV_RESULT_IN_PROGRESS only.
    pub progress: u8,
    /// More about the result; its meaning depends on the command.
    pub result_param2: i32,
    /// Whose command it answers; 0 where the sender does not say.
    pub target_system: u8,
    pub target_component: u8,
}

/// `None` for every other message, and for a MAVLink 1 payload that lacks fields.
pub fn decode(frame: &Frame<'_>) -> Option<Received> {
    let payload = frame.payload();
    // Only MAVLink 2 cuts trailing zeros off; a short MAVLink 1 payload is some other message.
    let holds = |length| frame.version() == Version::V2 || payload.len() >= length;
    match frame.message_id() {
        HEARTBEAT_ID if holds(HEARTBEAT_LENGTH) => {
            Some(Received::Heartbeat(heartbeat(frame.source(), full_length(payload))))
        }
        COMMAND_ACK_ID if holds(COMMAND_ACK_BASE_LENGTH) => {
            let payload = match frame.version() {
                Version::V1 => &payload[..COMMAND_ACK_BASE_LENGTH],
                Version::V2 => payload,
            };
            Some(Received::CommandAck(command_ack(frame.source(), full_length(payload))))
        }
        _ => None,
    }
}

/// The MAV_RESULT's name, `MAV_RESULT_<n>` for a number that the dialect does not know.
pub fn result_name(result: u8) -> Cow<'static, str> {
    let name = match result {
        0 => "MAV_RESULT_ACCEPTED",
        1 => "MAV_RESULT_TEMPORARILY_REJECTED",
        2 => "MAV_RESULT_DENIED",
        3 => "MAV_RESULT_UNSUPPORTED",
        4 => "MAV_RESULT_FAILED",
        5 => "MAV_RESULT_IN_PROGRESS",
        6 => "MAV_RESULT_CANCELLED",
        7 => "MAV_RESULT_COMMAND_LONG_ONLY",
        8 => "MAV_RESULT_COMMAND_INT_ONLY",
        9 => "MAV_RESULT_COMMAND_UNSUPPORTED_MAV_FRAME",
        10 => "MAV_RESULT_NOT_IN_CONTROL",
        unknown => return Cow::Owned(format!("MAV_RESULT_{unknown}")),
    };
    Cow::Borrowed(name)
}

fn heartbeat(source: Address, payload: [u8; HEARTBEAT_LENGTH]) -> Heartbeat {
    let [mode0, mode1, mode2, mode3, vehicle_type, autopilot, base_mode, system_status, _] =
        payload;
    Heartbeat {
        source,
        autopilot,
        vehicle_type,
        base_mode,
        custom_mode: u32::from_le_bytes([mode0, mode1, mode2, mode3]),
        system_status,
    }
}

fn command_ack(source: Address, payload: [u8; COMMAND_ACK_LENGTH]) -> CommandAck {
    let [command0, command1, result, progress, rest @ ..] = payload;
    let [param0, param1, param2, param3, target_system, target_component] = rest;
    CommandAck {
        source,
        command: u16::from_le_bytes([command0, command1]),
        result,
        progress,
        result_param2: i32::from_le_bytes([param0, param1, param2, param3]),
        target_system,
        target_component,
    }
}

#[cfg(test)]
mod tests;
