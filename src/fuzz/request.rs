//! Command requests as JSON.

use serde_json::Value;

use super::content::check_content;
use super::{API_ID, DEVICE_ID, check_refusal};
use crate::lifecycle::request::{CommandRequest, command_id};
use crate::wire::inbound::{MAX_MESSAGE_BYTES, MAX_TIMEOUT_SECONDS, read_request};
use crate::wire::request_body::RequestBody;

/// The body of a request.
pub fn request(data: &[u8]) -> bool {
    // The daemon refuses more unread.
    if data.len() > MAX_MESSAGE_BYTES {
        return false;
    }
    let request = match read_request(&RequestBody::new(data), API_ID, DEVICE_ID, None) {
        Ok(request) => request,
        Err(refusal) => {
            check_refusal(data, &refusal);
            return false;
        }
    };
    let body: Value = serde_json::from_slice(data).expect("it was read");
    assert_eq!(body["device_id"], DEVICE_ID);
    assert_eq!(body["command_type"], request.command.command_type);
    assert_eq!(body["idempotency_key"], request.idempotency_key.as_str());
    assert_eq!(request.api_id, API_ID);
    assert_eq!(request.command_id, command_id(DEVICE_ID, API_ID, &request.idempotency_key));
    assert!(request.timeout_seconds.is_none_or(|seconds| seconds <= MAX_TIMEOUT_SECONDS));
    let payload = body["payload"].as_object().expect("it was read");
    check_content(request.command, payload, &request.content);
    check_same(&read(data), &request);
    assert_eq!(read(data).request_sha256, request.request_sha256);
    // The same in another spelling is the same command.
    let spelt = serde_json::to_vec_pretty(&body).expect("it is JSON");
    check_same(&read(&spelt), &request);
    true
}

fn read(body: &[u8]) -> CommandRequest {
    read_request(&RequestBody::new(body), API_ID, DEVICE_ID, None).expect("it was accepted before")
}

fn check_same(again: &CommandRequest, request: &CommandRequest) {
    assert_eq!(again.command_id, request.command_id);
    assert_eq!(again.content, request.content);
    assert!(again.content.same_content(&request.content));
    assert_eq!(again.target_component, request.target_component);
    assert_eq!(again.timeout_seconds, request.timeout_seconds);
}
