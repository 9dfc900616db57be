//! An example request of a command.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::catalog::Command;
use crate::wire::topic::VENDOR;

const DEVICE_ID: &str = "px4-real-1";

/// The topic of this kind of the examples' vehicle and of an issuer `cloud`.
pub fn topic(kind: &str) -> String {
    format!("downlink/v1/{VENDOR}/{DEVICE_ID}/{kind}/cloud")
}

/// A request that the agent accepts, in the order in which people read it.
#[derive(Serialize)]
pub struct Example {
    vendor: &'static str,
    device_id: &'static str,
    command_type: &'static str,
    payload: Payload,
    idempotency_key: String,
    timeout_seconds: u32,
}

struct Payload(Vec<(&'static str, Value)>);

impl Example {
    pub fn of(command: &Command) -> Self {
        Self {
            vendor: VENDOR,
            device_id: DEVICE_ID,
            command_type: command.command_type,
            payload: Payload(command.example()),
            idempotency_key: format!("req-{}-001", command.command_type),
            timeout_seconds: 30,
        }
    }

    /// On one line.
    pub fn compact(&self) -> String {
        serde_json::to_string(self).expect("a request holds only strings and numbers")
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// JSON for people, with a line end.
pub fn pretty(value: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(value).expect("the catalogue holds only strings and numbers");
    text.push('\n');
    text
}
