//! The five reference pages: their request tables, frame mappings and example bodies.

use serde_json::json;

use super::*;

/// command_type, MAV_CMD, id, transport, domain, then label, enumeration and param of every field.
type Page = (
    &'static str,
    &'static str,
    u16,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str, &'static str, u8)],
);

const PAGES: [Page; 5] = [
    (
        "image_stop_capture",
        "MAV_CMD_IMAGE_STOP_CAPTURE",
        2001,
        "COMMAND_LONG",
        "camera-media",
        &[("target_camera_id", "Target Camera ID", "", 1)],
    ),
    (
        "request_camera_capture_status",
        "MAV_CMD_REQUEST_CAMERA_CAPTURE_STATUS",
        527,
        "COMMAND_LONG",
        "camera-media",
        &[("capture_status", "Capture Status", "MAV_BOOL", 1)],
    ),
    (
        "do_digicam_control",
        "MAV_CMD_DO_DIGICAM_CONTROL",
        203,
        "COMMAND_LONG",
        "camera-media",
        &[
            ("session_control", "Session Control", "", 1),
            ("zoom_absolute", "Zoom Absolute", "", 2),
            ("zoom_relative", "Zoom Relative", "", 3),
            ("focus", "Focus", "", 4),
            ("shoot_command", "Shoot Command", "", 5),
            ("command_identity", "Command Identity", "", 6),
            ("shot_id", "Shot ID", "", 7),
        ],
    ),
    (
        "preflight_reboot_shutdown",
        "MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN",
        246,
        "COMMAND_LONG",
        "system-control",
        &[
            ("autopilot", "Autopilot", "REBOOT_SHUTDOWN_ACTION", 1),
            ("companion", "Companion", "REBOOT_SHUTDOWN_ACTION", 2),
            ("component_action", "Component Action", "REBOOT_SHUTDOWN_ACTION", 3),
            ("component_id", "Component ID", "", 4),
            ("conditions", "Conditions", "REBOOT_SHUTDOWN_CONDITIONS", 6),
        ],
    ),
    (
        "nav_roi",
        "MAV_CMD_NAV_ROI",
        80,
        "COMMAND_INT",
        "navigation",
        &[
            ("roi_mode", "ROI Mode", "MAV_ROI", 1),
            ("wp_index", "WP Index", "", 2),
            ("roi_index", "ROI Index", "", 3),
            ("x", "X", "", 5),
            ("y", "Y", "", 6),
            ("z", "Z", "", 7),
        ],
    ),
];

#[test]
fn the_five_commands_are_what_their_pages_say() {
    for (command_type, mavlink_command, id, transport, domain, fields) in PAGES {
        let command = command(command_type);
        assert_eq!(command.mavlink_command, mavlink_command);
        assert_eq!(command.mavlink_command_id, id);
        assert_eq!(command.transport.as_str(), transport);
        assert_eq!(command.source_xml, "common.xml");
        assert_eq!(command.domain, domain);
        let actual: Vec<_> = command
            .fields
            .iter()
            .map(|field| {
                let enumeration = field.enumeration.map_or("", |enumeration| enumeration.name);
                (field.name, field.label, enumeration, field.param)
            })
            .collect();
        assert_eq!(actual, fields, "{command_type}");
    }
}

#[test]
fn the_five_example_payloads_encode() {
    let nan = f32::NAN;
    let examples = [
        ("image_stop_capture", json!({"target_camera_id": 0}), [0.0, nan, nan, nan, 0.0, 0.0, nan]),
        ("request_camera_capture_status", json!({"capture_status": 0}), [0.0; 7]),
        (
            "do_digicam_control",
            json!({"session_control": 0, "zoom_absolute": 0, "zoom_relative": 0, "focus": 0,
                "shoot_command": 0, "command_identity": 0, "shot_id": 0}),
            [0.0; 7],
        ),
        (
            "preflight_reboot_shutdown",
            json!({"autopilot": 0, "companion": 0, "component_action": 0, "component_id": 0,
                "conditions": 0}),
            [0.0; 7],
        ),
    ];
    for (command_type, payload, expected) in examples {
        let sent = encode(command_type, payload).unwrap().long().0;
        assert_eq!(sent.map(f32::to_bits), expected.map(f32::to_bits), "{command_type}");
    }
    let roi = json!({"roi_mode": 0, "wp_index": 0, "roi_index": 0, "x": 0, "y": 0, "z": 30.0});
    let roi = encode("nav_roi", roi).unwrap();
    assert_eq!(roi.frame, 0);
    let expected =
        IntParams { param1: 0.0, param2: 0.0, param3: 0.0, param4: 0.0, x: 0, y: 0, z: 30.0 };
    assert_eq!(roi.int(), Some(expected));
}
