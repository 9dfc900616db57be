//! For every command and random payloads: valid ones become what was asked, invalid ones do not.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::catalog::frame::{Location, System};

/// What a request says of one field, and the number that must come of it.
type Said = (&'static Field, Option<Value>, Option<f64>);

fn any_command() -> impl Strategy<Value = &'static Command> {
    select(all().iter().collect::<Vec<_>>())
}

/// A frame that fits the command, and what kind it is.
fn fitting_frame(command: &Command) -> BoxedStrategy<(Option<&'static str>, u8, Option<System>)> {
    let global = vec![
        (None, 0, Some(System::Global)),
        (Some("MAV_FRAME_GLOBAL"), 0, Some(System::Global)),
        (Some("MAV_FRAME_GLOBAL_RELATIVE_ALT"), 3, Some(System::Global)),
        (Some("MAV_FRAME_GLOBAL_TERRAIN_ALT"), 10, Some(System::Global)),
    ];
    let local = vec![
        (Some("MAV_FRAME_LOCAL_NED"), 1, Some(System::Local)),
        (Some("MAV_FRAME_BODY_FRD"), 12, Some(System::Local)),
    ];
    select(match command.location {
        Location::None => vec![(None, 0, None)],
        Location::Geographic => global,
        Location::Framed => [global, local].concat(),
        Location::Local => [vec![(None, 1, Some(System::Local))], local].concat(),
    })
    .boxed()
}

fn is_xy(field: &Field) -> bool {
    matches!(field.param, 5 | 6)
}

fn range(field: &Field, system: Option<System>) -> (f64, f64) {
    let unlimited = match system.filter(|_| is_xy(field)) {
        Some(System::Global) if field.param == 5 => 90.0,
        Some(System::Global) => 180.0,
        Some(System::Local) => 200_000.0,
        None => 1e6,
    };
    let limit = |limit: Option<f32>, none| limit.map_or(none, f64::from);
    let minimum = limit(field.minimum, -unlimited);
    (minimum, limit(field.maximum, unlimited.max(minimum)))
}

/// A value that the field allows.
fn allowed(field: &'static Field, system: Option<System>) -> BoxedStrategy<(Value, Option<f64>)> {
    let number = match field.enumeration {
        Some(enumeration) => {
            let named = select(enumeration.entries.iter().collect::<Vec<_>>());
            let pair = (named.clone(), named, any::<bool>());
            pair.prop_map(|(one, two, by_name)| {
                let value = f64::from(one.value);
                match (by_name, enumeration.bitmask, enumeration.name) {
                    (true, true, _) => {
                        let names = format!("{}|{}", one.name, two.name);
                        (json!(names), Some(f64::from(one.value | two.value)))
                    }
                    (true, false, _) => (json!(one.name), Some(value)),
                    (false, _, "MAV_BOOL") => (json!(one.value == 1), Some(value)),
                    (false, true, _) => {
                        (json!(one.value | two.value), Some(f64::from(one.value | two.value)))
                    }
                    (false, false, _) => (json!(one.value), Some(value)),
                }
            })
            .boxed()
        }
        None => {
            let (minimum, maximum) = range(field, system);
            match field.increment.map(f64::from) {
                Some(increment) => {
                    let steps = ((maximum - minimum) / increment) as u32;
                    (0..=steps)
                        .prop_map(move |step| {
                            let value = minimum + f64::from(step) * increment;
                            (json!(value as i64), Some(value))
                        })
                        .boxed()
                }
                None => (minimum..=maximum).prop_map(|value| (json!(value), Some(value))).boxed(),
            }
        }
    };
    prop_oneof![9 => number, 1 => Just((Value::Null, None))].boxed()
}

/// A request's fields, each there or not.
fn said(command: &'static Command, system: Option<System>) -> impl Strategy<Value = Vec<Said>> {
    let field = move |field: &'static Field| {
        let said = prop::option::weighted(0.7, allowed(field, system));
        said.prop_map(move |said| match said {
            Some((value, number)) => (field, Some(value), number),
            None => (field, None, field.default.map(f64::from)),
        })
    };
    command.fields.iter().map(field).collect::<Vec<_>>()
}

fn payload_of(said: &[Said]) -> Map<String, Value> {
    let fields = said.iter().filter_map(|(field, value, _)| Some((field, value.clone()?)));
    fields.map(|(field, value)| (field.name.to_owned(), value)).collect()
}

/// A value that the field does not allow.
fn forbidden(field: &'static Field) -> BoxedStrategy<Value> {
    let mut values = vec![json!([0]), json!({"value": 0}), json!("no such entry"), json!("0")];
    match field.enumeration {
        Some(enumeration) => {
            values.extend([json!(0.5), json!(-1), json!(u64::MAX)]);
            let known = enumeration.entries.iter().fold(0, |known, entry| known | entry.value);
            values.push(json!(u64::from(known) + 1));
        }
        None => {
            values.extend([json!(1e39), json!(true)]);
            if !is_xy(field) {
                values.push(json!(16_777_217));
            }
            values.extend(field.minimum.map(|minimum| json!(f64::from(minimum) - 0.25)));
            values.extend(field.maximum.map(|maximum| json!(f64::from(maximum) + 0.25)));
            values.extend(field.increment.map(|_| json!(0.5)));
        }
    }
    select(values).boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_valid_payload_becomes_what_was_asked(
        (command, (frame, number, system), said) in any_command()
            .prop_flat_map(|command| (Just(command), fitting_frame(command)))
            .prop_flat_map(|(command, frame)| (Just(command), Just(frame), said(command, frame.2))),
    ) {
        let payload = payload_of(&said);
        let encoded = command.encode(&payload, frame).map_err(|violations| {
            TestCaseError::fail(format!("{}: {violations:?}", command.command_type))
        })?;
        prop_assert_eq!(encoded.command, command.mavlink_command_id);
        prop_assert_eq!(encoded.transport, command.transport);
        prop_assert_eq!(encoded.frame, number);
        for (field, _, expected) in &said {
            let param = usize::from(field.param) - 1;
            prop_assert_eq!(encoded.params[param], *expected, "{}", field.name);
            let wire = encoded.long().0[param];
            match expected {
                Some(expected) => prop_assert_eq!(wire, *expected as f32),
                None => prop_assert!(wire.is_nan()),
            }
        }
        if let Some(system) = system {
            let int = encoded.int().unwrap();
            let unit = match system { System::Global => 1e-7, System::Local => 1e-4 };
            for (param, wire) in [(5, int.x), (6, int.y)] {
                match encoded.params[param - 1] {
                    Some(asked) => {
                        prop_assert!((f64::from(wire) * unit - asked).abs() <= unit * 0.5001);
                    }
                    None => prop_assert_eq!(wire, i32::MAX),
                }
            }
        }
        let kept = serde_json::from_slice(&serde_json::to_vec(&encoded).unwrap()).unwrap();
        prop_assert_eq!(&encoded, &kept);
        prop_assert!(encoded.same_content(&kept));
    }

    #[test]
    fn an_invalid_field_is_refused_by_name(
        (field, value, command, said) in any_command()
            .prop_filter("a command with fields", |command| !command.fields.is_empty())
            .prop_flat_map(|command| {
                let field = select(command.fields.iter().collect::<Vec<_>>());
                (field, Just(command))
            })
            .prop_flat_map(|(field, command)| {
                let system = command.frame(None).unwrap().map(|frame| frame.system);
                (Just(field), forbidden(field), Just(command), said(command, system))
            }),
    ) {
        let mut payload = payload_of(&said);
        payload.insert(field.name.to_owned(), value.clone());
        let violations = command.encode(&payload, None).expect_err("it was encoded");
        prop_assert_eq!(violations.len(), 1, "{:?}", violations);
        let path = format!("payload.{}", field.name);
        prop_assert_eq!(violations[0].field.as_ref(), Some(&path));
        let start = format!("{path}: {value} ");
        prop_assert!(violations[0].message.starts_with(&start), "{}", violations[0]);
        prop_assert!(violations[0].message.contains("; allowed: "), "{}", violations[0]);
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_right_names(
        command in any_command(),
        name in "param[0-9]|[a-z_]{1,12}",
    ) {
        prop_assume!(command.field(&name).is_none());
        let payload = payload(json!({ &name: 1 }));
        let violations = command.encode(&payload, None).expect_err("it was encoded");
        prop_assert_eq!(violations.len(), 1);
        for field in command.fields {
            prop_assert!(violations[0].message.contains(field.name));
        }
    }
}
