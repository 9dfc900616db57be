//! The commands that are sent.

use crate::catalog::{self, Command};

/// Different MAV_CMDs, since of each only one is under way at a time. COMMAND_LONG and COMMAND_INT,
/// from one field to seven; what the simulated PX4 answers with is accepted, late, or UNSUPPORTED.
const MIX: [(&str, Option<&str>); 8] = [
    ("request_message", Some(r#"{"message_id":148}"#)),
    ("do_digicam_control", None),
    ("nav_roi", None),
    ("image_stop_capture", None),
    ("request_camera_capture_status", None),
    ("do_gimbal_manager_pitchyaw", None),
    ("do_change_speed", None),
    ("do_set_roi_location", None),
];

/// One command of a mix.
#[derive(Clone, Debug)]
pub struct Kind {
    pub command: &'static Command,
    payload: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no command; `downlinkd catalog` lists them")]
pub struct UnknownKind(String);

impl Kind {
    /// The mix that is used unless another one is asked for.
    pub fn mix() -> Vec<Self> {
        MIX.into_iter()
            .map(|(name, payload)| {
                let kind = Self::named(name).expect("the mix is of the catalogue");
                Self { payload: payload.map_or(kind.payload, str::to_owned), ..kind }
            })
            .collect()
    }

    /// A command with the catalogue's example of a payload.
    pub fn named(command_type: &str) -> Result<Self, UnknownKind> {
        let command =
            catalog::find(command_type).ok_or_else(|| UnknownKind(command_type.to_owned()))?;
        let example = command.example().into_iter().map(|(name, value)| (name.to_owned(), value));
        let payload = serde_json::Map::from_iter(example);
        Ok(Self { command, payload: serde_json::Value::from(payload).to_string() })
    }

    /// The request.
    pub fn body(&self, device_id: &str, idempotency_key: &str) -> String {
        format!(
            concat!(
                r#"{{"vendor":"px4","device_id":"{}","command_type":"{}","payload":{},"#,
                r#""idempotency_key":"{}","timeout_seconds":30}}"#
            ),
            device_id, self.command.command_type, self.payload, idempotency_key
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::inbound::read_request;
    use crate::wire::request_body::RequestBody;

    #[test]
    fn every_request_of_the_mix_is_one_and_no_two_share_a_mav_cmd() {
        let mut numbers = std::collections::BTreeSet::new();
        for kind in Kind::mix() {
            let body = kind.body("bench-1", "key");
            let request =
                read_request(&RequestBody::new(body.as_bytes()), "bench", "bench-1", None).unwrap();
            assert!(numbers.insert(request.content.command));
        }
        assert_eq!(numbers.len(), MIX.len());
    }

    #[test]
    fn a_command_that_does_not_exist_is_named() {
        let error = Kind::named("fly_home").unwrap_err().to_string();
        assert!(error.contains("fly_home"), "{error}");
    }
}
