//! `[[guard.command]]`: one command type, its bounds and its preconditions.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU8;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::catalog::{self, Command, Field};
use crate::config::seconds::Seconds;
use crate::config::{Mistake, value};
use crate::guard::policy::{FieldBounds, Retransmit, Rule, Values};
use crate::guard::state::{FlightMode, Requirements};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(rename = "type")]
    command_type: String,
    target_component: Option<NonZeroU8>,
    #[serde(default)]
    target_components: BTreeSet<NonZeroU8>,
    /// Whether it needs a grant, whatever its risk.
    grant: Option<bool>,
    retransmit: Option<RawRetransmit>,
    max_timeout: Option<Seconds<1, 300>>,
    #[serde(default)]
    frames: BTreeSet<String>,
    #[serde(default)]
    fields: BTreeMap<String, RawBounds>,
    #[serde(default)]
    require: RawRequire,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetransmit {
    times: u8,
    interval: Seconds<1, 300>,
}

/// Values as a request may write them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBounds {
    allowed: Option<Vec<Value>>,
    min: Option<Value>,
    max: Option<Value>,
    #[serde(default)]
    allow_unset: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRequire {
    armed: Option<bool>,
    landed: Option<bool>,
    modes: Option<BTreeSet<String>>,
    home_set: Option<bool>,
    min_gps_fix: Option<u8>,
    min_battery: Option<u8>,
    // Above what makes the link ready it would ask for nothing.
    max_heartbeat_age: Option<Seconds<1, 3>>,
}

impl RawRule {
    pub(super) fn check(self) -> Result<(&'static str, Rule), Mistake> {
        let Some(command) = catalog::find(&self.command_type) else {
            let message = format!("{:?} is not a command of the catalogue", self.command_type);
            return Err(value("guard.command", "type", message));
        };
        if self.retransmit.is_some() && !command.repeatable {
            let message = "not repeatable: a vehicle that got both frames would act twice";
            return Err(mistake(command, "retransmit", message));
        }
        let retransmit = self
            .retransmit
            .map(|it| Retransmit { times: it.times, interval: it.interval.duration() });
        let frames = Frames::check(command, &self.frames)?;
        let fields = self.fields.into_iter();
        let fields = fields
            .map(|(name, bounds)| bounds.check(command, &name, &frames))
            .collect::<Result<Vec<FieldBounds>, Mistake>>()?;
        let rule = Rule {
            target_component: self.target_component.map(NonZeroU8::get),
            target_components: self.target_components.into_iter().map(NonZeroU8::get).collect(),
            grant: self.grant,
            retransmit,
            max_timeout: self.max_timeout.map(|it| it.duration().as_secs() as u32),
            frames: frames.allowed(&fields),
            fields,
            require: self.require.check(command)?,
        };
        Ok((command.command_type, rule))
    }
}

/// The frames that the bounds are meant in.
struct Frames<'a> {
    has_location: bool,
    /// As named; `None` is the command's own.
    names: Vec<Option<&'a str>>,
    numbers: BTreeSet<u8>,
    /// Degrees in some, metres in others.
    mixed: bool,
}

impl<'a> Frames<'a> {
    fn check(command: &Command, named: &'a BTreeSet<String>) -> Result<Self, Mistake> {
        let mut names: Vec<Option<&str>> = named.iter().map(|name| Some(name.as_str())).collect();
        if names.is_empty() {
            names.push(None);
        }
        let mut numbers = BTreeSet::new();
        let mut scales = BTreeSet::new();
        for name in &names {
            let content = command
                .encode(&Map::new(), *name)
                .map_err(|violations| mistake(command, "frames", &violations[0].message))?;
            numbers.insert(content.frame);
            scales.insert(content.int_scale);
        }
        let has_location = command.has_location;
        Ok(Self { has_location, names, numbers, mixed: scales.len() > 1 })
    }

    /// What a location means depends on its frame: 47 is a latitude in one and metres in another.
    fn matter_to(&self, field: &Field) -> bool {
        self.has_location && field.param >= 5
    }

    /// The frames that a request may name; empty: all.
    fn allowed(self, fields: &[FieldBounds]) -> BTreeSet<u8> {
        let named = self.names.iter().any(Option::is_some);
        match named || fields.iter().any(|bounds| self.matter_to(bounds.field)) {
            true => self.numbers,
            false => BTreeSet::new(),
        }
    }
}

impl RawBounds {
    fn check(
        self,
        command: &'static Command,
        name: &str,
        frames: &Frames<'_>,
    ) -> Result<FieldBounds, Mistake> {
        let wrong = |message: &str| mistake(command, "fields", &format!("{name}: {message}"));
        let Some(field) = command.field(name) else {
            return Err(mistake(command, "fields", &command.unknown_field(name).message));
        };
        if frames.matter_to(field) && frames.mixed {
            return Err(wrong("frames has both degrees and metres; give frames of one kind"));
        }
        let number = |value: &Value| number(command, field, value, frames).map_err(|it| wrong(&it));
        let values = match (self.allowed, self.min, self.max) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err(wrong("allowed, or min and max, but not both"));
            }
            (None, None, None) => return Err(wrong("gives no bounds; write allowed, min or max")),
            (Some(allowed), None, None) if allowed.is_empty() => {
                return Err(wrong("allowed is empty, so that no request could pass"));
            }
            (Some(allowed), None, None) => {
                Values::OneOf(allowed.iter().map(number).collect::<Result<_, _>>()?)
            }
            (None, _, _) if field.enumeration.is_some() => {
                return Err(wrong("is an enumeration, whose order means nothing; write allowed"));
            }
            (None, minimum, maximum) => Values::Range {
                minimum: minimum.as_ref().map(number).transpose()?,
                maximum: maximum.as_ref().map(number).transpose()?,
            },
        };
        if let Values::Range { minimum: Some(minimum), maximum: Some(maximum) } = values
            && minimum > maximum
        {
            return Err(wrong(&format!("min {minimum} is above max {maximum}")));
        }
        Ok(FieldBounds { field, values, allow_unset: self.allow_unset })
    }
}

impl RawRequire {
    fn check(self, command: &Command) -> Result<Requirements, Mistake> {
        let wrong = |message: &str| Err(mistake(command, "require", message));
        if (self.armed, self.landed) == (Some(false), Some(false)) {
            return wrong(
                "armed = false and landed = false cannot both hold: to PX4 a disarmed vehicle has \
                 landed",
            );
        }
        if self.home_set == Some(false) {
            return wrong(
                "home_set = false cannot be known: no message says that there is no home; write true \
                 or leave it out",
            );
        }
        if let Some(fix) = self.min_gps_fix.filter(|fix| !(2..=6).contains(fix)) {
            let message = format!(
                "min_gps_fix: {fix} is out of range; it must be 2 (2D), 3 (3D), 4 (DGPS), 5 (RTK \
                 float) or 6 (RTK fixed)"
            );
            return wrong(&message);
        }
        if let Some(percent) = self.min_battery.filter(|percent| !(1..=100).contains(percent)) {
            let message = format!("min_battery: {percent} is out of range; it must be 1 to 100");
            return wrong(&message);
        }
        let mut modes = Vec::new();
        for name in self.modes.iter().flatten() {
            let Some(mode) = FlightMode::named(name) else {
                let names: Vec<&str> = FlightMode::names().collect();
                let names = names.join(", ");
                return wrong(&format!(
                    "modes: {name:?} is not a mode of PX4; it must be of {names}"
                ));
            };
            modes.push(mode);
        }
        if self.modes.is_some() && modes.is_empty() {
            return wrong("modes is empty, so that no request could pass");
        }
        Ok(Requirements {
            max_heartbeat_age: self.max_heartbeat_age.map(Seconds::duration),
            armed: self.armed,
            landed: self.landed,
            modes,
            home_set: self.home_set == Some(true),
            min_gps_fix: self.min_gps_fix,
            min_battery: self.min_battery,
        })
    }
}

/// The number that a request with this value would send, in every frame that the bounds are for.
fn number(
    command: &Command,
    field: &Field,
    value: &Value,
    frames: &Frames<'_>,
) -> Result<f64, String> {
    let payload = Map::from_iter([(field.name.to_owned(), value.clone())]);
    let mut number = None;
    for frame in &frames.names {
        let content =
            command.encode(&payload, *frame).map_err(|violations| violations[0].message.clone())?;
        number = content.params[usize::from(field.param) - 1];
    }
    number.ok_or_else(|| "inf and nan are no bounds".to_owned())
}

fn mistake(command: &Command, key: &'static str, message: &str) -> Mistake {
    value("guard.command", key, format!("{}: {message}", command.command_type))
}
