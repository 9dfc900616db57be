//! The clocks of this machine.
//!
//! [`Clock::now`] never blocks: two vDSO calls and atomics; [`crate::guard::clock`] judges what they
//! say. Whether the wall clock is synchronized is asked by a thread of its own (`clock-trust`), which
//! ends when the [`Clock`] is dropped. An answer is of the wall clock as it stood to the boot clock then;
//! one that was set since is asked about again at once.
//!
//! The evidence is the kernel's (adjtimex), as systemd-timedated reports it: whichever NTP client
//! disciplines the clock, it ends up there, and it wears off by itself some hours after the last
//! synchronization. Asking the kernel directly needs `unsafe` (neither rustix nor nix wraps
//! adjtimex) and a system call that `SystemCallFilter=@system-service` kills for and
//! `ProtectClock=yes` refuses, even to readers; `timedatectl` works inside of that sandbox. No
//! answer means not trusted.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use crate::guard::clock::{Evidence, judge};
use crate::lifecycle::time::{Now, Timestamp, millis};

/// `yes` or `no`; the property is systemd's name for it, whichever NTP client is at work.
const QUESTION: &[&str] = &["timedatectl", "show", "--property=NTPSynchronized", "--value"];
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How soon a first synchronization after boot is noticed.
const ASK_AGAIN_UNTRUSTED: Duration = Duration::from_secs(15);
const ASK_AGAIN_TRUSTED: Duration = Duration::from_secs(60);
/// How long the start waits for the first answer.
const FIRST_ANSWER: Duration = Duration::from_millis(200);
/// An answer older than this is no evidence: the thread hangs or timedated does.
const ANSWER_HOLDS: Duration = Duration::from_secs(180);
/// The wall clock moves that far from the boot clock by a leap second, and hardly by slewing while an
/// answer holds; beyond it, it was stepped.
const STEP_THRESHOLD_MS: u64 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read {BOOT_ID}: {0}")]
    BootId(#[source] io::Error),
    #[error("{BOOT_ID} holds no UUID: \"{0}\"")]
    BootIdForm(String),
    #[error("failed to start the thread that watches the clock's synchronization: {0}")]
    Thread(#[source] io::Error),
}

/// The one source of time; the pure middle only sees its readings.
pub struct Clock {
    boot_id: Uuid,
    /// The latest wall time that was trusted or given as a floor, in milliseconds.
    floor: AtomicU64,
    answer: Arc<Answer>,
    /// Asks again now. Dropping it ends the thread.
    ask: mpsc::Sender<()>,
}

/// The last "synchronized". Milliseconds.
#[derive(Default)]
struct Answer {
    /// CLOCK_BOOTTIME until which it counts.
    until: AtomicU64,
    /// What CLOCK_REALTIME was ahead of CLOCK_BOOTTIME then.
    ahead: AtomicI64,
}

/// What an [`Answer`] says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Synchronized,
    NotKnown,
    /// It was of another time: the clock was stepped since.
    Stepped,
}

impl Clock {
    /// Reads the boot id, starts the thread and waits shortly for its first answer; the clock is
    /// untrusted until then. Its floor is the time of the build.
    pub fn new() -> Result<Self, Error> {
        Self::asking(QUESTION)
    }

    fn asking(question: &'static [&'static str]) -> Result<Self, Error> {
        let text = std::fs::read_to_string(BOOT_ID).map_err(Error::BootId)?;
        let boot_id = text.trim().parse().map_err(|_| Error::BootIdForm(text))?;
        let answer = Arc::new(Answer::default());
        let (ask, asked) = mpsc::channel();
        let (first, first_answer) = mpsc::channel();
        let answers = Arc::clone(&answer);
        std::thread::Builder::new()
            .name("clock-trust".into())
            .spawn(move || watch_synchronization(question, &answers, first, &asked))
            .map_err(Error::Thread)?;
        // What waits at the broker since before a restart should not be judged by "not known yet".
        let _ = first_answer.recv_timeout(FIRST_ANSWER);
        let floor = AtomicU64::new(build_time().as_millis());
        Ok(Self { boot_id, floor, answer, ask })
    }

    /// Reads the clocks. `autopilot`: its wall time at a moment of the boot clock, if it knows it.
    pub fn now(&self, autopilot: impl FnOnce(Duration) -> Option<Timestamp>) -> Now {
        let (boot, system) = (boot_time(), Timestamp::from(SystemTime::now()));
        let evidence = Evidence {
            system,
            synchronized: self.is_synchronized_at(boot, system),
            autopilot: autopilot(boot),
            floor: Timestamp::from_millis(self.floor.load(Ordering::Relaxed)),
        };
        let (wall, wall_trusted) = judge(evidence);
        if wall_trusted {
            self.raise_floor(wall);
        }
        Now { boot, boot_id: self.boot_id, wall, wall_trusted }
    }

    /// The latest time that was trusted or given as a floor; at least the build's.
    pub fn floor(&self) -> Timestamp {
        Timestamp::from_millis(self.floor.load(Ordering::Relaxed))
    }

    /// From now on the wall clock does not read earlier than this, such as the last trusted time
    /// before a restart. A floor in the past changes nothing.
    pub fn raise_floor(&self, floor: Timestamp) {
        self.floor.fetch_max(floor.as_millis(), Ordering::Relaxed);
    }

    fn is_synchronized_at(&self, boot: Duration, system: Timestamp) -> bool {
        let verdict = self.answer.at(boot, system);
        // Whoever takes the answer back asks for the next one.
        if verdict == Verdict::Stepped && self.answer.until.swap(0, Ordering::Relaxed) != 0 {
            // The only error is that the thread has ended.
            let _ = self.ask.send(());
        }
        verdict == Verdict::Synchronized
    }
}

impl Answer {
    /// `boot` and `system`: from before it was asked for, so that a clock that was set meanwhile shows.
    fn set_synchronized(&self, boot: Duration, system: Timestamp) {
        // Who reads half of this has two answers that are both a yes, or asks again.
        self.ahead.store(ahead(boot, system), Ordering::Relaxed);
        self.until.store(millis(boot + ANSWER_HOLDS), Ordering::Relaxed);
    }

    /// `ahead` stays: with the new one the old yes would count for a moment.
    fn clear(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    fn at(&self, boot: Duration, system: Timestamp) -> Verdict {
        if millis(boot) >= self.until.load(Ordering::Relaxed) {
            return Verdict::NotKnown;
        }
        let was_ahead = self.ahead.load(Ordering::Relaxed);
        match ahead(boot, system).abs_diff(was_ahead) <= STEP_THRESHOLD_MS {
            true => Verdict::Synchronized,
            false => Verdict::Stepped,
        }
    }
}

/// What the kernel says of its clock at this moment, as [`Clock`] asks it. Blocks as long as
/// `timedatectl` does.
pub fn is_kernel_synchronized() -> bool {
    is_synchronized(QUESTION)
}

fn build_time() -> Timestamp {
    let seconds = env!("BUILD_TIME_SECONDS");
    Timestamp::from_secs(seconds.parse().expect("the build script writes a number"))
}

fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::try_from(time).expect("the time since boot is never negative")
}

fn ahead(boot: Duration, system: Timestamp) -> i64 {
    system.as_millis() as i64 - millis(boot) as i64
}

fn watch_synchronization(
    question: &[&str],
    answer: &Answer,
    first_answer: mpsc::Sender<()>,
    asked: &mpsc::Receiver<()>,
) {
    let mut known = None;
    loop {
        let (boot, system) = (boot_time(), Timestamp::from(SystemTime::now()));
        let synchronized = is_synchronized(question);
        match synchronized {
            true => answer.set_synchronized(boot, system),
            false => answer.clear(),
        }
        // Nobody waits for the second and later ones.
        let _ = first_answer.send(());
        if known.replace(synchronized) != Some(synchronized) {
            log::info!("system clock is {}synchronized", if synchronized { "" } else { "not " });
        }
        let pause = if synchronized { ASK_AGAIN_TRUSTED } else { ASK_AGAIN_UNTRUSTED };
        match asked.recv_timeout(pause) {
            Ok(()) => log::info!("system clock was set"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Every failure is a no: no program, no system bus, no timedated, no known answer.
fn is_synchronized(question: &[&str]) -> bool {
    Command::new(question[0])
        .args(&question[1..])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout.trim_ascii() == b"yes")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn reads_this_machine_and_respects_the_floor() {
        let clock = Clock::asking(&["/nonexistent/timedatectl"]).unwrap();
        let first = clock.now(|_| None);
        assert!(first.wall >= build_time());
        assert!(!first.wall_trusted);
        let floor = first.wall.saturating_add(Duration::from_secs(3600));
        clock.raise_floor(floor);
        clock.raise_floor(first.wall);
        let second = clock.now(|_| None);
        assert_eq!(second.wall, floor);
        assert_eq!(second.boot_id, first.boot_id);
        assert!(second.boot >= first.boot);
    }

    #[test]
    fn only_a_clear_yes_is_evidence() {
        assert!(is_synchronized(&["echo", "yes"]));
        assert!(!is_synchronized(&["echo", "no"]));
        assert!(!is_synchronized(&["echo", "yes", "and", "no"]));
        assert!(!is_synchronized(&["true"]));
        assert!(!is_synchronized(&["sh", "-c", "echo yes; exit 1"]));
        assert!(!is_synchronized(&["/nonexistent/timedatectl"]));
    }

    #[test]
    fn trust_follows_the_answer_and_the_thread_ends_with_the_clock() {
        let clock = Clock::asking(&["echo", "yes"]).unwrap();
        wait_until("the answer arrives", || clock.now(|_| None).wall_trusted);
        let answer = Arc::downgrade(&clock.answer);
        drop(clock);
        wait_until("the thread ends", || answer.strong_count() == 0);
    }

    #[test]
    fn an_answer_is_of_the_time_as_it_was_then() {
        const HOLDS: i64 = 180_000;
        let at = |boot: i64, ahead: i64| {
            (Duration::from_millis(boot as u64), Timestamp::from_millis((boot + ahead) as u64))
        };
        let answer = Answer::default();
        let (boot, system) = at(1, 0);
        assert_eq!(answer.at(boot, system), Verdict::NotKnown, "before the first");
        let (boot, system) = at(5_000, 1_781_481_600_000);
        answer.set_synchronized(boot, system);
        for (later, moved, verdict) in [
            (0, 0, Verdict::Synchronized),
            (HOLDS - 1, 0, Verdict::Synchronized),
            (HOLDS, 0, Verdict::NotKnown),
            (HOLDS, 5_000, Verdict::NotKnown),
            // A leap second, either way.
            (60_000, 1_000, Verdict::Synchronized),
            (60_000, -1_000, Verdict::Synchronized),
            (60_000, 1_001, Verdict::Stepped),
            (60_000, -1_001, Verdict::Stepped),
            (0, 315_360_000_000, Verdict::Stepped),
            (HOLDS - 1, -1_781_481_600_000, Verdict::Stepped),
        ] {
            let (boot, system) = at(5_000 + later, 1_781_481_600_000 + moved);
            assert_eq!(answer.at(boot, system), verdict, "{later} ms later, moved by {moved} ms");
        }
        answer.clear();
        assert_eq!(answer.at(boot, system), Verdict::NotKnown);
    }

    #[test]
    fn a_clock_that_was_set_is_not_trusted_until_it_was_asked_for_again() {
        let clock = Clock::asking(&["echo", "yes"]).unwrap();
        wait_until("the answer arrives", || clock.now(|_| None).wall_trusted);
        let floor = clock.floor();
        // By the answer the clock was a minute behind, so it has been set since.
        clock.answer.ahead.fetch_sub(60_000, Ordering::Relaxed);
        let now = clock.now(|_| None);
        assert!(!now.wall_trusted);
        assert_eq!(clock.floor(), floor, "it makes no floor");
        // Long before it is the time for the next question.
        wait_until("it is asked for again", || clock.now(|_| None).wall_trusted);
    }

    fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + ASK_AGAIN_TRUSTED / 2;
        while !condition() {
            assert!(Instant::now() < deadline, "in vain until {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
