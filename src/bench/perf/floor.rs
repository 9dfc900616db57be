//! What no agent can be faster than, on this machine and at this moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::bench::pty::{Pty, PtyError};

/// The least that a disk writes.
const BLOCK_BYTES: usize = 4096;
/// Written before, so that a flush is about these bytes alone: no space to find, no size to note.
const BLOCKS: u64 = 256;
/// A COMMAND_LONG's.
const FRAME_BYTES: usize = 45;
/// How often the thread looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    #[error("failed to write to a file in {0}: {1}")]
    File(String, #[source] io::Error),
    #[error(transparent)]
    Pty(#[from] PtyError),
    #[error("failed to send over a pty: {0}")]
    Line(#[source] io::Error),
}

/// A file on the journal's disk.
pub struct Flushes {
    file: File,
    dir: String,
    flushed: u64,
}

impl Flushes {
    pub fn new(dir: &Path) -> Result<Self, FloorError> {
        let failed = |error| FloorError::File(dir.display().to_string(), error);
        let mut file = File::create(dir.join("flushes")).map_err(failed)?;
        for _ in 0..BLOCKS {
            file.write_all(&[0; BLOCK_BYTES]).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        Ok(Self { file, dir: dir.display().to_string(), flushed: 0 })
    }

    /// Writes a block and waits until it is on the disk.
    pub fn flush(&mut self) -> Result<Duration, FloorError> {
        let begun = Instant::now();
        let at = self.flushed % BLOCKS * BLOCK_BYTES as u64;
        self.flushed += 1;
        self.file
            .write_all_at(&[0x5a; BLOCK_BYTES], at)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| FloorError::File(self.dir.clone(), error))?;
        Ok(begun.elapsed())
    }
}

/// A pty whose far end sends back what comes.
pub struct TurnAround {
    port: File,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl TurnAround {
    pub fn new() -> Result<Self, FloorError> {
        let pty = Pty::open()?;
        // O_NOCTTY: it is not to become our terminal.
        let flags = rustix::fs::OFlags::NOCTTY.bits() as i32;
        let port = OpenOptions::new().read(true).write(true).custom_flags(flags).open(pty.path());
        let port = port.map_err(FloorError::Line)?;
        let ended = Arc::<AtomicBool>::default();
        let seen = ended.clone();
        let thread = std::thread::Builder::new().name("turn-around".into());
        let thread = thread.spawn(move || send_back(&pty, &seen)).map_err(FloorError::Line)?;
        Ok(Self { port, ended, thread: Some(thread) })
    }

    /// How long a frame's bytes take there and back.
    pub fn measure(&mut self) -> Result<Duration, FloorError> {
        let begun = Instant::now();
        let mut frame = [0x55; FRAME_BYTES];
        self.port
            .write_all(&frame)
            .and_then(|()| self.port.read_exact(&mut frame))
            .map_err(FloorError::Line)?;
        Ok(begun.elapsed())
    }
}

impl Drop for TurnAround {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            // What broke it was seen by `measure`.
            let _ = thread.join();
        }
    }
}

fn send_back(mut pty: &Pty, ended: &AtomicBool) -> io::Result<()> {
    let look = Timespec::try_from(LOOK).ok();
    while !ended.load(Ordering::Relaxed) {
        let mut descriptors = [PollFd::new(pty, PollFlags::IN)];
        match rustix::event::poll(&mut descriptors, look.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 512];
        match pty.read(&mut buffer) {
            Ok(length) => pty.send(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_writes_a_block_where_there_was_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut flushes = Flushes::new(folder.path()).unwrap();
        for _ in 0..=BLOCKS {
            flushes.flush().unwrap();
        }
        let bytes = std::fs::read(folder.path().join("flushes")).unwrap();
        assert_eq!(bytes, [0x5a; BLOCK_BYTES].repeat(BLOCKS as usize));
    }

    #[test]
    fn bytes_come_back_over_the_pty() {
        let mut turn_around = TurnAround::new().unwrap();
        for _ in 0..3 {
            assert!(turn_around.measure().unwrap() > Duration::ZERO);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Flushes::new(Path::new("/nowhere")).err().unwrap().to_string();
        assert!(error.contains("/nowhere"), "{error}");
    }
}
