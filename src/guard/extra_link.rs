//! The links beside the one to the autopilot, each to some components of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::state::HEARTBEAT_MAX_AGE;
use super::vehicle::LinkState;

/// Names a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u8);

impl LinkId {
    /// To the autopilot, and to every component that no extra link leads to.
    pub const MAIN: Self = Self(0);

    /// Of the extra link at this place of the configuration.
    pub fn of_extra(index: usize) -> Self {
        Self(u8::try_from(index + 1).expect("at most 4 extra links"))
    }

    /// Which extra link it is; `None`: the main one.
    pub fn extra(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

/// An extra link as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraLink {
    pub name: String,
    /// Of the autopilot's system; of no other link.
    pub components: BTreeSet<u8>,
}

/// What is known of it. Times are of the boot clock.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) link: ExtraLink,
    open: bool,
    /// The last HEARTBEAT of each of its components.
    heard: BTreeMap<u8, Duration>,
}

impl Watched {
    pub(super) fn new(link: ExtraLink) -> Self {
        Self { link, open: false, heard: BTreeMap::new() }
    }

    pub(super) fn opened(&mut self) {
        self.open = true;
    }

    /// Forgets everything: what is behind a reopened port must speak first.
    pub(super) fn closed(&mut self) {
        self.open = false;
        self.heard.clear();
    }

    pub(super) fn heartbeat(&mut self, component: u8, now: Duration) {
        if self.link.components.contains(&component) {
            self.heard.insert(component, now);
        }
    }

    /// [`LinkState::Ready`] with all of its components.
    pub(super) fn state(&self, now: Duration) -> LinkState {
        match self.open {
            false => LinkState::Closed,
            true if self.link.components.iter().all(|it| self.hears(*it, now)) => LinkState::Ready,
            true => LinkState::Open,
        }
    }

    pub(super) fn ready_for(&self, component: u8, now: Duration) -> bool {
        self.open && self.hears(component, now)
    }

    /// When the heartbeats that count now stop counting.
    pub(super) fn stale_at(&self, now: Duration) -> impl Iterator<Item = Duration> {
        self.heard.values().map(|at| *at + HEARTBEAT_MAX_AGE).filter(move |at| now < *at)
    }

    fn hears(&self, component: u8, now: Duration) -> bool {
        self.heard.get(&component).is_some_and(|at| now < *at + HEARTBEAT_MAX_AGE)
    }
}
