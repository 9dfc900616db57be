//! Writes the table as Rust statics, with a hash over its facts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::merge::{Command, Field};
use super::xml::Enumeration;

/// The file that `src/catalog/table.rs` includes.
pub fn source(commands: &[Command], enumerations: &BTreeMap<String, Enumeration>) -> String {
    let used = used(commands);
    let mut source = format!("pub const HASH: &str = {:?};\n", hash(commands, enumerations));
    for name in &used {
        line(&mut source, &enumeration(name, &enumerations[*name]));
    }
    line(&mut source, "pub(super) static MAV_FRAME: &Enumeration = &ENUM_MAV_FRAME;");
    line(&mut source, &format!("pub(super) static COMMANDS: [Command; {}] = [", commands.len()));
    for command in commands {
        line(&mut source, &format!("{},", render_command(command)));
    }
    line(&mut source, "];");
    let by_id: BTreeMap<u16, usize> =
        commands.iter().enumerate().map(|(index, command)| (command.id, index)).collect();
    let by_id: Vec<_> = by_id.into_iter().collect();
    line(
        &mut source,
        &format!("pub(super) static BY_ID: [(u16, u16); {}] = {by_id:?};", by_id.len()),
    );
    source
}

/// The table without any prose, a line per command, field and enumeration; the library's tests
/// write the same lines from the compiled table.
pub fn facts(commands: &[Command], enumerations: &BTreeMap<String, Enumeration>) -> String {
    let mut facts = String::new();
    for command in commands {
        line(&mut facts, &command_facts(command));
        for field in &command.fields {
            line(&mut facts, &field_facts(command, field));
        }
    }
    for name in used(commands) {
        let enumeration = &enumerations[name];
        let kind = if enumeration.bitmask { "bitmask" } else { "values" };
        write!(facts, "enum {name} {kind}").expect("a String can always be written to");
        for (entry, value) in &enumeration.entries {
            write!(facts, " {entry}={value}").expect("a String can always be written to");
        }
        facts.push('\n');
    }
    facts
}

fn hash(commands: &[Command], enumerations: &BTreeMap<String, Enumeration>) -> String {
    let digest = Sha256::digest(facts(commands, enumerations));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn command_facts(command: &Command) -> String {
    format!(
        "command {} {} {} {} {} domain={} risk={} repeatable={} status={} mission_only={} location={} int_scale={} sends={}",
        command.command_type,
        command.mavlink_command,
        command.id,
        if command.has_location() { "COMMAND_INT" } else { "COMMAND_LONG" },
        command.source,
        command.domain,
        format!("{:?}", command.risk).to_lowercase(),
        command.repeatable,
        format!("{:?}", command.status).to_lowercase(),
        command.mission_only,
        format!("{:?}", command.location).to_lowercase(),
        command.int_scale,
        command.defaults.map(|value| or_dash(value, "unset")).join(","),
    )
}

fn field_facts(command: &Command, field: &Field) -> String {
    format!(
        "field {}.{} param={} units={} enum={} min={} max={} increment={} default={}",
        command.command_type,
        field.name,
        field.param,
        field.units.as_deref().unwrap_or("-"),
        field.enumeration.as_deref().unwrap_or("-"),
        or_dash(field.minimum, "-"),
        or_dash(field.maximum, "-"),
        or_dash(field.increment, "-"),
        or_dash(field.default, "unset"),
    )
}

fn enumeration(name: &str, enumeration: &Enumeration) -> String {
    let entries: String = enumeration
        .entries
        .iter()
        .map(|(name, value)| format!("Entry {{ name: {name:?}, value: {value} }}, "))
        .collect();
    format!(
        "static ENUM_{name}: Enumeration = Enumeration {{ name: {name:?}, bitmask: {}, entries: &[{entries}] }};",
        enumeration.bitmask
    )
}

fn render_command(command: &Command) -> String {
    let defaults = command
        .defaults
        .map(|value| value.map_or("f32::NAN".to_owned(), |value| format!("{value:?}")));
    let defaults = defaults.join(", ");
    let fields: String =
        command.fields.iter().map(|field| format!("{}, ", render_field(field))).collect();
    format!(
        "Command {{ command_type: {:?}, mavlink_command: {:?}, mavlink_command_id: {}, transport: Transport::{}, \
         source_xml: {:?}, description: {:?}, domain: {:?}, risk: Risk::{:?}, repeatable: {}, status: Status::{:?}, \
         has_location: {}, mission_only: {}, fields: &[{fields}], advice: &{:?}, location: Location::{:?}, \
         int_scale: {}, defaults: [{defaults}] }}",
        command.command_type,
        command.mavlink_command,
        command.id,
        if command.has_location() { "CommandInt" } else { "CommandLong" },
        command.source,
        command.description,
        command.domain,
        command.risk,
        command.repeatable,
        command.status,
        command.has_location(),
        command.mission_only,
        command.advice,
        command.location,
        command.int_scale,
    )
}

fn render_field(field: &Field) -> String {
    let enumeration =
        field.enumeration.as_ref().map_or("None".to_owned(), |name| format!("Some(&ENUM_{name})"));
    format!(
        "Field {{ name: {:?}, param: {}, label: {:?}, description: {:?}, units: {:?}, enumeration: {enumeration}, \
         minimum: {:?}, maximum: {:?}, increment: {:?}, default: {:?} }}",
        field.name,
        field.param,
        field.label,
        field.description,
        field.units,
        field.minimum,
        field.maximum,
        field.increment,
        field.default,
    )
}

/// The enumerations that a field or a request's `frame` refers to.
fn used(commands: &[Command]) -> BTreeSet<&str> {
    let fields = commands.iter().flat_map(|command| &command.fields);
    fields.filter_map(|field| field.enumeration.as_deref()).chain(["MAV_FRAME"]).collect()
}

fn or_dash(value: Option<f64>, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |value| value.to_string())
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
