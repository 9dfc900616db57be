//! Which broker is tried next, and how long to wait before. Pure but for the jitter.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// Over which a fleet that has lost its broker spreads its arrival at the next one, which is up: a
/// thousand vehicles make 500 connections a second.
const MOVE: Duration = Duration::from_secs(2);
/// A connection that did not last this many times the pause before it was no success. Two clients
/// that throw each other out of one session live as long as the other's pause, so this is what makes
/// them slow down instead of fighting at full speed.
const LASTED: u32 = 3;

/// After a failure or a loss it is the next broker's turn, after the last the first's. The pause
/// doubles from 0.2 s to 10 s with every turn of the whole list, so that each broker is asked as
/// seldom as if it were the only one; within a turn it stays short. Each pause is random from half of
/// that to the whole, so that a fleet does not return to a restarted broker in one moment.
pub(super) struct Backoff {
    brokers: usize,
    broker: usize,
    /// In a row.
    failures: usize,
    step: Duration,
}

impl Backoff {
    /// `brokers`: how many there are, at least one.
    pub fn new(brokers: usize) -> Self {
        Self { brokers, broker: 0, failures: 0, step: Duration::ZERO }
    }

    /// The one whose turn it is, from 0.
    pub fn broker(&self) -> usize {
        self.broker
    }

    /// Moves on to the next broker; returns the pause before it is tried. `connected_for`: how long
    /// the connection that has just ended was usable; `None` when it never was.
    pub fn next_pause(&mut self, connected_for: Option<Duration>) -> Duration {
        self.broker = (self.broker + 1) % self.brokers;
        let (shortest, longest) = self.advance(connected_for);
        // Std's seed for hash maps: random enough for jitter, and no dependency.
        let random = RandomState::new().build_hasher().finish();
        shortest + (longest - shortest).mul_f64(random as f64 / u64::MAX as f64)
    }

    /// The bounds of the pause.
    fn advance(&mut self, connected_for: Option<Duration>) -> (Duration, Duration) {
        if connected_for.is_some_and(|time| time >= LASTED * self.step.max(FIRST)) {
            self.failures = 0;
            self.step = FIRST;
            return (SHORTEST, if self.brokers == 1 { FIRST } else { MOVE });
        }
        self.failures += 1;
        if !self.failures.is_multiple_of(self.brokers) {
            return (SHORTEST, FIRST);
        }
        self.step = (2 * self.step).clamp(FIRST, LONGEST);
        (self.step / 2, self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_SECOND: Option<Duration> = Some(Duration::from_secs(1));

    fn milliseconds((shortest, longest): (Duration, Duration)) -> (u128, u128) {
        (shortest.as_millis(), longest.as_millis())
    }

    #[test]
    fn failed_attempts_slow_down_up_to_the_longest_pause() {
        let mut backoff = Backoff::new(1);
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
        let mut backoff = Backoff { step: Duration::from_secs(4), ..Backoff::new(1) };
        assert_eq!(milliseconds(backoff.advance(Some(Duration::from_secs(12)))), (100, 200));
        assert_eq!(milliseconds(backoff.advance(None)), (200, 400));
    }

    #[test]
    fn only_a_whole_turn_of_the_brokers_slows_down() {
        let mut backoff = Backoff::new(3);
        let mut turns = Vec::new();
        for _ in 0..9 {
            let broker = backoff.broker();
            backoff.next_pause(None);
            turns.push((broker, backoff.step.as_millis()));
        }
        let slowing = [(0, 0), (1, 0), (2, 200), (0, 200), (1, 200), (2, 400), (0, 400), (1, 400)];
        assert_eq!(turns[..8], slowing);
        assert_eq!(turns[8], (2, 800));
        backoff.step = LONGEST;
        assert_eq!(milliseconds(backoff.advance(None)), (100, 200), "within a turn");
    }

    #[test]
    fn a_fleet_spreads_over_the_move_to_another_broker() {
        let mut backoff = Backoff::new(2);
        assert_eq!(milliseconds(backoff.advance(ONE_SECOND)), (100, 2000));
        assert_eq!(milliseconds(backoff.advance(None)), (100, 200));
        assert_eq!(milliseconds(backoff.advance(None)), (200, 400), "the turn is over");
    }

    #[test]
    fn two_clients_that_throw_each_other_out_slow_down() {
        let (mut one, mut other) = (Backoff::new(1), Backoff::new(1));
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
        let mut backoff = Backoff { step: LONGEST, ..Backoff::new(1) };
        let first = backoff.next_pause(None);
        assert!((0..16).any(|_| backoff.next_pause(None) != first));
    }
}
