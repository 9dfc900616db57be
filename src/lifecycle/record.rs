//! All that is kept of one command. The journal stores it, the outbox stores snapshots of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::CommandId;
use super::status::{Cause, Status};
use super::time::{Stamp, Timestamp};
use crate::catalog::{Encoded, Transport};
use crate::guard::nonces::NonceKey;
use crate::wire::mavlink::{Address, CommandAck};

/// One command, as it stands. The journal has no names of fields: new ones come last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub command_id: CommandId,
    /// Counts accepted commands, without a gap; the order in which they were accepted.
    pub number: u64,
    pub api_id: String,
    pub idempotency_key: String,
    /// Lower-case hex SHA-256 of the body that made it: the same body again is a repetition.
    pub request_sha256: String,
    /// Of the request that made it, if that was signed.
    pub nonce: Option<NonceKey>,
    /// Until when the nonce must be remembered; `None` where no later process needs it, and in journals
    /// of format 3, which have an entry for it.
    pub nonce_expires: Option<Timestamp>,
    pub command_type: String,
    pub content: Encoded,
    /// System 0: the autopilot's was not known yet; such a command is never sent.
    pub target: Address,
    /// Seconds; 0: DELIVERED is terminal.
    pub timeout_seconds: u32,
    pub accepted: Stamp,
    /// Milliseconds after acceptance at which waiting ends; IN_PROGRESS moves it.
    pub deadline_ms: u64,
    pub status: Status,
    /// The number of the last update made of this command.
    pub seq: u64,
    pub updated: Stamp,
    pub cause: Option<Cause>,
    /// For people: what happened, with the object named.
    pub message: Option<String>,
    /// From the moment a frame may have gone out.
    pub dispatch: Option<Dispatch>,
    /// The COMMAND_ACK that decided, or the latest IN_PROGRESS.
    pub ack: Option<Acknowledged>,
    /// A COMMAND_ACK of this MAV_CMD from another component, while this command waits.
    pub stray: Option<Acknowledged>,
    /// Nothing can change it any more: no deadline and no late COMMAND_ACK.
    pub closed: bool,
}

/// What is known of the frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The form of the last frame.
    pub transport: Transport,
    /// The number that DELIVERED will carry; a crash may skip it, nothing else may use it.
    pub delivered_seq: u64,
    pub at: Stamp,
    /// `None`: written and drained is not certain.
    pub sent_at: Option<Timestamp>,
    /// The vehicle asked for the other form, and got it.
    pub other_form: bool,
}

/// A COMMAND_ACK and when it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub ack: CommandAck,
    pub at: Timestamp,
}

impl Record {
    /// No update will follow unless a late COMMAND_ACK comes.
    pub fn is_terminal(&self) -> bool {
        match self.status {
            Status::Accepted => false,
            Status::Delivered => self.timeout_seconds == 0,
            Status::Succeeded | Status::Failed | Status::TimedOut | Status::UnmatchedResponse => {
                true
            }
        }
    }

    /// The vehicle has not decided, and no deadline has.
    pub fn is_undecided(&self) -> bool {
        matches!(self.status, Status::Accepted | Status::Delivered)
    }

    /// The next free update number, past a reserved one.
    pub fn next_seq(&self) -> u64 {
        let reserved = self.dispatch.as_ref().map_or(0, |dispatch| dispatch.delivered_seq);
        self.seq.max(reserved) + 1
    }

    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// Whether a frame left: `None` when a crash or a broken write hides it.
    pub fn frame_sent(&self) -> Option<bool> {
        match &self.dispatch {
            None => Some(false),
            Some(dispatch) if dispatch.sent_at.is_some() || self.ack.is_some() => Some(true),
            Some(_) => match self.cause {
                Some(Cause::Agent(code)) if code.certainly_unsent() => Some(false),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
impl Record {
    /// A nav_roi of 2026-06-15, just accepted; the example of several modules' tests.
    pub fn example() -> Self {
        let stamp = Stamp {
            boot_id: uuid::Uuid::from_u128(7),
            boot_ms: 5,
            wall: Timestamp::from_secs(1_781_481_600),
            wall_trusted: true,
        };
        let command = crate::catalog::find("nav_roi").expect("the catalogue has nav_roi");
        Self {
            command_id: super::request::command_id("px4-real-1", "cloud", "a"),
            number: 1,
            api_id: "cloud".to_owned(),
            idempotency_key: "a".to_owned(),
            request_sha256: String::new(),
            nonce: None,
            nonce_expires: None,
            command_type: command.command_type.to_owned(),
            content: command.encode(&serde_json::Map::new(), None).expect("nothing is required"),
            target: Address { system: 1, component: 1 },
            timeout_seconds: 30,
            accepted: stamp,
            deadline_ms: 30_000,
            status: Status::Accepted,
            seq: 1,
            updated: stamp,
            cause: None,
            message: None,
            dispatch: None,
            ack: None,
            stray: None,
            closed: false,
        }
    }
}
