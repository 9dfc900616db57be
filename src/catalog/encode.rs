//! From a request's payload to the numbers on the wire.

use serde_json::{Map, Value};

use super::check::{Bounds, shorten};
use super::frame::System;
use super::{Command, Encoded, Field, Transport};
use crate::code::{Code, Violation};

/// Unknown fields that are answered for one request: a reply stays small, whatever came in.
pub(crate) const MAX_UNKNOWN: usize = 16;

impl Command {
    /// Checks a payload and turns it into what goes on the wire. Allocates nothing when it is valid.
    ///
    /// `frame` is the request's optional MAV_FRAME name; the command's own frame is
    /// MAV_FRAME_GLOBAL, or MAV_FRAME_LOCAL_NED where the location is local by definition.
    ///
    /// # Errors
    /// All violations of payload and frame at once, each with its field as `payload.NAME` or
    /// `frame`, the value and what is allowed.
    pub fn encode(
        &self,
        payload: &Map<String, Value>,
        frame: Option<&str>,
    ) -> Result<Encoded, Vec<Violation>> {
        let mut violations = Vec::new();
        let frame = self.frame(frame).map_err(|violation| violations.push(violation));
        let mut params = self.defaults.map(|value| (!value.is_nan()).then_some(f64::from(value)));
        let system = frame.ok().flatten().map(|frame| frame.system);
        let mut known = 0;
        for field in self.fields {
            let Some(value) = payload.get(field.name) else { continue };
            known += 1;
            match field.check(value, &self.bounds(field, system)) {
                Ok(value) => params[usize::from(field.param) - 1] = value,
                Err(violation) => violations.push(violation),
            }
        }
        if known < payload.len() {
            let unknown = payload.keys().filter(|name| self.field(name).is_none());
            violations.extend(unknown.take(MAX_UNKNOWN).map(|name| self.unknown_field(name)));
        }
        match frame {
            Ok(frame) if violations.is_empty() => Ok(Encoded {
                command: self.mavlink_command_id,
                transport: self.transport,
                frame: frame.map_or(0, |frame| frame.number),
                int_scale: frame.map_or(self.int_scale, |frame| frame.system.scale()),
                params,
            }),
            _ => Err(violations),
        }
    }

    /// What a field of the payload may hold in such a frame, in words; `None` without a location.
    pub fn allowed(&self, field: &Field, system: Option<System>) -> String {
        field.allowed(&self.bounds(field, system))
    }

    /// The field of the payload with this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// What a field may hold in this frame. An unknown frame narrows nothing further: its own
    /// violation is reported already.
    pub(super) fn bounds(&self, field: &Field, system: Option<System>) -> Bounds {
        let is_xy = matches!(field.param, 5 | 6);
        let mut bounds = Bounds {
            minimum: field.minimum.map(f64::from),
            maximum: field.maximum.map(f64::from),
            is_float: !(is_xy && self.transport == Transport::CommandInt),
        };
        if is_xy && let Some(system) = system {
            let limit = system.limit(field.param);
            bounds.minimum = Some(bounds.minimum.unwrap_or(-limit).max(-limit));
            bounds.maximum = Some(bounds.maximum.unwrap_or(limit).min(limit));
        }
        bounds
    }

    /// What a payload with a field of this name is told, if the command has none such.
    pub(crate) fn unknown_field(&self, name: &str) -> Violation {
        let param = name.strip_prefix("param").and_then(|param| param.parse::<u8>().ok());
        let field = self.fields.iter().find(|field| Some(field.param) == param);
        let why = match (param, field) {
            (Some(1..=7), Some(field)) => format!("raw params are not taken, write {}", field.name),
            (Some(1..=7), None) => format!("{} does not use this param", self.command_type),
            _ => format!("{} has no such field", self.command_type),
        };
        let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
        let allowed = match names.is_empty() {
            true => "it takes no fields".to_owned(),
            false => format!("its fields are {}", names.join(", ")),
        };
        let path = format!("payload.{}", shorten(name));
        let message = format!("{path}: {why}; {allowed}");
        Violation::new(Code::RequestUnknownField, path, message)
    }
}
