//! The few messages that we read, as raw integers: HEARTBEAT (0), COMMAND_ACK (77), and what the
//! guard asks of the vehicle's state.

use serde::{Deserialize, Serialize};

use super::framer::{Frame, Version};
use super::{Address, full_length, result};

const HEARTBEAT_ID: u32 = 0;
const HEARTBEAT_LENGTH: usize = 9;
// Telemetry without its extension fields, which nobody here reads.
const SYS_STATUS_ID: u32 = 1;
const SYS_STATUS_LENGTH: usize = 31;
const SYSTEM_TIME_ID: u32 = 2;
const SYSTEM_TIME_LENGTH: usize = 12;
const GPS_RAW_INT_ID: u32 = 24;
const GPS_RAW_INT_LENGTH: usize = 30;
const EXTENDED_SYS_STATE_ID: u32 = 245;
const EXTENDED_SYS_STATE_LENGTH: usize = 2;
const HOME_POSITION_ID: u32 = 242;
const HOME_POSITION_LENGTH: usize = 52;
const COMMAND_ACK_ID: u32 = 77;
const COMMAND_ACK_LENGTH: usize = 10;
/// Without its extension fields, which MAVLink 1 does not carry.
const COMMAND_ACK_BASE_LENGTH: usize = 3;
const MAV_AUTOPILOT_INVALID: u8 = 8;
const MAV_AUTOPILOT_PX4: u8 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Heartbeat(Heartbeat),
    CommandAck(CommandAck),
    Telemetry(Telemetry),
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

impl Heartbeat {
    /// Cameras, gimbals and ground stations say MAV_AUTOPILOT_INVALID.
    pub fn is_of_autopilot(&self) -> bool {
        self.autopilot != MAV_AUTOPILOT_INVALID
    }

    pub fn is_of_px4(&self) -> bool {
        self.autopilot == MAV_AUTOPILOT_PX4
    }
}

#[cfg(test)]
impl Heartbeat {
    /// Of a quadrotor in standby that tells no mode.
    pub fn example(source: Address, autopilot: u8) -> Self {
        Self { source, autopilot, vehicle_type: 2, base_mode: 0, custom_mode: 0, system_status: 3 }
    }
}

/// COMMAND_ACK (77). Fields that the sender did not fill in are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAck {
    pub source: Address,
    /// The MAV_CMD number.
    pub command: u16,
    /// The MAV_RESULT number; see [`result`](super::result).
    pub result: u8,
    /// Percent; 255 where it is not known. Means something with MAV_RESULT_IN_PROGRESS only.
    pub progress: u8,
    /// More about the result; its meaning depends on the command.
    pub result_param2: i32,
    /// Whose command it answers; 0 where the sender does not say.
    pub target_system: u8,
    pub target_component: u8,
}

impl CommandAck {
    /// It tells how far the work is, and decides nothing: another will follow.
    pub fn is_in_progress(&self) -> bool {
        self.result == result::IN_PROGRESS
    }
}

/// What a component streams about the vehicle, apart from HEARTBEAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telemetry {
    pub source: Address,
    pub report: Report,
}

/// One message of telemetry, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// SYS_STATUS (1).
    SysStatus {
        /// Millivolts; 65535 where it is not known.
        voltage_battery: u16,
        /// Percent; -1 where it is not known.
        battery_remaining: i8,
    },
    /// SYSTEM_TIME (2).
    SystemTime {
        /// Microseconds since 1970-01-01 UTC; 0, or counted from the boot, where that is not known.
        time_unix_usec: u64,
    },
    /// GPS_RAW_INT (24).
    GpsRawInt {
        /// The GPS_FIX_TYPE number.
        fix_type: u8,
    },
    /// EXTENDED_SYS_STATE (245).
    ExtendedSysState {
        /// The MAV_LANDED_STATE number.
        landed_state: u8,
    },
    /// HOME_POSITION (242), in 1e-7 degrees.
    HomePosition { latitude: i32, longitude: i32 },
}

/// `None` for every other message, and for a MAVLink 1 payload that lacks fields.
pub fn decode(frame: &Frame<'_>) -> Option<Received> {
    let source = frame.source();
    let telemetry = |report| Some(Received::Telemetry(Telemetry { source, report }));
    match frame.message_id() {
        HEARTBEAT_ID => Some(Received::Heartbeat(heartbeat(source, frame.full_payload()?))),
        COMMAND_ACK_ID => {
            let payload = match frame.version() {
                Version::V1 => full_length(&frame.full_payload::<COMMAND_ACK_BASE_LENGTH>()?),
                Version::V2 => frame.full_payload()?,
            };
            Some(Received::CommandAck(command_ack(source, payload)))
        }
        SYS_STATUS_ID => telemetry(sys_status(frame.full_payload()?)),
        SYSTEM_TIME_ID => telemetry(system_time(frame.full_payload()?)),
        GPS_RAW_INT_ID => telemetry(gps_raw_int(frame.full_payload()?)),
        EXTENDED_SYS_STATE_ID => telemetry(extended_sys_state(frame.full_payload()?)),
        HOME_POSITION_ID => telemetry(home_position(frame.full_payload()?)),
        _ => None,
    }
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

// On the wire the fields stand in order of their size (mavlink.io, "Field Reordering").

fn sys_status(payload: [u8; SYS_STATUS_LENGTH]) -> Report {
    Report::SysStatus {
        voltage_battery: u16::from_le_bytes([payload[14], payload[15]]),
        battery_remaining: i8::from_le_bytes([payload[30]]),
    }
}

fn system_time(payload: [u8; SYSTEM_TIME_LENGTH]) -> Report {
    let [t0, t1, t2, t3, t4, t5, t6, t7, ..] = payload;
    Report::SystemTime { time_unix_usec: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]) }
}

fn gps_raw_int(payload: [u8; GPS_RAW_INT_LENGTH]) -> Report {
    Report::GpsRawInt { fix_type: payload[28] }
}

fn extended_sys_state(payload: [u8; EXTENDED_SYS_STATE_LENGTH]) -> Report {
    let [_vtol_state, landed_state] = payload;
    Report::ExtendedSysState { landed_state }
}

fn home_position(payload: [u8; HOME_POSITION_LENGTH]) -> Report {
    let [lat0, lat1, lat2, lat3, lon0, lon1, lon2, lon3, ..] = payload;
    Report::HomePosition {
        latitude: i32::from_le_bytes([lat0, lat1, lat2, lat3]),
        longitude: i32::from_le_bytes([lon0, lon1, lon2, lon3]),
    }
}

#[cfg(test)]
mod tests;
