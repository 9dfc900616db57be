//! PURE. A damaged journal was set aside: what it knew is lost, and with it which commands were sent
//! and which nonces were used. Until all of that must be over, nothing that may be among them is let
//! in again: a signature that may be of before is refused, unless it covers the challenge of this
//! process.

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::authentication::{WINDOW_AHEAD, WINDOW_PAST};
use super::nonces::Nonce;
use crate::code::Code;
use crate::lifecycle::time::{Now, Timestamp};

/// Which signatures may be of before, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetAside {
    /// All: no trusted time has been seen since. The first one becomes the bound.
    UntilClockTrusted,
    /// Those with a timestamp up to then.
    Until(Timestamp),
}

impl SetAside {
    /// To be called with every reading of the clocks, before it judges anything. `None`: no signature
    /// of before is in the window any more.
    pub fn follow(self, now: &Now) -> Option<Self> {
        match self {
            SetAside::UntilClockTrusted if now.wall_trusted => {
                // As far ahead a timestamp of before was let in.
                Some(SetAside::Until(now.wall.saturating_add(WINDOW_AHEAD)))
            }
            SetAside::Until(bound)
                if now.wall_trusted && now.wall > bound.saturating_add(WINDOW_PAST) =>
            {
                None
            }
            it => Some(it),
        }
    }

    /// Whether a new message may be one of before.
    ///
    /// # Errors
    /// `auth.stale`.
    pub fn check(self, nonce: &Nonce) -> Result<(), Refusal> {
        let how = match self {
            // The challenge of this process vouches for it.
            _ if !nonce.durable => return Ok(()),
            SetAside::Until(bound) if nonce.timestamp > bound => return Ok(()),
            SetAside::Until(bound) => format!("signed at {}, not after {bound}", nonce.timestamp),
            SetAside::UntilClockTrusted => format!("signed at {}", nonce.timestamp),
        };
        let message =
            format!("{how}: the journal was set aside, so this may have been sent before");
        Err(Refusal::new(Code::AuthStale, message))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::guard::nonces::NonceKey;

    const T: u64 = 1_781_481_600;

    fn now(seconds: u64, wall_trusted: bool) -> Now {
        Now {
            boot: Duration::from_secs(seconds),
            boot_id: Uuid::nil(),
            wall: Timestamp::from_secs(T + seconds),
            wall_trusted,
        }
    }

    /// Signed so many seconds after T.
    fn nonce(seconds: i64, durable: bool) -> Nonce {
        let timestamp = Timestamp::from_secs(T.saturating_add_signed(seconds));
        Nonce { key: NonceKey([1; 16]), timestamp, expires: timestamp, durable }
    }

    #[test]
    fn the_first_trusted_time_and_the_tolerance_bound_what_may_be_of_before() {
        let fresh = SetAside::UntilClockTrusted;
        assert_eq!(fresh.follow(&now(0, false)), Some(fresh));
        assert!(fresh.check(&nonce(1000, true)).is_err(), "no bound yet");
        assert_eq!(fresh.check(&nonce(-1000, false)), Ok(()), "the challenge vouches");
        let bound = fresh.follow(&now(10, true)).unwrap();
        for (signed, fits) in [(-50, false), (10, false), (15, false), (16, true)] {
            assert_eq!(bound.check(&nonce(signed, true)).is_ok(), fits, "{signed}");
        }
        assert_eq!(bound.check(&nonce(15, true)).unwrap_err().code, Code::AuthStale);
        // The bound does not move with the clock.
        assert_eq!(bound.follow(&now(40, true)), Some(bound));
    }

    #[test]
    fn it_is_over_when_a_trusted_clock_has_passed_the_window() {
        let bound = SetAside::UntilClockTrusted.follow(&now(0, true)).unwrap();
        assert_eq!(bound.follow(&now(65, true)), Some(bound));
        assert_eq!(bound.follow(&now(66, false)), Some(bound));
        assert_eq!(bound.follow(&now(66, true)), None);
    }
}
