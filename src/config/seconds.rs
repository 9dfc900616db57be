//! A span of time in the configuration: whole seconds, or text such as "5min".

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Seconds, from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Seconds<MIN, MAX> {
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Seconds<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<const MIN: u64, const MAX: u64>;

        impl<const MIN: u64, const MAX: u64> Reader<MIN, MAX> {
            fn check<E: Error>(seconds: u64) -> Result<Seconds<MIN, MAX>, E> {
                if (MIN..=MAX).contains(&seconds) {
                    return Ok(Seconds(seconds));
                }
                Err(E::custom(format!("{seconds} s is out of range; it must be {MIN} to {MAX} s")))
            }
        }

        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Reader<MIN, MAX> {
            type Value = Seconds<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("whole seconds, or text such as \"90s\" or \"5min\"")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Self::Value, E> {
                Self::check(seconds)
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Self::Value, E> {
                let seconds = u64::try_from(seconds)
                    .map_err(|_| E::custom(format!("{seconds} s is negative")))?;
                Self::check(seconds)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                if let Ok(seconds) = text.parse() {
                    return Self::check(seconds);
                }
                let span = humantime::parse_duration(text)
                    .map_err(|error| E::custom(format!("{text:?} is no time span: {error}")))?;
                if span.subsec_nanos() != 0 {
                    return Err(E::custom(format!("{text:?} is not in whole seconds")));
                }
                Self::check(span.as_secs())
            }
        }

        deserializer.deserialize_any(Reader::<MIN, MAX>)
    }
}
