//! What a publisher asks for, checked and typed.

use std::time::Duration;

use uuid::Uuid;

use super::effect::{CallId, DeliveryId};
use crate::catalog::{Command, Encoded};
use crate::guard::authentication::Authenticated;
use crate::guard::grants::Action;

/// Names a command for ever: a UUIDv5 that a publisher can compute before it sends.
pub type CommandId = Uuid;

/// UUIDv5 in the URL namespace of `device_id/api_id/idempotency_key`. The first two are topic
/// levels, which hold no `/`, so no two triples share a name.
pub fn command_id(device_id: &str, api_id: &str, idempotency_key: &str) -> CommandId {
    let name = [device_id, api_id, idempotency_key].join("/");
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes())
}

/// A valid command request of a known sender.
#[derive(Clone, Debug)]
pub struct CommandRequest {
    pub command_id: CommandId,
    /// The issuer, as named by the topic or, over HTTP, by the signature.
    pub api_id: String,
    pub idempotency_key: String,
    pub command: &'static Command,
    pub content: Encoded,
    /// MAVLink component to address; `None`: the configured one.
    pub target_component: Option<u8>,
    /// Seconds, 0 to 300; 0: nobody waits for the outcome. `None`: the configured default.
    pub timeout_seconds: Option<u32>,
    /// What was left of the MQTT message expiry; caps the deadline.
    pub message_expiry: Option<Duration>,
    /// Lower-case hex SHA-256 of the body as it was signed.
    pub request_sha256: String,
    /// `None`: nobody asks for signatures here.
    pub authenticated: Option<Authenticated>,
}

/// A valid message about grants, of a known sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantMessage {
    pub action: Action,
    /// Echoed in the answer.
    pub request_id: Option<String>,
    /// Lower-case hex SHA-256 of the body as it was signed, for an error reply.
    pub request_sha256: String,
    /// `None`: it needs no signature, because it came from the vehicle itself.
    pub authenticated: Option<Authenticated>,
}

/// A question for the present status of one command.
#[derive(Clone, Debug)]
pub struct Query {
    pub command_id: CommandId,
    /// Only a command of this issuer is found; `None`: whoever's it is.
    pub api_id: Option<String>,
    /// By which it was asked for, if it was, for an error reply.
    pub idempotency_key: Option<String>,
    /// Echoed in the answer.
    pub request_id: Option<String>,
    /// Lower-case hex SHA-256 of the message, for an error reply.
    pub request_sha256: String,
}

/// How a message came, and so where its answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A PUBLISH, whose PUBACK is withheld.
    Mqtt { reply_to: ReplyTo, delivery: DeliveryId },
    /// An HTTP request, whose response is withheld.
    Http(CallId),
}

/// Where an answer goes besides the issuer's own topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyTo {
    pub api_id: String,
    /// The MQTT 5 Response Topic, when it lies under the issuer's own replies.
    pub response_topic: Option<String>,
    /// The MQTT 5 Correlation Data, echoed.
    pub correlation_data: Option<Vec<u8>>,
}
