//! What a process costs, as the kernel counts it.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

#[derive(Debug, thiserror::Error)]
#[error("failed to read what process {id} costs: {source}")]
pub struct ProcessError {
    id: u32,
    source: io::Error,
}

/// User and system time of all its threads, those that have ended included; to the nanosecond
/// (clock_getcpuclockid(3)), where /proc/PID/stat counts in hundredths of a second.
pub fn processor_time(id: u32) -> Result<Duration, ProcessError> {
    let failed = |error: nix::Error| ProcessError { id, source: error.into() };
    let clock = clock_getcpuclockid(Pid::from_raw(id as i32)).map_err(failed)?;
    Ok(clock_gettime(clock).map_err(failed)?.into())
}

/// Bytes in memory, those of its program's file included (VmRSS).
pub fn resident_bytes(id: u32) -> Result<u64, ProcessError> {
    let failed = |source| ProcessError { id, source };
    let status = fs::read_to_string(format!("/proc/{id}/status")).map_err(failed)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    // A process that has ended and is not waited for has no such line.
    kilobytes.map(|it| it * 1024).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn counts_what_this_process_uses() {
        let id = std::process::id();
        let (before, begun) = (processor_time(id).unwrap(), Instant::now());
        while processor_time(id).unwrap() - before < Duration::from_millis(20) {
            assert!(begun.elapsed() < Duration::from_secs(60), "this loop uses the processor");
        }
        assert!(resident_bytes(id).unwrap() > 100_000);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        // Above PID_MAX_LIMIT (proc(5)).
        assert!(processor_time(4_194_305).is_err());
        assert!(resident_bytes(4_194_305).is_err());
    }
}
