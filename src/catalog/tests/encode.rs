//! The rules of encoding, one example each.

use serde_json::json;

use super::*;
use crate::code::Code;

/// The only violation of this payload.
fn refused(command_type: &str, json: Value) -> Violation {
    let mut violations = encode(command_type, json).unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations.remove(0)
}

fn in_frame(command_type: &str, json: Value, frame: &str) -> Result<Encoded, Vec<Violation>> {
    command(command_type).encode(&payload(json), Some(frame))
}

#[test]
fn a_location_left_out_is_unset_and_never_zero() {
    for command in all().iter().filter(|command| command.has_location) {
        let encoded = command.encode(&Map::new(), None).unwrap();
        let sent = encoded.int().unwrap();
        assert_eq!((sent.x, sent.y), (i32::MAX, i32::MAX), "{}", command.command_type);
        let has_altitude = command.fields.iter().any(|field| field.param == 7);
        assert_eq!(sent.z.is_nan(), has_altitude, "{}", command.command_type);
    }
}

#[test]
fn left_out_is_the_declared_default_else_unset_where_nan_is_a_value_else_zero() {
    let orbit = encode("do_orbit", json!({})).unwrap();
    assert_eq!(orbit.params, [None, None, None, Some(0.0), None, None, None]);
    let gimbal = encode("do_gimbal_manager_pitchyaw", json!({"pitch_angle": -30})).unwrap();
    let zero = Some(0.0);
    assert_eq!(gimbal.params, [Some(-30.0), None, None, None, zero, zero, zero]);
    let actuator = encode("do_set_actuator", json!({"actuator_5": 0.5})).unwrap();
    assert_eq!(actuator.params, [None, None, None, None, Some(0.5), None, zero]);
    let failure = encode("inject_failure", json!({})).unwrap();
    assert_eq!(failure.params, [zero, zero, None, zero, zero, zero, zero]);
    let estimator = encode("estimator_sensor_enable", json!({})).unwrap();
    assert_eq!(estimator.params[..4], [zero, zero, zero, None]);
    let reboot = encode("preflight_reboot_shutdown", json!({})).unwrap();
    assert_eq!(reboot.params, [zero; 7]);
}

#[test]
fn reserved_params_send_their_declared_default() {
    let mode = encode("do_set_standard_mode", json!({"standard_mode": 1})).unwrap();
    let zero = Some(0.0);
    assert_eq!(mode.params, [Some(1.0), zero, zero, zero, zero, zero, None]);
    let eight = encode("do_figure_eight", json!({})).unwrap();
    assert_eq!(eight.params[2], None);
}

#[test]
fn null_is_unset() {
    let long = encode("image_stop_capture", json!({"target_camera_id": null})).unwrap();
    assert!(long.long().0[0].is_nan());
    let place = json!({"latitude": null, "longitude": 8.5, "altitude": null});
    let int = encode("do_reposition", place).unwrap().int().unwrap();
    assert_eq!((int.x, int.y), (i32::MAX, 85_000_000));
    assert!(int.z.is_nan());
}

#[test]
fn degrees_go_in_units_of_1e_7_and_metres_of_1e_4() {
    let place = json!({"latitude": 47.3977418, "longitude": -8.5455934, "altitude": 488.25});
    let int = encode("do_set_roi_location", place).unwrap().int().unwrap();
    assert_eq!((int.x, int.y, int.z), (473_977_418, -85_455_934, 488.25));
    let place = json!({"latitude_x": -12.34567, "longitude_y": 0.5, "altitude_z": -3});
    let local = in_frame("do_orbit", place, "MAV_FRAME_LOCAL_NED").unwrap();
    assert_eq!(local.frame, 1);
    let int = local.int().unwrap();
    assert_eq!((int.x, int.y, int.z), (-123_457, 5_000, -3.0));
}

#[test]
fn local_commands_assume_a_local_frame_and_keep_the_order_of_the_xml() {
    for command_type in ["nav_land_local", "nav_takeoff_local"] {
        let place = json!({"y_position": 1.5, "x_position": 2.5, "z_position": -3.5});
        let encoded = encode(command_type, place).unwrap();
        let int = encoded.int().unwrap();
        assert_eq!((encoded.frame, int.x, int.y, int.z), (1, 15_000, 25_000, -3.5));
        let refused = in_frame(command_type, json!({}), "MAV_FRAME_GLOBAL").unwrap_err();
        assert_eq!(refused[0].field.as_deref(), Some("frame"));
        assert!(refused[0].message.contains("MAV_FRAME_LOCAL_NED (1)"), "{}", refused[0]);
    }
    let far = refused("nav_land_local", json!({"y_position": 214748.3647}));
    assert_eq!(far.code, Code::RequestOutOfRange);
    assert!(encode("nav_land_local", json!({"y_position": 214748.3646})).is_ok());
}

#[test]
fn a_frame_is_for_locations_and_fits_them() {
    let place = json!({"latitude": 1, "longitude": 2, "altitude": 3});
    let relative =
        in_frame("do_reposition", place.clone(), "MAV_FRAME_GLOBAL_RELATIVE_ALT").unwrap();
    assert_eq!(relative.frame, 3);
    for frame in ["MAV_FRAME_LOCAL_NED", "MAV_FRAME_MISSION", "MAV_FRAME_RESERVED_13", "GLOBAL"] {
        let refused = in_frame("do_reposition", place.clone(), frame).unwrap_err();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].code, Code::RequestOutOfRange);
        assert!(refused[0].message.contains(frame), "{}", refused[0]);
        assert!(refused[0].message.contains("MAV_FRAME_GLOBAL_RELATIVE_ALT (3)"));
    }
    let refused = in_frame("image_stop_capture", json!({}), "MAV_FRAME_GLOBAL").unwrap_err();
    assert_eq!(refused[0].code, Code::RequestUnknownField);
    assert_eq!(refused[0].field.as_deref(), Some("frame"));
}

#[test]
fn latitude_and_longitude_stay_on_earth_in_every_global_frame() {
    for (field, limit) in [("x", 90.0), ("y", 180.0)] {
        for frame in ["MAV_FRAME_GLOBAL", "MAV_FRAME_GLOBAL_TERRAIN_ALT"] {
            for sign in [-1.0, 1.0] {
                let place = |value: f64| json!({ field: sign * value });
                assert!(in_frame("nav_roi", place(limit), frame).is_ok());
                let refused = in_frame("nav_roi", place(limit + 1e-7), frame).unwrap_err();
                assert_eq!(refused[0].field, Some(format!("payload.{field}")));
                assert!(refused[0].message.contains(&format!("-{limit} to {limit}")));
            }
        }
        assert!(in_frame("nav_roi", json!({ field: 1000 }), "MAV_FRAME_LOCAL_NED").is_ok());
    }
    let mounted = refused("do_mount_control", json!({"longitude": 180.5}));
    assert_eq!(
        mounted.message,
        "payload.longitude: 180.5 is out of range; allowed: -180 to 180 deg"
    );
}

#[test]
fn enumerations_are_taken_by_number_and_by_name() {
    let by_name = json!({"autopilot": "REBOOT_SHUTDOWN_ACTION_REBOOT",
        "conditions": "REBOOT_SHUTDOWN_CONDITIONS_FORCE"});
    let by_name = encode("preflight_reboot_shutdown", by_name).unwrap();
    let by_number = json!({"autopilot": 1, "conditions": 20_190_226});
    assert_eq!(by_name, encode("preflight_reboot_shutdown", by_number).unwrap());
    assert_eq!(by_name.long().0, [1.0, 0.0, 0.0, 0.0, 0.0, 20_190_226.0, 0.0]);
    for wrong in [json!(5), json!(0.5), json!(-1), json!("REBOOT"), json!("1")] {
        let refused = refused("preflight_reboot_shutdown", json!({"autopilot": wrong.clone()}));
        assert_eq!(refused.code, Code::RequestOutOfRange);
        let expected = format!("payload.autopilot: {wrong} is not in REBOOT_SHUTDOWN_ACTION; ");
        assert!(refused.message.starts_with(&expected), "{refused}");
        assert!(refused.message.contains("REBOOT_SHUTDOWN_ACTION_SHUTDOWN (2)"), "{refused}");
    }
}

#[test]
fn bitmasks_are_sums_of_what_is_known() {
    let both = "GIMBAL_MANAGER_FLAGS_ROLL_LOCK | GIMBAL_MANAGER_FLAGS_PITCH_LOCK";
    for flags in [json!(12), json!(both)] {
        let encoded =
            encode("do_gimbal_manager_pitchyaw", json!({"gimbal_manager_flags": flags})).unwrap();
        assert_eq!(encoded.params[4], Some(12.0));
    }
    for wrong in [json!(1024), json!(-1), json!(1.5), json!("GIMBAL_MANAGER_FLAGS_ROLL_LOCK|")] {
        let payload = json!({"gimbal_manager_flags": wrong});
        let refused = refused("do_gimbal_manager_pitchyaw", payload);
        assert!(refused.message.contains("GIMBAL_MANAGER_FLAGS_PITCH_LOCK (8)"), "{refused}");
    }
}

#[test]
fn truth_values_are_for_mav_bool() {
    for (value, expected) in
        [(json!(true), 1.0), (json!(false), 0.0), (json!(1), 1.0), (json!("MAV_BOOL_TRUE"), 1.0)]
    {
        let encoded = encode("component_arm_disarm", json!({"arm": value})).unwrap();
        assert_eq!(encoded.params[0], Some(expected));
    }
    assert_eq!(
        refused("component_arm_disarm", json!({"arm": 2})).message,
        "payload.arm: 2 is not in MAV_BOOL; allowed: MAV_BOOL_FALSE (0), MAV_BOOL_TRUE (1), true, false"
    );
    let refused = refused("component_arm_disarm", json!({"force": true}));
    assert_eq!(refused.code, Code::RequestInvalid);
    assert_eq!(
        refused.message,
        "payload.force: true is a boolean; allowed: 0 to 21196, in steps of 21196"
    );
}

#[test]
fn ranges_and_steps_are_kept() {
    for (json, message) in [
        (json!({"target_camera_id": 256}), "256 is out of range"),
        (json!({"target_camera_id": -1}), "-1 is out of range"),
        (json!({"target_camera_id": 0.5}), "0.5 is not on a step"),
    ] {
        assert_eq!(
            refused("image_stop_capture", json).message,
            format!("payload.target_camera_id: {message}; allowed: 0 to 255, whole numbers")
        );
    }
    assert!(encode("do_trigger_control", json!({"pause": -1})).is_ok());
    assert!(encode("do_trigger_control", json!({"pause": 0})).is_err());
    assert!(encode("guided_change_heading", json!({"heading_target": 359.99})).is_ok());
    let heading = refused("guided_change_heading", json!({"heading_target": 360}));
    assert_eq!(
        heading.message,
        "payload.heading_target: 360 is out of range; allowed: 0 to 359.99 deg"
    );
}

#[test]
fn numbers_that_a_float_cannot_hold_are_refused() {
    for wrong in
        [json!(16_777_217), json!(-16_777_217), json!(u64::MAX), json!(9_007_199_254_740_993_u64)]
    {
        let refused = refused("do_set_mode", json!({"custom_mode": wrong.clone()}));
        assert_eq!(
            refused.message,
            format!(
                "payload.custom_mode: {wrong} cannot be held exactly by the 32-bit float that carries it; allowed: a number"
            )
        );
    }
    for right in [json!(16_777_216), json!(16_777_218), json!(0.1), json!(-1.5e-3)] {
        assert!(encode("do_set_mode", json!({"custom_mode": right})).is_ok());
    }
    let huge = refused("do_set_mode", json!({"custom_mode": 1e39}));
    assert!(huge.message.contains("does not fit the 32-bit float"), "{huge}");
}

#[test]
fn raw_params_and_unknown_fields_are_refused_with_the_right_names() {
    assert_eq!(
        refused("nav_roi", json!({"param1": 3})).message,
        "payload.param1: raw params are not taken, write roi_mode; \
         its fields are roi_mode, wp_index, roi_index, x, y, z"
    );
    assert_eq!(
        refused("nav_roi", json!({"param4": 3})).message,
        "payload.param4: nav_roi does not use this param; \
         its fields are roi_mode, wp_index, roi_index, x, y, z"
    );
    let unknown = refused("nav_return_to_launch", json!({"speed": 3}));
    assert_eq!(unknown.code, Code::RequestUnknownField);
    assert_eq!(
        unknown.message,
        "payload.speed: nav_return_to_launch has no such field; it takes no fields"
    );
}

#[test]
fn all_violations_come_at_once() {
    let payload = payload(json!({"roi_mode": 9, "wp_index": -1, "x": 91, "y": "east", "zz": 0}));
    let refused = command("nav_roi").encode(&payload, Some("MAV_FRAME_MISSION")).unwrap_err();
    let fields: Vec<_> =
        refused.iter().filter_map(|violation| violation.field.as_deref()).collect();
    // Without a frame nobody can say whether 91 is too much.
    assert_eq!(
        fields,
        ["frame", "payload.roi_mode", "payload.wp_index", "payload.y", "payload.zz"]
    );
    let refused = command("nav_roi").encode(&payload, None).unwrap_err();
    assert_eq!(refused.len(), 5);
}

#[test]
fn a_reply_stays_small_whatever_came_in() {
    let payload: Map<String, Value> =
        (0..1000).map(|index| (format!("{index}{}", "x".repeat(1000)), json!(0))).collect();
    let refused = command("nav_roi").encode(&payload, None).unwrap_err();
    assert_eq!(refused.len(), 16);
    assert!(refused.iter().all(|violation| violation.message.len() < 300));
    let long = refused_string(&"é".repeat(10_000));
    assert!(long.message.len() < 300, "{long}");
}

fn refused_string(text: &str) -> Violation {
    refused("do_set_mode", json!({ "custom_mode": text }))
}

#[test]
fn the_other_form_is_there_for_whole_x_and_y_only() {
    let whole = encode("do_digicam_control", json!({"shoot_command": 1})).unwrap();
    assert_eq!((whole.int().unwrap().x, whole.int().unwrap().y), (1, 0));
    let half = encode("do_digicam_control", json!({"shoot_command": 0.5})).unwrap();
    assert_eq!(half.int(), None);
    let unset = encode("do_digicam_control", json!({"shoot_command": null})).unwrap();
    assert_eq!(unset.int().unwrap().x, i32::MAX);
    let large = encode("do_digicam_control", json!({"shoot_command": 4_294_967_296_u64})).unwrap();
    assert_eq!(large.int(), None);
    let actuator = encode("do_set_actuator", json!({"actuator_5": -0.5})).unwrap();
    assert_eq!((actuator.int().unwrap().x, actuator.int().unwrap().y), (-5_000_000, i32::MAX));
    let place = json!({"latitude": 47.5, "longitude": 8.25});
    let long = encode("do_reposition", place).unwrap().long().0;
    assert_eq!(long[4..6], [47.5, 8.25]);
    assert!(long[6].is_nan());
}

#[test]
fn content_is_the_same_when_the_wire_is() {
    let place = |latitude: Value| encode("do_reposition", json!({"latitude": latitude})).unwrap();
    assert!(place(json!(1)).same_content(&place(json!(1.0))));
    assert!(place(json!(1)).same_content(&place(json!(1.000_000_001))));
    assert!(!place(json!(1)).same_content(&place(json!(1.000_000_1))));
    assert!(place(json!(null)).same_content(&encode("do_reposition", json!({})).unwrap()));
    let relative =
        in_frame("do_reposition", json!({"latitude": 1}), "MAV_FRAME_GLOBAL_RELATIVE_ALT");
    assert!(!place(json!(1)).same_content(&relative.unwrap()));

    let interval = |value: f64| encode("image_start_capture", json!({"interval": value})).unwrap();
    assert!(interval(0.1).same_content(&interval(f64::from(0.1_f32))));
    assert!(!interval(0.1).same_content(&interval(0.2)));
    let camera =
        |value: Value| encode("image_stop_capture", json!({"target_camera_id": value})).unwrap();
    assert!(camera(json!(null)).same_content(&camera(json!(null))));
    assert!(!camera(json!(null)).same_content(&camera(json!(0))));
    let start = encode("camera_start_mti", json!({})).unwrap();
    let stop = encode("camera_stop_mti", json!({})).unwrap();
    assert!(!start.same_content(&stop));
}
