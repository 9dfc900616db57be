//! What is known of the vehicle: whether the link is ready, and its [`State`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::{HEARTBEAT_MAX_AGE, State};
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::{Address, Heartbeat, Telemetry};

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
    state: State,
}

impl Vehicle {
    pub fn new(autopilot: Address) -> Self {
        Self { autopilot, open: false, heard: BTreeMap::new(), state: State::default() }
    }

    pub fn opened(&mut self) {
        self.open = true;
    }

    /// Forgets everything: what is behind a reopened port must speak first.
    pub fn closed(&mut self) {
        self.open = false;
        self.heard.clear();
        self.state = State::default();
    }

    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Duration) {
        let source = heartbeat.source;
        if source.system == self.autopilot.system {
            self.heard.insert(source.component, now);
        }
        if source == self.autopilot {
            self.state.heartbeat(heartbeat, now);
        }
    }

    /// Counts from the configured autopilot only: a camera's SYSTEM_TIME is no evidence.
    pub fn telemetry(&mut self, telemetry: &Telemetry, now: Duration) {
        if telemetry.source == self.autopilot {
            self.state.report(telemetry.report, now);
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// What time it is now by the autopilot's clock, set from a GPS with a 3D fix; see
    /// [`State::gps_time`].
    pub fn gps_time(&self, now: Duration) -> Option<Timestamp> {
        self.state.gps_time(now)
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
