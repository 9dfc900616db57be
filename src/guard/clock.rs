//! Whether the wall clock can judge a signature's age. A companion computer often has no
//! battery-backed clock, so a time counts only with evidence.

use std::time::Duration;

use crate::lifecycle::time::Timestamp;

/// Two sources further apart than this are both doubted.
pub const MAX_DISAGREEMENT: Duration = Duration::from_secs(2);
/// A synchronized clock may be slewed back by this much without being wrong.
const MAX_STEP_BACK: Duration = Duration::from_secs(1);

/// What is known of the wall time at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub system: Timestamp,
    /// The kernel says that its clock is synchronized.
    pub synchronized: bool,
    /// The autopilot's SYSTEM_TIME, under a 3D fix.
    pub autopilot: Option<Timestamp>,
    /// It was this late already: the build, or the last trusted time. Never goes back.
    pub floor: Timestamp,
}

/// The time to go on with, and whether it can be trusted.
pub fn judge(evidence: Evidence) -> (Timestamp, bool) {
    let Evidence { system, synchronized, autopilot, floor } = evidence;
    let wall = system.max(floor);
    match (synchronized, autopilot) {
        (true, None) => (wall, !is_before(system, floor)),
        (true, Some(autopilot)) => (wall, !is_before(system, floor) && agree(system, autopilot)),
        // An unsynchronized clock is no source that could disagree.
        (false, Some(autopilot)) if !is_before(autopilot, floor) => (autopilot.max(floor), true),
        (false, _) => (wall, false),
    }
}

fn is_before(time: Timestamp, floor: Timestamp) -> bool {
    floor.duration_since(time).is_some_and(|by| by > MAX_STEP_BACK)
}

fn agree(one: Timestamp, other: Timestamp) -> bool {
    Duration::from_millis(one.as_millis().abs_diff(other.as_millis())) <= MAX_DISAGREEMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_781_481_600;

    fn evidence(system: u64, synchronized: bool, autopilot: Option<u64>) -> Evidence {
        Evidence {
            system: Timestamp::from_secs(system),
            synchronized,
            autopilot: autopilot.map(Timestamp::from_secs),
            floor: Timestamp::from_secs(T),
        }
    }

    #[test]
    fn what_is_trusted_and_what_time_it_is() {
        for (system, synchronized, autopilot, wall, trusted) in [
            // After a cold start without network: 1970, then the floor.
            (0, false, None, T, false),
            (T + 500, false, None, T + 500, false),
            // The network tells the time.
            (T + 500, true, None, T + 500, true),
            // It cannot be earlier than it was.
            (T - 500, true, None, T, false),
            // A small step back is slewing.
            (T - 1, true, None, T, true),
            // The autopilot tells the time.
            (0, false, Some(T + 500), T + 500, true),
            (T + 9000, false, Some(T + 500), T + 500, true),
            // A receiver that rolled over, or is simulated.
            (T + 500, false, Some(T - 619_315_200), T + 500, false),
            // Both: they must agree.
            (T + 500, true, Some(T + 502), T + 500, true),
            (T + 500, true, Some(T + 498), T + 500, true),
            (T + 500, true, Some(T + 503), T + 500, false),
            (T + 500, true, Some(T - 500), T + 500, false),
            (T - 500, true, Some(T + 500), T, false),
        ] {
            let judged = judge(evidence(system, synchronized, autopilot));
            let expected = (Timestamp::from_secs(wall), trusted);
            assert_eq!(judged, expected, "{system} {synchronized} {autopilot:?}");
        }
    }

    #[test]
    fn a_clock_that_jumps_both_ways_is_trusted_only_where_it_can_be_right() {
        let mut floor = Timestamp::from_secs(T);
        for (system, synchronized, trusted) in [
            (T + 10, true, true),
            // Into the future without evidence: the floor stays.
            (T + 1_000_000, false, false),
            (T + 20, true, true),
            // Back, with the kernel's word for it: contradicts what was trusted.
            (T - 1_000_000, true, false),
            (T + 30, true, true),
        ] {
            let (wall, is_trusted) =
                judge(Evidence { floor, ..evidence(system, synchronized, None) });
            assert_eq!(is_trusted, trusted, "{system}");
            assert!(wall >= floor);
            if is_trusted {
                floor = wall;
            }
        }
    }
}
