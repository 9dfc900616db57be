use serde_json::json;

use super::*;
use crate::guard::grants::{Grants, Limits};

fn open(value: Value) -> Result<GrantMessage, ErrorReply> {
    read_action(&RequestBody::new(value.to_string().as_bytes()))
}

fn good() -> Value {
    json!({"action": "open", "scope": {"risk": "flight"}, "duration_seconds": 600, "count": 5})
}

fn with(field: &str, value: Value) -> Value {
    let mut message = good();
    message[field] = value;
    message
}

fn scopes(scope: Value) -> Vec<Scope> {
    match open(with("scope", scope)).expect("a valid scope").action {
        Action::Open(request) => request.scopes,
        other => panic!("{other:?}"),
    }
}

fn told(error: &ErrorReply) -> Vec<(Code, &str)> {
    let field = |it: &Violation| it.field.clone().unwrap_or_default();
    error.violations.iter().for_each(|it| assert!(it.message.contains(&field(it)), "{it:?}"));
    error.violations.iter().map(|it| (it.code, it.field.as_deref().unwrap_or(""))).collect()
}

#[test]
fn a_grant_is_opened_with_everything_said() {
    let message = open(json!({
        "action": "open",
        "scope": {"risk": "flight"},
        "duration_seconds": 600,
        "count": 5,
        "issuer": "cloud",
        "reason": "survey of the north field",
        "request_id": "r1",
    }));
    let message = message.unwrap();
    assert_eq!(message.request_id.as_deref(), Some("r1"));
    assert_eq!(message.request_sha256.len(), 64);
    let request = GrantRequest {
        scopes: vec![Scope::Risk(Risk::Flight)],
        duration: Duration::from_secs(600),
        count: 5,
        issuer: Some("cloud".to_owned()),
        reason: Some("survey of the north field".to_owned()),
    };
    assert_eq!(message.action, Action::Open(request));
}

#[test]
fn scopes_are_one_or_several() {
    assert_eq!(scopes(json!({"risk": "critical"})), [Scope::Risk(Risk::Critical)]);
    assert_eq!(scopes(json!({"domain": "gimbal"})), [Scope::Domain("gimbal".to_owned())]);
    let both = json!([{"command": "nav_takeoff"}, {"domain": "gimbal"}]);
    let expected = [Scope::Command("nav_takeoff"), Scope::Domain("gimbal".to_owned())];
    assert_eq!(scopes(both), expected);
}

#[test]
fn approvals_and_revocations() {
    let id = "7f3a9c21-4".parse().unwrap();
    for (message, action) in [
        (json!({"action": "approve", "grant_id": "7f3a9c21-4"}), Action::Approve(id)),
        (json!({"action": "revoke", "grant_id": "7f3a9c21-4"}), Action::Revoke(id)),
        (json!({"action": "revoke", "all": true}), Action::RevokeAll),
    ] {
        assert_eq!(open(message.clone()).unwrap().action, action, "{message}");
    }
}

#[test]
fn mistakes_are_named() {
    use Code::*;
    let many = Value::Array(vec![json!({"risk": "flight"}); 17]);
    let id = "7f3a9c21-4";
    for (message, code, field) in [
        (json!([]), EnvelopeMalformed, ""),
        (json!({}), RequestInvalid, "action"),
        (json!({"action": "close"}), RequestOutOfRange, "action"),
        (with("scope", json!("flight")), RequestInvalid, "scope"),
        (with("scope", json!({})), RequestInvalid, "scope"),
        (with("scope", json!([])), RequestInvalid, "scope"),
        (with("scope", many), RequestInvalid, "scope"),
        (with("scope", json!({"risk": "flight", "domain": "gimbal"})), RequestInvalid, "scope"),
        (with("scope", json!({"risk": "all"})), RequestOutOfRange, "scope.risk"),
        (with("scope", json!({"risk": 3})), RequestInvalid, "scope.risk"),
        (with("scope", json!({"domain": "air"})), RequestOutOfRange, "scope.domain"),
        (with("scope", json!({"command": "fly"})), RequestUnknownCommand, "scope.command"),
        (with("scope", json!({"vehicle": "x"})), RequestUnknownField, "scope.vehicle"),
        (with("scope", json!([{"risk": "x"}])), RequestOutOfRange, "scope[0].risk"),
        (with("scope", json!([{"risk": "flight"}, 1])), RequestInvalid, "scope[1]"),
        (with("duration_seconds", json!(0)), RequestOutOfRange, "duration_seconds"),
        (with("duration_seconds", json!(86_401)), RequestOutOfRange, "duration_seconds"),
        (with("duration_seconds", json!("10min")), RequestInvalid, "duration_seconds"),
        (with("count", json!(0)), RequestOutOfRange, "count"),
        (with("count", json!(-1)), RequestOutOfRange, "count"),
        (with("count", json!(1.5)), RequestInvalid, "count"),
        (with("issuer", json!("a/b")), RequestInvalid, "issuer"),
        (with("issuer", Value::Null), RequestInvalid, "issuer"),
        (with("reason", json!("x".repeat(201))), RequestInvalid, "reason"),
        (with("reason", json!("a\nb")), RequestInvalid, "reason"),
        (with("request_id", json!(7)), RequestInvalid, "request_id"),
        (with("grant_id", json!(id)), RequestUnknownField, "grant_id"),
        (json!({"action": "approve"}), RequestInvalid, "grant_id"),
        (json!({"action": "approve", "grant_id": "4"}), RequestInvalid, "grant_id"),
        (json!({"action": "approve", "grant_id": id, "all": true}), RequestUnknownField, "all"),
        (json!({"action": "revoke"}), RequestInvalid, "grant_id"),
        (json!({"action": "revoke", "all": false}), RequestInvalid, "grant_id"),
        (json!({"action": "revoke", "all": true, "grant_id": id}), RequestInvalid, "grant_id"),
    ] {
        let error = open(message.clone()).expect_err(&message.to_string());
        assert_eq!(told(&error), [(code, field)], "{message}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = open(json!({
        "action": "open",
        "scope": [{"risk": "x"}, {"command": "y"}],
        "count": 0,
        "issuer": "#",
        "for": 7,
        "request_id": "r1",
    }));
    let error = error.unwrap_err();
    assert_eq!(
        told(&error),
        [
            (Code::RequestUnknownField, "for"),
            (Code::RequestOutOfRange, "scope[0].risk"),
            (Code::RequestUnknownCommand, "scope[1].command"),
            (Code::RequestInvalid, "duration_seconds"),
            (Code::RequestOutOfRange, "count"),
            (Code::RequestInvalid, "issuer"),
        ]
    );
    assert_eq!(error.request_id.as_deref(), Some("r1"));
}

#[test]
fn where_only_opening_is_possible_the_action_may_be_left_out() {
    let mut message = good();
    let expected = open(message.clone()).unwrap().action;
    assert_eq!(read_open(message.to_string().as_bytes()).unwrap().action, expected);
    message.as_object_mut().unwrap().remove("action");
    assert_eq!(read_open(message.to_string().as_bytes()).unwrap().action, expected);
    for action in [json!("revoke"), json!(1), Value::Null] {
        let error = read_open(with("action", action).to_string().as_bytes()).unwrap_err();
        assert_eq!(told(&error)[0].1, "action");
    }
}

#[test]
fn answers() {
    let now = Duration::from_secs(100);
    let mut grants = Grants::new(Limits::default(), 0x7f3a_9c21);
    let Action::Open(request) = open(with("issuer", json!("cloud"))).unwrap().action else {
        panic!("an open request")
    };
    let view = grants.open(now, Opener::Operator { uid: 1000 }, request).unwrap();
    let json: Value =
        serde_json::from_slice(&answer(&Answer::Grant(view.clone()), Some("r1"))).unwrap();
    assert_eq!(
        json,
        json!({
            "grant": {
                "grant_id": "7f3a9c21-1",
                "state": "open",
                "scope": [{"risk": "flight"}],
                "issuer": "cloud",
                "reason": null,
                "opened_by": {"operator": {"uid": 1000}},
                "approved_by": null,
                "seconds_left": 600,
                "count_left": 5,
            },
            "request_id": "r1",
        })
    );
    assert_eq!(serde_json::from_value::<Grant>(json["grant"].clone()).unwrap(), Grant::of(&view));
    let revoked = answer(&Answer::Revoked(vec![view.id]), None);
    assert_eq!(revoked, br#"{"revoked":["7f3a9c21-1"]}"#);

    // A second that has begun is no second left.
    let later = grants.views(now + Duration::from_millis(1));
    assert_eq!(Grant::of(&later[0]).seconds_left, 599);
}
