//! Whom the commands are for: the autopilot's address, configured or learned.

use crate::wire::mavlink::{Address, Heartbeat};

/// The autopilot. All that is commanded is of its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autopilot {
    /// `None`: to be learned from a HEARTBEAT.
    pub system: Option<u8>,
    pub component: u8,
}

impl Autopilot {
    /// `None` while its system is not known.
    pub fn address(self) -> Option<Address> {
        let Self { system, component } = self;
        system.map(|system| Address { system, component })
    }

    /// Whether this can be its system, as far as is known.
    pub fn may_be_of(self, system: u8) -> bool {
        self.system.is_none_or(|it| it == system)
    }

    /// Takes the system of the first HEARTBEAT that is of an autopilot and comes from its component;
    /// from then on it stays.
    pub fn learn(&mut self, heartbeat: &Heartbeat) {
        let Address { system, component } = heartbeat.source;
        // 0 is no sender: a command there would be a broadcast.
        let is_autopilot = heartbeat.is_of_autopilot() && system != 0;
        if self.system.is_none() && is_autopilot && component == self.component {
            self.system = Some(system);
        }
    }
}

impl From<Address> for Autopilot {
    fn from(Address { system, component }: Address) -> Self {
        Self { system: Some(system), component }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_autopilot_of_the_component_is_learned() {
        let mut autopilot = Autopilot { system: None, component: 1 };
        assert_eq!(autopilot.address(), None);
        assert!(autopilot.may_be_of(3) && autopilot.may_be_of(4));
        // MAV_AUTOPILOT 12 is PX4, 8 none (a camera, a ground station); 0 is generic.
        for (system, component, kind, learned) in [
            (3, 100, 8, None),
            (255, 1, 8, None),
            (4, 2, 12, None),
            (0, 1, 12, None),
            (3, 1, 0, Some(3)),
            (4, 1, 12, Some(3)),
        ] {
            let source = Address { system, component };
            autopilot.learn(&Heartbeat::example(source, kind));
            assert_eq!(autopilot.system, learned, "{source}");
        }
        assert_eq!(autopilot.address(), Some(Address { system: 3, component: 1 }));
        assert!(autopilot.may_be_of(3) && !autopilot.may_be_of(4));
    }

    #[test]
    fn a_configured_one_stays() {
        let configured = Address { system: 1, component: 1 };
        let mut autopilot = Autopilot::from(configured);
        autopilot.learn(&Heartbeat::example(Address { system: 3, component: 1 }, 12));
        assert_eq!(autopilot.address(), Some(configured));
    }
}
