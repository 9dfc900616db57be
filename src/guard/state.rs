//! What the autopilot says of the vehicle, and for how long it counts. All times are of the boot
//! clock. What was never told, is too old, or was told as unknown, is [`Unknown`]: no precondition
//! holds on it.

mod mode;
mod require;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use mode::FlightMode;
pub use require::Requirements;

use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::{Heartbeat, Report};

/// HEARTBEAT comes once in a second: after three missing ones the older proves nothing.
pub const HEARTBEAT_MAX_AGE: Duration = Duration::from_secs(3);

/// PX4 streams the rest at 1 to 5 Hz, and HOME_POSITION at 0.5 Hz: two lost ones are too many. On a
/// link in PX4's "minimal" mode (0.1 Hz) most of it is unknown most of the time.
pub const TELEMETRY_MAX_AGE: Duration = Duration::from_secs(5);

/// GPS_FIX_TYPE_3D_FIX.
pub const GPS_FIX_3D: u8 = 3;

/// MAV_MODE_FLAG.
mod mode_flag {
    pub const CUSTOM_MODE_ENABLED: u8 = 1;
    pub const SAFETY_ARMED: u8 = 128;
}

/// What one message told, and when. `None`: it came, and did not know.
#[derive(Clone, Copy, Debug)]
struct Told<T> {
    value: Option<T>,
    at: Duration,
}

/// Why something is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The MAVLink message that would tell.
    pub message: &'static str,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing has come since the link opened.
    Never,
    /// The last one came so long ago.
    Stale(Duration),
    /// The last one says that it does not know, or nothing that we know.
    Undefined,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message;
        match self.why {
            Why::Never => write!(f, "no {message} of the autopilot has come"),
            Why::Stale(age) => {
                write!(f, "the last {message} is {:.1} s old", age.as_secs_f64())
            }
            Why::Undefined => write!(f, "{message} does not tell it"),
        }
    }
}

/// The vehicle's state as the configured autopilot tells it.
#[derive(Clone, Debug, Default)]
pub struct State {
    armed: Option<Told<bool>>,
    mode: Option<Told<FlightMode>>,
    landed: Option<Told<bool>>,
    gps_fix: Option<Told<u8>>,
    battery: Option<Told<u8>>,
    home_set: Option<Told<bool>>,
    time: Option<Told<Timestamp>>,
}

impl State {
    /// MAV_MODE_FLAG_SAFETY_ARMED of HEARTBEAT.
    pub fn armed(&self, now: Duration) -> Result<bool, Unknown> {
        known("HEARTBEAT", self.armed, now, HEARTBEAT_MAX_AGE)
    }

    /// HEARTBEAT.custom_mode, of a PX4 only: other autopilots number their modes otherwise.
    pub fn mode(&self, now: Duration) -> Result<FlightMode, Unknown> {
        known("HEARTBEAT", self.mode, now, HEARTBEAT_MAX_AGE)
    }

    /// Whether EXTENDED_SYS_STATE says ON_GROUND; taking off and landing are flight.
    pub fn landed(&self, now: Duration) -> Result<bool, Unknown> {
        known("EXTENDED_SYS_STATE", self.landed, now, TELEMETRY_MAX_AGE)
    }

    /// GPS_RAW_INT.fix_type, 0 to 6: more is better.
    pub fn gps_fix(&self, now: Duration) -> Result<u8, Unknown> {
        known("GPS_RAW_INT", self.gps_fix, now, TELEMETRY_MAX_AGE)
    }

    /// SYS_STATUS.battery_remaining, in percent.
    pub fn battery(&self, now: Duration) -> Result<u8, Unknown> {
        known("SYS_STATUS", self.battery, now, TELEMETRY_MAX_AGE)
    }

    /// `true`: a HOME_POSITION came. PX4 sends it while there is one, and never says that there is
    /// none.
    pub fn home_set(&self, now: Duration) -> Result<bool, Unknown> {
        known("HOME_POSITION", self.home_set, now, TELEMETRY_MAX_AGE)
    }

    /// `Ok` while the last HEARTBEAT is younger than this.
    pub fn heartbeat_within(&self, max_age: Duration, now: Duration) -> Result<(), Unknown> {
        // Whatever it says counts.
        let arrived = self.armed.map(|told| Told { value: Some(()), at: told.at });
        known("HEARTBEAT", arrived, now, max_age)
    }

    /// What time it is now, if SYSTEM_TIME came under a 3D fix that still holds.
    pub fn gps_time(&self, now: Duration) -> Option<Timestamp> {
        let told = self.time?;
        let time = known("SYSTEM_TIME", self.time, now, TELEMETRY_MAX_AGE).ok()?;
        self.gps_fix(now)
            .is_ok_and(|fix| fix >= GPS_FIX_3D)
            .then(|| time.saturating_add(now.saturating_sub(told.at)))
    }

    /// Takes in a HEARTBEAT of the autopilot.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Duration) {
        let flag = |flag| heartbeat.base_mode & flag != 0;
        // Whoever is no flight controller knows nothing of arming.
        let armed = heartbeat.is_of_autopilot().then(|| flag(mode_flag::SAFETY_ARMED));
        let is_px4 = heartbeat.is_of_px4() && flag(mode_flag::CUSTOM_MODE_ENABLED);
        let mode = is_px4.then(|| FlightMode::of_px4(heartbeat.custom_mode)).flatten();
        self.armed = Some(Told { value: armed, at: now });
        self.mode = Some(Told { value: mode, at: now });
    }

    /// Takes in any other message of the autopilot.
    pub fn report(&mut self, report: Report, now: Duration) {
        match report {
            Report::SysStatus { battery_remaining, .. } => {
                self.battery = Some(Told { value: percent(battery_remaining), at: now });
            }
            Report::SystemTime { time_unix_usec } => {
                // Before the fix PX4's clock may show anything.
                let has_fix = self.gps_fix(now).is_ok_and(|fix| fix >= GPS_FIX_3D);
                let value = has_fix.then(|| timestamp(time_unix_usec)).flatten();
                self.time = Some(Told { value, at: now });
            }
            Report::GpsRawInt { fix_type } => {
                self.gps_fix = Some(Told { value: fix(fix_type), at: now });
            }
            Report::ExtendedSysState { landed_state } => {
                self.landed = Some(Told { value: on_ground(landed_state), at: now });
            }
            Report::HomePosition { latitude, longitude } => {
                // All zeros is a field that nobody filled in, not an island of null.
                let value = ((latitude, longitude) != (0, 0)).then_some(true);
                self.home_set = Some(Told { value, at: now });
            }
        }
    }
}

fn known<T: Copy>(
    message: &'static str,
    told: Option<Told<T>>,
    now: Duration,
    max_age: Duration,
) -> Result<T, Unknown> {
    let unknown = |why| Unknown { message, why };
    let told = told.ok_or(unknown(Why::Never))?;
    let age = now.saturating_sub(told.at);
    if age >= max_age {
        return Err(unknown(Why::Stale(age)));
    }
    told.value.ok_or(unknown(Why::Undefined))
}

/// -1 is "not known".
fn percent(battery_remaining: i8) -> Option<u8> {
    u8::try_from(battery_remaining).ok().filter(|percent| *percent <= 100)
}

/// GPS_FIX_TYPE; STATIC (7) and PPP (8) are no better than RTK, whatever their numbers say.
fn fix(fix_type: u8) -> Option<u8> {
    match fix_type {
        0..=6 => Some(fix_type),
        7 | 8 => Some(GPS_FIX_3D),
        _ => None,
    }
}

/// MAV_LANDED_STATE; 0 is UNDEFINED.
fn on_ground(landed_state: u8) -> Option<bool> {
    match landed_state {
        1 => Some(true),
        // IN_AIR, TAKEOFF, LANDING
        2..=4 => Some(false),
        _ => None,
    }
}

fn timestamp(time_unix_usec: u64) -> Option<Timestamp> {
    let time = Timestamp::from_millis(time_unix_usec / 1000);
    (time > Timestamp::default() && time < Timestamp::MAX).then_some(time)
}
