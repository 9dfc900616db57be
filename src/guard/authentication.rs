//! PURE. Layer 1: whether a request is its issuer's own, and new.
//!
//! The two are separate answers: a genuine request that is out of its window may still be the
//! repetition of one that made a command, which deserves that command's status. Whether its nonce
//! was used before is for [`super::nonces`] to say.

mod key;
pub mod signer;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Refusal;
use super::nonces::{Nonce, NonceKey};
use crate::code::Code;
use crate::lifecycle::time::Timestamp;
use crate::wire::request_body::RequestBody;
use crate::wire::signature::{Credentials, signed_text};
pub use key::{Algorithm, Key, KeyError};
use key::{Decoys, Signature};

/// How old a timestamp may be.
pub const WINDOW_PAST: Duration = Duration::from_secs(60);
/// How far ahead a timestamp may be: two clocks never agree.
pub const WINDOW_AHEAD: Duration = Duration::from_secs(5);
/// How long a nonce is kept at least: twice the window, so that a clock which is set back a little
/// finds it still there.
pub const NONCE_KEPT: Duration = Duration::from_secs(120);
/// Keys of one issuer: the present one, the next, and room for emergencies.
pub const MAX_KEYS: usize = 4;

/// What the vehicle knows of the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'now> {
    pub wall: Timestamp,
    pub trusted: bool,
    /// As in presence. It must be drawn at random whenever the process starts: a nonce that a
    /// challenge vouches for is not kept for longer.
    pub challenge: &'now str,
}

/// Whether a genuine request is of this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Nothing new may come of it.
    Stale(Refusal),
}

/// The signature is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    pub nonce: Nonce,
    pub freshness: Freshness,
}

/// A set of keys that would be unsafe or useless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("issuer {0:?} has no key to sign with; `downlinkd keygen` makes one")]
    None(String),
    #[error("issuer {0:?} has {1} keys; at most {MAX_KEYS} are tried")]
    TooMany(String, usize),
    #[error("issuer {0:?} has two keys with the kid {1:?}")]
    SameKid(String, String),
    /// A signature does not say whose it is beyond its key.
    #[error("key {1:?} of issuer {0:?} is the same as key {3:?} of issuer {2:?}")]
    SameKey(String, String, String, String),
}

/// The keys of all issuers.
#[derive(Clone)]
pub struct Keys {
    issuers: BTreeMap<String, Vec<Key>>,
    /// The most keys of one issuer.
    most: usize,
    decoys: Decoys,
}

impl Keys {
    /// # Errors
    /// An issuer without a key, with more than [`MAX_KEYS`] or with one kid twice; a key that stands
    /// twice.
    pub fn new(issuers: BTreeMap<String, Vec<Key>>) -> Result<Self, KeysError> {
        let mut known: Vec<(&str, &Key)> = Vec::new();
        for (api_id, keys) in &issuers {
            match keys.len() {
                0 => return Err(KeysError::None(api_id.clone())),
                1..=MAX_KEYS => {}
                more => return Err(KeysError::TooMany(api_id.clone(), more)),
            }
            for key in keys {
                for (other_id, other) in &known {
                    if *other_id == api_id && other.kid == key.kid {
                        return Err(KeysError::SameKid(api_id.clone(), key.kid.clone()));
                    }
                    if other.has_material_of(key) {
                        return Err(KeysError::SameKey(
                            api_id.clone(),
                            key.kid.clone(),
                            (*other_id).to_owned(),
                            other.kid.clone(),
                        ));
                    }
                }
                known.push((api_id, key));
            }
        }
        let most = issuers.values().map(Vec::len).max().unwrap_or_default();
        Ok(Self { issuers, most, decoys: Decoys::new() })
    }

    /// Judges a request that came by `method` (`MQTT`, or HTTP's own) and `path` (the whole topic,
    /// or HTTP's own) and names `topic_api_id` as its issuer.
    ///
    /// An unknown issuer, an unknown kid, an expired key and a wrong signature take about the same
    /// time: as many keys are tried for each.
    ///
    /// # Errors
    /// `auth.failed`; its message is for the log, never for the sender.
    pub fn verify(
        &self,
        topic_api_id: &str,
        method: &str,
        path: &str,
        body: &RequestBody<'_>,
        credentials: Option<&Credentials>,
        clock: &Clock<'_>,
    ) -> Result<Authenticated, Refusal> {
        let Some(credentials) = credentials else {
            return Err(failed("the request is not signed".to_owned()));
        };
        let Some(signature) = Signature::read(&credentials.signature) else {
            let message = "the signature is neither HMAC-SHA256 in lower-case hex nor Ed25519 in \
                           base64";
            return Err(failed(message.to_owned()));
        };
        let fields = [method, path, &credentials.nonce];
        let fields = fields.into_iter().chain(credentials.challenge.as_deref());
        if fields.into_iter().any(|field| field.contains('\n')) {
            return Err(failed("a signed field holds a line break".to_owned()));
        }
        let text = signed_text(
            method,
            path,
            credentials.timestamp,
            &credentials.nonce,
            body,
            credentials.challenge.as_deref(),
        );
        let candidates = self.candidates(topic_api_id, credentials, clock);
        let found = candidates.as_deref().unwrap_or_default();
        let tries = if credentials.kid.is_some() { 1 } else { self.most };
        let mut genuine = false;
        for n in 0..tries {
            match found.get(n).filter(|key| key.algorithm() == signature.algorithm()) {
                Some(key) => genuine |= key.verifies(text.as_bytes(), &signature),
                None => self.decoys.try_verify(text.as_bytes(), &signature),
            }
        }
        candidates?;
        if !genuine {
            return Err(failed(format!("the signature is not one of issuer {topic_api_id:?}")));
        }
        Ok(Authenticated {
            nonce: nonce(credentials, clock),
            freshness: freshness(credentials, clock),
        })
    }

    /// The keys that may have made this signature.
    fn candidates(
        &self,
        topic_api_id: &str,
        credentials: &Credentials,
        clock: &Clock<'_>,
    ) -> Result<Vec<&Key>, Refusal> {
        let signer = &credentials.api_id;
        if signer != topic_api_id {
            let message =
                format!("the signer {signer:?} is not the topic's issuer {topic_api_id:?}");
            return Err(failed(message));
        }
        let Some(keys) = self.issuers.get(signer) else {
            return Err(failed(format!("no issuer {signer:?} is configured")));
        };
        let mut keys: Vec<&Key> = keys.iter().collect();
        if let Some(kid) = &credentials.kid {
            keys.retain(|key| key.kid == *kid);
            if keys.is_empty() {
                return Err(failed(format!("issuer {signer:?} has no key {kid:?}")));
            }
        }
        // An untrusted clock reads its floor at least: what has expired by then has expired.
        keys.retain(|key| key.not_after.is_none_or(|not_after| clock.wall <= not_after));
        if keys.is_empty() {
            return Err(failed(format!("the key of issuer {signer:?} has expired")));
        }
        Ok(keys)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.issuers).finish()
    }
}

fn nonce(credentials: &Credentials, clock: &Clock<'_>) -> Nonce {
    let timestamp = Timestamp::from_secs(credentials.timestamp);
    Nonce {
        key: NonceKey::new(&credentials.api_id, &credentials.nonce),
        timestamp,
        expires: timestamp.max(clock.wall).saturating_add(NONCE_KEPT),
        durable: clock.trusted,
    }
}

fn freshness(credentials: &Credentials, clock: &Clock<'_>) -> Freshness {
    let challenged = credentials.challenge.as_deref().map(|it| it == clock.challenge);
    let timestamp = Timestamp::from_secs(credentials.timestamp);
    let (code, message) = match (clock.trusted, challenged) {
        (false, Some(true)) => return Freshness::Fresh,
        (false, _) => (
            Code::AuthClockUntrusted,
            "the vehicle's clock is not trusted; sign with the challenge of its presence"
                .to_owned(),
        ),
        (true, Some(false)) => {
            (Code::AuthStale, "the challenge is not the one of the vehicle's presence".to_owned())
        }
        (true, _) if timestamp.saturating_add(WINDOW_PAST) < clock.wall => (
            Code::AuthStale,
            format!(
                "signed at {timestamp}, over {} s before {}",
                WINDOW_PAST.as_secs(),
                clock.wall
            ),
        ),
        (true, _) if timestamp > clock.wall.saturating_add(WINDOW_AHEAD) => (
            Code::AuthStale,
            format!(
                "signed at {timestamp}, over {} s after {}",
                WINDOW_AHEAD.as_secs(),
                clock.wall
            ),
        ),
        (true, _) => return Freshness::Fresh,
    };
    Freshness::Stale(Refusal::new(code, message))
}

fn failed(message: String) -> Refusal {
    Refusal::new(Code::AuthFailed, message)
}

#[cfg(test)]
mod tests;
