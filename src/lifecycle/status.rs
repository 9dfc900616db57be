//! The states of a command and why it is in one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::wire::mavlink::result_name;

/// Where a command stands. The journal has numbers for these: new ones come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Journaled durably; not known to have been written.
    Accepted,
    /// The whole frame left the kernel's buffer; the vehicle has not decided yet.
    Delivered,
    /// `MAV_RESULT_ACCEPTED`: the vehicle found the command valid and will attempt it.
    Succeeded,
    /// Refused by the guard, not writable, or refused by the vehicle.
    Failed,
    /// The deadline passed without a COMMAND_ACK that decides.
    TimedOut,
    /// A COMMAND_ACK came too late, or only from another component than the one asked.
    UnmatchedResponse,
}

impl Status {
    /// Every status, in the order in which a command can come to it.
    pub const ALL: [Status; 6] = [
        Status::Accepted,
        Status::Delivered,
        Status::Succeeded,
        Status::Failed,
        Status::TimedOut,
        Status::UnmatchedResponse,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Accepted => "ACCEPTED",
            Status::Delivered => "DELIVERED",
            Status::Succeeded => "SUCCEEDED",
            Status::Failed => "FAILED",
            Status::TimedOut => "TIMED_OUT",
            Status::UnmatchedResponse => "UNMATCHED_RESPONSE",
        }
    }
}

/// What decided: the vehicle's COMMAND_ACK.result, or the agent itself. The journal has numbers for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// COMMAND_ACK.result, any number.
    Result(u8),
    Agent(Code),
}

impl Cause {
    /// The `response_code`: `MAV_RESULT_…` or a code of the agent.
    pub fn response_code(self) -> Cow<'static, str> {
        match self {
            Cause::Result(result) => result_name(result),
            Cause::Agent(code) => Cow::Borrowed(code.as_str()),
        }
    }
}

impl From<Code> for Cause {
    fn from(code: Code) -> Self {
        Cause::Agent(code)
    }
}
