//! What is known of the vehicle: which links are ready, and its [`State`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::extra_link::{ExtraLink, LinkId, Watched};
use super::state::{HEARTBEAT_MAX_AGE, State};
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::{Address, Heartbeat, Telemetry};

/// A link as presence tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The port is not open.
    Closed,
    /// Open, but no heartbeat of the target autopilot within 3 s; of an extra link, of its components.
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

/// The vehicle's components, as heard on the links. Times are of the boot clock.
#[derive(Clone, Debug)]
pub struct Vehicle {
    autopilot: Address,
    /// Of the main link, as is `heard`.
    open: bool,
    /// The last HEARTBEAT of each component of the autopilot's system.
    heard: BTreeMap<u8, Duration>,
    extra: Vec<Watched>,
    state: State,
}

impl Vehicle {
    /// Behind the main link alone.
    pub fn new(autopilot: Address) -> Self {
        Self::with_extra_links(autopilot, &[])
    }

    pub fn with_extra_links(autopilot: Address, extra: &[ExtraLink]) -> Self {
        Self {
            autopilot,
            open: false,
            heard: BTreeMap::new(),
            extra: extra.iter().cloned().map(Watched::new).collect(),
            state: State::default(),
        }
    }

    pub fn opened(&mut self, link: LinkId) {
        match link.extra() {
            Some(index) => self.extra[index].opened(),
            None => self.open = true,
        }
    }

    /// Forgets everything: what is behind a reopened port must speak first.
    pub fn closed(&mut self, link: LinkId) {
        if let Some(index) = link.extra() {
            self.extra[index].closed();
            return;
        }
        self.open = false;
        self.heard.clear();
        self.state = State::default();
    }

    /// By an extra link only its own components count, and none tells the vehicle's state.
    pub fn heartbeat(&mut self, link: LinkId, heartbeat: &Heartbeat, now: Duration) {
        let source = heartbeat.source;
        let is_of_vehicle = source.system == self.autopilot.system;
        if let Some(index) = link.extra() {
            if is_of_vehicle {
                self.extra[index].heartbeat(source.component, now);
            }
            return;
        }
        if is_of_vehicle {
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

    /// All of them, the main one first.
    pub fn links(&self) -> impl Iterator<Item = LinkId> + use<> {
        let extra = (0..self.extra.len()).map(LinkId::of_extra);
        std::iter::once(LinkId::MAIN).chain(extra)
    }

    /// As configured; the main one has none.
    pub fn link_name(&self, link: LinkId) -> Option<&str> {
        link.extra().map(|index| self.extra[index].link.name.as_str())
    }

    /// By which link a component is spoken to, and heard.
    pub fn link_of(&self, target: Address) -> LinkId {
        let leads_there = |it: &Watched| it.link.components.contains(&target.component);
        let index = self.extra.iter().position(leads_there);
        match index.filter(|_| target.system == self.autopilot.system) {
            Some(index) => LinkId::of_extra(index),
            None => LinkId::MAIN,
        }
    }

    pub fn link_state(&self, link: LinkId, now: Duration) -> LinkState {
        if let Some(index) = link.extra() {
            return self.extra[index].state(now);
        }
        match (self.open, self.hears(self.autopilot.component, now)) {
            (false, _) => LinkState::Closed,
            (true, false) => LinkState::Open,
            (true, true) => LinkState::Ready,
        }
    }

    /// Whether a command may go there: the main link asks for the autopilot, an extra one for the
    /// component itself.
    pub fn ready_for(&self, target: Address, now: Duration) -> bool {
        match self.link_of(target).extra() {
            Some(index) => self.extra[index].ready_for(target.component, now),
            None => self.link_state(LinkId::MAIN, now) == LinkState::Ready,
        }
    }

    /// Whether a component of the autopilot's system has sent a heartbeat lately, by the main link.
    pub fn hears(&self, component: u8, now: Duration) -> bool {
        self.heard.get(&component).is_some_and(|at| now < *at + HEARTBEAT_MAX_AGE)
    }

    /// When the next heartbeat that a link is ready by stops counting.
    pub fn stale_at(&self, now: Duration) -> Option<Duration> {
        let autopilot = self.heard.get(&self.autopilot.component).map(|at| *at + HEARTBEAT_MAX_AGE);
        let extra = self.extra.iter().flat_map(|it| it.stale_at(now));
        autopilot.filter(|at| now < *at).into_iter().chain(extra).min()
    }
}
