//! Typed answers -> the JSON that publishers read.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::grant::{self, Grant};
use super::mavlink::{CommandAck, result_name};
use super::topic::VENDOR;
use crate::catalog::{self, Transport};
use crate::code::{Code, Violation};
use crate::lifecycle::effect::{ErrorReply, Reply};
use crate::lifecycle::record::Record;
use crate::lifecycle::status::Status;
use crate::lifecycle::time::Timestamp;

/// Most updates are a little shorter.
const USUAL_BYTES: usize = 1024;

/// A lifecycle update, as JSON.
pub fn update(device_id: &str, record: &Record) -> Vec<u8> {
    bytes(&Update::of(device_id, record, None))
}

/// The HTTP response to a command, as JSON.
pub fn created(record: &Record) -> Vec<u8> {
    bytes(&Created::of(record))
}

/// The HTTP response to a query, as JSON.
pub fn state(device_id: &str, record: &Record) -> Vec<u8> {
    bytes(&State::of(device_id, record))
}

/// What an operator sees of a command, as JSON: an update, and whose it is.
pub fn command(device_id: &str, record: &Record) -> Vec<u8> {
    bytes(&OperatorsView::of(device_id, record))
}

/// The same of several; `complete`: these are all that fit.
pub fn commands(device_id: &str, records: &[Record], complete: bool) -> Vec<u8> {
    let commands: Vec<_> = records.iter().map(|it| OperatorsView::of(device_id, it)).collect();
    bytes(&json!({ "commands": commands, "complete": complete }))
}

/// Any answer on the replies topic, as JSON.
pub fn reply(device_id: &str, reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Created { record, duplicate } => bytes(&CreateReply {
            created: Created::of(record),
            idempotency_key: &record.idempotency_key,
            duplicate: *duplicate,
        }),
        Reply::Found { record, request_id } => {
            bytes(&Update::of(device_id, record, request_id.as_deref()))
        }
        Reply::Grant { answer, request_id } => grant::answer(answer, request_id.as_deref()),
        Reply::Error(refused) => error(refused),
    }
}

/// Why something made no command, as JSON.
pub fn error(error: &ErrorReply) -> Vec<u8> {
    bytes(&Refused::of(error))
}

/// What the retained presence tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Presence<'a> {
    pub online: bool,
    /// Names one run of the agent: a last will only counts for its own session.
    pub session: Uuid,
    pub vendor: &'static str,
    pub device_id: &'a str,
    pub version: &'static str,
    pub guard_mode: &'static str,
    pub link: PresentLink<'a>,
    /// The extra ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PresentExtraLink<'a>>,
    /// The one that this is published to: `mqtts://HOST:PORT`.
    pub broker: &'a str,
    pub clock: PresentClock,
    /// To be signed when the vehicle's clock cannot be trusted.
    pub challenge: &'a str,
    pub grants: Vec<Grant>,
    pub catalog_hash: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresentLink<'a> {
    /// `closed`, `open` (no heartbeat) or `ready`.
    pub state: &'static str,
    pub endpoint: &'a str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresentExtraLink<'a> {
    pub name: &'a str,
    /// `closed`, `open` (a component sends no heartbeat) or `ready`.
    pub state: &'static str,
    pub endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PresentClock {
    pub trusted: bool,
    pub time: Timestamp,
}

impl Presence<'_> {
    pub fn json(&self) -> Vec<u8> {
        bytes(self)
    }
}

/// Presence of a session that has ended: the last will, and the goodbye.
pub fn absence(session: Uuid, device_id: &str) -> Vec<u8> {
    bytes(&json!({
        "online": false,
        "session": session,
        "vendor": VENDOR,
        "device_id": device_id,
    }))
}

/// A COMMAND_ACK that belongs to no command.
pub fn unmatched(device_id: &str, ack: &CommandAck, at: Timestamp) -> Vec<u8> {
    bytes(&json!({
        "vendor": VENDOR,
        "device_id": device_id,
        "mavlink_command_id": ack.command,
        "mavlink_command": catalog::find_by_id(ack.command).map(|command| command.mavlink_command),
        "response_code": result_name(ack.result),
        "result": ack.result,
        "progress": ack.progress,
        "result_param2": ack.result_param2,
        "source_system": ack.source.system,
        "source_component": ack.source.component,
        "received_at": at,
    }))
}

#[derive(Serialize)]
struct Created {
    command_id: Uuid,
    status: Status,
    accepted_at: Timestamp,
}

impl Created {
    fn of(record: &Record) -> Self {
        Self {
            command_id: record.command_id,
            status: record.status,
            accepted_at: record.accepted.wall,
        }
    }
}

#[derive(Serialize)]
struct CreateReply<'a> {
    #[serde(flatten)]
    created: Created,
    idempotency_key: &'a str,
    duplicate: bool,
}

#[derive(Serialize)]
struct State<'a> {
    command_id: Uuid,
    status: Status,
    vendor: &'static str,
    device_id: &'a str,
    command_type: &'a str,
    response_code: Option<Cow<'static, str>>,
    response_message: Option<&'a str>,
    vendor_response: VendorResponse,
}

impl<'a> State<'a> {
    fn of(device_id: &'a str, record: &'a Record) -> Self {
        Self {
            command_id: record.command_id,
            status: record.status,
            vendor: VENDOR,
            device_id,
            command_type: &record.command_type,
            response_code: record.cause.map(|cause| cause.response_code()),
            response_message: record.message.as_deref(),
            vendor_response: VendorResponse::of(record),
        }
    }
}

#[derive(Serialize)]
struct Update<'a> {
    #[serde(flatten)]
    state: State<'a>,
    idempotency_key: &'a str,
    seq: u64,
    terminal: bool,
    accepted_at: Timestamp,
    updated_at: Timestamp,
    /// Percent, while the vehicle reports it.
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct VendorResponse {
    mavlink_command_id: u16,
    mavlink_command: Option<&'static str>,
    transport: Transport,
    result: Option<u8>,
    progress: Option<u8>,
    result_param2: Option<i32>,
    source_system: Option<u8>,
    source_component: Option<u8>,
    /// `null`: it may have been sent, nobody knows.
    frame_sent: Option<bool>,
    sent_at: Option<Timestamp>,
    acked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    advice: &'static [&'static str],
}

impl<'a> Update<'a> {
    fn of(device_id: &'a str, record: &'a Record, request_id: Option<&'a str>) -> Self {
        let state = State::of(device_id, record);
        Self {
            // COMMAND_ACK.progress: 255 says that it is unknown.
            progress: state.vendor_response.progress.filter(|percent| *percent <= 100),
            state,
            idempotency_key: &record.idempotency_key,
            seq: record.seq,
            terminal: record.is_terminal(),
            accepted_at: record.accepted.wall,
            updated_at: record.updated.wall,
            request_id,
        }
    }
}

#[derive(Serialize)]
struct OperatorsView<'a> {
    #[serde(flatten)]
    update: Update<'a>,
    api_id: &'a str,
}

impl<'a> OperatorsView<'a> {
    fn of(device_id: &'a str, record: &'a Record) -> Self {
        Self { update: Update::of(device_id, record, None), api_id: &record.api_id }
    }
}

impl VendorResponse {
    fn of(record: &Record) -> Self {
        let command = catalog::find_by_id(record.content.command);
        let dispatch = record.dispatch.as_ref();
        let acknowledged = record.ack.as_ref();
        let ack = acknowledged.map(|it| &it.ack);
        Self {
            mavlink_command_id: record.content.command,
            mavlink_command: command.map(|command| command.mavlink_command),
            transport: dispatch.map_or(record.content.transport, |dispatch| dispatch.transport),
            result: ack.map(|ack| ack.result),
            progress: ack.filter(|ack| ack.is_in_progress()).map(|ack| ack.progress),
            result_param2: ack.map(|ack| ack.result_param2),
            source_system: ack.map(|ack| ack.source.system),
            source_component: ack.map(|ack| ack.source.component),
            frame_sent: record.frame_sent(),
            sent_at: dispatch.and_then(|dispatch| dispatch.sent_at),
            acked_at: acknowledged.map(|it| it.at),
            advice: command.map_or(&[], |command| command.advice),
        }
    }
}

#[derive(Serialize)]
struct Refused<'a> {
    error: RefusedBecause<'a>,
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    request_sha256: &'a str,
}

#[derive(Serialize)]
struct RefusedBecause<'a> {
    code: Option<Code>,
    message: String,
    field: Option<&'a str>,
    /// Everything that is wrong, when it is more than one thing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    violations: &'a [Violation],
}

impl<'a> Refused<'a> {
    fn of(error: &'a ErrorReply) -> Self {
        let first = error.violations.first();
        let several = error.violations.len() > 1;
        Self {
            error: RefusedBecause {
                code: first.map(|violation| violation.code),
                message: first.map(|violation| violation.message.clone()).unwrap_or_default(),
                field: first.and_then(|violation| violation.field.as_deref()),
                violations: if several { &error.violations } else { &[] },
            },
            idempotency_key: error.idempotency_key.as_deref(),
            command_id: error.command_id,
            request_id: error.request_id.as_deref(),
            request_sha256: &error.request_sha256,
        }
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut bytes, value).expect("answers hold only strings, numbers and lists");
    bytes
}

#[cfg(test)]
mod tests;
