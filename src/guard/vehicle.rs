//! What is known of the vehicle, as far as the guard needs it: so far, whether the link is ready.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::mavlink::Address;

/// A heartbeat older than this proves nothing.
pub const HEARTBEAT_MAX_AGE: Duration = Duration::from_secs(3);

/// The link as presence tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The port is not open.
    Closed,
    /// Open, but no heartbeat of the target autopilot within 3 s.
    Open,
    Ready,
}

impl LinkState {
    pub const fn as_str(self) -> &'static str {
        match self {
            LinkState::Closed => "closed",
            LinkState::Open => "open",
            LinkState::Ready => "ready",
        }
    }
}

/// The vehicle's components, as heard on the link. Times are of the boot clock.
#[derive(Clone, Debug)]
pub struct Vehicle {
    autopilot: Address,
    open: bool,
    /// The last HEARTBEAT of each component of the autopilot's system.
    heard: BTreeMap<u8, Duration>,
}

impl Vehicle {
    pub fn new(autopilot: Address) -> Self {
        Self { autopilot, open: false, heard: BTreeMap::new() }
    }

    pub fn opened(&mut self) {
        self.open = true;
    }

    /// Forgets the heartbeats too: what is behind a reopened port must speak first.
    pub fn closed(&mut self) {
        self.open = false;
        self.heard.clear();
    }

    pub fn heartbeat(&mut self, source: Address, now: Duration) {
        if source.system == self.autopilot.system {
            self.heard.insert(source.component, now);
        }
    }

    pub fn link_state(&self, now: Duration) -> LinkState {
        match (self.open, self.hears(self.autopilot.component, now)) {
            (false, _) => LinkState::Closed,
            (true, false) => LinkState::Open,
            (true, true) => LinkState::Ready,
        }
    }

    pub fn ready(&self, now: Duration) -> bool {
        self.link_state(now) == LinkState::Ready
    }

    /// Whether a component of the autopilot's system has sent a heartbeat lately.
    pub fn hears(&self, component: u8, now: Duration) -> bool {
        self.heard.get(&component).is_some_and(|at| now < *at + HEARTBEAT_MAX_AGE)
    }

    /// When the autopilot's last heartbeat stops counting.
    pub fn stale_at(&self) -> Option<Duration> {
        self.heard.get(&self.autopilot.component).map(|at| *at + HEARTBEAT_MAX_AGE)
    }
}
