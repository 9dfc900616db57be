//! Signatures beside a body and around it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer as _, SigningKey};
use ring::hmac;
use serde_json::json;

use super::{API_ID, check_refusal};
use crate::guard::authentication::{Clock, Key, Keys};
use crate::lifecycle::time::Timestamp;
use crate::wire::inbound::refused;
use crate::wire::request_body::RequestBody;
use crate::wire::signature::{Credentials, MQTT, Unwrapped, signed_text, unwrap};
use crate::wire::topic::is_level;

const TOPIC: &str = "downlink/v1/px4/px4-real-1/commands/cloud";
/// The keys of the known answers in docs/signing.md.
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const ED25519: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let public = BASE64.encode(ed25519().verifying_key().as_bytes());
    let keys = vec![
        Key::hmac_from_text("1", &format!("hex:{SECRET}"), None).expect("a good secret"),
        Key::ed25519_from_text("2", &public, None).expect("a good key"),
    ];
    Keys::new(BTreeMap::from([(API_ID.to_owned(), keys)])).expect("two good keys")
});

/// Lines `NAME: VALUE` are user properties, up to an empty one; then comes the payload. Without an
/// empty line all is payload.
pub fn signature(data: &[u8]) -> bool {
    let (properties, payload) = split(data);
    let Unwrapped { credentials, body } = match unwrap(payload, &properties) {
        Ok(unwrapped) => unwrapped,
        Err(violation) => {
            check_refusal(payload, &refused(payload, violation));
            return false;
        }
    };
    let Some(credentials) = credentials else {
        assert_eq!(&body[..], payload, "nothing was taken off");
        return false;
    };
    check_form(&credentials);
    for (name, _) in &properties {
        let is_same = |it: &&(String, String)| it.0.eq_ignore_ascii_case(name);
        let is_ours = beside(&credentials).iter().any(|it| is_same(&it));
        assert!(!is_ours || properties.iter().filter(is_same).count() == 1, "{name} stands twice");
    }
    // Both ways of signing say the same.
    let beside = unwrap(&body, &beside(&credentials));
    if let Ok(beside) = &beside {
        assert_eq!(beside.credentials.as_ref(), Some(&credentials));
        assert_eq!(beside.body[..], body[..]);
    }
    if let Ok(body) = str::from_utf8(&body) {
        let payload = around(&credentials, body);
        let around = unwrap(payload.as_bytes(), &[]).expect("an envelope of what was understood");
        assert_eq!(around.credentials.as_ref(), Some(&credentials));
        assert_eq!(&around.body[..], body.as_bytes());
    }
    check_verdict(&credentials, &body)
}

fn ed25519() -> SigningKey {
    let seed = HEXLOWER.decode(ED25519.as_bytes()).expect("it is hex");
    SigningKey::from_bytes(&seed.try_into().expect("it has 32 bytes"))
}

fn split(data: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let Some(end) = data.windows(2).position(|it| it == b"\n\n") else { return (vec![], data) };
    let Ok(head) = str::from_utf8(&data[..end]) else { return (vec![], data) };
    let properties = head.lines().map(|line| line.split_once(": ").unwrap_or((line, "")));
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (properties.collect(), &data[end + 2..])
}

fn check_form(credentials: &Credentials) {
    let Credentials { api_id, timestamp: _, nonce, signature, kid, challenge } = credentials;
    assert!(is_level(api_id));
    let words = [(Some(nonce), 64), (Some(signature), 128), (kid.as_ref(), 64)];
    for (word, max_len) in words.into_iter().chain([(challenge.as_ref(), 64)]) {
        let Some(word) = word else { continue };
        assert!((1..=max_len).contains(&word.len()));
        assert!(word.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
    }
}

fn beside(credentials: &Credentials) -> Vec<(String, String)> {
    let Credentials { api_id, timestamp, nonce, signature, kid, challenge } = credentials.clone();
    let fields = [
        ("x-api-id", Some(api_id)),
        ("X-API-TIMESTAMP", Some(timestamp.to_string())),
        ("X-Api-Nonce", Some(nonce)),
        ("X-Api-Signature", Some(signature)),
        ("X-Api-Kid", kid),
        ("X-Api-Challenge", challenge),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn around(credentials: &Credentials, body: &str) -> String {
    let Credentials { api_id, timestamp, nonce, signature, kid, challenge } = credentials;
    let mut auth = json!({
        "api_id": api_id, "timestamp": timestamp, "nonce": nonce, "signature": signature,
    });
    if let Some(kid) = kid {
        auth["kid"] = json!(kid);
    }
    if let Some(challenge) = challenge {
        auth["challenge"] = json!(challenge);
    }
    json!({ "auth": auth, "body": body }).to_string()
}

/// A signature counts if the key makes just that one of just this, and never otherwise: both
/// algorithms have one signature for one text. Says whether it counts.
fn check_verdict(credentials: &Credentials, body: &RequestBody<'_>) -> bool {
    let Credentials { api_id, timestamp, nonce, signature, kid, challenge } = credentials;
    let clock = Clock { wall: Timestamp::from_secs(*timestamp), trusted: true, challenge: "" };
    let text = signed_text(MQTT, TOPIC, *timestamp, nonce, body, challenge.as_deref());
    let secret = HEXLOWER.decode(SECRET.as_bytes()).expect("it is hex");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let hmac = HEXLOWER.encode(hmac::sign(&key, text.as_bytes()).as_ref());
    let ed25519 = ed25519().sign(text.as_bytes()).to_bytes();
    let made_by = match signature {
        it if *it == hmac => Some("1"),
        it if *it == BASE64.encode(&ed25519) => Some("2"),
        _ => None,
    };
    let is_genuine =
        api_id == API_ID && made_by.is_some_and(|key| kid.as_deref().is_none_or(|kid| kid == key));
    let verdict = KEYS.verify(API_ID, MQTT, TOPIC, body, Some(credentials), &clock);
    assert_eq!(verdict.is_ok(), is_genuine, "{verdict:?}");
    // Another topic is another text.
    let elsewhere = KEYS.verify(API_ID, MQTT, "downlink", body, Some(credentials), &clock);
    assert!(elsewhere.is_err());
    is_genuine
}
