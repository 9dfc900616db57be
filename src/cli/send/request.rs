//! The arguments -> the request's body, checked as the vehicle will check it. Pure.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::catalog::Command;
use crate::wire::inbound::read_request;
use crate::wire::request_body::RequestBody;
use crate::wire::topic::VENDOR;

/// What is asked for, before it is known to be right.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    pub device_id: &'a str,
    pub api_id: &'a str,
    pub command: &'a Command,
    pub payload: &'a [(String, Value)],
    pub idempotency_key: &'a str,
    /// Seconds.
    pub timeout: Option<u32>,
    pub frame: Option<&'a str>,
    pub target_component: Option<u8>,
}

/// A request that the catalogue has nothing against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub body: String,
    pub command_id: Uuid,
    /// How an error reply names it.
    pub sha256: String,
}

/// Builds the body and reads it with the vehicle's own eyes.
///
/// # Errors
/// Everything that is wrong with it, in the vehicle's words.
pub fn build(wish: &Wish<'_>) -> Result<Request, Vec<String>> {
    let mut payload = Map::new();
    for (name, value) in wish.payload {
        if payload.insert(name.clone(), value.clone()).is_some() {
            return Err(vec![format!("payload.{name} is given twice")]);
        }
    }
    let mut body = json!({
        "vendor": VENDOR,
        "device_id": wish.device_id,
        "command_type": wish.command.command_type,
        "payload": payload,
        "idempotency_key": wish.idempotency_key,
    });
    let optional = [
        ("timeout_seconds", wish.timeout.map(Value::from)),
        ("frame", wish.frame.map(Value::from)),
        ("target_component", wish.target_component.map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    let body = body.to_string();
    match read_request(&RequestBody::new(body.as_bytes()), wish.api_id, wish.device_id, None) {
        Ok(read) => Ok(Request { command_id: read.command_id, sha256: read.request_sha256, body }),
        Err(refused) => {
            Err(refused.violations.into_iter().map(|violation| violation.message).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::lifecycle::request::command_id;
    use crate::wire::request_body::sha256;

    fn wish<'a>(command: &str, payload: &'a [(String, Value)]) -> Wish<'a> {
        Wish {
            device_id: "px4-real-1",
            api_id: "cloud",
            command: catalog::find(command).unwrap(),
            payload,
            idempotency_key: "key-1",
            timeout: None,
            frame: None,
            target_component: None,
        }
    }

    fn payload(members: &[(&str, Value)]) -> Vec<(String, Value)> {
        members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn the_documented_body() {
        let payload = payload(&[("target_camera_id", json!(0))]);
        let request =
            build(&Wish { timeout: Some(30), ..wish("image_stop_capture", &payload) }).unwrap();
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let expected = json!({"vendor": "px4", "device_id": "px4-real-1",
            "command_type": "image_stop_capture", "payload": {"target_camera_id": 0},
            "idempotency_key": "key-1", "timeout_seconds": 30});
        assert_eq!(body, expected);
        assert_eq!(request.command_id, command_id("px4-real-1", "cloud", "key-1"));
        assert_eq!(request.sha256, sha256(request.body.as_bytes()));
    }

    #[test]
    fn frame_and_target_only_when_given() {
        let wish = Wish {
            frame: Some("MAV_FRAME_GLOBAL_RELATIVE_ALT"),
            target_component: Some(100),
            ..wish("do_set_roi_location", &[])
        };
        let body: Value = serde_json::from_str(&build(&wish).unwrap().body).unwrap();
        assert_eq!(body["frame"], "MAV_FRAME_GLOBAL_RELATIVE_ALT");
        assert_eq!(body["target_component"], 100);
        assert!(body.get("timeout_seconds").is_none());
    }

    #[test]
    fn mistakes_are_told_together_in_the_vehicles_words() {
        let unknown = payload(&[("zoom", json!(1)), ("shoot_command", json!("NaN"))]);
        let told = build(&wish("do_digicam_control", &unknown)).unwrap_err();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|it| it.contains("payload.zoom") && it.contains("shoot_command")));
        let twice = payload(&[("x", json!(1)), ("x", json!(2))]);
        assert_eq!(build(&wish("nav_roi", &twice)), Err(vec!["payload.x is given twice".into()]));
        let long = Wish { timeout: Some(301), idempotency_key: "", ..wish("nav_roi", &[]) };
        let told = build(&long).unwrap_err().join("\n");
        assert!(told.contains("timeout_seconds") && told.contains("idempotency_key"), "{told}");
    }
}
