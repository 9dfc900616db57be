//! What the service manager is told (sd_notify). Outside of systemd every call does nothing.
//!
//! Called from the daemon's loop: each is a socket of its own with one datagram, which waits only while
//! systemd has no room for it.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service is up: its sockets and journal are open. Type=notify waits for this.
pub fn ready() {
    notify(&NotifyState::Ready);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    notify(&NotifyState::Status(text));
}

/// The service has begun to stop.
pub fn stopping() {
    notify(&NotifyState::Stopping);
}

/// The watchdog that the service manager has set for this process, and that must hear of it in time.
#[derive(Debug)]
pub struct Watchdog {
    interval: Duration,
    pinged: Instant,
}

impl Watchdog {
    /// `None`: there is none.
    pub fn start() -> Option<Self> {
        let mut micros = 0;
        // false: the variables stay, since changing the environment is unsound with other threads.
        let enabled = sd_notify::watchdog_enabled(false, &mut micros);
        // Half of WatchdogSec=, as sd_watchdog_enabled(3) advises.
        let interval = Duration::from_micros(micros) / 2;
        (enabled && micros > 0).then(|| Self { interval, pinged: Instant::now() })
    }

    /// Until [`Watchdog::ping_if_due`] is to be called again.
    pub fn due_in(&self) -> Duration {
        self.interval.saturating_sub(self.pinged.elapsed())
    }

    /// Tells that the loop still turns.
    pub fn ping_if_due(&mut self) {
        if self.due_in().is_zero() {
            notify(&NotifyState::Watchdog);
            self.pinged = Instant::now();
        }
    }
}

fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, std::slice::from_ref(state)) {
        // Without READY=1 or a ping systemd ends the service; then this line says why.
        log::warn!("failed to notify systemd: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Runs in a child process, since the environment is read from there.
    #[test]
    #[ignore = "started by the other tests of this module"]
    fn child() {
        ready();
        status("link up");
        if let Some(mut watchdog) = Watchdog::start() {
            // Due very soon, and then not for a while.
            std::thread::sleep(watchdog.due_in());
            watchdog.ping_if_due();
            watchdog.interval = Duration::from_secs(3600);
            watchdog.ping_if_due();
        }
        stopping();
    }

    fn run_child(configure: impl FnOnce(&mut Command)) {
        // A shell that execs knows the child's process id before it starts.
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("[ -z \"$WATCHDOG_USEC\" ] || export WATCHDOG_PID=$$; exec \"$@\"")
            .args(["sh".as_ref(), std::env::current_exe().unwrap().as_os_str()])
            .args(["--exact", "edge::systemd::tests::child", "--ignored"])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC");
        configure(&mut command);
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }

    #[test]
    fn does_nothing_outside_of_systemd() {
        run_child(|_| ());
    }

    #[test]
    fn tells_the_service_manager() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        run_child(|command| {
            command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2");
        });
        for expected in ["READY=1\n", "STATUS=link up\n", "WATCHDOG=1\n", "STOPPING=1\n"] {
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..length]), Ok(expected));
        }
    }
}
