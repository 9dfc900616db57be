//! Asks other programs, for a moment at most.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// Whether systemd runs this unit; `None` when it does not say.
pub fn is_active(unit: &str) -> Option<bool> {
    // systemctl(1): 0 active, 3 not; with other codes there is no answer.
    match exit_code(Command::new("systemctl").args(["--quiet", "is-active", unit]))? {
        0 => Some(true),
        3 | 4 => Some(false),
        _ => None,
    }
}

/// `None`: not there, killed, or not done in time.
fn exit_code(command: &mut Command) -> Option<i32> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) => return status.code(),
            Ok(None) => std::thread::sleep(POLL),
            Err(_) => break,
        }
    }
    // It may have ended just now.
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_none() {
        let sh = |script| exit_code(Command::new("sh").args(["-c", script]));
        assert_eq!(sh("exit 3"), Some(3));
        assert_eq!(sh("kill -9 $$"), None);
        assert_eq!(exit_code(&mut Command::new("/nonexistent")), None);
        let since = Instant::now();
        assert_eq!(sh("exec sleep 60"), None);
        assert!(since.elapsed() < Duration::from_secs(30));
    }
}
