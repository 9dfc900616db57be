//! PX4's flight modes, by the names of its `px4_custom_mode.h`.

use std::fmt;

/// A flight mode that PX4 can be in, such as `auto.loiter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlightMode(&'static str);

/// PX4_CUSTOM_MAIN_MODE, PX4_CUSTOM_SUB_MODE (0 without one), name.
const MODES: [(u8, u8, &str); 29] = [
    (1, 0, "manual"),
    (2, 0, "altctl"),
    (3, 0, "posctl"),
    (3, 1, "posctl.orbit"),
    (3, 2, "posctl.slow"),
    (4, 1, "auto.ready"),
    (4, 2, "auto.takeoff"),
    (4, 3, "auto.loiter"),
    (4, 4, "auto.mission"),
    (4, 5, "auto.rtl"),
    (4, 6, "auto.land"),
    (4, 8, "auto.follow_target"),
    (4, 9, "auto.precland"),
    (4, 10, "auto.vtol_takeoff"),
    (4, 11, "auto.external1"),
    (4, 12, "auto.external2"),
    (4, 13, "auto.external3"),
    (4, 14, "auto.external4"),
    (4, 15, "auto.external5"),
    (4, 16, "auto.external6"),
    (4, 17, "auto.external7"),
    (4, 18, "auto.external8"),
    (5, 0, "acro"),
    (6, 0, "offboard"),
    (7, 0, "stabilized"),
    (8, 0, "rattitude_legacy"),
    (9, 0, "simple"),
    (10, 0, "termination"),
    (11, 0, "altitude_cruise"),
];

impl FlightMode {
    /// From HEARTBEAT.custom_mode of a PX4; `None` for a mode that is not in the table.
    pub fn of_px4(custom_mode: u32) -> Option<Self> {
        let [_, _, main, sub] = custom_mode.to_le_bytes();
        MODES
            .iter()
            .find(|(its_main, its_sub, _)| (*its_main, *its_sub) == (main, sub))
            .map(|(_, _, name)| Self(name))
    }

    pub fn named(name: &str) -> Option<Self> {
        MODES.iter().find(|(_, _, its_name)| *its_name == name).map(|(_, _, name)| Self(name))
    }

    /// Every name, in order of PX4's numbers.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MODES.iter().map(|(_, _, name)| *name)
    }
}

impl fmt::Display for FlightMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn main_mode_is_the_third_byte_and_sub_mode_the_fourth() {
        for (custom_mode, name) in [
            (0x0001_0000, Some("manual")),
            (0x0002_0000, Some("altctl")),
            (0x0003_0000, Some("posctl")),
            (0x0103_0000, Some("posctl.orbit")),
            (0x0304_0000, Some("auto.loiter")),
            (0x0404_0000, Some("auto.mission")),
            (0x0504_0000, Some("auto.rtl")),
            (0x0604_0000, Some("auto.land")),
            (0x0904_0000, Some("auto.precland")),
            (0x1204_0000, Some("auto.external8")),
            (0x0006_0000, Some("offboard")),
            (0x0007_0000, Some("stabilized")),
            // The lower half is reserved.
            (0x0006_BEEF, Some("offboard")),
            // AUTO alone is no mode, and RTGS is gone.
            (0x0004_0000, None),
            (0x0704_0000, None),
            (0x1304_0000, None),
            // A sub mode where there are none: perhaps of a newer PX4.
            (0x0101_0000, None),
            (0x000C_0000, None),
            (0, None),
        ] {
            let mode = FlightMode::of_px4(custom_mode);
            assert_eq!(mode.map(|mode| mode.to_string()).as_deref(), name, "{custom_mode:#010x}");
        }
    }

    #[test]
    fn names_and_numbers_are_unique() {
        let names: BTreeSet<&str> = FlightMode::names().collect();
        let numbers: BTreeSet<(u8, u8)> =
            MODES.iter().map(|(main, sub, _)| (*main, *sub)).collect();
        assert_eq!((names.len(), numbers.len()), (MODES.len(), MODES.len()));
        for name in names {
            assert_eq!(FlightMode::named(name).map(|mode| mode.to_string()).as_deref(), Some(name));
        }
        assert_eq!(FlightMode::named("AUTO.LOITER"), None);
    }
}
