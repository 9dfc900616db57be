use serde_json::json;

use super::*;

fn good() -> Value {
    json!({
        "vendor": "px4",
        "device_id": "px4-real-1",
        "command_type": "image_stop_capture",
        "payload": {"target_camera_id": 0},
        "idempotency_key": "req-image_stop_capture-001",
        "timeout_seconds": 30,
    })
}

fn read(request: &Value) -> Result<CommandRequest, ErrorReply> {
    read_request(&RequestBody::new(request.to_string().as_bytes()), "cloud", "px4-real-1", None)
}

#[test]
fn a_good_request() {
    let request = read(&good()).unwrap();
    assert_eq!(request.command.mavlink_command_id, 2001);
    assert_eq!(request.timeout_seconds, Some(30));
    assert_eq!(request.target_component, None);
    assert_eq!(request.api_id, "cloud");
    // uuid.uuid5(uuid.NAMESPACE_URL, "px4-real-1/cloud/req-image_stop_capture-001")
    assert_eq!(request.command_id.to_string(), "cf5b3dfa-339a-5d13-9e6a-e639ae089507");
}

#[test]
fn one_thing_wrong() {
    use Code::*;
    for (field, value, code) in [
        ("vendor", Some(json!("dji")), TargetVendorUnsupported),
        ("vendor", Some(json!(4)), RequestInvalid),
        ("vendor", None, RequestInvalid),
        ("device_id", Some(json!("px4-real-2")), TargetDeviceMismatch),
        ("device_id", None, RequestInvalid),
        ("command_type", Some(json!("fly_away")), RequestUnknownCommand),
        ("command_type", Some(json!("IMAGE_STOP_CAPTURE")), RequestUnknownCommand),
        ("command_type", Some(json!(null)), RequestInvalid),
        ("payload", Some(json!([])), RequestInvalid),
        ("payload", None, RequestInvalid),
        ("idempotency_key", Some(json!("")), RequestInvalid),
        ("idempotency_key", Some(json!("a\nb")), RequestInvalid),
        ("idempotency_key", Some(json!("x".repeat(201))), RequestInvalid),
        ("idempotency_key", Some(json!(1)), RequestInvalid),
        ("idempotency_key", None, RequestInvalid),
        ("timeout_seconds", Some(json!(301)), RequestOutOfRange),
        ("timeout_seconds", Some(json!(-1)), RequestOutOfRange),
        ("timeout_seconds", Some(json!(1e300)), RequestOutOfRange),
        ("timeout_seconds", Some(json!(1.5)), RequestInvalid),
        ("timeout_seconds", Some(json!("30")), RequestInvalid),
        ("timeout_seconds", Some(json!(null)), RequestInvalid),
        ("target_component", Some(json!(256)), RequestOutOfRange),
        ("frame", Some(json!(3)), RequestInvalid),
        ("priority", Some(json!(1)), RequestUnknownField),
        ("param1", Some(json!(1)), RequestUnknownField),
    ] {
        let mut request = good();
        match &value {
            Some(value) => request[field] = value.clone(),
            None => {
                request.as_object_mut().unwrap().remove(field);
            }
        }
        let error = read(&request).expect_err(field);
        assert_eq!(error.violations.len(), 1, "{field} {value:?}: {:?}", error.violations);
        let violation = &error.violations[0];
        assert_eq!((violation.code, violation.field.as_deref()), (code, Some(field)), "{value:?}");
        assert!(violation.message.contains(field), "{}", violation.message);
        assert_eq!(error.request_sha256.len(), 64);
    }
}

#[test]
fn all_that_is_wrong_comes_at_once_with_the_key() {
    let mut request = good();
    request["vendor"] = json!("dji");
    request["payload"] = json!({"param1": 1, "target_camera_id": 999});
    request["timeout_seconds"] = json!(999);
    let error = read(&request).unwrap_err();
    let fields: Vec<&str> =
        error.violations.iter().filter_map(|violation| violation.field.as_deref()).collect();
    assert_eq!(fields, ["vendor", "timeout_seconds", "payload.target_camera_id", "payload.param1"]);
    assert_eq!(error.idempotency_key.as_deref(), Some("req-image_stop_capture-001"));
}

#[test]
fn a_reply_stays_small_whatever_came_in() {
    let long = "\u{7f}".repeat(5000);
    let mut unknown = good();
    for n in 0..2000 {
        unknown[format!("{n}")] = json!(n);
    }
    let mut names = good();
    names[&long] = json!(1);
    let mut requests = vec![unknown, names];
    for field in ["vendor", "device_id", "command_type", "frame"] {
        let mut request = good();
        request[field] = json!(long);
        requests.push(request);
    }
    for request in requests {
        let error = read(&request).unwrap_err();
        let reply = crate::wire::outbound::error(&error);
        assert!(reply.len() < 16 * 1024, "{} bytes", reply.len());
    }
}

#[test]
fn not_a_json_object() {
    for body in [&b""[..], b"{", b"[]", b"null", b"\"{}\"", b"\xff\xfe", b"{}{}", &[b'['; 5000]] {
        let error = read_request(&RequestBody::new(body), "cloud", "px4-real-1", None).unwrap_err();
        assert_eq!(error.violations[0].code, Code::EnvelopeMalformed);
        let error = read_query(body, "cloud", "px4-real-1").unwrap_err();
        assert_eq!(error.violations[0].code, Code::EnvelopeMalformed);
    }
}

#[test]
fn whole_numbers_are_integers_however_they_are_written() {
    let mut request = good();
    request["timeout_seconds"] = json!(30.0);
    request["target_component"] = json!(100);
    let request = read(&request).unwrap();
    assert_eq!((request.timeout_seconds, request.target_component), (Some(30), Some(100)));
}

#[test]
fn queries() {
    let read = |query: Value| read_query(query.to_string().as_bytes(), "cloud", "px4-real-1");
    let id = command_id("px4-real-1", "cloud", "a");
    let by_id = read(json!({"command_id": id, "request_id": "r-1"})).unwrap();
    assert_eq!((by_id.command_id, by_id.request_id.as_deref()), (id, Some("r-1")));
    let by_key = read(json!({"idempotency_key": "a"})).unwrap();
    assert_eq!(by_key.command_id, id);
    for (query, code) in [
        (json!({}), Code::RequestInvalid),
        (json!({"command_id": id, "idempotency_key": "a"}), Code::RequestInvalid),
        (json!({"command_id": "42"}), Code::RequestInvalid),
        (json!({"idempotency_key": ""}), Code::RequestInvalid),
        (json!({"idempotency_key": "a", "request_id": 7}), Code::RequestInvalid),
        (json!({"idempotency_key": "a", "limit": 7}), Code::RequestUnknownField),
    ] {
        let error = read(query.clone()).expect_err(&query.to_string());
        assert_eq!(error.violations[0].code, code, "{query}");
    }
}
