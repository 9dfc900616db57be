mod forged;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::*;
use crate::wire::signature::MQTT;

const TOPIC: &str = "downlink/v1/px4/px4-real-1/commands/cloud";
const BODY: &[u8] = br#"{"vendor":"px4","device_id":"px4-real-1"}"#;
const CHALLENGE: &str = "0123456789abcdef0123456789abcdef";
/// Seconds.
const NOW: u64 = 1_781_481_600;

/// The publisher's side.
#[derive(Clone, Copy)]
enum Secret {
    Hmac(u8),
    Ed25519(u8),
}

impl Secret {
    fn sign(self, text: &str) -> String {
        match self {
            Secret::Hmac(byte) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(&[byte; 32]).unwrap();
                mac.update(text.as_bytes());
                HEXLOWER.encode(&mac.finalize().into_bytes())
            }
            Secret::Ed25519(byte) => {
                let key = SigningKey::from_bytes(&[byte; 32]);
                BASE64.encode(&key.sign(text.as_bytes()).to_bytes())
            }
        }
    }

    fn key(self, kid: &str) -> Key {
        match self {
            Secret::Hmac(byte) => {
                let text = format!("hex:{}", HEXLOWER.encode(&[byte; 32]));
                Key::hmac_from_text(kid, &text, None).unwrap()
            }
            Secret::Ed25519(byte) => {
                let public = SigningKey::from_bytes(&[byte; 32]).verifying_key();
                Key::ed25519_from_text(kid, &BASE64.encode(public.as_bytes()), None).unwrap()
            }
        }
    }
}

/// All of a request that a signature can cover, and more.
#[derive(Clone)]
struct Request {
    issuer: String,
    method: String,
    path: String,
    body: Vec<u8>,
    credentials: Credentials,
}

impl Request {
    fn new(secret: Secret, timestamp: u64, challenge: Option<&str>) -> Self {
        let credentials = Credentials {
            api_id: "cloud".to_owned(),
            timestamp,
            nonce: "4f2c".to_owned(),
            signature: String::new(),
            kid: None,
            challenge: challenge.map(str::to_owned),
        };
        let mut request = Self {
            issuer: "cloud".to_owned(),
            method: MQTT.to_owned(),
            path: TOPIC.to_owned(),
            body: BODY.to_vec(),
            credentials,
        };
        request.sign(secret);
        request
    }

    fn sign(&mut self, secret: Secret) {
        let Credentials { timestamp, nonce, challenge, .. } = &self.credentials;
        let challenge = challenge.as_deref();
        let body = RequestBody::new(&self.body);
        let text = signed_text(&self.method, &self.path, *timestamp, nonce, &body, challenge);
        self.credentials.signature = secret.sign(&text);
    }

    fn judge(&self, keys: &Keys, clock: &Clock<'_>) -> Result<Authenticated, Refusal> {
        let Self { issuer, method, path, body, credentials } = self;
        keys.verify(issuer, method, path, &RequestBody::new(body), Some(credentials), clock)
    }

    /// `None`: fresh.
    fn refusal(&self, keys: &Keys, clock: &Clock<'_>) -> Option<Code> {
        match self.judge(keys, clock) {
            Ok(Authenticated { freshness: Freshness::Fresh, .. }) => None,
            Ok(Authenticated { freshness: Freshness::Stale(refusal), .. }) => Some(refusal.code),
            Err(refusal) => {
                assert_eq!(refusal.code, Code::AuthFailed);
                Some(refusal.code)
            }
        }
    }
}

fn keys(issuers: &[(&str, &[Key])]) -> Keys {
    let issuers = issuers.iter().map(|(api_id, keys)| ((*api_id).to_owned(), keys.to_vec()));
    Keys::new(issuers.collect()).unwrap()
}

fn cloud(secret: Secret) -> Keys {
    keys(&[("cloud", &[secret.key("a")])])
}

fn at(seconds: u64) -> Clock<'static> {
    Clock { wall: Timestamp::from_secs(seconds), trusted: true, challenge: CHALLENGE }
}

fn untrusted(seconds: u64) -> Clock<'static> {
    Clock { trusted: false, ..at(seconds) }
}

const BOTH: [Secret; 2] = [Secret::Hmac(1), Secret::Ed25519(1)];

#[test]
fn a_genuine_request() {
    for secret in BOTH {
        let authenticated = Request::new(secret, NOW, None).judge(&cloud(secret), &at(NOW + 2));
        let expected = Authenticated {
            nonce: Nonce {
                key: NonceKey::new("cloud", "4f2c"),
                timestamp: Timestamp::from_secs(NOW),
                expires: Timestamp::from_secs(NOW + 122),
                durable: true,
            },
            freshness: Freshness::Fresh,
        };
        assert_eq!(authenticated, Ok(expected));
    }
}

#[test]
fn the_window() {
    let secret = Secret::Hmac(1);
    let keys = cloud(secret);
    let request = Request::new(secret, NOW, None);
    let judge = |millis| {
        let wall = Timestamp::from_millis(millis);
        request.refusal(&keys, &Clock { wall, ..at(0) })
    };
    let now = NOW * 1000;
    for (millis, expected) in [
        (now - 5_001, Some(Code::AuthStale)),
        (now - 5_000, None),
        (now, None),
        (now + 60_000, None),
        (now + 60_001, Some(Code::AuthStale)),
        (0, Some(Code::AuthStale)),
        (u64::MAX, Some(Code::AuthStale)),
    ] {
        assert_eq!(judge(millis), expected, "{}", i128::from(millis) - i128::from(now));
    }
    for timestamp in [0, u64::MAX] {
        let request = Request::new(secret, timestamp, None);
        assert_eq!(request.refusal(&keys, &at(NOW)), Some(Code::AuthStale));
    }
}

#[test]
fn a_nonce_outlives_its_window_twice() {
    let secret = Secret::Hmac(1);
    for (timestamp, clock, expires, durable) in [
        (NOW, at(NOW), NOW + 120, true),
        (NOW + 5, at(NOW), NOW + 125, true),
        (NOW - 60, at(NOW), NOW + 120, true),
        (NOW + 9_000, untrusted(NOW), NOW + 9_120, false),
        (0, untrusted(NOW), NOW + 120, false),
    ] {
        let request = Request::new(secret, timestamp, Some(CHALLENGE));
        let nonce = request.judge(&cloud(secret), &clock).unwrap().nonce;
        let timestamp = Timestamp::from_secs(timestamp);
        let expires = Timestamp::from_secs(expires);
        assert_eq!((nonce.timestamp, nonce.expires, nonce.durable), (timestamp, expires, durable));
    }
}

#[test]
fn challenges() {
    use Code::*;
    let other = "ffffffffffffffffffffffffffffffff";
    for secret in BOTH {
        let keys = cloud(secret);
        for (clock, timestamp, challenge, expected) in [
            (untrusted(NOW), NOW, None, Some(AuthClockUntrusted)),
            (untrusted(NOW), NOW, Some(other), Some(AuthClockUntrusted)),
            (untrusted(NOW), NOW, Some(CHALLENGE), None),
            (untrusted(NOW), 0, Some(CHALLENGE), None),
            (untrusted(NOW), u64::MAX, Some(CHALLENGE), None),
            (at(NOW), NOW, Some(CHALLENGE), None),
            (at(NOW), NOW, Some(other), Some(AuthStale)),
            (at(NOW), NOW - 61, Some(CHALLENGE), Some(AuthStale)),
            (at(NOW), NOW + 6, Some(CHALLENGE), Some(AuthStale)),
        ] {
            let request = Request::new(secret, timestamp, challenge);
            // The signature is genuine in all of them.
            assert!(request.judge(&keys, &clock).is_ok());
            assert_eq!(request.refusal(&keys, &clock), expected, "{timestamp} {challenge:?}");
        }
        // Nobody can add or remove the challenge.
        let mut request = Request::new(secret, NOW, None);
        request.credentials.challenge = Some(CHALLENGE.to_owned());
        assert!(request.judge(&keys, &untrusted(NOW)).is_err());
        let mut request = Request::new(secret, NOW, Some(CHALLENGE));
        request.credentials.challenge = None;
        assert!(request.judge(&keys, &at(NOW)).is_err());
    }
}

#[test]
fn whom_nobody_knows() {
    let secret = Secret::Hmac(1);
    let keys = keys(&[("cloud", &[secret.key("a")]), ("ops", &[Secret::Hmac(2).key("a")])]);
    let message = |request: &Request| request.judge(&keys, &at(NOW)).unwrap_err().message;
    let genuine = Request::new(secret, NOW, None);

    let body = RequestBody::new(BODY);
    let unsigned = keys.verify("cloud", MQTT, TOPIC, &body, None, &at(NOW)).unwrap_err();
    assert_eq!(unsigned, Refusal::new(Code::AuthFailed, "the request is not signed"));

    let mut other = genuine.clone();
    other.issuer = "ops".to_owned();
    assert!(message(&other).contains("is not the topic's issuer"));
    other.credentials.api_id = "ops".to_owned();
    assert!(message(&other).contains("not one of issuer"));
    let mut unknown = genuine.clone();
    unknown.issuer = "eve".to_owned();
    unknown.credentials.api_id = "eve".to_owned();
    assert!(message(&unknown).contains("no issuer \"eve\""));
    let mut kid = genuine.clone();
    kid.credentials.kid = Some("b".to_owned());
    assert!(message(&kid).contains("no key \"b\""));
    let mut form = genuine;
    form.credentials.signature.make_ascii_uppercase();
    assert!(message(&form).contains("neither"));
}

#[test]
fn several_keys_while_they_are_changed() {
    let (old, new, next) = (Secret::Hmac(1), Secret::Ed25519(2), Secret::Hmac(3));
    let mut expiring = old.key("old");
    expiring.not_after = Some(Timestamp::from_secs(NOW));
    let keys = keys(&[("cloud", &[expiring, new.key("new"), next.key("next")])]);
    let judge = |secret, kid: Option<&str>, now| {
        let mut request = Request::new(secret, now, None);
        request.credentials.kid = kid.map(str::to_owned);
        request.refusal(&keys, &at(now))
    };
    for (secret, name) in [(old, "old"), (new, "new"), (next, "next")] {
        for kid in [None, Some("old"), Some("new"), Some("next")] {
            let expected = kid.is_some_and(|kid| kid != name).then_some(Code::AuthFailed);
            assert_eq!(judge(secret, kid, NOW), expected, "{name} as {kid:?}");
        }
    }
    for kid in [None, Some("old")] {
        assert_eq!(judge(old, kid, NOW + 1), Some(Code::AuthFailed));
    }
    assert_eq!(judge(new, None, NOW + 1), None);
    // The floor of an untrusted clock is late enough to know, and no challenge revives the key.
    let request = Request::new(old, NOW, Some(CHALLENGE));
    assert_eq!(request.refusal(&keys, &untrusted(NOW)), None);
    assert_eq!(request.refusal(&keys, &untrusted(NOW + 1)), Some(Code::AuthFailed));
}

#[test]
fn a_line_break_cannot_move_a_field() {
    let secret = Secret::Hmac(1);
    let keys = cloud(secret);
    let move_line: [fn(&mut Request); 4] = [
        |it| it.method.push_str("\nx"),
        |it| it.path.push_str("\nx"),
        |it| it.credentials.nonce.push_str("\nx"),
        |it| it.credentials.challenge = Some(format!("{CHALLENGE}\n")),
    ];
    for change in move_line {
        let mut request = Request::new(secret, NOW, None);
        change(&mut request);
        request.sign(secret);
        assert!(request.judge(&keys, &at(NOW)).unwrap_err().message.contains("line break"));
    }
}

#[test]
fn sets_of_keys_that_are_refused() {
    let new = |issuers: &[(&str, Vec<Key>)]| {
        let issuers = issuers.iter().map(|(api_id, keys)| ((*api_id).to_owned(), keys.clone()));
        Keys::new(issuers.collect()).err()
    };
    let key = |byte: u8| Secret::Hmac(byte).key(&byte.to_string());
    assert_eq!(new(&[]), None);
    assert_eq!(new(&[("a", vec![])]), Some(KeysError::None("a".into())));
    assert_eq!(new(&[("a", (1..=4).map(key).collect())]), None);
    assert_eq!(new(&[("a", (1..=5).map(key).collect())]), Some(KeysError::TooMany("a".into(), 5)));
    let same_kid = vec![Secret::Hmac(1).key("k"), Secret::Ed25519(1).key("k")];
    assert_eq!(new(&[("a", same_kid)]), Some(KeysError::SameKid("a".into(), "k".into())));
    for secret in BOTH {
        let same = [("a", vec![secret.key("k")]), ("b", vec![secret.key("l")])];
        let [b, l, a, k] = ["b", "l", "a", "k"].map(str::to_owned);
        assert_eq!(new(&same), Some(KeysError::SameKey(b, l, a, k)));
    }
    // RFC 2104 fills a secret up with zeros.
    let padded = format!("hex:{}00", "01".repeat(32));
    let padded = Key::hmac_from_text("l", &padded, None).unwrap();
    let same = [("a", vec![Secret::Hmac(1).key("k")]), ("b", vec![padded])];
    assert!(matches!(new(&same), Some(KeysError::SameKey(..))));
    let one_kid_each = [("a", vec![key(1)]), ("b", vec![Secret::Hmac(2).key("1")])];
    assert_eq!(new(&one_kid_each), None);
}

#[test]
fn keys_as_text() {
    let hmac = |text: &str| Key::hmac_from_text("k", text, None).err();
    let digits = "0a".repeat(32);
    assert_eq!(hmac(&format!("hex:{digits}")), None);
    assert_eq!(hmac(&format!(" hex:{}\r\n", digits.to_uppercase())), None);
    assert_eq!(hmac(&format!("base64:{}\n", BASE64.encode(&[7; 33]))), None);
    assert_eq!(hmac(&digits), Some(KeyError::Prefix));
    assert_eq!(hmac(""), Some(KeyError::Prefix));
    assert_eq!(hmac(&format!("hex:{digits}0")), Some(KeyError::Hex));
    assert_eq!(hmac(&format!("hex: {digits}")), Some(KeyError::Hex));
    assert_eq!(hmac("base64:****"), Some(KeyError::Base64));
    assert_eq!(hmac("base64:AAA"), Some(KeyError::Base64));
    assert_eq!(hmac(&format!("hex:{}", &digits[2..])), Some(KeyError::TooShort(31)));
    assert_eq!(hmac("hex:"), Some(KeyError::TooShort(0)));

    let public = |bytes: &[u8]| Key::ed25519_from_text("k", &BASE64.encode(bytes), None).err();
    let good = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
    assert_eq!(public(&good), None);
    assert_eq!(public(&good[1..]), Some(KeyError::PublicKeyForm));
    assert_eq!(public(&[&good[..], &[0]].concat()), Some(KeyError::PublicKeyForm));
    // y = 2 is not on the curve; y = 1 is the neutral element.
    for y in [2, 1] {
        let mut point = [0; 32];
        point[0] = y;
        assert_eq!(public(&point), Some(KeyError::PublicKeyPoint));
    }
    let text = Key::ed25519_from_text("k", "hex:00", None);
    assert_eq!(text.err(), Some(KeyError::PublicKeyForm));
}

#[test]
fn nothing_prints_a_secret() {
    let digits = "5e".repeat(32);
    let key = Key::hmac_from_text("k", &format!("hex:{digits}"), None).unwrap();
    let keys = keys(&[("cloud", &[key])]);
    let printed = format!("{keys:?}");
    assert_eq!(
        printed,
        r#"{"cloud": [Key { kid: "k", algorithm: HmacSha256, not_after: None, .. }]}"#
    );
    for text in [format!("hex:{digits}x"), format!("base64:{digits}*"), digits.clone()] {
        let error = Key::hmac_from_text("k", &text, None).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("5e"), "{error}");
    }
}
