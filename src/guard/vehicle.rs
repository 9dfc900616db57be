//! What is known of the vehicle: which links are ready, and its [`State`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::autopilot::Autopilot;
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
    autopilot: Autopilot,
    /// Of the main link, as is `heard`.
    open: bool,
    /// The last HEARTBEAT of each component of the autopilot's system, once that is known.
    heard: BTreeMap<u8, Duration>,
    extra: Vec<Watched>,
    state: State,
}

impl Vehicle {
    /// Behind the main link alone, with a configured address.
    #[cfg(test)]
    pub fn new(autopilot: Address) -> Self {
        Self::with_extra_links(autopilot.into(), &[])
    }

    pub fn with_extra_links(autopilot: Autopilot, extra: &[ExtraLink]) -> Self {
        Self {
            autopilot,
            open: false,
            heard: BTreeMap::new(),
            extra: extra.iter().cloned().map(Watched::new).collect(),
            state: State::default(),
        }
    }

    pub fn autopilot(&self) -> Autopilot {
        self.autopilot
    }

    pub fn opened(&mut self, link: LinkId) {
        match link.extra() {
            Some(index) => self.extra[index].opened(),
            None => self.open = true,
        }
    }

    /// Forgets everything but who the autopilot is: what is behind a reopened port must speak first.
    pub fn closed(&mut self, link: LinkId) {
        if let Some(index) = link.extra() {
            self.extra[index].closed();
            return;
        }
        self.open = false;
        self.heard.clear();
        self.state = State::default();
    }

    /// By an extra link only its own components count, and none tells the vehicle's state or who the
    /// autopilot is.
    pub fn heartbeat(&mut self, link: LinkId, heartbeat: &Heartbeat, now: Duration) {
        if link == LinkId::MAIN {
            self.autopilot.learn(heartbeat);
        }
        let source = heartbeat.source;
        let is_of_vehicle = self.autopilot.system == Some(source.system);
        if let Some(index) = link.extra() {
            if is_of_vehicle {
                self.extra[index].heartbeat(source.component, now);
            }
            return;
        }
        if is_of_vehicle {
            self.heard.insert(source.component, now);
        }
        if self.autopilot.address() == Some(source) {
            self.state.heartbeat(heartbeat, now);
        }
    }

    /// Counts from the autopilot only: a camera's SYSTEM_TIME is no evidence.
    pub fn telemetry(&mut self, telemetry: &Telemetry, now: Duration) {
        if self.autopilot.address() == Some(telemetry.source) {
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
    pub fn link_of(&self, component: u8) -> LinkId {
        let leads_there = |it: &Watched| it.link.components.contains(&component);
        self.extra.iter().position(leads_there).map_or(LinkId::MAIN, LinkId::of_extra)
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

    /// Whether a command may go there, never to another system: the main link asks for the autopilot,
    /// an extra one for the component itself.
    pub fn ready_for(&self, target: Address, now: Duration) -> bool {
        if self.autopilot.system != Some(target.system) {
            return false;
        }
        match self.link_of(target.component).extra() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::state::Requirements;
    use crate::wire::mavlink::Report;

    const NOW: Duration = Duration::from_secs(10);
    const THIRD: Address = Address { system: 3, component: 1 };
    const FOURTH: Address = Address { system: 4, component: 1 };

    #[test]
    fn only_the_autopilots_own_system_is_ready_and_tells_its_state() {
        let landed = Requirements { landed: Some(true), ..Requirements::default() };
        for system in [Some(3), None] {
            let autopilot = Autopilot { system, component: 1 };
            let mut vehicle = Vehicle::with_extra_links(autopilot, &[]);
            vehicle.opened(LinkId::MAIN);
            let tell_landed = |vehicle: &mut Vehicle, source| {
                let report = Report::ExtendedSysState { landed_state: 1 };
                vehicle.telemetry(&Telemetry { source, report }, NOW);
            };
            assert!(!vehicle.ready_for(THIRD, NOW));
            vehicle.heartbeat(LinkId::MAIN, &Heartbeat::example(THIRD, 12), NOW);
            vehicle.heartbeat(LinkId::MAIN, &Heartbeat::example(FOURTH, 12), NOW);
            assert!(vehicle.ready_for(THIRD, NOW));
            for source in [FOURTH, Address { system: 0, component: 1 }] {
                assert!(!vehicle.ready_for(source, NOW), "{source}");
            }
            tell_landed(&mut vehicle, FOURTH);
            assert!(landed.check(vehicle.state(), NOW).is_err());
            tell_landed(&mut vehicle, THIRD);
            assert_eq!(landed.check(vehicle.state(), NOW), Ok(()));
        }
    }
}
