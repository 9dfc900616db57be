//! Whether the clock is right, and whether it can be after a start without a network.

use std::path::Path;

use super::finding::Finding;
use crate::edge::clock::is_kernel_synchronized;

const ITEM: &str = "clock";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub is_synchronized: bool,
    /// A clock that goes on without power.
    pub has_rtc: bool,
}

/// Asks systemd-timedated. Blocks for a moment.
pub fn gather() -> Facts {
    Facts {
        is_synchronized: is_kernel_synchronized(),
        has_rtc: Path::new("/sys/class/rtc/rtc0").exists(),
    }
}

/// `None`: nobody answered.
pub fn judge(facts: Option<Facts>) -> Finding {
    let unknown = Facts { is_synchronized: false, has_rtc: true };
    match facts.unwrap_or(unknown) {
        Facts { is_synchronized: true, has_rtc: true } => Finding::ok(ITEM, "synchronized"),
        Facts { is_synchronized: true, has_rtc: false } => Finding::ok(
            ITEM,
            "synchronized; there is no RTC, so after each start it is wrong until NTP or the \
             autopilot's GPS sets it",
        ),
        Facts { is_synchronized: false, has_rtc } => Finding::warning(
            ITEM,
            match has_rtc {
                true => "not synchronized",
                false => "not synchronized, and there is no RTC",
            },
            "until it is, or the autopilot has a GPS fix, senders must sign with the challenge of the \
             presence; timedatectl set-ntp true lets systemd set it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn each_clock() {
        for (is_synchronized, has_rtc, level, said) in [
            (true, true, Level::Ok, "synchronized"),
            (true, false, Level::Ok, "no RTC"),
            (false, true, Level::Warning, "not synchronized"),
            (false, false, Level::Warning, "no RTC"),
        ] {
            let finding = judge(Some(Facts { is_synchronized, has_rtc }));
            assert_eq!(finding.level, level);
            assert!(finding.found.contains(said), "{finding:?}");
        }
        assert_eq!(judge(None).level, Level::Warning);
    }
}
