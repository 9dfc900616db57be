//! What is known of the vehicle, as far as the guard needs it: so far, whether the link is ready.

use std::time::Duration;

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

/// The target autopilot, as heard on the link. Times are of the boot clock.
#[derive(Clone, Debug, Default)]
pub struct Vehicle {
    open: bool,
    heartbeat_at: Option<Duration>,
}

impl Vehicle {
    pub fn opened(&mut self) {
        self.open = true;
    }

    /// Forgets the heartbeat too: what is behind a reopened port must speak first.
    pub fn closed(&mut self) {
        self.open = false;
        self.heartbeat_at = None;
    }

    pub fn heartbeat(&mut self, now: Duration) {
        self.heartbeat_at = Some(now);
    }

    pub fn link_state(&self, now: Duration) -> LinkState {
        match (self.open, self.stale_at()) {
            (false, _) => LinkState::Closed,
            (true, Some(stale_at)) if now < stale_at => LinkState::Ready,
            (true, _) => LinkState::Open,
        }
    }

    pub fn ready(&self, now: Duration) -> bool {
        self.link_state(now) == LinkState::Ready
    }

    /// When the last heartbeat stops counting.
    pub fn stale_at(&self) -> Option<Duration> {
        self.heartbeat_at.map(|at| at + HEARTBEAT_MAX_AGE)
    }
}
