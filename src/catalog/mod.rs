//! What the vehicle can be told: every MAV_CMD of common.xml and PX4's development.xml, with names,
//! ranges and enumerations, and the way from a request's payload to the numbers on the wire.
//!
//! Pure. The table is generated when building, from the XML inside the locked `mavlink` crate and
//! from `overlay.toml`; see `build/catalog.rs`.
//!
//! - A command with a location (`hasLocation`) goes as COMMAND_INT, every other as COMMAND_LONG.
//! - A field left out sends its declared default; else it is unset (NaN, or INT32_MAX for the x and
//!   y of COMMAND_INT) if it is a location or NaN is one of its values; else 0. `null` is unset.
//! - Locations are degrees in global frames and metres in local ones. A command whose fields are
//!   `latitude` and `longitude` takes global frames only: a metre in `latitude` would be read as a
//!   degree. `nav_land_local` and `nav_takeoff_local` take local frames only, MAV_FRAME_LOCAL_NED
//!   by default; as the XML has it, their `y_position` is param 5 and `x_position` param 6.

mod check;
mod encode;
mod encoded;
mod example;
mod frame;
mod kind;
mod number;
mod schema;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use check::{json_type, shorten};
pub(crate) use encode::MAX_UNKNOWN;
pub use encoded::{Encoded, IntParams, LongParams};
pub use frame::System;
pub use kind::{Risk, Status, Transport};
pub use number::json_number;
pub use table::HASH;

use frame::Location;

/// The command with this `command_type`, such as `image_stop_capture`. Allocates nothing.
pub fn find(command_type: &str) -> Option<&'static Command> {
    let index =
        table::COMMANDS.binary_search_by(|command| command.command_type.cmp(command_type)).ok()?;
    Some(&table::COMMANDS[index])
}

/// The command with this MAV_CMD number. Allocates nothing.
pub fn find_by_id(mavlink_command_id: u16) -> Option<&'static Command> {
    let index = table::BY_ID.binary_search_by_key(&mavlink_command_id, |&(id, _)| id).ok()?;
    Some(&table::COMMANDS[usize::from(table::BY_ID[index].1)])
}

/// Every command, sorted by `command_type`.
pub fn all() -> &'static [Command] {
    &table::COMMANDS
}

/// Whether any command is of this domain, such as `camera-media`.
pub fn is_domain(name: &str) -> bool {
    all().iter().any(|command| command.domain == name)
}

/// One MAV_CMD.
#[derive(Debug)]
pub struct Command {
    /// The name without `MAV_CMD_`, in lower case.
    pub command_type: &'static str,
    /// The name in MAVLink, `MAV_CMD_…`.
    pub mavlink_command: &'static str,
    pub mavlink_command_id: u16,
    /// COMMAND_INT for a command with a location, else COMMAND_LONG.
    pub transport: Transport,
    /// `common.xml` or `development.xml`.
    pub source_xml: &'static str,
    /// The XML's own text.
    pub description: &'static str,
    pub domain: &'static str,
    pub risk: Risk,
    /// Sending it twice does no more than sending it once.
    pub repeatable: bool,
    pub status: Status,
    pub has_location: bool,
    /// Only valid inside a mission plan.
    pub mission_only: bool,
    /// The payload's fields, by param.
    pub fields: &'static [Field],
    /// Known traps on PX4.
    pub advice: &'static [&'static str],
    location: Location,
    /// The factor of COMMAND_INT's x and y when there is no location.
    int_scale: u32,
    /// What every param carries when the payload does not say; NaN is unset.
    defaults: [f32; 7],
}

/// One field of a command's payload.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// The MAVLink parameter, 1 to 7.
    pub param: u8,
    /// The XML's label, from which the name is made.
    pub label: &'static str,
    /// The XML's own text.
    pub description: &'static str,
    /// As in MAVLink: `m`, `deg`, `s`, …
    pub units: Option<&'static str>,
    pub enumeration: Option<&'static Enumeration>,
    pub minimum: Option<f32>,
    pub maximum: Option<f32>,
    /// The step from `minimum`, or from 0.
    pub increment: Option<f32>,
    /// What a field that is left out sends; `None` is unset.
    pub default: Option<f32>,
}

/// The values that a field can have, by name.
#[derive(Debug)]
pub struct Enumeration {
    pub name: &'static str,
    /// A value is a sum of entries, or 0.
    pub bitmask: bool,
    pub entries: &'static [Entry],
}

#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub value: u32,
}

impl Enumeration {
    /// The value of the entry with this name.
    pub fn value(&self, name: &str) -> Option<u32> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.value)
    }
}
