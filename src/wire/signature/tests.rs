use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BODY: &str = r#"{"vendor":"px4","payload":{"a":[1,{"b":null}]}}"#;

fn properties(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn signed() -> Vec<(String, String)> {
    properties(&[
        ("X-Api-Id", "cloud"),
        ("X-Api-Timestamp", "1781481600"),
        ("X-Api-Nonce", "n-1"),
        ("X-Api-Signature", "00ff"),
    ])
}

fn credentials() -> Credentials {
    Credentials {
        api_id: "cloud".to_owned(),
        timestamp: 1_781_481_600,
        nonce: "n-1".to_owned(),
        signature: "00ff".to_owned(),
        kid: None,
        challenge: None,
    }
}

fn envelope() -> Value {
    let auth = json!({
        "api_id": "cloud", "timestamp": 1_781_481_600, "nonce": "n-1", "signature": "00ff",
    });
    json!({"auth": auth, "body": BODY})
}

fn field_of(payload: &[u8], properties: &[(String, String)]) -> Option<String> {
    let violation = unwrap(payload, properties).unwrap_err();
    assert_eq!(violation.code, Code::EnvelopeMalformed, "{violation}");
    violation.field
}

#[test]
fn a_plain_body_stays_as_it_is() {
    let others = properties(&[("traceparent", "00-1"), ("X-Api-Idle", "1")]);
    let stray_member = br#"{"vendor":"px4","body":1}"#;
    for payload in
        [BODY.as_bytes(), b"", b"[]", b"{\"auth\":", b"\xff\xfe", b"\"auth\"", stray_member]
    {
        let unwrapped = unwrap(payload, &others).unwrap();
        assert_eq!((unwrapped.credentials, &unwrapped.body[..]), (None, payload));
    }
}

#[test]
fn properties_beside_a_body() {
    let unwrapped = unwrap(BODY.as_bytes(), &signed()).unwrap();
    assert_eq!(unwrapped.credentials, Some(credentials()));
    assert_eq!(&unwrapped.body[..], BODY.as_bytes());

    let mut all = signed();
    all.extend(properties(&[("x-api-kid", "2026-11"), ("X-API-CHALLENGE", "c"), ("a", "b")]));
    all.reverse();
    let unwrapped = unwrap(BODY.as_bytes(), &all).unwrap();
    let expected = Credentials {
        kid: Some("2026-11".to_owned()),
        challenge: Some("c".to_owned()),
        ..credentials()
    };
    assert_eq!(unwrapped.credentials, Some(expected));
}

#[test]
fn an_envelope_around_a_body() {
    for timestamp in [json!(1_781_481_600), json!("1781481600")] {
        let mut envelope = envelope();
        envelope["auth"]["timestamp"] = timestamp;
        let payload = envelope.to_string();
        let unwrapped = unwrap(payload.as_bytes(), &[]).unwrap();
        assert_eq!(unwrapped.credentials, Some(credentials()));
        assert_eq!(&unwrapped.body[..], BODY.as_bytes());
    }
    let mut envelope = envelope();
    envelope["auth"]["kid"] = json!("k");
    envelope["auth"]["challenge"] = json!("c");
    envelope["body"] = json!("é\n\"\u{1F681}");
    let payload = envelope.to_string();
    let unwrapped = unwrap(payload.as_bytes(), &[]).unwrap();
    let credentials = unwrapped.credentials.unwrap();
    assert_eq!(
        (credentials.kid.as_deref(), credentials.challenge.as_deref()),
        (Some("k"), Some("c"))
    );
    assert_eq!(&unwrapped.body[..], "é\n\"\u{1F681}".as_bytes());
}

#[test]
fn all_properties_or_none_and_none_twice() {
    for left_out in 0..4 {
        let mut some = signed();
        let (name, _) = some.remove(left_out);
        assert_eq!(field_of(BODY.as_bytes(), &some), Some(name));
    }
    for (kid, missing) in [("X-Api-Kid", "X-Api-Id"), ("X-Api-Challenge", "X-Api-Id")] {
        let alone = properties(&[(kid, "a")]);
        assert_eq!(field_of(BODY.as_bytes(), &alone).as_deref(), Some(missing));
    }
    for (name, value) in signed() {
        let mut twice = signed();
        twice.push((name.to_lowercase(), value));
        assert_eq!(field_of(BODY.as_bytes(), &twice), Some(name));
    }
}

#[test]
fn signed_both_ways_or_half_an_envelope() {
    let both = envelope().to_string();
    assert_eq!(field_of(both.as_bytes(), &signed()).as_deref(), Some("auth"));
    for (payload, field) in [
        (r#"{"auth":{}}"#, "body"),
        (r#"{"body":"{}"}"#, "auth"),
        (r#"{"auth":null}"#, "auth"),
        (r#"{"body":null}"#, "auth"),
        (r#"{"auth":null,"body":"{}"}"#, "auth"),
        (r#"{"auth":{},"body":{}}"#, "body"),
        (r#"{"auth":{},"body":"{}","vendor":"px4"}"#, "vendor"),
        (r#"{"auth":{},"auth":{},"body":"{}"}"#, "auth"),
        (r#"{"body":"{}","auth":{},"body":"{}"}"#, "body"),
        (r#"{"auth":{"api_id":"a","api_id":"b"},"body":"{}"}"#, "auth.api_id"),
        (r#"{"auth":{"key":"a"},"body":"{}"}"#, "auth.key"),
        (r#"{"\u0061uth":{},"body":"{}"}"#, "auth.api_id"),
    ] {
        let payload = payload.as_bytes();
        assert_eq!(field_of(payload, &[]).as_deref(), Some(field), "{}", payload.escape_ascii());
    }
    for name in ["api_id", "timestamp", "nonce", "signature"] {
        let mut envelope = envelope();
        envelope["auth"].as_object_mut().unwrap().remove(name);
        assert_eq!(field_of(envelope.to_string().as_bytes(), &[]), Some(format!("auth.{name}")));
    }
}

#[test]
fn every_field_has_one_form() {
    let long = |n: usize| "a".repeat(n);
    let texts: [(&str, &str, Vec<String>); 6] = [
        ("X-Api-Id", "api_id", vec!["".into(), "a/b".into(), "a\nb".into(), "#".into(), long(129)]),
        (
            "X-Api-Timestamp",
            "timestamp",
            ["", "0x1", "01", "+1", "-1", "1.0", "1e9", " 1", "1\n", "18446744073709551616", "١"]
                .map(str::to_owned)
                .to_vec(),
        ),
        ("X-Api-Nonce", "nonce", vec!["".into(), "a b".into(), "a\n".into(), "é".into(), long(65)]),
        ("X-Api-Signature", "signature", vec!["".into(), "a b".into(), "\u{7f}".into(), long(129)]),
        ("X-Api-Kid", "kid", vec!["".into(), "a b".into(), "a\0".into(), long(65)]),
        ("X-Api-Challenge", "challenge", vec!["".into(), "a\r\nb".into(), long(65)]),
    ];
    for (property, member, values) in texts {
        for value in values {
            let mut beside = signed();
            beside.retain(|(name, _)| name != property);
            beside.push((property.to_owned(), value.clone()));
            assert_eq!(field_of(BODY.as_bytes(), &beside).as_deref(), Some(property), "{value:?}");

            let mut around = envelope();
            around["auth"][member] = json!(value);
            let field = field_of(around.to_string().as_bytes(), &[]);
            assert_eq!(field, Some(format!("auth.{member}")), "{value:?}");
        }
        for value in [json!(null), json!(true), json!(-1), json!(1.0), json!([]), json!({})] {
            let mut around = envelope();
            around["auth"][member] = value.clone();
            let field = field_of(around.to_string().as_bytes(), &[]);
            assert_eq!(field, Some(format!("auth.{member}")), "{value}");
        }
    }
    let mut around = envelope();
    around["auth"]["nonce"] = json!(1);
    assert_eq!(field_of(around.to_string().as_bytes(), &[]).as_deref(), Some("auth.nonce"));
}

#[test]
fn the_longest_fields_pass() {
    let mut longest = signed();
    longest[1].1 = u64::MAX.to_string();
    longest[2].1 = "n".repeat(64);
    longest[3].1 = "s".repeat(128);
    let credentials = unwrap(BODY.as_bytes(), &longest).unwrap().credentials.unwrap();
    assert_eq!(credentials.timestamp, u64::MAX);
}

#[test]
fn the_signed_text() {
    // printf '' | sha256sum
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let body = RequestBody::new(b"");
    assert_eq!(signed_text(MQTT, "a/b", 7, "n", &body, None), format!("MQTT\na/b\n7\nn\n{empty}"));
    assert_eq!(
        signed_text("POST", "/v1", 0, "n", &body, Some("c")),
        format!("POST\n/v1\n0\nn\n{empty}\nc")
    );
}

proptest! {
    #[test]
    fn no_two_requests_share_a_text(
        a in ("[A-Z]{1,4}", "[a-z/]{1,8}", 0..20_u64, "[!-~]{1,3}", "[{}]{0,2}", proptest::option::of("[!-~]{1,3}")),
        b in ("[A-Z]{1,4}", "[a-z/]{1,8}", 0..20_u64, "[!-~]{1,3}", "[{}]{0,2}", proptest::option::of("[!-~]{1,3}")),
    ) {
        let text = |it: &(String, String, u64, String, String, Option<String>)| {
            let body = RequestBody::new(it.4.as_bytes());
            signed_text(&it.0, &it.1, it.2, &it.3, &body, it.5.as_deref())
        };
        prop_assert_eq!(text(&a) == text(&b), a == b);
    }

    #[test]
    fn any_bytes_are_a_body_or_malformed(
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        names in proptest::collection::vec(("(?i)x-api-(id|timestamp|nonce|signature|kid)", "[!-~]{0,5}"), 0..6),
    ) {
        match unwrap(&payload, &names) {
            Ok(unwrapped) => prop_assert_eq!(&unwrapped.body[..], &payload[..]),
            Err(violation) => prop_assert_eq!(violation.code, Code::EnvelopeMalformed),
        }
    }

    /// Whatever the body holds, it comes out of the envelope byte for byte.
    #[test]
    fn an_envelope_returns_its_body(body in any::<String>()) {
        let mut envelope = envelope();
        envelope["body"] = json!(body);
        let payload = envelope.to_string();
        let unwrapped = unwrap(payload.as_bytes(), &[]).unwrap();
        prop_assert_eq!(&unwrapped.body[..], body.as_bytes());
    }

    /// An envelope that was damaged on its way is refused, or no envelope any more, or says what it
    /// says; nothing panics.
    #[test]
    fn a_damaged_envelope_breaks_nothing(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = envelope().to_string().into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        match unwrap(&payload, &[]) {
            Ok(Unwrapped { credentials: None, body }) => prop_assert_eq!(&body[..], &payload[..]),
            Ok(Unwrapped { credentials: Some(credentials), body }) => {
                prop_assert!(!credentials.nonce.is_empty());
                prop_assert!(body.len() <= payload.len());
            }
            Err(violation) => {
                prop_assert_eq!(violation.code, Code::EnvelopeMalformed);
                prop_assert!(violation.field.is_some());
            }
        }
    }
}

#[test]
fn deep_nesting_is_no_envelope() {
    let deep = format!("{{\"auth\":{}{}}}", "{\"a\":".repeat(8_000), "}".repeat(8_000));
    assert_eq!(unwrap(deep.as_bytes(), &[]).unwrap().credentials, None);
}
