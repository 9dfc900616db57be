//! PURE. A damaged journal was set aside: what it knew is lost, and with it which commands were sent
//! and which nonces were used. Until all of that must be over, nothing that may be among them is let
//! in again.
//!
//! A signature says when it was made: one that may be of before is refused, unless it covers the
//! challenge of this process. An issuer without a key says nothing: it waits, until every command of
//! before is past its deadline and the broker had the time to deliver again what it still held.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::authentication::{WINDOW_AHEAD, WINDOW_PAST};
use super::nonces::Nonce;
use crate::code::Code;
use crate::lifecycle::time::{Now, Timestamp};

/// What is left to make up for, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    pub signatures: Signatures,
    /// Issuers without a key still wait.
    pub unsigned_wait: bool,
}

/// Which signatures may be of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signatures {
    /// No trusted time has been seen since; the first one becomes the bound.
    UntilClockTrusted,
    /// Those with a timestamp up to then.
    Until(Timestamp),
    /// None is in the window any more.
    Over,
}

impl SetAside {
    /// Of the moment when it happens.
    pub const NEW: Self = Self { signatures: Signatures::UntilClockTrusted, unsigned_wait: true };
}

/// The same, followed through one run of the process.
#[derive(Clone, Debug)]
pub struct Aftermath {
    left: Option<SetAside>,
    /// How long a command can take at the longest.
    longest: Duration,
    /// On the boot clock: since when the broker can deliver.
    connected_at: Option<Duration>,
}

impl Aftermath {
    pub fn new(left: Option<SetAside>, longest: Duration) -> Self {
        Self { left, longest, connected_at: None }
    }

    /// For the journal. `None`: nothing is left.
    pub fn left(&self) -> Option<SetAside> {
        self.left
    }

    /// The broker delivers.
    pub fn connected(&mut self, now: &Now) {
        self.connected_at.get_or_insert(now.boot);
    }

    /// To be called with every reading of the clocks, before it judges anything.
    pub fn follow(&mut self, now: &Now) {
        let Some(left) = &mut self.left else { return };
        match left.signatures {
            Signatures::UntilClockTrusted if now.wall_trusted => {
                // As far ahead a timestamp of before was let in.
                left.signatures = Signatures::Until(now.wall.saturating_add(WINDOW_AHEAD));
            }
            Signatures::Until(bound)
                if now.wall_trusted && now.wall > bound.saturating_add(WINDOW_PAST) =>
            {
                left.signatures = Signatures::Over;
            }
            _ => {}
        }
        let waited = self.connected_at.and_then(|since| now.boot.checked_sub(since));
        if waited.is_some_and(|waited| waited >= self.longest) {
            left.unsigned_wait = false;
        }
        if left.signatures == Signatures::Over && !left.unsigned_wait {
            self.left = None;
        }
    }

    /// Whether a new request may be one of before. `nonce`: `None`, it is not signed.
    ///
    /// # Errors
    /// `auth.stale`.
    pub fn check(&self, nonce: Option<&Nonce>) -> Result<(), Refusal> {
        let Some(left) = &self.left else { return Ok(()) };
        let how = match (nonce, left.signatures) {
            // The challenge of this process vouches for it.
            (Some(nonce), _) if !nonce.durable => return Ok(()),
            (Some(nonce), Signatures::Until(bound)) if nonce.timestamp <= bound => {
                format!("signed at {}, not after {bound}", nonce.timestamp)
            }
            (Some(nonce), Signatures::UntilClockTrusted) => {
                format!("signed at {}", nonce.timestamp)
            }
            (None, _) if left.unsigned_wait => {
                let longest = self.longest.as_secs();
                format!("not signed, less than {longest} s after the agent was connected")
            }
            _ => return Ok(()),
        };
        let message =
            format!("{how}: the journal was set aside, so this may have been sent before");
        Err(Refusal::new(Code::AuthStale, message))
    }
}

#[cfg(test)]
mod tests;
