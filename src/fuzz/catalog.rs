//! A command's payload, made from bytes: most are nearly right, so that the checks are reached.

use serde_json::{Map, Value, json};

use super::content::check_content;
use crate::catalog::{self, Command, Field};

/// The first two bytes choose the command, the third its frame, the others say what its fields are.
pub fn catalog(data: &[u8]) -> bool {
    let mut bytes = Bytes(data);
    let commands = catalog::all();
    let command = &commands[usize::from(bytes.u16()) % commands.len()];
    let frame = frame(command, &mut bytes);
    let payload = payload(command, &mut bytes);
    match command.encode(&payload, frame.as_deref()) {
        Ok(content) => {
            check_content(command, &payload, &content);
            assert_eq!(command.encode(&payload, frame.as_deref()).as_ref(), Ok(&content));
            true
        }
        Err(violations) => {
            assert!(!violations.is_empty());
            for violation in violations {
                let field = violation.field.expect("a payload's mistake has a place");
                assert!(field == "frame" || field.starts_with("payload."), "{field}");
                assert!(violation.message.starts_with(&field), "{}", violation.message);
                assert!(violation.message.len() < 16 * 1024);
            }
            false
        }
    }
}

fn frame(command: &Command, bytes: &mut Bytes<'_>) -> Option<String> {
    match bytes.u8() {
        0..128 => None,
        choice @ 128..248 => {
            let names: Vec<&str> = command.frames().map(|(entry, _)| entry.name).collect();
            let name = names.get(usize::from(choice) % names.len().max(1));
            Some((*name.unwrap_or(&"MAV_FRAME_GLOBAL")).to_owned())
        }
        _ => Some(bytes.text()),
    }
}

fn payload(command: &Command, bytes: &mut Bytes<'_>) -> Map<String, Value> {
    let mut payload = Map::new();
    for field in command.fields {
        if let Some(value) = value(field, bytes) {
            payload.insert(field.name.to_owned(), value);
        }
    }
    // Seldom: an unknown field is refused, whatever the others are.
    while bytes.u8() == 255 && payload.len() < 64 {
        let name = bytes.text();
        let value = json!(bytes.u8());
        // It may be a field's name after all.
        payload.entry(name).or_insert(value);
    }
    payload
}

fn value(field: &Field, bytes: &mut Bytes<'_>) -> Option<Value> {
    let edge = |limit: Option<f32>, delta: f64| json!(f64::from(limit.unwrap_or(0.0)) + delta);
    let nudge = |limit: Option<f32>, up: bool| {
        let limit = f64::from(limit.unwrap_or(0.0));
        json!(if up { limit.next_up() } else { limit.next_down() })
    };
    let choice = bytes.u8();
    Some(match choice % 20 {
        0 => return None,
        _ if field.enumeration.is_some() && choice < 224 => names(field, bytes),
        1 => Value::Null,
        2 => json!(bytes.u8()),
        3 => json!(bytes.u16() as i16),
        4 => json!(bytes.u64() as i64),
        5 => json!(bytes.u64()),
        6 => json!(f64::from_bits(bytes.u64())),
        7 => json!(f32::from_bits(bytes.u64() as u32)),
        8 => edge(field.minimum, 0.0),
        9 => edge(field.maximum, 0.0),
        10 => {
            edge(field.minimum, f64::from(bytes.u8()) * f64::from(field.increment.unwrap_or(0.1)))
        }
        11 => edge(field.maximum, -f64::from(bytes.u8()) / 16.0),
        12 => nudge(field.minimum, bytes.coin()),
        13 => nudge(field.maximum, bytes.coin()),
        // A coordinate, to 1e-7 degrees.
        14 => json!(f64::from(bytes.u64() as i32) / 1e7),
        // As far as x and y reach in metres.
        15 => json!(f64::from(i32::MAX - i32::from(bytes.u8() % 2)) / 1e4),
        16 => json!(bytes.u8() % 2),
        17 => json!(bytes.text()),
        18 => json!(bytes.coin()),
        _ => json!([bytes.u8()]),
    })
}

/// Entries of the field's enumeration, by name or by number.
fn names(field: &Field, bytes: &mut Bytes<'_>) -> Value {
    let enumeration = field.enumeration.expect("the caller knows");
    let mut entry = || &enumeration.entries[usize::from(bytes.u8()) % enumeration.entries.len()];
    let (one, two) = (entry(), entry());
    match bytes.u8() % 16 {
        0..6 => json!(one.name),
        6..12 => json!(one.value),
        12 | 13 => json!(format!("{} | {}", one.name, two.name)),
        _ => json!(one.value | two.value),
    }
}

/// What is left; zeros behind the end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.u8()))
    }

    fn coin(&mut self) -> bool {
        self.u8() & 1 == 0
    }

    /// At most 80 characters, so that most are whole.
    fn text(&mut self) -> String {
        let length = usize::from(self.u8() % 81).min(self.0.len());
        let bytes = self.0.split_off(..length).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}
