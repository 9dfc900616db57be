//! An example payload of every command.

use serde_json::{Value, json};

use super::frame::Location;
use super::{Command, Field, json_number};

impl Command {
    /// Every field, in the order of the params, with a value that it allows: what leaving it out
    /// would send, and a place for a location. `null` is unset.
    pub fn example(&self) -> Vec<(&'static str, Value)> {
        self.fields.iter().map(|field| (field.name, self.example_of(field))).collect()
    }

    fn example_of(&self, field: &Field) -> Value {
        match (self.location, field.param) {
            (Location::None, _) | (_, ..5) => self.stand_in(field),
            // Down is positive in MAV_FRAME_LOCAL_NED.
            (Location::Local, 7) => json!(-10.0),
            (Location::Local, _) => json!(0),
            _ if self.has_latitude() => match field.param {
                // Where PX4's simulators start, 30 m above the ground.
                5 => json!(47.397742),
                6 => json!(8.545594),
                _ => json!(518.0),
            },
            (_, 7) => json!(30.0),
            _ => json!(0),
        }
    }

    /// The default, where a request may say it, or the first value that it may.
    fn stand_in(&self, field: &Field) -> Value {
        let Some(default) = field.default.map(json_number) else { return Value::Null };
        if field.check(&default, &self.bounds(field, None)).is_ok() {
            return default;
        }
        let entry = field.enumeration.and_then(|enumeration| enumeration.entries.first());
        match (entry, field.minimum) {
            (Some(entry), _) => json!(entry.value),
            (None, Some(minimum)) => json_number(minimum),
            (None, None) => Value::Null,
        }
    }

    fn has_latitude(&self) -> bool {
        self.fields.iter().any(|field| field.param == 5 && field.name.starts_with("latitude"))
    }
}
