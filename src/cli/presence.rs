//! What a vehicle's presence tells those who read it. Pure.

use serde::Deserialize;
use uuid::Uuid;

/// The part of it that the command line needs. Of an agent that is gone only the first two are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Presence {
    pub online: bool,
    pub session: Uuid,
    pub guard_mode: Option<String>,
    pub link: Option<PresentLink>,
    pub clock: Option<PresentClock>,
    pub challenge: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PresentLink {
    pub state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PresentClock {
    pub trusted: bool,
}

impl Presence {
    /// What must be signed along: the vehicle's clock cannot judge a timestamp.
    pub fn needed_challenge(&self) -> Option<&str> {
        let trusted = self.clock.as_ref().is_none_or(|clock| clock.trusted);
        self.challenge.as_deref().filter(|_| self.online && !trusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::time::Timestamp;
    use crate::wire::outbound::{self, PresentClock, PresentLink};

    fn present(trusted: bool) -> Presence {
        let json = outbound::Presence {
            online: true,
            session: Uuid::nil(),
            vendor: "px4",
            device_id: "px4-real-1",
            version: "0.1.0",
            guard_mode: "guarded",
            link: PresentLink { state: "ready", endpoint: "udpin:0.0.0.0:14540" },
            links: Vec::new(),
            broker: "mqtt://127.0.0.1:1883",
            clock: PresentClock { trusted, time: Timestamp::from_secs(1) },
            challenge: "4f2c",
            grants: Vec::new(),
            catalog_hash: "",
        }
        .json();
        serde_json::from_slice(&json).unwrap()
    }

    #[test]
    fn the_challenge_stands_in_for_a_clock() {
        assert_eq!(present(true).needed_challenge(), None);
        assert_eq!(present(false).needed_challenge(), Some("4f2c"));
        assert_eq!(present(false).link.unwrap().state, "ready");
        let gone = Presence { online: false, ..present(false) };
        assert_eq!(gone.needed_challenge(), None);
    }

    #[test]
    fn an_absence_is_read_too() {
        let absence = outbound::absence(Uuid::nil(), "px4-real-1");
        let absence: Presence = serde_json::from_slice(&absence).unwrap();
        assert!(!absence.online);
        assert_eq!((absence.guard_mode.as_ref(), absence.needed_challenge()), (None, None));
    }
}
