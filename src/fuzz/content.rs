//! What holds of every command that a request is turned into.

use serde_json::{Map, Value};

use crate::catalog::{Command, Encoded, Field, Transport};
use crate::wire::mavlink::{Address, Body, CommandFrame, Framer, command as frame_bytes};

const NODE: Address = Address { system: 1, component: 1 };

/// `content` is what `payload` says, within the catalogue's bounds, and can be sent and journaled.
pub fn check_content(command: &Command, payload: &Map<String, Value>, content: &Encoded) {
    assert_eq!(content.command, command.mavlink_command_id);
    assert_eq!(content.transport, command.transport);
    for field in command.fields {
        let param = content.params[usize::from(field.param) - 1];
        match payload.get(field.name) {
            None => assert_eq!(param.map(|it| it as f32), field.default, "{}", field.name),
            Some(Value::Null) => assert_eq!(param, None, "{}", field.name),
            Some(value) => {
                let param = param.unwrap_or_else(|| panic!("{} is lost", field.name));
                check_param(field, value, param, content);
            }
        }
    }
    check_wire(content);
    let journaled = postcard::to_stdvec(content).expect("plain data");
    let again: Encoded = postcard::from_bytes(&journaled).expect("it was just written");
    assert_eq!(again, *content);
    assert!(content.same_content(&again));
}

fn check_param(field: &Field, value: &Value, param: f64, content: &Encoded) {
    let name = field.name;
    if let Some(number) = value.as_f64() {
        assert_eq!(param, number, "{name}");
    }
    let is_scaled = content.transport == Transport::CommandInt && matches!(field.param, 5 | 6);
    let as_sent = |number: f64| if is_scaled { number } else { f64::from(number as f32) };
    let minimum = field.minimum.map_or(f64::MIN, |it| as_sent(it.into()));
    let maximum = field.maximum.map_or(f64::MAX, |it| as_sent(it.into()));
    assert!((minimum..=maximum).contains(&as_sent(param)), "{name} is {param}");
    if content.int_scale == 10_000_000 && is_scaled {
        let limit = if field.param == 5 { 90.0 } else { 180.0 };
        assert!(param.abs() <= limit, "{name} is {param} degrees");
    }
    if let Some(enumeration) = field.enumeration {
        let number = param as u32;
        assert_eq!(f64::from(number), param, "{name}");
        let known = match enumeration.bitmask {
            true => enumeration.entries.iter().fold(number, |rest, entry| rest & !entry.value) == 0,
            false => enumeration.entries.iter().any(|entry| entry.value == number),
        };
        assert!(known, "{name} is {number}, which {} does not have", enumeration.name);
    }
    if let Some(increment) = field.increment {
        let steps = (param - f64::from(field.minimum.unwrap_or(0.0))) / f64::from(increment);
        assert!((steps - steps.round()).abs() < 1e-6, "{name} is {param}, not on a step");
    }
}

/// Every param is a finite number or unset, in its own form and in the other.
fn check_wire(content: &Encoded) {
    let long = content.long();
    for (sent, param) in long.0.into_iter().zip(content.params) {
        assert_eq!(param.is_none(), sent.is_nan(), "{content:?}");
        assert!(!sent.is_infinite(), "{content:?}");
    }
    let int = content.int();
    if let Some(int) = int {
        for (sent, param) in [(int.x, content.params[4]), (int.y, content.params[5])] {
            match param {
                None => assert_eq!(sent, i32::MAX),
                Some(param) => {
                    assert_ne!(sent, i32::MAX, "{param} would be unset");
                    let scaled = param * f64::from(content.int_scale);
                    assert!((f64::from(sent) - scaled).abs() <= 0.5, "{param} was sent as {sent}");
                }
            }
        }
    }
    assert!(int.is_some() || content.transport == Transport::CommandLong, "{content:?}");
    let bodies =
        [Some(Body::Long(long)), int.map(|params| Body::Int { frame: content.frame, params })];
    for body in bodies.into_iter().flatten() {
        let frame = CommandFrame { target: NODE, command: content.command, confirmation: 0, body };
        let bytes = frame_bytes(0, NODE, &frame);
        let mut framer = Framer::new();
        framer.push(bytes.as_slice());
        let read = framer.next().map(|frame| frame.as_slice().to_vec());
        assert_eq!(read.as_deref(), Some(bytes.as_slice()));
    }
}
