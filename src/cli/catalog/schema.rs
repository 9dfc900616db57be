//! `downlinkd catalog --schema`: JSON Schema 2020-12 of command requests.
//!
//! What it cannot say is left to the agent: whose device_id it is, which components policy allows,
//! and that an idempotency_key is counted in bytes.

use serde_json::{Map, Value, json};

use super::request::{self, Example};
use crate::catalog::{Command, Status};
use crate::wire::inbound::MAX_TIMEOUT_SECONDS;
use crate::wire::topic::VENDOR;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// For requests of one command.
pub fn of_one(command: &Command) -> String {
    let mut schema = request(command);
    schema.insert("$schema".to_owned(), DIALECT.into());
    schema.insert("$defs".to_owned(), Value::Object(definitions(&[command])));
    request::pretty(&schema)
}

/// For requests of any of these commands; a mistake is reported by the command that it names.
pub fn of_any(commands: &[&Command]) -> String {
    let names: Vec<&str> = commands.iter().map(|command| command.command_type).collect();
    let mut definitions = definitions(commands);
    let mut cases = Vec::new();
    for command in commands {
        let name = command.command_type;
        definitions.insert(name.to_owned(), Value::Object(request(command)));
        cases.push(json!({
            "if": { "properties": { "command_type": { "const": name } } },
            "then": { "$ref": format!("#/$defs/{name}") },
        }));
    }
    request::pretty(&json!({
        "$schema": DIALECT,
        "title": "downlinkd command request",
        "type": "object",
        "required": ["command_type"],
        "properties": { "command_type": { "enum": names } },
        "allOf": cases,
        "$defs": definitions,
    }))
}

fn request(command: &Command) -> Map<String, Value> {
    let mut properties = Map::new();
    for (name, _) in envelope() {
        properties.insert(name.to_owned(), json!({ "$ref": format!("#/$defs/{name}") }));
    }
    properties.insert("command_type".to_owned(), json!({ "const": command.command_type }));
    properties.insert("payload".to_owned(), command.payload_schema());
    if let Some(frame) = command.frame_schema() {
        properties.insert("frame".to_owned(), frame);
    }
    let mut schema = command.frame_rule().unwrap_or_default();
    for (keyword, value) in [
        ("title", command.command_type.into()),
        ("description", description(command).into()),
        ("type", "object".into()),
        ("required", json!(["vendor", "device_id", "command_type", "payload", "idempotency_key"])),
        ("properties", Value::Object(properties)),
        ("additionalProperties", false.into()),
        ("examples", json!([Example::of(command)])),
    ] {
        schema.insert(keyword.to_owned(), value);
    }
    if matches!(command.status, Status::Superseded | Status::Deprecated) {
        schema.insert("deprecated".to_owned(), true.into());
    }
    schema
}

fn description(command: &Command) -> String {
    let mut text = format!("{}: {}", command.mavlink_command, command.description);
    for advice in command.advice {
        text.push_str("\nAdvice: ");
        text.push_str(advice);
    }
    text
}

/// All that the requests of these commands refer to.
fn definitions(commands: &[&Command]) -> Map<String, Value> {
    let fields = commands.iter().flat_map(|command| command.schema_definitions());
    envelope().into_iter().chain(fields).map(|(name, it)| (name.to_owned(), it)).collect()
}

/// The fields that are the same for every command.
fn envelope() -> [(&'static str, Value); 5] {
    let device_id = json!({
        "description": "The vehicle",
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
    });
    let idempotency_key = json!({
        "description": "A repeated request with this key returns the same command; at most 200 \
            bytes, no control characters",
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "not": { "pattern": r"[\u0000-\u001f\u007f-\u009f]" },
    });
    let timeout_seconds = json!({
        "description": "How long to wait for the outcome; 0: nobody waits",
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_TIMEOUT_SECONDS,
    });
    let target_component = json!({
        "description": "MAVLink component to address, within what policy allows",
        "type": "integer",
        "minimum": 0,
        "maximum": u8::MAX,
    });
    [
        ("vendor", json!({ "description": "Vendor of the vehicle", "const": VENDOR })),
        ("device_id", device_id),
        ("idempotency_key", idempotency_key),
        ("timeout_seconds", timeout_seconds),
        ("target_component", target_component),
    ]
}
