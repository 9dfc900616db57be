//! Whether a JSON value is one that a field allows.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::{Enumeration, Field};
use crate::code::{Code, Violation};

/// From 2^52 on a double is a whole number; below, it holds every one.
const EVERY_WHOLE: f64 = 4_503_599_627_370_496.0;

/// What a field's number may be in one request.
pub(super) struct Bounds {
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    /// It travels as a 32-bit float, not as a scaled integer.
    pub is_float: bool,
}

impl Bounds {
    /// A float is compared as it travels: 359.99 has no exact form in binary.
    fn contain(&self, value: f64) -> bool {
        let as_sent = |number: f64| if self.is_float { f64::from(number as f32) } else { number };
        let [minimum, maximum] = [self.minimum, self.maximum].map(|limit| limit.map(as_sent));
        let value = as_sent(value);
        minimum.is_none_or(|minimum| value >= minimum)
            && maximum.is_none_or(|maximum| value <= maximum)
    }
}

impl Field {
    /// The param's number, or `None` for `null`, which is unset.
    pub(super) fn check(&self, value: &Value, bounds: &Bounds) -> Result<Option<f64>, Violation> {
        match (value, self.enumeration) {
            (Value::Null, _) => Ok(None),
            (Value::Number(number), _) => self.check_number(number, bounds).map(Some),
            (Value::Bool(value), Some(enumeration)) if enumeration.name == "MAV_BOOL" => {
                Ok(Some(f64::from(u8::from(*value))))
            }
            (Value::String(names), Some(enumeration)) => match enumeration.parse(names) {
                Some(value) => Ok(Some(f64::from(value))),
                None => {
                    let why = format!("is not in {}", enumeration.name);
                    Err(self.violation(Code::RequestOutOfRange, value, &why, bounds))
                }
            },
            _ => {
                let why = format!("is {}", json_type(value));
                Err(self.violation(Code::RequestInvalid, value, &why, bounds))
            }
        }
    }

    fn check_number(&self, number: &Number, bounds: &Bounds) -> Result<f64, Violation> {
        let refuse = |why: &str| {
            let value = Value::Number(number.clone());
            Err(self.violation(Code::RequestOutOfRange, &value, why, bounds))
        };
        let Some(value) = number.as_f64().filter(|value| value.is_finite()) else {
            return refuse("is not a finite number");
        };
        if let Some(enumeration) = self.enumeration
            && !enumeration.contains(value)
        {
            return refuse(&format!("is not in {}", enumeration.name));
        }
        if !bounds.contain(value) {
            return refuse("is out of range");
        }
        if let Some(increment) = self.increment {
            let steps = (value - f64::from(self.minimum.unwrap_or(0.0))) / f64::from(increment);
            if !is_whole(steps) {
                return refuse("is not on a step");
            }
        }
        if bounds.is_float && !(value as f32).is_finite() {
            return refuse("does not fit the 32-bit float that carries it");
        }
        if bounds.is_float && !float_holds(number, value) {
            return refuse("cannot be held exactly by the 32-bit float that carries it");
        }
        Ok(value)
    }

    fn violation(&self, code: Code, value: &Value, why: &str, bounds: &Bounds) -> Violation {
        let path = format!("payload.{}", self.name);
        let value = value.to_string();
        let message =
            format!("{path}: {} {why}; allowed: {}", shorten(&value), self.allowed(bounds));
        Violation::new(code, path, message)
    }

    pub(super) fn allowed(&self, bounds: &Bounds) -> String {
        if let Some(enumeration) = self.enumeration {
            return enumeration.allowed();
        }
        // As a float, so that 359.99 is written as it stands in the XML.
        let [minimum, maximum] = [bounds.minimum, bounds.maximum].map(|limit| Some(limit? as f32));
        let mut text = match (minimum, maximum) {
            (Some(minimum), Some(maximum)) => format!("{minimum} to {maximum}"),
            (Some(minimum), None) => format!("at least {minimum}"),
            (None, Some(maximum)) => format!("at most {maximum}"),
            (None, None) => "a number".to_owned(),
        };
        if let Some(units) = self.units {
            let is_limited = minimum.is_some() || maximum.is_some();
            text.push_str(if is_limited { " " } else { " in " });
            text.push_str(units);
        }
        match self.increment {
            Some(1.0) => text.push_str(", whole numbers"),
            Some(increment) => text.push_str(&format!(", in steps of {increment}")),
            None => {}
        }
        text
    }
}

impl Enumeration {
    /// An entry's name, or several with `|` between them in a bitmask.
    fn parse(&self, names: &str) -> Option<u32> {
        if !self.bitmask {
            return self.value(names);
        }
        names.split('|').try_fold(0, |sum, name| Some(sum | self.value(name.trim())?))
    }

    fn contains(&self, value: f64) -> bool {
        let number = value as u32;
        if f64::from(number) != value {
            return false;
        }
        match self.bitmask {
            true => {
                let known = self.entries.iter().fold(0, |known, entry| known | entry.value);
                number & !known == 0
            }
            false => self.entries.iter().any(|entry| entry.value == number),
        }
    }

    fn allowed(&self) -> String {
        let entries: Vec<String> =
            self.entries.iter().map(|entry| format!("{} ({})", entry.name, entry.value)).collect();
        let entries = entries.join(", ");
        match (self.bitmask, self.name) {
            (_, "MAV_BOOL") => format!("{entries}, true, false"),
            (true, _) => format!("0 or a sum of {entries}"),
            (false, _) => entries,
        }
    }
}

/// At most 64 characters of what a request said, for a message.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(64) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// JSON's type of the value, for a message.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Whole numbers must arrive as they were written; fractions are rounded, as floats are.
fn float_holds(number: &Number, value: f64) -> bool {
    let float = value as f32;
    if f64::from(float) == value && value.abs() < EVERY_WHOLE {
        return true;
    }
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => float as i128 == i128::from(whole),
        (None, Some(whole)) => float as i128 == i128::from(whole),
        (None, None) => value.fract() != 0.0 || f64::from(float) == value,
    }
}

/// As far as a division of floats can tell. `f64::round` is a call where the processor's baseline
/// has no instruction for it.
fn is_whole(value: f64) -> bool {
    let nearest = (value + 0.5_f64.copysign(value)) as i64 as f64;
    value.abs() >= EVERY_WHOLE || (value - nearest).abs() <= 1e-9
}
