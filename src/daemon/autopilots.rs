//! Autopilots on the line that are not the target. What they say does not count; the operator should
//! know of them.

use std::collections::BTreeSet;

use log::warn;

use crate::guard::autopilot::Autopilot;
use crate::wire::mavlink::{Address, Heartbeat};

/// MAV_COMP_ID_AUTOPILOT1
const AUTOPILOT_COMPONENT: u8 = 1;

/// All that were heard.
#[derive(Debug, Default)]
pub struct Autopilots(BTreeSet<Address>);

impl Autopilots {
    /// Warns of each one once that is not the target.
    pub fn hear(&mut self, heartbeat: &Heartbeat, target: Autopilot) {
        let source = heartbeat.source;
        let counts = source.component == AUTOPILOT_COMPONENT && heartbeat.is_of_autopilot();
        if counts && self.0.insert(source) && target.address() != Some(source) {
            let Autopilot { component, .. } = target;
            let target = match target.address() {
                Some(target) => format!("the target is {target}"),
                None => format!("the target will be the first one of component {component}"),
            };
            warn!(
                "there is an autopilot {source} on the link, which does not count: {target} \
                 ([link] target_system, target_component)"
            );
        }
    }

    /// All but the target, as `SYSTEM/COMPONENT`.
    pub fn others(&self, target: Autopilot) -> impl Iterator<Item = String> {
        self.0.iter().filter(move |it| target.address() != Some(**it)).map(Address::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_autopilots_are_told() {
        let unknown = Autopilot { system: None, component: 1 };
        let target = Autopilot { system: Some(1), ..unknown };
        let mut autopilots = Autopilots::default();
        // Itself, a camera, a ground station, another one twice, and one of an unknown kind.
        for (system, component, kind) in
            [(1, 1, 12), (1, 100, 8), (255, 1, 8), (2, 1, 12), (2, 1, 12), (3, 1, 200), (2, 100, 0)]
        {
            let source = Address { system, component };
            autopilots.hear(&Heartbeat::example(source, kind), target);
        }
        assert_eq!(autopilots.others(target).collect::<Vec<_>>(), ["2/1", "3/1"]);
        let learned = Autopilot { system: Some(3), ..unknown };
        assert_eq!(autopilots.others(learned).collect::<Vec<_>>(), ["1/1", "2/1"]);
        assert_eq!(autopilots.others(unknown).count(), 3);
    }
}
