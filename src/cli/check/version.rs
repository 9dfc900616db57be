//! Which firmware the autopilot runs.

use super::finding::Finding;
use crate::wire::mavlink::AutopilotVersion;

const ITEM: &str = "autopilot version";

/// `was_asked`: a request for it was written.
pub fn judge(version: Option<AutopilotVersion>, was_asked: bool) -> Finding {
    match (version, was_asked) {
        (Some(version), _) => Finding::ok(ITEM, version.to_string()),
        (None, false) => Finding::ok(
            ITEM,
            "the autopilot does not tell it by itself; with --ask it is requested",
        ),
        (None, true) => Finding::warning(
            ITEM,
            "the autopilot did not answer MAV_CMD_REQUEST_MESSAGE for AUTOPILOT_VERSION",
            "is the companion's TX wired to the autopilot's RX? Without it no command arrives",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn silence_counts_only_after_a_question() {
        let version = AutopilotVersion { flight_software: 0x0110_02FF, flight_custom: [0; 8] };
        let told = judge(Some(version), true);
        assert_eq!(told, Finding::ok(ITEM, "1.16.2 (official release)"));
        assert_eq!(judge(None, false).level, Level::Ok);
        assert_eq!(judge(None, true).level, Level::Warning);
    }
}
