//! The small vocabularies of the table.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The MAVLink message that carries a command. The journal has numbers for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// COMMAND_LONG (76): seven floats.
    #[serde(rename = "COMMAND_LONG")]
    CommandLong,
    /// COMMAND_INT (75): a frame, and param 5 and 6 as integers.
    #[serde(rename = "COMMAND_INT")]
    CommandInt,
}

impl Transport {
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::CommandLong => "COMMAND_LONG",
            Transport::CommandInt => "COMMAND_INT",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a command can do to the vehicle, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Only asks for data.
    Query,
    /// Camera, gimbal, gripper, links and logs.
    Payload,
    /// Moves the vehicle or changes how it flies.
    Flight,
    /// Arming, motors on the ground, termination, reboot, calibration, failsafes, storage.
    Critical,
}

impl Risk {
    /// Least first.
    pub const ALL: [Risk; 4] = [Risk::Query, Risk::Payload, Risk::Flight, Risk::Critical];

    pub const fn as_str(self) -> &'static str {
        match self {
            Risk::Query => "query",
            Risk::Payload => "payload",
            Risk::Flight => "flight",
            Risk::Critical => "critical",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the XML says of a command's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Current,
    Superseded,
    Deprecated,
    /// Work in progress: may still change.
    Wip,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Current => "current",
            Status::Superseded => "superseded",
            Status::Deprecated => "deprecated",
            Status::Wip => "wip",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
