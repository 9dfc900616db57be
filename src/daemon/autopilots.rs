//! Autopilots on the line that are not the target. What they say does not count; the operator should
//! know of them.

use std::collections::BTreeSet;

use log::warn;

use crate::wire::mavlink::{Address, Heartbeat};

/// MAV_COMP_ID_AUTOPILOT1
const AUTOPILOT_COMPONENT: u8 = 1;

#[derive(Debug)]
pub struct Autopilots {
    target: Address,
    others: BTreeSet<Address>,
}

impl Autopilots {
    pub fn new(target: Address) -> Self {
        Self { target, others: BTreeSet::new() }
    }

    /// Warns of each one once.
    pub fn hear(&mut self, heartbeat: &Heartbeat) {
        let source = heartbeat.source;
        let is_other = source.component == AUTOPILOT_COMPONENT
            && heartbeat.is_of_autopilot()
            && source != self.target;
        if is_other && self.others.insert(source) {
            warn!(
                "there is an autopilot {}/{} on the link, which does not count: the target is {}/{} \
                 ([link] target_system, target_component)",
                source.system, source.component, self.target.system, self.target.component
            );
        }
    }

    /// As `SYSTEM/COMPONENT`.
    pub fn others(&self) -> impl Iterator<Item = String> {
        self.others.iter().map(|it| format!("{}/{}", it.system, it.component))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_autopilots_are_told() {
        let mut autopilots = Autopilots::new(Address { system: 1, component: 1 });
        let heartbeat = |system, component, autopilot| Heartbeat {
            source: Address { system, component },
            autopilot,
            vehicle_type: 2,
            base_mode: 0,
            custom_mode: 0,
            system_status: 3,
        };
        // Itself, a camera, a ground station, another one twice, and one of an unknown kind.
        for (system, component, autopilot) in
            [(1, 1, 12), (1, 100, 8), (255, 1, 8), (2, 1, 12), (2, 1, 12), (3, 1, 200), (2, 100, 0)]
        {
            autopilots.hear(&heartbeat(system, component, autopilot));
        }
        assert_eq!(autopilots.others().collect::<Vec<_>>(), ["2/1", "3/1"]);
    }
}
