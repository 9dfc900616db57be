//! docs/signing.md says what it says: its known answers are what the vehicle verifies, and what
//! openssl prints for the documented commands.

use std::collections::BTreeMap;
use std::process::Command;

use downlinkd::guard::authentication::{Authenticated, Clock, Freshness, Key, Keys};
use downlinkd::lifecycle::time::Timestamp;
use downlinkd::wire::request_body::RequestBody;
use downlinkd::wire::signature::{Credentials, HTTP, HTTP_COMMANDS, MQTT, signed_text, unwrap};

const PAGE: &str = include_str!("../docs/signing.md");
const TOPIC: &str = "downlink/v1/px4/px4-real-1/commands/cloud";
const TIMESTAMP: u64 = 1_781_481_600;
const NONCE: &str = "4f2c9a6be0d1";
const CHALLENGE: &str = "00112233445566778899aabbccddeeff";

/// A documented script and what it prints.
struct Answer {
    script: &'static str,
    output: &'static str,
}

/// The four of the section "Known answers": the text, HMAC, Ed25519, by HTTP.
fn answers() -> [Answer; 4] {
    let (_, section) = PAGE.split_once("## Known answers\n").unwrap();
    let mut blocks = section.split("```").skip(1).step_by(2);
    std::array::from_fn(|_| {
        let script = blocks.next().unwrap().strip_prefix("sh\n").unwrap();
        let output = blocks.next().unwrap().strip_prefix('\n').unwrap();
        Answer { script, output }
    })
}

fn lines<const N: usize>(text: &str) -> [&str; N] {
    text.lines().collect::<Vec<_>>().try_into().unwrap()
}

/// The body that the first script writes.
fn body() -> &'static [u8] {
    let [request, ..] = answers();
    request.script.split('\'').nth(1).unwrap().as_bytes()
}

/// The HMAC key that the page names.
fn hmac_key() -> (&'static str, Key) {
    let (_, rest) = PAGE.split_once("with the key file `").unwrap();
    let (secret, _) = rest.split_once('`').unwrap();
    (secret.strip_prefix("hex:").unwrap(), Key::hmac_from_text("k", secret, None).unwrap())
}

/// Sends both ways, without and with the challenge.
fn assert_fresh(key: Key, signatures: [&str; 2]) {
    let keys = Keys::new(BTreeMap::from([("cloud".to_owned(), vec![key])])).unwrap();
    let body = body();
    for (signature, challenge) in signatures.into_iter().zip([None, Some(CHALLENGE)]) {
        let mut auth = serde_json::json!({
            "api_id": "cloud", "timestamp": TIMESTAMP, "nonce": NONCE, "signature": signature,
        });
        let mut properties = vec![
            ("X-Api-Id".to_owned(), "cloud".to_owned()),
            ("X-Api-Timestamp".to_owned(), TIMESTAMP.to_string()),
            ("X-Api-Nonce".to_owned(), NONCE.to_owned()),
            ("X-Api-Signature".to_owned(), signature.to_owned()),
        ];
        if let Some(challenge) = challenge {
            auth["challenge"] = challenge.into();
            properties.push(("X-Api-Challenge".to_owned(), challenge.to_owned()));
        }
        let envelope = serde_json::json!({"auth": auth, "body": str::from_utf8(body).unwrap()});
        let envelope = envelope.to_string();
        for (payload, properties) in [(body, &properties[..]), (envelope.as_bytes(), &[])] {
            let request = unwrap(payload, properties).unwrap();
            for trusted in [true, false] {
                let wall = Timestamp::from_secs(TIMESTAMP + 1);
                let clock = Clock { wall, trusted, challenge: CHALLENGE };
                let credentials = request.credentials.as_ref();
                let verdict = keys.verify("cloud", MQTT, TOPIC, &request.body, credentials, &clock);
                let Authenticated { freshness, .. } = verdict.unwrap();
                let fresh = trusted || challenge.is_some();
                assert_eq!(freshness == Freshness::Fresh, fresh, "{freshness:?}");
            }
        }
    }
}

#[test]
fn the_documented_text_is_the_signed_text() {
    let [request, ..] = answers();
    let text =
        signed_text(MQTT, TOPIC, TIMESTAMP, NONCE, &RequestBody::new(body()), Some(CHALLENGE));
    assert_eq!(request.output, text + "\n");
}

#[test]
fn the_documented_hmac_signatures_are_genuine() {
    let [_, hmac, ..] = answers();
    let (secret, key) = hmac_key();
    assert!(hmac.script.contains(secret));
    assert_fresh(key, lines(hmac.output));
}

#[test]
fn the_documented_signature_by_http_is_genuine_and_not_for_mqtt() {
    let [.., http] = answers();
    let [signature] = lines(http.output);
    let credentials = Credentials {
        api_id: "cloud".to_owned(),
        timestamp: TIMESTAMP,
        nonce: NONCE.to_owned(),
        signature: signature.to_owned(),
        kid: None,
        challenge: None,
    };
    let keys = Keys::new(BTreeMap::from([("cloud".to_owned(), vec![hmac_key().1])])).unwrap();
    let wall = Timestamp::from_secs(TIMESTAMP + 1);
    let clock = Clock { wall, trusted: true, challenge: CHALLENGE };
    for (method, path, genuine) in
        [(HTTP, HTTP_COMMANDS, true), (MQTT, TOPIC, false), (MQTT, HTTP_COMMANDS, false)]
    {
        let body = RequestBody::new(body());
        let verdict = keys.verify("cloud", method, path, &body, Some(&credentials), &clock);
        assert_eq!(verdict.is_ok(), genuine, "{method} {path}");
    }
}

#[test]
fn the_documented_ed25519_signatures_are_genuine() {
    let [_, _, ed25519, _] = answers();
    let [public, plain, challenged] = lines(ed25519.output);
    assert_fresh(Key::ed25519_from_text("k", public, None).unwrap(), [plain, challenged]);
}

#[test]
fn openssl_prints_the_documented_answers() {
    let openssl =
        Command::new("openssl").arg("version").output().expect("openssl is not installed");
    let version = String::from_utf8_lossy(&openssl.stdout);
    let dir = tempfile::tempdir().unwrap();
    for Answer { script, output } in answers() {
        let run = Command::new("sh").args(["-euc", script]).current_dir(&dir).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "it takes OpenSSL 3, this is {version}: {said}");
        // The shell ends the last line or does not.
        assert_eq!(String::from_utf8_lossy(&run.stdout).trim_end(), output.trim_end());
    }
}
