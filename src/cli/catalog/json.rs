//! `downlinkd catalog --json`

use serde::Serialize;
use serde_json::Value;

use crate::catalog::{self, Enumeration, Risk, Status, Transport, json_number};

/// The commands as a JSON array; a number that is unset or not there is `null`.
pub fn text(commands: &[&'static catalog::Command]) -> String {
    let commands: Vec<Command> = commands.iter().copied().map(Command::of).collect();
    super::request::pretty(&commands)
}

#[derive(Serialize)]
struct Command {
    command_type: &'static str,
    mavlink_command: &'static str,
    mavlink_command_id: u16,
    transport: Transport,
    source_xml: &'static str,
    domain: &'static str,
    risk: Risk,
    repeatable: bool,
    status: Status,
    fields: Vec<Field>,
    advice: &'static [&'static str],
}

#[derive(Serialize)]
struct Field {
    name: &'static str,
    param: u8,
    label: &'static str,
    units: Option<&'static str>,
    #[serde(rename = "enum")]
    enumeration: Option<Enum>,
    min: Option<Value>,
    max: Option<Value>,
    increment: Option<Value>,
    /// What a field that is left out sends; `null`: unset, NaN on the wire.
    default: Option<Value>,
}

#[derive(Serialize)]
struct Enum {
    name: &'static str,
    bitmask: bool,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    value: u32,
}

impl Command {
    fn of(command: &'static catalog::Command) -> Self {
        Self {
            command_type: command.command_type,
            mavlink_command: command.mavlink_command,
            mavlink_command_id: command.mavlink_command_id,
            transport: command.transport,
            source_xml: command.source_xml,
            domain: command.domain,
            risk: command.risk,
            repeatable: command.repeatable,
            status: command.status,
            fields: command.fields.iter().map(Field::of).collect(),
            advice: command.advice,
        }
    }
}

impl Field {
    fn of(field: &'static catalog::Field) -> Self {
        Self {
            name: field.name,
            param: field.param,
            label: field.label,
            units: field.units,
            enumeration: field.enumeration.map(Enum::of),
            min: field.minimum.map(json_number),
            max: field.maximum.map(json_number),
            increment: field.increment.map(json_number),
            default: field.default.map(json_number),
        }
    }
}

impl Enum {
    fn of(enumeration: &'static Enumeration) -> Self {
        let entries = enumeration.entries.iter();
        Self {
            name: enumeration.name,
            bitmask: enumeration.bitmask,
            entries: entries.map(|entry| Entry { name: entry.name, value: entry.value }).collect(),
        }
    }
}
