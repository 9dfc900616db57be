//! A token bucket, for what an unknown sender can make us do.

use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// At most `burst` at once, and one more for every `interval` that has passed.
#[derive(Clone, Debug)]
pub struct RateLimit {
    burst: u32,
    interval: Duration,
    tokens: u32,
    /// On the boot clock: since when the next token has been growing.
    since: Duration,
}

impl RateLimit {
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, tokens: burst, since: Duration::ZERO }
    }

    /// Takes a token if there is one at `now` (boot clock).
    pub fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.since);
        let grown = (passed.as_nanos() / self.interval.as_nanos()).min(self.burst.into()) as u32;
        if grown > 0 {
            self.tokens = (self.tokens + grown).min(self.burst);
            self.since =
                if self.tokens == self.burst { now } else { self.since + self.interval * grown };
        }
        let granted = self.tokens > 0;
        self.tokens -= u32::from(granted);
        granted
    }
}

/// The issuers' own rates of new commands.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    by_issuer: BTreeMap<String, (u32, RateLimit)>,
}

impl Rates {
    /// Takes one of an issuer's commands per minute; always true when it has no such limit. `now`:
    /// the boot clock.
    pub fn take(&mut self, api_id: &str, per_minute: Option<u32>, now: Duration) -> bool {
        let Some(per_minute) = per_minute else { return true };
        let bucket = || (per_minute, RateLimit::new(per_minute, MINUTE / per_minute.max(1)));
        let entry = self.by_issuer.entry(api_id.to_owned()).or_insert_with(bucket);
        if entry.0 != per_minute {
            *entry = bucket();
        }
        entry.1.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_per_interval() {
        let mut limit = RateLimit::new(3, Duration::from_secs(1));
        let at = |millis| Duration::from_millis(millis);
        let granted: Vec<bool> = (0..5).map(|_| limit.take(at(10_000))).collect();
        assert_eq!(granted, [true, true, true, false, false]);
        assert!(!limit.take(at(10_999)));
        assert!(limit.take(at(11_000)));
        assert!(!limit.take(at(11_001)));
        assert!(limit.take(at(60_000)));
        assert!(limit.take(at(60_000)));
        assert!(limit.take(at(60_000)));
        assert!(!limit.take(at(60_000)));
    }

    #[test]
    fn each_issuer_has_its_own_rate_per_minute() {
        let mut rates = Rates::default();
        let start = Duration::from_secs(5000);
        let taken = |rates: &mut Rates, api_id, at| {
            (0..100).filter(|_| rates.take(api_id, Some(30), at)).count()
        };
        assert_eq!(taken(&mut rates, "a", start), 30);
        assert_eq!(taken(&mut rates, "b", start), 30);
        assert_eq!(taken(&mut rates, "a", start), 0);
        assert_eq!(taken(&mut rates, "a", start + MINUTE / 2), 15);
        assert!((0..1000).all(|_| rates.take("c", None, start)));
        // A new configuration counts from its own start.
        assert!(rates.take("a", Some(1), start + MINUTE / 2));
        assert!(!rates.take("a", Some(1), start + MINUTE / 2));
    }
}
