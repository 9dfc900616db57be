//! What must hold of the vehicle before a command may go.

use std::fmt::Display;
use std::time::Duration;

use super::{FlightMode, State, Unknown};
use crate::code::Code;
use crate::guard::Refusal;

/// The preconditions of one command type. What is not named is not asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirements {
    /// Stricter than what makes a link ready.
    pub max_heartbeat_age: Option<Duration>,
    pub armed: Option<bool>,
    pub landed: Option<bool>,
    /// One of these; empty: any.
    pub modes: Vec<FlightMode>,
    pub home_set: bool,
    /// GPS_FIX_TYPE, 0 to 6.
    pub min_gps_fix: Option<u8>,
    /// Percent.
    pub min_battery: Option<u8>,
}

impl Requirements {
    /// `now`: the boot clock.
    ///
    /// # Errors
    /// `state.unknown` or `state.precondition`, for the first that does not hold.
    pub fn check(&self, state: &State, now: Duration) -> Result<(), Refusal> {
        if let Some(max_age) = self.max_heartbeat_age {
            state.heartbeat_within(max_age, now).map_err(|unknown| {
                let within = format!("younger than {} s", max_age.as_secs());
                not_known("whether the vehicle is still there", unknown, &within)
            })?;
        }
        if let Some(armed) = self.armed {
            demand("armed", state.armed(now), |is| is == armed, || armed.to_string())?;
        }
        if let Some(landed) = self.landed {
            demand("landed", state.landed(now), |is| is == landed, || landed.to_string())?;
        }
        if !self.modes.is_empty() {
            let names = || self.modes.iter().map(FlightMode::to_string).collect::<Vec<_>>();
            let must = || names().join(" or ");
            demand("mode", state.mode(now), |is| self.modes.contains(&is), must)?;
        }
        if self.home_set {
            demand("home_set", state.home_set(now), |is| is, || true.to_string())?;
        }
        if let Some(minimum) = self.min_gps_fix {
            let must = || format!("at least {minimum}");
            demand("the GPS fix", state.gps_fix(now), |is| is >= minimum, must)?;
        }
        if let Some(minimum) = self.min_battery {
            let must = || format!("at least {minimum}");
            demand("the battery's percentage", state.battery(now), |is| is >= minimum, must)?;
        }
        Ok(())
    }
}

/// `must`: what it is to be, asked for when it is not.
fn demand<T: Copy + Display>(
    what: &str,
    known: Result<T, Unknown>,
    holds: impl FnOnce(T) -> bool,
    must: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    match known {
        Ok(is) if holds(is) => Ok(()),
        Ok(is) => {
            let message = format!("{what} is {is}; the policy wants it to be {}", must());
            Err(Refusal::new(Code::StatePrecondition, message))
        }
        Err(unknown) => Err(not_known(what, unknown, &must())),
    }
}

fn not_known(what: &str, unknown: Unknown, must: &str) -> Refusal {
    let message = format!("{what} is not known: {unknown}; the policy wants it to be {must}");
    Refusal::new(Code::StateUnknown, message)
}
