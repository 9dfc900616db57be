//! JSON Schema 2020-12 of what a request says about its command: `payload` and `frame`.
//!
//! The schema allows what [`Command::encode`] allows, except that it cannot say everything:
//! integers beyond 2^32 that a float does not hold exactly pass it, unless they are no multiple of
//! 512, and floats within half a rounding step of a limit do not.

use serde_json::{Map, Value, json};

use super::{Command, Enumeration, Field, System, json_number};

/// A 32-bit float holds every integer up to 2^24.
const FLOAT_BITS: u32 = f32::MANTISSA_DIGITS;
/// Steps of a range that are listed one by one.
const MAX_LISTED_STEPS: f64 = 16.0;

impl Command {
    /// The schema of `payload`.
    pub fn payload_schema(&self) -> Value {
        let system = self.systems().next();
        let fields: Map<String, Value> = self
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), self.field_schema(field, system)))
            .collect();
        json!({ "type": "object", "additionalProperties": false, "properties": fields })
    }

    /// The schema of `frame`; `None` without location: the request takes none.
    pub fn frame_schema(&self) -> Option<Value> {
        let default = self.default_frame()?;
        Some(json!({
            "description": "MAV_FRAME of the location",
            "enum": self.frames().map(|(entry, _)| entry.name).collect::<Vec<_>>(),
            "default": default.name,
        }))
    }

    /// For a location that may be in degrees or in metres: `if`, `then` and `else` of a request.
    pub fn frame_rule(&self) -> Option<Map<String, Value>> {
        let [_, _] = self.systems().collect::<Vec<_>>()[..] else { return None };
        let local: Vec<_> = self
            .frames()
            .filter(|(_, system)| *system == System::Local)
            .map(|(entry, _)| entry.name)
            .collect();
        let in_system = |system| {
            let fields: Map<String, Value> = self
                .fields
                .iter()
                .filter(|field| matches!(field.param, 5 | 6))
                .map(|field| (field.name.to_owned(), Value::Object(self.limits(field, system))))
                .collect();
            json!({ "properties": { "payload": { "properties": fields } } })
        };
        let rule = [
            ("if", json!({ "required": ["frame"], "properties": { "frame": { "enum": local } } })),
            ("then", in_system(Some(System::Local))),
            ("else", in_system(Some(System::Global))),
        ];
        Some(rule.map(|(keyword, schema)| (keyword.to_owned(), schema)).into_iter().collect())
    }

    /// What the schemas of this command refer to under `#/$defs/`, by name.
    pub fn schema_definitions(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let enumerations = self.fields.iter().filter_map(|field| field.enumeration);
        let enumerations = enumerations.map(|enumeration| (enumeration.name, enumeration.schema()));
        enumerations.chain([("float32", float_schema())])
    }

    fn field_schema(&self, field: &Field, system: Option<System>) -> Value {
        // Where the frame decides, `frame_rule` says the limits.
        let system = system.filter(|_| self.frame_rule().is_none());
        let bounds = self.bounds(field, system);
        let mut schema = Map::new();
        match (field.enumeration, field.listed_steps()) {
            (Some(enumeration), _) => {
                schema.insert("$ref".to_owned(), reference(enumeration.name).into());
            }
            (None, Some(steps)) => {
                let values = steps.into_iter().map(json_number).chain([Value::Null]);
                schema.insert("enum".to_owned(), values.collect());
            }
            (None, None) => {
                schema = self.limits(field, system);
                let kind = if field.increment == Some(1.0) { "integer" } else { "number" };
                schema.insert("type".to_owned(), json!([kind, "null"]));
                if let Some(increment) = field.increment.filter(|increment| *increment != 1.0) {
                    schema.insert("multipleOf".to_owned(), json_number(increment));
                }
                if bounds.is_float && !holds_every_integer(bounds.minimum, bounds.maximum) {
                    schema.insert("$ref".to_owned(), reference("float32").into());
                }
            }
        }
        schema.insert("title".to_owned(), field.label.into());
        schema.insert("description".to_owned(), field.schema_description().into());
        let default = field.default.map_or(Value::Null, json_number);
        if field.check(&default, &bounds).is_ok() {
            schema.insert("default".to_owned(), default);
        }
        Value::Object(schema)
    }

    fn limits(&self, field: &Field, system: Option<System>) -> Map<String, Value> {
        let bounds = self.bounds(field, system);
        let number = |limit: f64| match bounds.is_float {
            true => json_number(limit as f32),
            false => json!(limit),
        };
        [("minimum", bounds.minimum), ("maximum", bounds.maximum)]
            .into_iter()
            .filter_map(|(keyword, limit)| Some((keyword.to_owned(), number(limit?))))
            .collect()
    }
}

impl Field {
    /// All values, where `increment` leaves few. JSON Schema's own `multipleOf` counts from 0, ours
    /// from the minimum.
    fn listed_steps(&self) -> Option<Vec<f32>> {
        let (minimum, maximum, increment) = (self.minimum?, self.maximum?, self.increment?);
        let steps = f64::from(maximum - minimum) / f64::from(increment);
        if increment == 1.0 || steps > MAX_LISTED_STEPS {
            return None;
        }
        Some((0..=steps as u8).map(|step| minimum + f32::from(step) * increment).collect())
    }

    fn schema_description(&self) -> String {
        let mut text = format!("MAVLink parameter {}", self.param);
        if let Some(units) = self.units {
            text.push_str(&format!(", in {units}"));
        }
        if !self.description.is_empty() {
            text.push_str(&format!(". {}", self.description));
        }
        text
    }
}

impl Enumeration {
    fn schema(&self) -> Value {
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.name).collect();
        let entries: Vec<String> =
            self.entries.iter().map(|entry| format!("{} = {}", entry.name, entry.value)).collect();
        let description = entries.join(", ");
        if self.bitmask {
            let known = self.entries.iter().fold(0, |known, entry| known | entry.value);
            let name = format!(r"\s*(?:{})\s*", names.join("|"));
            let mut forms = vec![
                json!({ "type": "integer", "minimum": 0, "maximum": known }),
                json!({ "type": "string", "pattern": format!(r"^{name}(?:\|{name})*$") }),
                json!({ "type": "null" }),
            ];
            if self.name == "MAV_BOOL" {
                forms.push(json!({ "type": "boolean" }));
            }
            return json!({ "description": description, "anyOf": forms });
        }
        let numbers = self.entries.iter().map(|entry| json!(entry.value));
        let names = names.into_iter().map(Value::from);
        let values: Vec<Value> = names.chain(numbers).chain([Value::Null]).collect();
        json!({ "description": description, "enum": values })
    }
}

/// Whether a 32-bit float has every integer of this range.
fn holds_every_integer(minimum: Option<f64>, maximum: Option<f64>) -> bool {
    let within =
        |limit: Option<f64>| limit.is_some_and(|it| it.abs() <= f64::from(1 << FLOAT_BITS));
    within(minimum) && within(maximum)
}

/// What a 32-bit float carries exactly, as far as integers go.
fn float_schema() -> Value {
    let mut forms = vec![json!({ "not": { "type": "integer" } })];
    // Up to 2^24 floats are 1 apart, up to 2^25 they are 2 apart, and so on.
    for power in 0..=8 {
        let limit = (1_i64 << FLOAT_BITS) << power;
        forms.push(json!({ "minimum": -limit, "maximum": limit, "multipleOf": 1 << power }));
    }
    forms.push(json!({ "minimum": f32::MIN, "maximum": f32::MAX, "multipleOf": 512 }));
    json!({ "description": "Integers must fit a 32-bit float exactly", "anyOf": forms })
}

fn reference(definition: &str) -> String {
    format!("#/$defs/{definition}")
}
