//! Narrower bounds for a payload's fields than the catalogue's own.

use std::fmt;

use super::{Refusal, out_of_bounds};
use crate::catalog::{Encoded, Field};

/// What the policy allows of one field.
#[derive(Clone, Debug)]
pub struct FieldBounds {
    pub field: &'static Field,
    pub values: Values,
    /// Unset (NaN, INT32_MAX) leaves the value to the vehicle, which knows nothing of our bounds: so
    /// it is outside of them, unless this says otherwise.
    pub allow_unset: bool,
}

/// As a request writes them: locations in degrees or metres.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    OneOf(Vec<f64>),
    /// Both ends included; `None` is open.
    Range {
        minimum: Option<f64>,
        maximum: Option<f64>,
    },
}

impl FieldBounds {
    /// Judges the param's number, which every way to write it in JSON comes down to. It is compared
    /// before it is rounded for the wire: rounding keeps the order, so what lies within the bounds
    /// lies within the rounded bounds, in COMMAND_LONG and in COMMAND_INT.
    pub(super) fn check(&self, content: &Encoded) -> Result<(), Refusal> {
        let param = usize::from(self.field.param) - 1;
        let value = content.params[param].filter(|value| (*value as f32).is_finite());
        let (within, is) = match value {
            Some(value) => (self.values.contain(value), value.to_string()),
            None => (self.allow_unset, "unset".to_owned()),
        };
        if within {
            return Ok(());
        }
        let unset = if self.allow_unset { ", or unset" } else { "" };
        Err(out_of_bounds(format!(
            "payload.{}: {is} is outside of the policy's bounds; allowed: {}{unset}",
            self.field.name, self.values
        )))
    }
}

impl Values {
    fn contain(&self, value: f64) -> bool {
        match self {
            Values::OneOf(allowed) => allowed.contains(&value),
            Values::Range { minimum, maximum } => {
                minimum.is_none_or(|minimum| value >= minimum)
                    && maximum.is_none_or(|maximum| value <= maximum)
            }
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::OneOf(allowed) => {
                let allowed: Vec<String> = allowed.iter().map(f64::to_string).collect();
                f.write_str(&allowed.join(", "))
            }
            Values::Range { minimum: Some(minimum), maximum: Some(maximum) } => {
                write!(f, "{minimum} to {maximum}")
            }
            Values::Range { minimum: Some(minimum), maximum: None } => {
                write!(f, "at least {minimum}")
            }
            Values::Range { minimum: None, maximum: Some(maximum) } => {
                write!(f, "at most {maximum}")
            }
            Values::Range { minimum: None, maximum: None } => f.write_str("any number"),
        }
    }
}
