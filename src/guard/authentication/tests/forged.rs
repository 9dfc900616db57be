//! Everything that can be done to a recorded request without its key.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// The recorded requests: signed now, covering the challenge or not.
fn recorded(secret: Secret) -> [Request; 2] {
    [Request::new(secret, NOW, None), Request::new(secret, NOW, Some(CHALLENGE))]
}

/// Two issuers with two keys each, of both kinds.
static TWO_ISSUERS: LazyLock<Keys> = LazyLock::new(|| {
    let cloud = [Secret::Hmac(1).key("hmac"), Secret::Ed25519(1).key("ed25519")];
    let ops = [Secret::Hmac(2).key("hmac"), Secret::Ed25519(2).key("ed25519")];
    keys(&[("cloud", &cloud), ("ops", &ops)])
});

/// Changes one thing at a time, hands each changed request to `refused`, and counts them.
fn change_everything(request: &Request, mut refused: impl FnMut(&Request, &str)) -> usize {
    let mut count = 0;
    let mut check = |what: &str, change: &dyn Fn(&mut Request)| {
        let mut changed = request.clone();
        change(&mut changed);
        refused(&changed, what);
        count += 1;
    };
    for bit in 0..request.body.len() * 8 {
        check("a bit of the body", &|it| it.body[bit / 8] ^= 1 << (bit % 8));
    }
    for end in 0..request.body.len() {
        check("a shorter body", &|it| it.body.truncate(end));
        check("a longer body", &|it| it.body.insert(end, b' '));
    }
    for distance in 1..=60 {
        check("an earlier timestamp", &|it| it.credentials.timestamp -= distance);
        check("a later timestamp", &|it| it.credentials.timestamp += distance);
    }
    for at in 0..request.path.len() {
        check("a letter of the topic", &|it| it.path.replace_range(at..=at, "~"));
        check("a shorter topic", &|it| it.path.truncate(at));
    }
    for topic in [
        "downlink/v1/px4/px4-real-2/commands/cloud",
        "downlink/v2/px4/px4-real-1/commands/cloud",
        "downlink/v1/px4/px4-real-1/grants/cloud",
        "downlink/v1/px4/px4-real-1/queries/cloud",
        "downlink/v1/px4/px4-real-1/commands/ops",
    ] {
        check("another topic", &|it| it.path = topic.to_owned());
    }
    for method in ["POST", "GET", "mqtt", "MQTT ", ""] {
        check("another method", &|it| it.method = method.to_owned());
    }
    for byte in b'!'..=b'~' {
        for at in 0..request.credentials.nonce.len() {
            if request.credentials.nonce.as_bytes()[at] != byte {
                let letter = char::from(byte).to_string();
                check("a letter of the nonce", &|it| {
                    it.credentials.nonce.replace_range(at..=at, &letter);
                });
            }
        }
        check("a longer nonce", &|it| it.credentials.nonce.push(byte.into()));
    }
    check("a missing or additional challenge", &|it| {
        let challenge = &mut it.credentials.challenge;
        *challenge = challenge.is_none().then(|| CHALLENGE.to_owned());
    });
    for at in 0..CHALLENGE.len() {
        check("another challenge", &|it| {
            let mut challenge = CHALLENGE.to_owned();
            challenge.replace_range(at..=at, "x");
            it.credentials.challenge = Some(challenge);
        });
    }
    for signer in ["ops", "Cloud", "clou", "cloud ", ""] {
        check("another issuer of the topic", &|it| it.issuer = signer.to_owned());
        check("another signer", &|it| it.credentials.api_id = signer.to_owned());
        check("another issuer", &|it| {
            it.issuer = signer.to_owned();
            it.credentials.api_id = signer.to_owned();
        });
    }
    let own = if request.credentials.signature.len() == 64 { "hmac" } else { "ed25519" };
    for kid in ["hmac", "ed25519", "HMAC", "", "none"].into_iter().filter(|kid| *kid != own) {
        check("another key", &|it| it.credentials.kid = Some(kid.to_owned()));
    }
    let signature = &request.credentials.signature;
    for at in 0..signature.len() {
        for byte in b'!'..=b'~' {
            if signature.as_bytes()[at] != byte {
                let letter = char::from(byte).to_string();
                check("a letter of the signature", &|it| {
                    it.credentials.signature.replace_range(at..=at, &letter);
                });
            }
        }
        check("a shorter signature", &|it| it.credentials.signature.truncate(at));
        check("a longer signature", &|it| it.credentials.signature.insert(at, '0'));
    }
    for bit in 0..signature_bytes(signature).len() * 8 {
        check("a bit of the signature", &|it| {
            let mut bytes = signature_bytes(&it.credentials.signature);
            bytes[bit / 8] ^= 1 << (bit % 8);
            it.credentials.signature =
                if bytes.len() == 32 { HEXLOWER.encode(&bytes) } else { BASE64.encode(&bytes) };
        });
    }
    count
}

fn signature_bytes(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).or_else(|_| BASE64.decode(text.as_bytes())).unwrap()
}

#[test]
fn no_change_survives() {
    let keys = &*TWO_ISSUERS;
    let mut count = 0;
    for secret in BOTH {
        for request in recorded(secret) {
            for clock in [at(NOW), at(NOW + 30)] {
                assert_eq!(request.refusal(keys, &clock), None);
                count += change_everything(&request, |changed, what| {
                    assert!(changed.judge(keys, &clock).is_err(), "{what} was changed");
                });
            }
        }
    }
    let [_, challenged] = recorded(Secret::Hmac(1));
    assert_eq!(challenged.refusal(keys, &untrusted(NOW)), None);
    count += change_everything(&challenged, |changed, what| {
        assert!(changed.judge(keys, &untrusted(NOW)).is_err(), "{what} was changed");
    });
    assert!(count > 50_000, "{count}");
}

/// Adding the group's order to S gives a second signature that lax verifiers accept.
#[test]
fn an_ed25519_signature_has_one_form() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let secret = Secret::Ed25519(1);
    let mut request = Request::new(secret, NOW, None);
    let mut bytes = BASE64.decode(request.credentials.signature.as_bytes()).unwrap();
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    request.credentials.signature = BASE64.encode(&bytes);
    assert!(request.judge(&cloud(secret), &at(NOW)).is_err());
    // Base64 has spare bits at its end, and other alphabets; hex has two cases.
    let request = Request::new(secret, NOW, None);
    let text = request.credentials.signature.clone();
    let unpadded = text.trim_end_matches('=');
    let last = unpadded.chars().next_back().unwrap();
    let spare = char::from_u32(u32::from(last) + 1).unwrap();
    let spare = format!("{}{spare}==", &unpadded[..unpadded.len() - 1]);
    for form in [unpadded.to_owned(), spare, format!("{text}\n"), text.replace('/', "_")] {
        let mut request = request.clone();
        if form != text {
            request.credentials.signature = form;
            assert!(request.judge(&cloud(secret), &at(NOW)).is_err());
        }
    }
}

/// A text that anybody can sign for a key of nobody.
#[test]
fn the_key_of_nobody_opens_nothing() {
    for secret in [Secret::Hmac(0), Secret::Ed25519(0)] {
        let keys = &*TWO_ISSUERS;
        for issuer in ["cloud", "eve"] {
            for kid in [None, Some("hmac"), Some("ed25519"), Some("x")] {
                let mut request = Request::new(secret, NOW, None);
                request.issuer = issuer.to_owned();
                request.credentials.api_id = issuer.to_owned();
                request.credentials.kid = kid.map(str::to_owned);
                assert!(request.judge(keys, &at(NOW)).is_err());
            }
        }
    }
}

/// With the public key for a secret, as verifiers that trust the signer's choice of algorithm do.
#[test]
fn a_public_key_is_no_hmac_secret() {
    let keys = cloud(Secret::Ed25519(1));
    let public = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
    let mut request = Request::new(Secret::Hmac(1), NOW, None);
    let mut mac = Hmac::<Sha256>::new_from_slice(&public).unwrap();
    let body = RequestBody::new(BODY);
    mac.update(signed_text(MQTT, TOPIC, NOW, "4f2c", &body, None).as_bytes());
    request.credentials.signature = HEXLOWER.encode(&mac.finalize().into_bytes());
    assert!(request.judge(&keys, &at(NOW)).is_err());
}

#[test]
fn a_recording_is_fresh_for_its_window_only() {
    let secret = Secret::Hmac(1);
    let keys = cloud(secret);
    let [request, _] = recorded(secret);
    for distance in 0..20_000 {
        let later = request.refusal(&keys, &at(NOW + distance));
        assert_eq!(later, (distance > 60).then_some(Code::AuthStale));
        let earlier = request.refusal(&keys, &at(NOW - distance));
        assert_eq!(earlier, (distance > 5).then_some(Code::AuthStale));
    }
}

fn signatures() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f]{64}",
        any::<[u8; 32]>().prop_map(|bytes| HEXLOWER.encode(&bytes)),
        proptest::collection::vec(any::<u8>(), 64).prop_map(|bytes| BASE64.encode(&bytes)),
        "[!-~]{1,128}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_guess_is_never_fresh(
        signature in signatures(),
        issuer in prop_oneof![Just("cloud"), Just("ops"), Just("eve")],
        kid in proptest::option::of(prop_oneof![Just("hmac"), Just("ed25519"), Just("x")]),
        timestamp in prop_oneof![NOW - 70..NOW + 10, any::<u64>()],
        nonce in "[!-~]{1,64}",
        challenge in proptest::option::of(Just(CHALLENGE)),
        trusted in any::<bool>(),
    ) {
        let mut request = Request::new(Secret::Hmac(9), timestamp, challenge);
        request.issuer = issuer.to_owned();
        request.credentials.api_id = issuer.to_owned();
        request.credentials.kid = kid.map(str::to_owned);
        request.credentials.nonce = nonce;
        request.credentials.signature = signature;
        let clock = Clock { trusted, ..at(NOW) };
        prop_assert!(request.judge(&TWO_ISSUERS, &clock).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_genuine_request_always_passes(
        (issuer, byte) in prop_oneof![Just(("cloud", 1)), Just(("ops", 2))],
        hmac in any::<bool>(),
        names_kid in any::<bool>(),
        path in "[!-~]{1,100}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
        nonce in "[!-~]{1,64}",
        age in -5_i64..=60,
        challenge in proptest::option::of(Just(CHALLENGE)),
    ) {
        let secret = if hmac { Secret::Hmac(byte) } else { Secret::Ed25519(byte) };
        let mut request = Request::new(secret, NOW.checked_add_signed(-age).unwrap(), challenge);
        request.issuer = issuer.to_owned();
        request.credentials.api_id = issuer.to_owned();
        request.credentials.nonce = nonce;
        let kid = if hmac { "hmac" } else { "ed25519" };
        request.credentials.kid = names_kid.then(|| kid.to_owned());
        request.path = path;
        request.body = body;
        request.sign(secret);
        let keys = &*TWO_ISSUERS;
        prop_assert_eq!(request.refusal(keys, &at(NOW)), None);
        let untrusted = request.refusal(keys, &untrusted(NOW));
        prop_assert_eq!(untrusted, challenge.is_none().then_some(Code::AuthClockUntrusted));
    }
}
