//! Queries, and messages about grants, as JSON.

use std::time::Duration;

use serde_json::Value;

use super::{API_ID, DEVICE_ID, check_refusal};
use crate::guard::grants::Action;
use crate::lifecycle::request::command_id;
use crate::wire::grant::{read_action, read_open};
use crate::wire::inbound::{MAX_MESSAGE_BYTES, read_query};
use crate::wire::request_body::RequestBody;
use crate::wire::topic::is_level;

/// The body of a query or of a message about grants; all that read such are given it.
pub fn query(data: &[u8]) -> bool {
    // The daemon refuses more unread.
    if data.len() > MAX_MESSAGE_BYTES {
        return false;
    }
    let body: Option<Value> = serde_json::from_slice(data).ok();
    let query = read_query(data, API_ID, DEVICE_ID);
    match &query {
        Ok(query) => {
            let body = body.as_ref().expect("it was read");
            if let Some(key) = body["idempotency_key"].as_str() {
                assert_eq!(query.command_id, command_id(DEVICE_ID, API_ID, key));
            }
            assert_eq!(query.api_id.as_deref(), Some(API_ID));
            assert_eq!(query.request_id.as_deref(), body["request_id"].as_str());
        }
        Err(refusal) => check_refusal(data, refusal),
    }
    let opened = read_open(data);
    let action = read_action(&RequestBody::new(data));
    match &action {
        Ok(message) => {
            let body = body.as_ref().expect("it was read");
            check_action(&message.action, body);
            // Whoever says "open" is understood the same where that goes without saying.
            match message.action {
                Action::Open(_) => assert_eq!(opened.as_ref(), Ok(message)),
                _ => assert!(opened.is_err()),
            }
        }
        Err(refusal) => check_refusal(data, refusal),
    }
    match &opened {
        Ok(message) => check_action(&message.action, body.as_ref().expect("it was read")),
        Err(refusal) => check_refusal(data, refusal),
    }
    query.is_ok() || action.is_ok() || opened.is_ok()
}

fn check_action(action: &Action, body: &Value) {
    match action {
        Action::Open(grant) => {
            assert!((1..=16).contains(&grant.scopes.len()));
            assert!((1..=1000).contains(&grant.count));
            assert!(grant.duration >= Duration::from_secs(1));
            assert!(grant.duration <= Duration::from_secs(86_400));
            assert!(grant.issuer.as_deref().is_none_or(is_level));
            assert!(grant.reason.as_ref().is_none_or(|reason| reason.len() <= 200));
        }
        Action::Approve(id) | Action::Revoke(id) => {
            assert_eq!(body["grant_id"], id.to_string());
        }
        Action::RevokeAll => assert_eq!(body["all"], true),
    }
}
