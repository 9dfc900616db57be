//! MAVLink on the wire: the few messages that we write, and the few that we read.
//!
//! PURE: no I/O and no clock; nothing allocates per frame. Writing uses MAVLink 2; reading takes
//! MAVLink 1 and 2. Values that come from the vehicle stay raw integers: a COMMAND_ACK with a
//! number that the dialect does not know must still reach whoever waits for it.

mod checksum;
mod decode;
mod encode;
mod foreign;
mod framer;
pub mod result;
mod signing;
mod version;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use decode::{CommandAck, Heartbeat, Received, Report, Telemetry, decode};
pub use encode::{Body, CommandFrame, FrameBytes, command, heartbeat};
pub use foreign::ForeignCommand;
pub use framer::{Counters, Frame, Framer, Version};
pub use result::result_name;
pub use signing::{Key, KeyError, Rejection, Signer, SigningTime};
pub use version::{AutopilotVersion, autopilot_version};

/// A MAVLink node: system id and component id, each 1-255; 0 addresses all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    pub system: u8,
    pub component: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.system, self.component)
    }
}

/// The payload at its full length: MAVLink 2 cuts trailing zeros off, newer dialects append fields.
fn full_length<const N: usize>(payload: &[u8]) -> [u8; N] {
    let mut full = [0; N];
    let length = payload.len().min(N);
    full[..length].copy_from_slice(&payload[..length]);
    full
}
