//! PURE. The nonces that have been used.
//!
//! What is forgotten must never be let in again, whatever the clock does: everything that was
//! forgotten expired by some moment, and a request whose own nonce would have expired by then is
//! refused, since its nonce may be one of those. Across a restart the clock's persisted floor does
//! that: what expires later is still in the journal. So a commit that removes nonces must raise the
//! floor to the time by which they were forgotten.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Refusal;
use super::authentication::NONCE_KEPT;
use crate::code::Code;
use crate::lifecycle::time::{Now, Timestamp};

/// Names an issuer's nonce: 128 bits of a hash, which is all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NonceKey(pub [u8; 16]);

impl NonceKey {
    /// The first half of SHA-256 over the issuer, a zero byte (which no topic level holds) and the
    /// nonce.
    pub fn new(api_id: &str, nonce: &str) -> Self {
        let mut hash = Context::new(&SHA256);
        for part in [api_id.as_bytes(), &[0], nonce.as_bytes()] {
            hash.update(part);
        }
        Self(*hash.finish().as_ref().first_chunk().expect("32 bytes hold 16"))
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NonceKey({})", HEXLOWER.encode(&self.0))
    }
}

impl Serialize for NonceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&HEXLOWER.encode(&self.0));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NonceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Deserialize::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(de::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| de::Error::custom("a nonce's key has 16 bytes"))
    }
}

/// The nonce of a genuine request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    pub key: NonceKey,
    /// The request's own.
    pub timestamp: Timestamp,
    /// When it may be forgotten.
    pub expires: Timestamp,
    /// Belongs into the journal. Otherwise the challenge of this process vouched for the request,
    /// which no later process accepts; its timestamp, and so `expires`, may be any.
    pub durable: bool,
}

/// All nonces that may still be played back.
#[derive(Clone, Debug)]
pub struct Nonces {
    capacity: usize,
    seen: BTreeMap<NonceKey, Timestamp>,
    by_expiry: BTreeSet<(Timestamp, NonceKey)>,
    /// Everything forgotten expired by then.
    forgotten: Timestamp,
}

impl Nonces {
    /// `capacity`: how many are kept at most.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            seen: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            forgotten: Timestamp::default(),
        }
    }

    /// Takes up what the journal holds; all of it, even beyond the capacity.
    pub fn restore(&mut self, stored: impl IntoIterator<Item = (NonceKey, Timestamp)>) {
        for (key, expires) in stored {
            self.insert(key, expires);
        }
    }

    pub fn seen(&self, key: &NonceKey) -> bool {
        self.seen.contains_key(key)
    }

    /// Uses up the nonce of a fresh request.
    ///
    /// # Errors
    /// `auth.replay`: it was used before. `auth.stale`: it may have been, and been forgotten since.
    /// `busy.journal_full`: there is no room, and forgetting another would let that one in again.
    pub fn remember(&mut self, nonce: &Nonce) -> Result<(), Refusal> {
        if self.seen(&nonce.key) {
            return Err(Refusal::new(Code::AuthReplay, "the nonce was used before"));
        }
        if nonce.timestamp.saturating_add(NONCE_KEPT) <= self.forgotten {
            return Err(Refusal::new(
                Code::AuthStale,
                format!("signed at {}, from when nonces are no longer known", nonce.timestamp),
            ));
        }
        if self.seen.len() >= self.capacity {
            let message = format!("{} nonces are known, and none has expired", self.seen.len());
            return Err(Refusal::new(Code::BusyJournalFull, message));
        }
        self.insert(nonce.key, nonce.expires);
        Ok(())
    }

    /// Forgets what a trusted clock has passed, and tells it; an untrusted one proves nothing. The journal
    /// may remove it, in one commit with a floor of the clock at `now` or later.
    pub fn expire(&mut self, now: &Now) -> Vec<NonceKey> {
        let mut expired = Vec::new();
        if !now.wall_trusted {
            return expired;
        }
        while let Some((expires, key)) = self.by_expiry.first().copied() {
            if expires >= now.wall {
                break;
            }
            self.by_expiry.pop_first();
            self.seen.remove(&key);
            self.forgotten = self.forgotten.max(expires);
            expired.push(key);
        }
        expired
    }

    fn insert(&mut self, key: NonceKey, expires: Timestamp) {
        if let Some(earlier) = self.seen.insert(key, expires) {
            self.by_expiry.remove(&(earlier, key));
        }
        self.by_expiry.insert((expires, key));
    }
}

#[cfg(test)]
mod tests;
