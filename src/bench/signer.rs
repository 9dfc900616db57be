//! A publisher's side of signing: HMAC-SHA256, sent in an envelope.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::wire::signature::{MQTT, signed_text};

/// An issuer that signs.
pub struct Signer {
    api_id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl Signer {
    /// `key`: the file that `downlinkd keygen` wrote.
    pub fn new(api_id: &str, key: &Path) -> io::Result<Self> {
        let text = Zeroizing::new(std::fs::read_to_string(key)?);
        let digits = text.trim_end().strip_prefix("hex:");
        let secret = digits.and_then(|digits| HEXLOWER.decode(digits.as_bytes()).ok());
        let secret = secret.map(Zeroizing::new).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is no key", key.display()))
        })?;
        Ok(Self { api_id: api_id.to_owned(), secret })
    }

    /// The body, signed at this moment for this topic. `challenge`: from presence, for a vehicle whose
    /// clock is not trusted.
    pub fn envelope(&self, topic: &str, body: &str, challenge: Option<&str>) -> String {
        // A clock before 1970 is refused like every wrong one.
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let nonce = Uuid::new_v4().simple().to_string();
        let text = signed_text(MQTT, topic, timestamp, &nonce, body.as_bytes(), challenge);
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
        let mut auth = json!({
            "api_id": self.api_id, "timestamp": timestamp, "nonce": nonce, "signature": signature,
        });
        if let Some(challenge) = challenge {
            auth["challenge"] = challenge.into();
        }
        json!({"auth": auth, "body": body}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::authentication::{Clock, Freshness, Key, Keys};
    use crate::wire::signature::unwrap;

    const TOPIC: &str = "downlink/v1/px4/px4-real-1/commands/demo";
    const BODY: &str = r#"{"vendor":"px4"}"#;

    #[test]
    fn the_vehicle_believes_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("demo.hmac");
        let text = format!("hex:{}\n", "5a".repeat(32));
        std::fs::write(&file, &text).unwrap();
        let signer = Signer::new("demo", &file).unwrap();
        let key = Key::hmac_from_text("1", &text, None).unwrap();
        let keys = Keys::new([("demo".to_owned(), vec![key])].into()).unwrap();

        let mut nonces = Vec::new();
        for challenge in [None, Some("4f2c"), Some("4f2c")] {
            let envelope = signer.envelope(TOPIC, BODY, challenge);
            let request = unwrap(envelope.as_bytes(), &[]).unwrap();
            assert_eq!(request.body, BODY.as_bytes());
            let credentials = request.credentials.as_ref();
            for trusted in [true, false] {
                let wall = SystemTime::now().into();
                let clock = Clock { wall, trusted, challenge: "4f2c" };
                let verdict = keys.verify("demo", MQTT, TOPIC, &request.body, credentials, &clock);
                let fresh = verdict.unwrap().freshness == Freshness::Fresh;
                assert_eq!(fresh, trusted || challenge.is_some());
            }
            nonces.push(request.credentials.unwrap().nonce);
        }
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), 3);
    }

    #[test]
    fn a_file_that_holds_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("demo.hmac");
        std::fs::write(&file, "5a5a").unwrap();
        let error = Signer::new("demo", &file).err().unwrap();
        assert!(error.to_string().contains("demo.hmac"), "{error}");
    }
}
