//! The five commands of the demo and what a PX4 makes of them.

use crate::bench::vehicle::Form;

pub const VENDOR: &str = "px4";
pub const DEVICE_ID: &str = "px4-real-1";
/// The issuer, as the agent's configuration and the topics name it.
pub const API_ID: &str = "demo";

pub struct DemoCommand {
    pub command_type: &'static str,
    pub payload: &'static str,
    /// Number of the MAV_CMD, which tells the commands apart on the wire.
    pub mav_cmd: u32,
    pub form: Form,
    /// The terminal status and response_code that PX4's own answer leads to.
    pub status: &'static str,
    pub response_code: &'static str,
    /// What a reader of the table may wonder about.
    pub remark: Option<&'static str>,
}

pub const COMMANDS: [DemoCommand; 5] = [
    DemoCommand {
        command_type: "image_stop_capture",
        payload: r#"{"target_camera_id":0}"#,
        mav_cmd: 2001,
        form: Form::Long,
        status: "FAILED",
        response_code: "MAV_RESULT_UNSUPPORTED",
        remark: Some("PX4's own answer: cameras take this command, the autopilot does not"),
    },
    DemoCommand {
        command_type: "request_camera_capture_status",
        payload: r#"{"capture_status":0}"#,
        mav_cmd: 527,
        form: Form::Long,
        status: "FAILED",
        response_code: "MAV_RESULT_UNSUPPORTED",
        remark: Some("the same: the frame was DELIVERED, and PX4 said no to it"),
    },
    DemoCommand {
        command_type: "do_digicam_control",
        payload: concat!(
            r#"{"session_control":0,"zoom_absolute":0,"zoom_relative":0,"focus":0,"#,
            r#""shoot_command":0,"command_identity":0,"shot_id":0}"#
        ),
        mav_cmd: 203,
        form: Form::Long,
        status: "SUCCEEDED",
        response_code: "MAV_RESULT_ACCEPTED",
        remark: None,
    },
    DemoCommand {
        command_type: "preflight_reboot_shutdown",
        payload: concat!(
            r#"{"autopilot":0,"companion":0,"component_action":0,"component_id":0,"#,
            r#""conditions":0}"#
        ),
        mav_cmd: 246,
        form: Form::Long,
        status: "SUCCEEDED",
        response_code: "MAV_RESULT_ACCEPTED",
        remark: Some("autopilot 0 asks for no action: accepted, nothing reboots"),
    },
    DemoCommand {
        command_type: "nav_roi",
        payload: r#"{"roi_mode":0,"wp_index":0,"roi_index":0,"x":0,"y":0,"z":30.0}"#,
        mav_cmd: 80,
        form: Form::Int,
        status: "SUCCEEDED",
        response_code: "MAV_RESULT_ACCEPTED",
        remark: Some("accepted, but PX4 drops its location: use do_set_roi_location"),
    },
];

impl DemoCommand {
    pub fn idempotency_key(&self) -> String {
        format!("req-{}-001", self.command_type)
    }

    /// The request body with an idempotency key of the caller's choice.
    pub fn body(&self, idempotency_key: &str) -> String {
        format!(
            concat!(
                r#"{{"vendor":"{}","device_id":"{}","command_type":"{}","payload":{},"#,
                r#""idempotency_key":"{}","timeout_seconds":30}}"#
            ),
            VENDOR, DEVICE_ID, self.command_type, self.payload, idempotency_key
        )
    }
}

/// The command with this idempotency key.
pub fn by_key(idempotency_key: &str) -> Option<&'static DemoCommand> {
    COMMANDS.iter().find(|command| command.idempotency_key() == idempotency_key)
}

/// The command with this MAV_CMD number.
pub fn by_number(mav_cmd: u32) -> Option<&'static DemoCommand> {
    COMMANDS.iter().find(|command| command.mav_cmd == mav_cmd)
}

/// `{base}/{suffix}` of the demo's vehicle.
pub fn topic(suffix: &str) -> String {
    format!("downlink/v1/{VENDOR}/{DEVICE_ID}/{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_documented_request() {
        let command = &COMMANDS[0];
        let expected = concat!(
            r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"image_stop_capture","#,
            r#""payload":{"target_camera_id":0},"#,
            r#""idempotency_key":"req-image_stop_capture-001","timeout_seconds":30}"#
        );
        assert_eq!(command.body(&command.idempotency_key()), expected);
    }

    #[test]
    fn every_payload_is_json() {
        for command in &COMMANDS {
            serde_json::from_str::<serde_json::Value>(&command.body("key")).unwrap();
        }
    }
}
