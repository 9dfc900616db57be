//! Time as the pure middle sees it: values that come in as arguments, never a clock.
//!
//! Durations inside of one boot are measured on CLOCK_BOOTTIME, which neither stops in suspend nor
//! jumps when the wall clock is set. Wall time is for people, for signatures and for comparing
//! across a reboot, and only counts there when it can be trusted.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A reading of the clocks, taken once per turn of the loop and handed to the pure middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_BOOTTIME: time since this boot, suspend included.
    pub boot: Duration,
    /// Names this boot; another value means that `boot` cannot be compared.
    pub boot_id: Uuid,
    /// Never earlier than the build, or than the last time that was trusted.
    pub wall: Timestamp,
    /// Whether there is evidence that `wall` is right.
    pub wall_trusted: bool,
}

/// Milliseconds since 1970-01-01 UTC, up to the end of the year 9999.
///
/// Text and JSON are RFC 3339 with milliseconds and `Z`: `2026-06-15T00:00:00.000Z`; the journal has the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last millisecond that RFC 3339 can write.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// Values after [`Timestamp::MAX`] become that.
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(duration)))
    }

    /// `None` when `earlier` is later than this.
    pub fn duration_since(self, earlier: Timestamp) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_millis)
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 becomes 1970.
    fn from(time: SystemTime) -> Self {
        Self::from_millis(millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

/// The text is not an RFC 3339 time in UTC between 1970 and 9999.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a UTC time such as 2026-06-15T00:00:00.000Z")]
pub struct ParseTimestampError(String);

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Any number of fraction digits, also none; more than three are cut.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text)
            .map(Timestamp::from)
            .map_err(|_| ParseTimestampError(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        let millis = u64::deserialize(deserializer)?;
        let time = Some(Self(millis)).filter(|time| *time <= Self::MAX);
        time.ok_or_else(|| de::Error::custom("a time after the year 9999"))
    }
}

/// When something happened, in terms that can be compared after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub boot_id: Uuid,
    /// CLOCK_BOOTTIME in milliseconds.
    pub boot_ms: u64,
    pub wall: Timestamp,
    pub wall_trusted: bool,
}

impl Stamp {
    pub fn of(now: &Now) -> Self {
        Self {
            boot_id: now.boot_id,
            boot_ms: millis(now.boot),
            wall: now.wall,
            wall_trusted: now.wall_trusted,
        }
    }

    /// The time since, if it can be known; see [`Stamp::since`].
    pub fn elapsed(&self, now: &Now) -> Option<Duration> {
        Self::of(now).since(self)
    }

    /// The time between, if it can be known: on the boot clock within the same boot, else as the
    /// difference of two trusted wall times. `None` otherwise, and where the difference is negative.
    pub fn since(&self, earlier: &Stamp) -> Option<Duration> {
        if self.boot_id == earlier.boot_id {
            self.boot_ms.checked_sub(earlier.boot_ms).map(Duration::from_millis)
        } else if self.wall_trusted && earlier.wall_trusted {
            self.wall.duration_since(earlier.wall)
        } else {
            None
        }
    }
}

/// Whole milliseconds; more than can be counted are as many as can be.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT_A: Uuid = Uuid::from_u128(0xA);
    const BOOT_B: Uuid = Uuid::from_u128(0xB);

    fn now(boot_id: Uuid, boot_ms: u64, wall: u64, wall_trusted: bool) -> Now {
        Now {
            boot: Duration::from_millis(boot_ms),
            boot_id,
            wall: Timestamp::from_millis(wall),
            wall_trusted,
        }
    }

    #[test]
    fn timestamp_is_rfc_3339_with_milliseconds() {
        let timestamp: Timestamp = "2026-06-15T00:00:00Z".parse().unwrap();
        assert_eq!(timestamp.as_secs(), 1_781_481_600);
        assert_eq!(timestamp.to_string(), "2026-06-15T00:00:00.000Z");
        let cut: Timestamp = "2026-06-15T00:00:00.1239Z".parse().unwrap();
        assert_eq!(cut.to_string(), "2026-06-15T00:00:00.123Z");
    }

    #[test]
    fn timestamp_survives_json() {
        let timestamp = Timestamp::from_millis(1_781_481_600_123);
        let json = serde_json::to_string(&timestamp).unwrap();
        assert_eq!(json, "\"2026-06-15T00:00:00.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), timestamp);
    }

    #[test]
    fn timestamp_refuses_what_is_not_utc() {
        for text in ["", "now", "2026-06-15", "2026-06-15T00:00:00", "2026-06-15T00:00:00+02:00"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Timestamp>("1781481600").is_err());
    }

    #[test]
    fn the_far_future_is_clamped_and_can_still_be_written() {
        let last = "9999-12-31T23:59:59.999Z";
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), last);
        assert_eq!(Timestamp::from_secs(u64::MAX).to_string(), last);
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX).to_string(), last);
        assert_eq!(last.parse(), Ok(Timestamp::MAX));
    }

    #[test]
    fn a_time_before_1970_is_1970() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::from_millis(0));
    }

    #[test]
    fn the_same_boot_is_measured_on_the_boot_clock() {
        let stamp = Stamp::of(&now(BOOT_A, 1_000, 500_000, true));
        // The wall clock was set back meanwhile, which must not matter.
        assert_eq!(
            stamp.elapsed(&now(BOOT_A, 4_500, 100, false)),
            Some(Duration::from_millis(3_500))
        );
        assert_eq!(stamp.elapsed(&now(BOOT_A, 999, 500_000, true)), None);
    }

    #[test]
    fn another_boot_needs_two_trusted_wall_clocks() {
        for (then_trusted, now_trusted, expected) in [
            (true, true, Some(Duration::from_secs(5))),
            (true, false, None),
            (false, true, None),
            (false, false, None),
        ] {
            let stamp = Stamp::of(&now(BOOT_A, 900_000, 10_000, then_trusted));
            assert_eq!(stamp.elapsed(&now(BOOT_B, 1_000, 15_000, now_trusted)), expected);
        }
    }

    #[test]
    fn a_wall_clock_that_went_back_over_a_reboot_proves_nothing() {
        let stamp = Stamp::of(&now(BOOT_A, 900_000, 10_000, true));
        assert_eq!(stamp.elapsed(&now(BOOT_B, 1_000, 9_999, true)), None);
    }

    #[test]
    fn a_stamp_survives_json() {
        let stamp = Stamp::of(&now(BOOT_A, 12, 1_781_481_600_123, true));
        let json = serde_json::to_string(&stamp).unwrap();
        assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
    }
}
