//! Reads commands and enumerations out of the MAVLink XML.
//!
//! `mavlink-bindgen` drops `hasLocation` and `missionOnly`, so the XML is read directly.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use roxmltree::{Document, Node};

/// A dialect with its includes: enumerations that several files extend are one.
#[derive(Default)]
pub struct Dialect {
    pub commands: Vec<Entry>,
    pub enumerations: BTreeMap<String, Enumeration>,
}

/// One entry of MAV_CMD.
pub struct Entry {
    pub name: String,
    pub id: u16,
    /// The file that defines it.
    pub source: String,
    pub description: String,
    pub has_location: bool,
    pub mission_only: bool,
    pub status: Status,
    pub params: Vec<Param>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Current,
    Superseded,
    Deprecated,
    Wip,
}

/// One `param` of a command; `default` may be NaN.
pub struct Param {
    pub index: u8,
    pub label: Option<String>,
    pub text: String,
    pub units: Option<String>,
    pub enumeration: Option<String>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub increment: Option<f64>,
    pub default: Option<f64>,
    pub reserved: bool,
}

#[derive(Default)]
pub struct Enumeration {
    pub bitmask: bool,
    pub entries: Vec<(String, u64)>,
}

/// Reads `file` and, before it, all that it includes. Panics with the file's name on what is not
/// MAVLink XML: nothing can be built from it.
pub fn read(definitions: &Path, file: &str) -> Dialect {
    let mut dialect = Dialect::default();
    read_file(definitions, file, &mut HashSet::new(), &mut dialect);
    dialect
}

fn read_file(definitions: &Path, file: &str, seen: &mut HashSet<String>, dialect: &mut Dialect) {
    if !seen.insert(file.to_owned()) {
        return;
    }
    let text = std::fs::read_to_string(definitions.join(file))
        .unwrap_or_else(|error| panic!("failed to read {file}: {error}"));
    let document =
        Document::parse(&text).unwrap_or_else(|error| panic!("failed to parse {file}: {error}"));
    for include in elements(document.root_element(), "include") {
        read_file(definitions, &prose(include), seen, dialect);
    }
    for group in elements(document.root_element(), "enums") {
        for node in elements(group, "enum") {
            let name = required(node, "name", file);
            for entry in elements(node, "entry") {
                if name == "MAV_CMD" {
                    dialect.commands.push(command(entry, file));
                }
            }
            if name != "MAV_CMD" {
                let enumeration = dialect.enumerations.entry(name).or_default();
                enumeration.bitmask |= flag(node, "bitmask");
                enumeration.entries.extend(
                    elements(node, "entry")
                        .map(|entry| (required(entry, "name", file), whole(entry, "value", file))),
                );
            }
        }
    }
}

fn command(node: Node<'_, '_>, file: &str) -> Entry {
    let name = required(node, "name", file);
    let id = u16::try_from(whole(node, "value", file))
        .unwrap_or_else(|_| panic!("{file}: the id of {name} does not fit COMMAND_LONG.command"));
    let status = node
        .children()
        .find_map(|child| match child.tag_name().name() {
            "superseded" => Some(Status::Superseded),
            "deprecated" => Some(Status::Deprecated),
            "wip" => Some(Status::Wip),
            _ => None,
        })
        .unwrap_or(Status::Current);
    Entry {
        id,
        source: file.to_owned(),
        description: elements(node, "description").map(prose).collect(),
        has_location: flag(node, "hasLocation"),
        mission_only: flag(node, "missionOnly"),
        status,
        params: elements(node, "param").map(|param| read_param(param, &name, file)).collect(),
        name,
    }
}

fn read_param(node: Node<'_, '_>, command: &str, file: &str) -> Param {
    let text = |name: &str| node.attribute(name).map(str::to_owned);
    let number = |name: &str| {
        node.attribute(name).map(|value| {
            value.parse::<f64>().unwrap_or_else(|_| panic!("{file}: {command}: {name}={value:?}"))
        })
    };
    let index = u8::try_from(whole(node, "index", file)).unwrap_or_default();
    assert!((1..=7).contains(&index), "{file}: {command} has a param with index {index}");
    Param {
        index,
        label: text("label"),
        text: prose(node),
        units: text("units"),
        enumeration: text("enum"),
        minimum: number("minValue"),
        maximum: number("maxValue"),
        increment: number("increment"),
        default: number("default"),
        reserved: flag(node, "reserved"),
    }
}

fn elements<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn required(node: Node<'_, '_>, name: &str, file: &str) -> String {
    let tag = node.tag_name().name();
    node.attribute(name).unwrap_or_else(|| panic!("{file}: a {tag} has no {name}")).to_owned()
}

fn whole(node: Node<'_, '_>, name: &str, file: &str) -> u64 {
    let text = required(node, name, file);
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.unwrap_or_else(|_| panic!("{file}: {name}={text:?} is not a whole number"))
}

fn flag(node: Node<'_, '_>, name: &str) -> bool {
    node.attribute(name) == Some("true")
}

/// All text inside, with the XML's line breaks and indentation folded into single spaces.
fn prose(node: Node<'_, '_>) -> String {
    let text: String =
        node.descendants().filter_map(|node| node.is_text().then(|| node.text())?).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
