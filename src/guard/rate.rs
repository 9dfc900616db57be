//! A token bucket, for what an unknown sender can make us do.

use std::time::Duration;

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
            self.since = if self.tokens == self.burst { now } else { self.since + self.interval * grown };
        }
        let granted = self.tokens > 0;
        self.tokens -= u32::from(granted);
        granted
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
}
