//! Joins the XML's facts with the overlay and derives what both leave implicit: field names, what
//! an omitted field means, where a location is.

use std::collections::{BTreeMap, BTreeSet};

use super::overlay::{self, Overlay};
use super::xml::{self, Dialect};

pub struct Command {
    pub command_type: String,
    pub mavlink_command: String,
    pub id: u16,
    pub source: String,
    pub description: String,
    pub domain: String,
    pub risk: overlay::Risk,
    pub repeatable: bool,
    pub status: xml::Status,
    pub mission_only: bool,
    pub location: Location,
    pub int_scale: u32,
    pub fields: Vec<Field>,
    /// What each param carries when no field says otherwise; `None` is unset.
    pub defaults: [Option<f64>; 7],
    pub advice: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    None,
    /// Latitude and longitude, by name.
    Geographic,
    /// Whatever the frame says.
    Framed,
    /// Metres, by definition.
    Local,
}

pub struct Field {
    pub name: String,
    pub param: u8,
    pub label: String,
    pub description: String,
    pub units: Option<String>,
    pub enumeration: Option<String>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub increment: Option<f64>,
    pub default: Option<f64>,
}

impl Command {
    pub fn has_location(&self) -> bool {
        self.location != Location::None
    }
}

/// The table, sorted by command_type, or everything that does not fit, each naming its command.
pub fn merge(dialect: &Dialect, overlay: &Overlay) -> Result<Vec<Command>, Vec<String>> {
    let mut problems = Vec::new();
    let mut entries = BTreeMap::new();
    let mut unused_advice: BTreeSet<&str> = overlay.advice.keys().map(String::as_str).collect();
    for (domain, commands) in &overlay.commands {
        for (command_type, entry) in commands {
            if entries.insert(command_type.as_str(), (domain.as_str(), entry)).is_some() {
                problems.push(format!("{command_type} has two entries"));
            }
            for key in &entry.see {
                unused_advice.remove(key.as_str());
            }
        }
    }
    let mut merged: BTreeMap<String, Command> = BTreeMap::new();
    for command in &dialect.commands {
        let command_type = command_type(&command.name);
        let Some((domain, entry)) = entries.remove(command_type.as_str()) else {
            problems.push(match merged.contains_key(&command_type) {
                true => format!("{command_type} is defined twice in the XML"),
                false => format!("{command_type} ({}) has no entry", command.name),
            });
            continue;
        };
        let mut join = Join { command, entry, overlay, dialect, problems: Vec::new() };
        let joined = join.command(&command_type, domain);
        problems.extend(join.problems.into_iter().map(|what| format!("{command_type}: {what}")));
        merged.insert(command_type, joined);
    }
    problems.extend(entries.into_keys().map(|name| format!("{name} is not a command of the XML")));
    problems.extend(unused_advice.into_iter().map(|key| format!("no command sees advice {key:?}")));
    match problems.is_empty() {
        true => Ok(merged.into_values().collect()),
        false => Err(problems),
    }
}

/// One command being joined.
struct Join<'a> {
    command: &'a xml::Entry,
    entry: &'a overlay::Entry,
    overlay: &'a Overlay,
    dialect: &'a Dialect,
    problems: Vec<String>,
}

impl Join<'_> {
    fn command(&mut self, command_type: &str, domain: &str) -> Command {
        let command = self.command;
        if self.entry.unset.is_none() && names_nan(&command.description) {
            self.problem("its description speaks of NaN, so the entry needs `unset`");
        }
        let params: BTreeMap<u8, &xml::Param> =
            command.params.iter().map(|param| (param.index, param)).collect();
        let fields: Vec<Field> = params.values().filter_map(|param| self.field(param)).collect();
        self.check_names(&fields);
        let defaults = std::array::from_fn(|index| {
            let param = index as u8 + 1;
            match fields.iter().find(|field| field.param == param) {
                Some(field) => field.default,
                None => number(params.get(&param).and_then(|param| param.default).unwrap_or(0.0)),
            }
        });
        Command {
            command_type: command_type.to_owned(),
            mavlink_command: command.name.clone(),
            id: command.id,
            source: command.source.clone(),
            description: command.description.clone(),
            domain: domain.to_owned(),
            risk: self.entry.risk,
            repeatable: self.entry.repeatable,
            status: command.status,
            mission_only: command.mission_only,
            location: self.location(&fields),
            int_scale: self.entry.int_scale.unwrap_or(1),
            advice: self.advice(),
            fields,
            defaults,
        }
    }

    /// The field of a param, or `None` when the vehicle reserves it.
    fn field(&mut self, param: &xml::Param) -> Option<Field> {
        let index = param.index;
        let named = self.entry.names.get(&index.to_string());
        let withheld = self.entry.reserved.contains(&index);
        let unlabelled = param.label.is_none() && !param.reserved && !means_nothing(&param.text);
        if (named.is_some() || withheld) && !unlabelled {
            self.problem(&format!("param {index} needs no name of ours"));
        }
        let label = match (&param.label, named) {
            _ if param.reserved || withheld => return None,
            (Some(label), _) | (None, Some(label)) => label.clone(),
            (None, None) => {
                if unlabelled {
                    self.problem(&format!("param {index} means something and has no name"));
                }
                return None;
            }
        };
        let [minimum, maximum] = self.limits(param);
        if let Some(name) = &param.enumeration
            && !self.dialect.enumerations.contains_key(name)
        {
            self.problem(&format!("param {index} is of the unknown enumeration {name}"));
        }
        Some(Field {
            name: field_name(&label),
            param: index,
            description: param.text.clone(),
            units: units(&label, param),
            enumeration: param.enumeration.clone(),
            minimum,
            maximum,
            increment: param.increment,
            default: self.default(param),
            label,
        })
    }

    /// The declared default; else unset for locations and where NaN is a value; else 0.
    fn default(&self, param: &xml::Param) -> Option<f64> {
        let unset = match &self.entry.unset {
            Some(unset) => unset.contains(&param.index),
            None => names_nan(&param.text),
        };
        let location = self.command.has_location && param.index >= 5;
        param.default.map_or_else(|| (!unset && !location).then_some(0.0), number)
    }

    fn limits(&mut self, param: &xml::Param) -> [Option<f64>; 2] {
        let declared = [param.minimum, param.maximum];
        match (self.entry.limits.get(&param.index.to_string()), param.label.as_deref()) {
            (Some(_), _) if declared != [None, None] => {
                self.problem(&format!("param {} has limits in the XML", param.index));
                declared
            }
            (Some(&[minimum, maximum]), _) => [Some(minimum), Some(maximum)],
            (None, Some("Latitude")) => [Some(-90.0), Some(90.0)],
            (None, Some("Longitude")) => [Some(-180.0), Some(180.0)],
            (None, _) => declared,
        }
    }

    fn location(&mut self, fields: &[Field]) -> Location {
        let x = fields.iter().find(|field| field.param == 5);
        match (self.command.has_location, self.entry.local, x) {
            (false, false, _) => Location::None,
            (true, true, _) => Location::Local,
            (true, false, Some(x)) if x.label == "Latitude" => Location::Geographic,
            (true, false, Some(_)) => Location::Framed,
            (true, false, None) => {
                self.problem("has a location, but no field for param 5");
                Location::None
            }
            (false, true, _) => {
                self.problem("has no location that could be local");
                Location::None
            }
        }
    }

    fn advice(&mut self) -> Vec<String> {
        let overlay = self.overlay;
        let shared: Vec<String> = self
            .entry
            .see
            .iter()
            .filter_map(|key| {
                let text = overlay.advice.get(key).cloned();
                if text.is_none() {
                    self.problems.push(format!("sees advice {key:?}, which does not exist"));
                }
                text
            })
            .collect();
        self.entry.advice.iter().cloned().chain(shared).collect()
    }

    fn check_names(&mut self, fields: &[Field]) {
        let mut names = BTreeSet::new();
        for field in fields {
            let raw =
                field.name.strip_prefix("param").is_some_and(|rest| rest.parse::<u8>().is_ok());
            if field.name.is_empty() || raw || !names.insert(&field.name) {
                self.problem(&format!("{:?} cannot name param {}", field.name, field.param));
            }
        }
        let keys = self.entry.names.keys().chain(self.entry.limits.keys()).cloned();
        let indices = self.entry.reserved.iter().chain(self.entry.unset.iter().flatten());
        for key in keys.chain(indices.map(u8::to_string)).collect::<Vec<_>>() {
            if !self.command.params.iter().any(|param| param.index.to_string() == key) {
                self.problem(&format!("has no param {key}"));
            }
        }
    }

    fn problem(&mut self, what: &str) {
        self.problems.push(what.to_owned());
    }
}

fn command_type(name: &str) -> String {
    name.strip_prefix("MAV_CMD_").unwrap_or(name).to_lowercase()
}

/// A label in lower case, every run of other characters one underscore.
pub fn field_name(label: &str) -> String {
    label
        .to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// Publishers write degrees; the encoding multiplies.
fn units(label: &str, param: &xml::Param) -> Option<String> {
    match (label, param.units.as_deref()) {
        (_, Some("degE7")) | ("Latitude" | "Longitude", _) => Some("deg".to_owned()),
        (_, units) => units.map(str::to_owned),
    }
}

/// The XML's ways to say that a param without a label is not used.
fn means_nothing(text: &str) -> bool {
    let text = text.to_lowercase();
    text.is_empty() || text.starts_with("empty") || text.starts_with("reserved")
}

fn names_nan(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| word.eq_ignore_ascii_case("nan") || word == "INT32_MAX")
}

/// NaN is the XML's and the wire's way to say unset.
fn number(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}
