//! JSON of a publisher -> typed requests, with everything that is wrong with it at once.

use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::request_body::{RequestBody, sha256};
use super::topic::VENDOR;
use super::unique;
use crate::catalog::{self, Command, MAX_UNKNOWN, json_type, shorten};
use crate::code::{Code, Violation};
use crate::lifecycle::effect::ErrorReply;
use crate::lifecycle::request::{CommandRequest, Query, command_id};

/// Bytes; the largest request of the catalogue is well under 1 KiB.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Seconds, for `timeout_seconds`.
pub const MAX_TIMEOUT_SECONDS: u32 = 300;

const REQUEST_FIELDS: [&str; 8] = [
    "vendor",
    "device_id",
    "command_type",
    "payload",
    "idempotency_key",
    "timeout_seconds",
    "frame",
    "target_component",
];
const QUERY_FIELDS: [&str; 3] = ["command_id", "idempotency_key", "request_id"];

/// Reads a command request of `api_id` for this `device_id`.
///
/// # Errors
/// Every violation of the request, in the order of its fields.
pub fn read_request(
    body: &RequestBody<'_>,
    api_id: &str,
    device_id: &str,
    message_expiry: Option<Duration>,
) -> Result<CommandRequest, ErrorReply> {
    let request_sha256 = body.sha256().to_owned();
    let object = match parse_object(body) {
        Ok(object) => object,
        Err(violation) => return Err(error(vec![violation], None, request_sha256)),
    };
    let mut violations = Vec::new();
    refuse_unknown(&object, &REQUEST_FIELDS, &mut violations);
    check_vendor(&object, &mut violations);
    check_device(&object, device_id, &mut violations);
    let command = read_command(&object, &mut violations);
    let idempotency_key = collect(read_idempotency_key(&object), &mut violations);
    let timeout_seconds =
        collect(read_integer(&object, "timeout_seconds", MAX_TIMEOUT_SECONDS), &mut violations)
            .flatten();
    let target_component =
        collect(read_integer(&object, "target_component", u8::MAX.into()), &mut violations)
            .flatten();
    let frame = collect(read_optional_text(&object, "frame"), &mut violations).flatten();
    let payload = collect(read_payload(&object), &mut violations);
    let content = match (command, payload) {
        (Some(command), Some(payload)) => {
            command.encode(payload, frame).map_err(|more| violations.extend(more)).ok()
        }
        _ => None,
    };
    match (command, content, idempotency_key) {
        (Some(command), Some(content), Some(key)) if violations.is_empty() => Ok(CommandRequest {
            command_id: command_id(device_id, api_id, key),
            api_id: api_id.to_owned(),
            idempotency_key: key.to_owned(),
            command,
            content,
            target_component: target_component.map(|component| component as u8),
            timeout_seconds,
            message_expiry,
            request_sha256,
            authenticated: None,
        }),
        _ => Err(error(violations, idempotency_key.map(str::to_owned), request_sha256)),
    }
}

/// Reads a query of `api_id`.
///
/// # Errors
/// Every violation of the query.
pub fn read_query(body: &[u8], api_id: &str, device_id: &str) -> Result<Query, ErrorReply> {
    let request_sha256 = sha256(body);
    let object = match parse_object(body) {
        Ok(object) => object,
        Err(violation) => return Err(error(vec![violation], None, request_sha256)),
    };
    let mut violations = Vec::new();
    refuse_unknown(&object, &QUERY_FIELDS, &mut violations);
    let request_id = collect(read_optional_text(&object, "request_id"), &mut violations).flatten();
    let by_id = object.contains_key("command_id");
    let by_key = object.contains_key("idempotency_key");
    let mut idempotency_key = None;
    let id = match (by_id, by_key) {
        (true, false) => collect(read_command_id(&object), &mut violations),
        (false, true) => {
            idempotency_key = collect(read_idempotency_key(&object), &mut violations);
            idempotency_key.map(|key| command_id(device_id, api_id, key))
        }
        _ => {
            violations.push(Violation::new(
                Code::RequestInvalid,
                "command_id",
                "a query needs either command_id or idempotency_key",
            ));
            None
        }
    };
    match id {
        Some(id) if violations.is_empty() => Ok(Query {
            command_id: id,
            api_id: Some(api_id.to_owned()),
            idempotency_key: idempotency_key.map(str::to_owned),
            request_id: request_id.map(str::to_owned),
            request_sha256,
        }),
        _ => Err(ErrorReply {
            request_id: request_id.map(str::to_owned),
            ..error(violations, idempotency_key.map(str::to_owned), request_sha256)
        }),
    }
}

/// The error reply for a message that is refused unread.
pub fn refusal(body: &[u8], code: Code, message: impl Into<String>) -> ErrorReply {
    refused(body, Violation::whole(code, message))
}

/// As [`refusal`], with the field.
pub fn refused(body: &[u8], violation: Violation) -> ErrorReply {
    error(vec![violation], None, sha256(body))
}

pub(super) fn error(
    violations: Vec<Violation>,
    idempotency_key: Option<String>,
    request_sha256: String,
) -> ErrorReply {
    ErrorReply { violations, idempotency_key, request_sha256, ..ErrorReply::default() }
}

pub(super) fn collect<T>(read: Result<T, Violation>, violations: &mut Vec<Violation>) -> Option<T> {
    read.map_err(|violation| violations.push(violation)).ok()
}

pub(super) fn parse_object(body: &[u8]) -> Result<Map<String, Value>, Violation> {
    match unique::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Violation::whole(
            Code::EnvelopeMalformed,
            format!("the message is {}, not a JSON object", json_type(&other)),
        )),
        Err(error) => Err(Violation::whole(
            Code::EnvelopeMalformed,
            format!("the message is not valid JSON: {error}"),
        )),
    }
}

pub(super) fn refuse_unknown(
    object: &Map<String, Value>,
    known: &[&str],
    violations: &mut Vec<Violation>,
) {
    let unknown = object.keys().filter(|name| !known.contains(&name.as_str()));
    for name in unknown.map(|name| shorten(name)).take(MAX_UNKNOWN) {
        violations.push(Violation::new(
            Code::RequestUnknownField,
            &*name,
            format!("unknown field {name:?}; the fields are {}", known.join(", ")),
        ));
    }
}

fn check_vendor(object: &Map<String, Value>, violations: &mut Vec<Violation>) {
    match read_text(object, "vendor") {
        Ok(VENDOR) => {}
        Ok(other) => violations.push(Violation::new(
            Code::TargetVendorUnsupported,
            "vendor",
            format!("vendor {:?} is not served here; the vendor is {VENDOR:?}", shorten(other)),
        )),
        Err(violation) => violations.push(violation),
    }
}

fn check_device(object: &Map<String, Value>, device_id: &str, violations: &mut Vec<Violation>) {
    match read_text(object, "device_id") {
        Ok(named) if named == device_id => {}
        Ok(other) => violations.push(Violation::new(
            Code::TargetDeviceMismatch,
            "device_id",
            format!("device_id {:?} is not this vehicle, which is {device_id:?}", shorten(other)),
        )),
        Err(violation) => violations.push(violation),
    }
}

fn read_command(
    object: &Map<String, Value>,
    violations: &mut Vec<Violation>,
) -> Option<&'static Command> {
    let name = collect(read_text(object, "command_type"), violations)?;
    let command = catalog::find(name);
    if command.is_none() {
        violations.push(Violation::new(
            Code::RequestUnknownCommand,
            "command_type",
            format!(
                "unknown command_type {:?}; it is the MAV_CMD's name in lower case, without \
                 mav_cmd_",
                shorten(name)
            ),
        ));
    }
    command
}

fn read_idempotency_key(object: &Map<String, Value>) -> Result<&str, Violation> {
    let key = read_text(object, "idempotency_key")?;
    if key.is_empty() || key.len() > 200 || key.chars().any(char::is_control) {
        return Err(Violation::new(
            Code::RequestInvalid,
            "idempotency_key",
            "idempotency_key must have 1 to 200 bytes and no control characters",
        ));
    }
    Ok(key)
}

fn read_command_id(object: &Map<String, Value>) -> Result<Uuid, Violation> {
    let text = read_text(object, "command_id")?;
    Uuid::try_parse(text).map_err(|_| {
        Violation::new(
            Code::RequestInvalid,
            "command_id",
            format!("command_id {:?} is not a UUID", shorten(text)),
        )
    })
}

fn read_payload(object: &Map<String, Value>) -> Result<&Map<String, Value>, Violation> {
    match object.get("payload") {
        Some(Value::Object(payload)) => Ok(payload),
        Some(other) => Err(wrong_type("payload", "an object", other)),
        None => Err(missing("payload")),
    }
}

pub(super) fn read_text<'object>(
    object: &'object Map<String, Value>,
    field: &str,
) -> Result<&'object str, Violation> {
    read_optional_text(object, field)?.ok_or_else(|| missing(field))
}

pub(super) fn read_optional_text<'object>(
    object: &'object Map<String, Value>,
    field: &str,
) -> Result<Option<&'object str>, Violation> {
    match object.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(field, "a string", other)),
    }
}

pub(super) fn read_integer(
    object: &Map<String, Value>,
    field: &str,
    maximum: u32,
) -> Result<Option<u32>, Violation> {
    let Some(value) = object.get(field) else { return Ok(None) };
    let wanted = || format!("an integer from 0 to {maximum}");
    // JSON knows no integers: 30.0 is one, 30.5 is none.
    let number = value.as_f64().filter(|number| number.fract() == 0.0);
    let Some(number) = number else { return Err(wrong_type(field, &wanted(), value)) };
    if (0.0..=f64::from(maximum)).contains(&number) {
        return Ok(Some(number as u32));
    }
    Err(Violation::new(
        Code::RequestOutOfRange,
        field,
        format!("{field} is {value}; it must be {}", wanted()),
    ))
}

pub(super) fn missing(field: &str) -> Violation {
    Violation::new(Code::RequestInvalid, field, format!("{field} is missing"))
}

pub(super) fn wrong_type(field: &str, wanted: &str, value: &Value) -> Violation {
    let value = match value {
        Value::Number(number) => number.to_string(),
        other => json_type(other).to_owned(),
    };
    Violation::new(Code::RequestInvalid, field, format!("{field} is {value}; it must be {wanted}"))
}

#[cfg(test)]
mod tests;
