//! The time in MAVLink signatures. The link asks for timestamps; what a commit has made durable it may
//! use.

use log::{info, warn};

use crate::edge::clock::Clock;
use crate::lifecycle::time::Now;
use crate::wire::mavlink::{Address, Rejection, SigningTime};

/// Leases of timestamps; each ends later than the one before.
#[derive(Debug, Default)]
pub struct Leases {
    wanted: SigningTime,
    granted: SigningTime,
}

impl Leases {
    pub fn ask(&mut self, until: SigningTime) {
        self.wanted = self.wanted.max(until);
    }

    /// What the next commit must make durable.
    pub fn wanted(&self) -> Option<SigningTime> {
        (self.wanted > self.granted).then_some(self.wanted)
    }

    pub fn granted(&mut self, until: SigningTime) {
        self.granted = until;
    }
}

/// What time it is at least. A wall clock without evidence is left out: one that runs ahead would drag
/// along all who hear us.
pub fn time(clock: &Clock, now: &Now) -> SigningTime {
    SigningTime::from(if now.wall_trusted { now.wall } else { clock.floor() })
}

pub fn log_rejected(source: Address, why: Rejection, count: u64) {
    let Address { system, component } = source;
    let frames = format!("frames that do not count: {count}, the last of {system}/{component}");
    match why {
        Rejection::Unsigned => warn!(
            "{frames}: {why}; give the vehicle the key of [link] signing_key_file \
             (docs/mavlink-signing.md)"
        ),
        Rejection::BadSignature => {
            warn!("{frames}: {why}; is [link] signing_key_file that of the vehicle?");
        }
        Rejection::Replayed => warn!("{frames}: {why}"),
        // After a start, until the vehicle has heard our HEARTBEAT.
        Rejection::Stale => info!("{frames}: {why}"),
    }
}
