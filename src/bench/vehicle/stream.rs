//! What PX4 streams by itself, and how often.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use mavlink::Message as _;
use mavlink::dialects::development::{
    ALTITUDE_DATA, ATTITUDE_DATA, ATTITUDE_QUATERNION_DATA, ATTITUDE_TARGET_DATA,
    AUTOPILOT_VERSION_DATA, BATTERY_STATUS_DATA, EXTENDED_SYS_STATE_DATA, GLOBAL_POSITION_INT_DATA,
    HEARTBEAT_DATA, HIGHRES_IMU_DATA, LOCAL_POSITION_NED_DATA, MavAutopilot, MavLandedState,
    MavMessage, MavModeFlag, MavState, MavType, ODOMETRY_DATA, POSITION_TARGET_LOCAL_NED_DATA,
    SERVO_OUTPUT_RAW_DATA, SYS_STATUS_DATA, VFR_HUD_DATA,
};

use serde::Deserialize;

use super::px4::{AUTOPILOT, CAMERA};

/// What the messages tell.
#[derive(Clone, Copy, Debug)]
pub struct State {
    pub since_boot: Duration,
    pub armed: bool,
}

/// How much an autopilot streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Telemetry {
    /// What an agent looks at and a little more: 23 frames/s.
    #[default]
    Light,
    /// As much as PX4 in its onboard mode: 520 frames/s, 33 kB/s.
    Onboard,
}

type Make = fn(&State) -> MavMessage;

/// One message, again and again.
pub struct Stream {
    pub component: u8,
    pub every: Duration,
    pub next: Instant,
    pub message: Make,
}

impl Stream {
    /// Those of the autopilot.
    pub fn of_autopilot(now: Instant, telemetry: Telemetry) -> Vec<Self> {
        let rates: &[(u32, Make)] = match telemetry {
            Telemetry::Light => {
                &[(1, heartbeat), (1, sys_status), (1, extended_sys_state), (20, attitude)]
            }
            Telemetry::Onboard => &ONBOARD,
        };
        let stream = |&(rate, message): &(u32, Make)| Self {
            component: AUTOPILOT,
            every: Duration::from_secs(1) / rate,
            next: now,
            message,
        };
        rates.iter().map(stream).collect()
    }

    /// That of a camera.
    pub fn of_camera(now: Instant) -> Self {
        let every = Duration::from_secs(1);
        Self { component: CAMERA, every, next: now, message: camera_heartbeat }
    }
}

/// Messages per second.
const ONBOARD: [(u32, Make); 15] = [
    (1, heartbeat),
    (5, sys_status),
    (5, extended_sys_state),
    (1, battery_status),
    (50, highres_imu),
    (100, attitude),
    (80, attitude_quaternion),
    (49, attitude_target),
    (30, local_position_ned),
    (48, odometry),
    (50, global_position_int),
    (29, position_target),
    (12, altitude),
    (20, vfr_hud),
    (40, servo_output_raw),
];

/// One of the messages that this vehicle has, by its id.
pub fn requested(id: f64, state: &State) -> Option<MavMessage> {
    let all = [
        heartbeat(state),
        sys_status(state),
        extended_sys_state(state),
        attitude(state),
        version(),
    ];
    all.into_iter().find(|message| f64::from(message.message_id()) == id)
}

/// The autopilot's HEARTBEAT.
pub fn heartbeat(state: &State) -> MavMessage {
    let mut base_mode = MavModeFlag::MAV_MODE_FLAG_CUSTOM_MODE_ENABLED;
    base_mode.set(MavModeFlag::MAV_MODE_FLAG_SAFETY_ARMED, state.armed);
    MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        custom_mode: 0,
        mavtype: MavType::MAV_TYPE_QUADROTOR,
        autopilot: MavAutopilot::MAV_AUTOPILOT_PX4,
        base_mode,
        system_status: if state.armed {
            MavState::MAV_STATE_ACTIVE
        } else {
            MavState::MAV_STATE_STANDBY
        },
        mavlink_version: 3,
    })
}

fn camera_heartbeat(_: &State) -> MavMessage {
    MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        custom_mode: 0,
        mavtype: MavType::MAV_TYPE_CAMERA,
        autopilot: MavAutopilot::MAV_AUTOPILOT_INVALID,
        base_mode: MavModeFlag::empty(),
        system_status: MavState::MAV_STATE_ACTIVE,
        mavlink_version: 3,
    })
}

fn version() -> MavMessage {
    MavMessage::AUTOPILOT_VERSION(AUTOPILOT_VERSION_DATA {
        // 1.18.0, a release (255).
        flight_sw_version: 0x0112_00ff,
        ..AUTOPILOT_VERSION_DATA::DEFAULT
    })
}

fn sys_status(_: &State) -> MavMessage {
    MavMessage::SYS_STATUS(SYS_STATUS_DATA {
        load: 320,
        voltage_battery: 15_900,
        current_battery: 110,
        battery_remaining: 87,
        ..SYS_STATUS_DATA::DEFAULT
    })
}

fn extended_sys_state(_: &State) -> MavMessage {
    MavMessage::EXTENDED_SYS_STATE(EXTENDED_SYS_STATE_DATA {
        landed_state: MavLandedState::MAV_LANDED_STATE_ON_GROUND,
        ..EXTENDED_SYS_STATE_DATA::DEFAULT
    })
}

fn attitude(state: &State) -> MavMessage {
    MavMessage::ATTITUDE(ATTITUDE_DATA {
        time_boot_ms: milliseconds(state),
        roll: 0.01,
        pitch: -0.02,
        yaw: 1.57,
        rollspeed: 0.001,
        pitchspeed: 0.001,
        yawspeed: 0.001,
    })
}

fn battery_status(_: &State) -> MavMessage {
    MavMessage::BATTERY_STATUS(BATTERY_STATUS_DATA {
        voltages: [3_975; 10],
        current_battery: 110,
        battery_remaining: 87,
        ..BATTERY_STATUS_DATA::DEFAULT
    })
}

fn highres_imu(state: &State) -> MavMessage {
    MavMessage::HIGHRES_IMU(HIGHRES_IMU_DATA {
        time_usec: microseconds(state),
        zacc: -9.81,
        abs_pressure: 957.3,
        temperature: 41.2,
        ..HIGHRES_IMU_DATA::DEFAULT
    })
}

fn attitude_quaternion(state: &State) -> MavMessage {
    MavMessage::ATTITUDE_QUATERNION(ATTITUDE_QUATERNION_DATA {
        time_boot_ms: milliseconds(state),
        q1: 0.7,
        q4: 0.7,
        yawspeed: 0.001,
        ..ATTITUDE_QUATERNION_DATA::DEFAULT
    })
}

fn attitude_target(state: &State) -> MavMessage {
    MavMessage::ATTITUDE_TARGET(ATTITUDE_TARGET_DATA {
        time_boot_ms: milliseconds(state),
        q: [0.7, 0.0, 0.0, 0.7],
        thrust: 0.5,
        ..ATTITUDE_TARGET_DATA::DEFAULT
    })
}

fn local_position_ned(state: &State) -> MavMessage {
    MavMessage::LOCAL_POSITION_NED(LOCAL_POSITION_NED_DATA {
        time_boot_ms: milliseconds(state),
        z: -0.1,
        vz: 0.01,
        ..LOCAL_POSITION_NED_DATA::DEFAULT
    })
}

fn odometry(state: &State) -> MavMessage {
    MavMessage::ODOMETRY(ODOMETRY_DATA {
        time_usec: microseconds(state),
        q: [0.7, 0.0, 0.0, 0.7],
        pose_covariance: [0.01; 21],
        velocity_covariance: [0.01; 21],
        quality: 100,
        ..ODOMETRY_DATA::DEFAULT
    })
}

fn global_position_int(state: &State) -> MavMessage {
    MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA {
        time_boot_ms: milliseconds(state),
        lat: 473_977_420,
        lon: 85_455_940,
        alt: 488_000,
        hdg: 9_000,
        ..GLOBAL_POSITION_INT_DATA::DEFAULT
    })
}

fn position_target(state: &State) -> MavMessage {
    MavMessage::POSITION_TARGET_LOCAL_NED(POSITION_TARGET_LOCAL_NED_DATA {
        time_boot_ms: milliseconds(state),
        z: -0.1,
        yaw: 1.57,
        ..POSITION_TARGET_LOCAL_NED_DATA::DEFAULT
    })
}

fn altitude(state: &State) -> MavMessage {
    MavMessage::ALTITUDE(ALTITUDE_DATA {
        time_usec: microseconds(state),
        altitude_amsl: 488.0,
        bottom_clearance: 0.1,
        ..ALTITUDE_DATA::DEFAULT
    })
}

fn vfr_hud(_: &State) -> MavMessage {
    MavMessage::VFR_HUD(VFR_HUD_DATA { alt: 488.0, heading: 90, ..VFR_HUD_DATA::DEFAULT })
}

fn servo_output_raw(state: &State) -> MavMessage {
    MavMessage::SERVO_OUTPUT_RAW(SERVO_OUTPUT_RAW_DATA {
        time_usec: microseconds(state) as u32,
        servo1_raw: 900,
        servo4_raw: 900,
        servo8_raw: 900,
        ..SERVO_OUTPUT_RAW_DATA::DEFAULT
    })
}

fn milliseconds(state: &State) -> u32 {
    state.since_boot.as_millis() as u32
}

fn microseconds(state: &State) -> u64 {
    state.since_boot.as_micros() as u64
}
