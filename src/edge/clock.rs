//! The clocks of this machine.
//!
//! [`Clock::now`] never blocks: two vDSO calls and atomics; [`crate::guard::clock`] judges what they say. Whether the wall clock is synchronized
//! is asked by a thread of its own (`clock-trust`), which ends when the [`Clock`] is dropped.
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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use crate::guard::clock::{Evidence, judge};
use crate::lifecycle::time::{Now, Timestamp};

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
    /// CLOCK_BOOTTIME in milliseconds until which the last "synchronized" counts.
    trusted_until: Arc<AtomicU64>,
    /// Dropping it ends the thread.
    _stop: mpsc::Sender<()>,
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
        let trusted_until = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let (first, first_answer) = mpsc::channel();
        let verdict = Arc::clone(&trusted_until);
        std::thread::Builder::new()
            .name("clock-trust".into())
            .spawn(move || watch_synchronization(question, &verdict, first, &stopped))
            .map_err(Error::Thread)?;
        // What waits at the broker since before a restart should not be judged by "not known yet".
        let _ = first_answer.recv_timeout(FIRST_ANSWER);
        let floor = AtomicU64::new(build_time().as_millis());
        Ok(Self { boot_id, floor, trusted_until, _stop: stop })
    }

    /// Reads the clocks. `autopilot`: its wall time at a moment of the boot clock, if it knows it.
    pub fn now(&self, autopilot: impl FnOnce(Duration) -> Option<Timestamp>) -> Now {
        let boot = boot_time();
        let evidence = Evidence {
            system: Timestamp::from(SystemTime::now()),
            synchronized: boot.as_millis() < self.trusted_until.load(Ordering::Relaxed).into(),
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

fn watch_synchronization(
    question: &[&str],
    trusted_until: &AtomicU64,
    first_answer: mpsc::Sender<()>,
    stopped: &mpsc::Receiver<()>,
) {
    let mut known = None;
    loop {
        let synchronized = is_synchronized(question);
        let until = if synchronized { boot_time() + ANSWER_HOLDS } else { Duration::ZERO };
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        trusted_until.store(until, Ordering::Relaxed);
        // Nobody waits for the second and later ones.
        let _ = first_answer.send(());
        if known.replace(synchronized) != Some(synchronized) {
            log::info!("system clock is {}synchronized", if synchronized { "" } else { "not " });
        }
        let pause = if synchronized { ASK_AGAIN_TRUSTED } else { ASK_AGAIN_UNTRUSTED };
        match stopped.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
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
        let deadline = Instant::now() + Duration::from_secs(30);
        while !clock.now(|_| None).wall_trusted {
            assert!(Instant::now() < deadline, "the answer never arrived");
            std::thread::sleep(Duration::from_millis(5));
        }
        let verdict = Arc::downgrade(&clock.trusted_until);
        drop(clock);
        while verdict.strong_count() > 0 {
            assert!(Instant::now() < deadline, "the thread lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
