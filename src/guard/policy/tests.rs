use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{self, Transport};

fn bounds(command: &str, field: &str, values: Values, allow_unset: bool) -> FieldBounds {
    let field = catalog::find(command).unwrap().field(field).unwrap();
    FieldBounds { field, values, allow_unset }
}

fn range(minimum: f64, maximum: f64) -> Values {
    Values::Range { minimum: Some(minimum), maximum: Some(maximum) }
}

fn encode(command: &str, payload: &Value, frame: Option<&str>) -> Encoded {
    let payload = payload.as_object().unwrap();
    catalog::find(command).unwrap().encode(payload, frame).unwrap()
}

/// The refusal's message, or `""`.
fn refused(rule: &Rule, command: &str, content: &Encoded, timeout_seconds: u32) -> String {
    match rule.check_bounds(catalog::find(command).unwrap(), content, timeout_seconds) {
        Ok(()) => String::new(),
        Err(refusal) => {
            assert_eq!(refusal.code, Code::PolicyOutOfBounds);
            refusal.message
        }
    }
}

#[test]
fn every_spelling_of_a_value_meets_the_same_bounds() {
    let command = "preflight_reboot_shutdown";
    let reboot = Rule {
        fields: vec![bounds(command, "autopilot", Values::OneOf(vec![1.0, 3.0]), false)],
        ..Rule::default()
    };
    for (payload, passes) in [
        (json!({"autopilot": 1}), true),
        (json!({"autopilot": 1.0}), true),
        (json!({"autopilot": "REBOOT_SHUTDOWN_ACTION_REBOOT"}), true),
        (json!({"autopilot": 3}), true),
        (json!({"autopilot": 2}), false),
        (json!({"autopilot": 2.0}), false),
        (json!({"autopilot": "REBOOT_SHUTDOWN_ACTION_SHUTDOWN"}), false),
        // The declared default, 0, is a value as any other.
        (json!({}), false),
        (json!({"companion": 1}), false),
        (json!({"autopilot": null}), false),
    ] {
        let message = refused(&reboot, command, &encode(command, &payload, None), 30);
        assert_eq!(message.is_empty(), passes, "{payload}: {message}");
    }
    let shutdown = encode(command, &json!({"autopilot": 2}), None);
    assert_eq!(
        refused(&reboot, command, &shutdown, 30),
        "payload.autopilot: 2 is outside of the policy's bounds; allowed: 1, 3"
    );
}

#[test]
fn both_ends_belong_to_a_range() {
    let command = "set_camera_zoom";
    let rule = |values| Rule {
        fields: vec![bounds(command, "zoom_value", values, false)],
        ..Rule::default()
    };
    let at_least = Values::Range { minimum: Some(0.1), maximum: None };
    let at_most = Values::Range { minimum: None, maximum: Some(0.7) };
    for (rule, allowed, passing, failing) in [
        (
            rule(range(0.1, 0.7)),
            "0.1 to 0.7",
            vec![0.1, 0.7],
            vec![0.0999, 0.7001, -0.1, 1_048_576.0],
        ),
        (rule(at_least), "at least 0.1", vec![0.1, 1_048_576.0], vec![0.0999, -1_048_576.0]),
        (rule(at_most), "at most 0.7", vec![0.7, -1_048_576.0], vec![0.7001, 1_048_576.0]),
    ] {
        for value in passing {
            let content = encode(command, &json!({"zoom_value": value}), None);
            assert_eq!(refused(&rule, command, &content, 30), "", "{value}");
        }
        for value in failing {
            let content = encode(command, &json!({"zoom_value": value}), None);
            let message = refused(&rule, command, &content, 30);
            assert!(
                message.contains("payload.zoom_value") && message.ends_with(allowed),
                "{message}"
            );
        }
    }
}

#[test]
fn unset_is_outside_unless_allowed() {
    let command = "do_reposition";
    for allow_unset in [false, true] {
        let latitude = bounds(command, "latitude", range(47.3, 47.4), allow_unset);
        let rule = Rule { fields: vec![latitude], ..Rule::default() };
        for payload in [json!({}), json!({"latitude": null}), json!({"longitude": 8.5})] {
            let message = refused(&rule, command, &encode(command, &payload, None), 30);
            assert_eq!(message.is_empty(), allow_unset, "{payload}: {message}");
        }
        let elsewhere = encode(command, &json!({"latitude": 47.5}), None);
        let message = refused(&rule, command, &elsewhere, 30);
        assert_eq!(message.ends_with(", or unset"), allow_unset, "{message}");
    }
}

#[test]
fn a_location_in_another_frame_is_another_location() {
    let command = "nav_roi";
    let rule = Rule {
        frames: [0, 3].into(),
        fields: vec![bounds(command, "x", range(47.3, 47.4), false)],
        ..Rule::default()
    };
    let payload = json!({"x": 47.35, "y": 8.5, "z": 30});
    for (frame, told) in [
        (None, ""),
        (Some("MAV_FRAME_GLOBAL_RELATIVE_ALT"), ""),
        // 47.35 metres.
        (Some("MAV_FRAME_LOCAL_NED"), "MAV_FRAME 1 is not allowed for nav_roi; allowed: 0, 3"),
        (
            Some("MAV_FRAME_GLOBAL_TERRAIN_ALT"),
            "MAV_FRAME 10 is not allowed for nav_roi; allowed: 0, 3",
        ),
    ] {
        assert_eq!(refused(&rule, command, &encode(command, &payload, frame), 30), told);
    }
}

#[test]
fn a_timeout_has_its_own_bound() {
    let command = "image_stop_capture";
    let rule = Rule { max_timeout: Some(60), ..Rule::default() };
    let content = encode(command, &json!({}), None);
    for (seconds, told) in [
        (0, ""),
        (60, ""),
        (61, "timeout_seconds 61 is not allowed for image_stop_capture; at most 60"),
    ] {
        assert_eq!(refused(&rule, command, &content, seconds), told);
        assert_eq!(refused(&Rule::default(), command, &content, seconds), "");
    }
}

/// Numbers near each other, so that both sides of every bound are hit, and some far off.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-20_i32..20).prop_map(f64::from),
        -20.0..20.0_f64,
        (-20_i32..20, -3_i32..3).prop_map(|(whole, ulps)| {
            let float = whole as f32;
            f64::from(f32::from_bits((float.to_bits() as i32 + ulps) as u32))
        }),
        (-20.0..20.0_f64, -1e-8..1e-8_f64).prop_map(|(value, bit)| value + bit),
        any::<f64>(),
    ]
}

/// The configuration takes no other bounds.
fn bound() -> impl Strategy<Value = f64> {
    number().prop_filter("finite in 32 bits", |bound| (*bound as f32).is_finite())
}

fn values() -> impl Strategy<Value = Values> {
    prop_oneof![
        proptest::collection::vec(bound(), 1..4).prop_map(Values::OneOf),
        (proptest::option::of(bound()), proptest::option::of(bound()))
            .prop_map(|(minimum, maximum)| Values::Range { minimum, maximum }),
    ]
}

/// What a param is on the wire; `None`: unset, NaN or INT32_MAX. `Err`: it cannot be sent so.
fn on_the_wire(content: &Encoded, form: Transport, param: usize) -> Result<Option<f64>, ()> {
    let float = |value: f32| Some(f64::from(value)).filter(|value| !value.is_nan());
    match form {
        Transport::CommandLong => Ok(float(content.long().0[param])),
        Transport::CommandInt => {
            let int = content.int().ok_or(())?;
            Ok(match param {
                0 => float(int.param1),
                1 => float(int.param2),
                2 => float(int.param3),
                3 => float(int.param4),
                4 => (int.x != i32::MAX).then_some(f64::from(int.x)),
                5 => (int.y != i32::MAX).then_some(f64::from(int.y)),
                _ => float(int.z),
            })
        }
    }
}

/// A bound, as it would go on the wire.
fn bound_on_the_wire(content: &Encoded, form: Transport, param: usize, bound: f64) -> f64 {
    match (form, param) {
        (Transport::CommandInt, 4 | 5) => (bound * f64::from(content.int_scale)).round(),
        _ => f64::from(bound as f32),
    }
}

proptest! {
    /// Whatever passes lies within the bounds as the vehicle reads it, in either form.
    #[test]
    fn nothing_outside_of_the_bounds_passes(
        params in proptest::array::uniform7(proptest::option::of(number())),
        int_scale in proptest::sample::select(vec![1, 10_000, 10_000_000]),
        values in values(),
        allow_unset in any::<bool>(),
        field in 0_usize..7,
    ) {
        let command = catalog::find("do_reposition").unwrap();
        let field = &command.fields[field];
        let param = usize::from(field.param) - 1;
        let rule = Rule {
            fields: vec![FieldBounds { field, values: values.clone(), allow_unset }],
            ..Rule::default()
        };
        let content = Encoded {
            command: command.mavlink_command_id,
            transport: Transport::CommandInt,
            frame: 0,
            int_scale,
            params,
        };
        let passes = rule.check_bounds(command, &content, 30).is_ok();
        if let Some(value) = params[param].filter(|value| (*value as f32).is_finite()) {
            let within = match &values {
                Values::OneOf(allowed) => allowed.contains(&value),
                Values::Range { minimum, maximum } => {
                    !minimum.is_some_and(|it| value < it) && !maximum.is_some_and(|it| value > it)
                }
            };
            prop_assert_eq!(passes, within);
        } else {
            prop_assert_eq!(passes, allow_unset);
        }
        for form in [Transport::CommandInt, Transport::CommandLong] {
            let Ok(sent) = on_the_wire(&content, form, param) else { continue };
            let wire = |bound: f64| bound_on_the_wire(&content, form, param, bound);
            let outside = match (sent, &values) {
                (None, _) => !allow_unset,
                (Some(sent), Values::OneOf(allowed)) => allowed.iter().all(|it| wire(*it) != sent),
                (Some(sent), Values::Range { minimum, maximum }) => {
                    minimum.is_some_and(|it| sent < wire(it))
                        || maximum.is_some_and(|it| sent > wire(it))
                }
            };
            // A double that no float holds counts as unset, and is never encoded.
            let is_sendable = params[param].is_none_or(|value| (value as f32).is_finite());
            prop_assert!(!(passes && outside && is_sendable), "{:?} {:?} {:?}", form, sent, values);
        }
    }
}
