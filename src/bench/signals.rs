//! What ends a bench before its end: SIGINT, SIGTERM and SIGHUP alike.

use std::fs;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: nohup(1) wants it ignored.
    hang_up: Option<Signal>,
}

impl Signals {
    /// From now on they do not end the process by themselves.
    pub fn new() -> io::Result<Self> {
        let hang_up = SignalKind::hangup();
        let is_wanted = !is_ignored(hang_up.as_raw_value());
        Ok(Self {
            hang_up: is_wanted.then(|| signal(hang_up)).transpose()?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them.
    pub async fn recv(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }
}

fn is_ignored(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_ignored() {
        // The runtime of Rust's own programs ignores SIGPIPE, and nothing SIGKILL.
        assert!(is_ignored(SignalKind::pipe().as_raw_value()));
        assert!(!is_ignored(9));
    }
}
