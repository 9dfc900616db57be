//! How long to wait before the next attempt to connect. Pure but for the jitter.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// A connection that did not last this many times the pause before it was no success. Two clients
/// that throw each other out of one session live as long as the other's pause, so this is what makes
/// them slow down instead of fighting at full speed.
const LASTED: u32 = 3;

/// Doubles from 0.1 s to 10 s. Each pause is random between half of the step and the whole, so that
/// a fleet does not return to a restarted broker in one moment.
#[derive(Default)]
pub(super) struct Backoff {
    step: Duration,
}

impl Backoff {
    /// `connected_for`: how long the connection that has just ended was usable; `None` when it never
    /// was.
    pub fn next_pause(&mut self, connected_for: Option<Duration>) -> Duration {
        self.advance(connected_for);
        let half = self.step / 2;
        // Std's seed for hash maps: random enough for jitter, and no dependency.
        let random = RandomState::new().build_hasher().finish();
        half + half.mul_f64(random as f64 / u64::MAX as f64)
    }

    fn advance(&mut self, connected_for: Option<Duration>) {
        let first = 2 * SHORTEST;
        let lasted = connected_for.is_some_and(|time| time >= LASTED * self.step.max(first));
        self.step = if lasted { first } else { (2 * self.step).clamp(first, LONGEST) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_attempts_slow_down_up_to_the_longest_pause() {
        let mut backoff = Backoff::default();
        let mut steps = Vec::new();
        for _ in 0..9 {
            let pause = backoff.next_pause(None);
            assert!(pause >= backoff.step / 2 && pause <= backoff.step, "{pause:?}");
            assert!((SHORTEST..=LONGEST).contains(&pause), "{pause:?}");
            steps.push(backoff.step.as_millis());
        }
        assert_eq!(steps, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn a_connection_that_lasted_starts_over() {
        let mut backoff = Backoff { step: Duration::from_secs(4) };
        backoff.advance(Some(Duration::from_secs(12)));
        assert_eq!(backoff.step, Duration::from_millis(200));
    }

    #[test]
    fn two_clients_that_throw_each_other_out_slow_down() {
        let (mut one, mut other) = (Backoff::default(), Backoff::default());
        let mut elapsed = Duration::ZERO;
        let mut connections = 0;
        while elapsed < Duration::from_secs(60) {
            // One's connection lasts until the other's pause is over, and the other way round.
            let pause = other.next_pause(Some(one.step));
            let next = one.next_pause(Some(pause));
            elapsed += pause + next;
            connections += 2;
        }
        assert!(connections < 40, "{connections} connections in a minute");
    }

    #[test]
    fn pauses_differ() {
        let mut backoff = Backoff { step: LONGEST };
        let first = backoff.next_pause(None);
        assert!((0..16).any(|_| backoff.next_pause(None) != first));
    }
}
