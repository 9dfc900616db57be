//! The other side: how a publisher signs what [`super::Keys`] verifies.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer as _, SigningKey};
use ring::hmac;
use zeroize::Zeroizing;

use super::key::{KeyError, hmac_key_from_text};
use crate::wire::request_body::RequestBody;
use crate::wire::signature::{Credentials, signed_text};

/// RFC 8410, section 7: PrivateKeyInfo of version 0 with the algorithm id-Ed25519, up to the key.
pub const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
pub const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
pub const PEM_END: &str = "-----END PRIVATE KEY-----";

/// An issuer that signs.
pub struct Signer {
    api_id: String,
    kid: Option<String>,
    secret: Secret,
}

enum Secret {
    HmacSha256(hmac::Key),
    Ed25519(SigningKey),
}

/// What is wrong with a secret's text, without showing it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    #[error(transparent)]
    Hmac(#[from] KeyError),
    #[error(
        "the private key is not an Ed25519 key in PEM (PKCS #8), as `downlinkd keygen` writes it"
    )]
    Pem,
}

/// What one signature covers besides the body.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// [`crate::wire::signature::MQTT`], or the HTTP method.
    pub method: &'a str,
    /// The whole topic, or the HTTP path.
    pub path: &'a str,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// 1 to 64 printable ASCII characters; never used before.
    pub nonce: &'a str,
    /// From presence, for a vehicle whose clock is not trusted.
    pub challenge: Option<&'a str>,
}

impl Signer {
    /// `text`: the content of a file that `downlinkd keygen` wrote, an HMAC secret or the PEM of an
    /// Ed25519 private key. `kid`: which of the issuer's keys it is; the vehicle tries all without it.
    ///
    /// # Errors
    /// What is wrong with the text; it is not in the message.
    pub fn from_text(api_id: &str, kid: Option<&str>, text: &str) -> Result<Self, SignerError> {
        let secret = if text.trim_start().starts_with(PEM_BEGIN) {
            Secret::Ed25519(ed25519_from_pem(text).ok_or(SignerError::Pem)?)
        } else {
            Secret::HmacSha256(hmac_key_from_text(text)?)
        };
        Ok(Self { api_id: api_id.to_owned(), kid: kid.map(str::to_owned), secret })
    }

    /// Signs `body` for one occasion.
    pub fn sign(&self, body: &[u8], occasion: Occasion<'_>) -> Credentials {
        let Occasion { method, path, timestamp, nonce, challenge } = occasion;
        let body = RequestBody::new(body);
        let text = signed_text(method, path, timestamp, nonce, &body, challenge);
        let signature = match &self.secret {
            Secret::HmacSha256(key) => HEXLOWER.encode(hmac::sign(key, text.as_bytes()).as_ref()),
            Secret::Ed25519(key) => BASE64.encode(&key.sign(text.as_bytes()).to_bytes()),
        };
        Credentials {
            api_id: self.api_id.clone(),
            timestamp,
            nonce: nonce.to_owned(),
            signature,
            kid: self.kid.clone(),
            challenge: challenge.map(str::to_owned),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("api_id", &self.api_id)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn ed25519_from_pem(text: &str) -> Option<SigningKey> {
    let base64 = text.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let base64: Zeroizing<Vec<u8>> =
        Zeroizing::new(base64.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let der = Zeroizing::new(BASE64.decode(&base64).ok()?);
    let secret = Zeroizing::new(<[u8; 32]>::try_from(der.strip_prefix(&PKCS8_ED25519)?).ok()?);
    Some(SigningKey::from_bytes(&secret))
}

#[cfg(test)]
mod tests {
    use super::super::{Clock, Freshness, Key, Keys};
    use super::*;
    use crate::lifecycle::time::Timestamp;
    use crate::wire::signature::{MQTT, unwrap};

    const TOPIC: &str = "downlink/v1/px4/px4-real-1/commands/demo";
    const BODY: &str = r#"{"vendor":"px4"}"#;
    const NOW: u64 = 1_781_481_600;

    fn hmac_text() -> String {
        format!("hex:{}\n", "5a".repeat(32))
    }

    fn pem() -> String {
        let der = [&PKCS8_ED25519[..], &[7; 32]].concat();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", BASE64.encode(&der))
    }

    fn verify(key: Key, credentials: &Credentials, trusted: bool) -> Freshness {
        let keys = Keys::new([("demo".to_owned(), vec![key])].into()).unwrap();
        let clock = Clock { wall: Timestamp::from_secs(NOW), trusted, challenge: "4f2c" };
        let body = RequestBody::new(BODY.as_bytes());
        let verdict = keys.verify("demo", MQTT, TOPIC, &body, Some(credentials), &clock);
        verdict.unwrap().freshness
    }

    #[test]
    fn the_vehicle_believes_either_kind_of_key_and_either_way_of_sending_it() {
        let public = SigningKey::from_bytes(&[7; 32]).verifying_key();
        let public = BASE64.encode(public.as_bytes());
        for (text, key) in [
            (hmac_text(), Key::hmac_from_text("1", &hmac_text(), None).unwrap()),
            (pem(), Key::ed25519_from_text("1", &public, None).unwrap()),
        ] {
            for (kid, challenge) in [(None, None), (Some("1"), Some("4f2c"))] {
                let signer = Signer::from_text("demo", kid, &text).unwrap();
                let credentials = signer.sign(
                    BODY.as_bytes(),
                    Occasion { method: MQTT, path: TOPIC, timestamp: NOW, nonce: "n", challenge },
                );
                let beside = unwrap(BODY.as_bytes(), &credentials.properties()).unwrap();
                assert_eq!(beside.credentials.as_ref(), Some(&credentials));
                let envelope = credentials.envelope(BODY);
                let around = unwrap(envelope.as_bytes(), &[]).unwrap();
                assert_eq!(around.credentials.as_ref(), Some(&credentials));
                assert_eq!(&around.body[..], BODY.as_bytes());
                for trusted in [true, false] {
                    let fresh = verify(key.clone(), &credentials, trusted) == Freshness::Fresh;
                    assert_eq!(fresh, trusted || challenge.is_some());
                }
            }
        }
    }

    #[test]
    fn what_holds_no_secret_is_refused_without_showing_it() {
        let cut = pem().replace("MC4C", "");
        for text in ["5a5a", "hex:5a", "hex:zz", &cut, PEM_BEGIN, &pem().replace("-----END", "")] {
            let error = Signer::from_text("demo", None, text).unwrap_err().to_string();
            assert!(!error.contains("5a") && !error.contains("MC4C"), "{error}");
        }
    }
}
