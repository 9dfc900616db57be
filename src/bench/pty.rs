//! A pseudo terminal that stands in for a serial line. The slave is the port that an agent opens.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, QueueSelector};

#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} a pty: {source}")]
pub struct PtyError {
    doing: &'static str,
    source: io::Error,
}

/// One serial line: the vehicle reads and writes here, the agent at [`Pty::path`].
pub struct Pty {
    master: OwnedFd,
    /// Held open for two reasons: without any slave the master reads EIO, and a pty forgets its raw
    /// mode at the last close, after which it would echo the vehicle's stream back to it.
    slave: OwnedFd,
    path: PathBuf,
}

impl Pty {
    /// Opens a pty in raw mode, its master non-blocking.
    pub fn open() -> Result<Self, PtyError> {
        let failed =
            |doing| move |error: rustix::io::Errno| PtyError { doing, source: error.into() };
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).map_err(failed("open"))?;
        rustix::io::ioctl_fionbio(&master, true).map_err(failed("configure"))?;
        rustix::pty::grantpt(&master).map_err(failed("grant"))?;
        rustix::pty::unlockpt(&master).map_err(failed("unlock"))?;
        let name = rustix::pty::ptsname(&master, Vec::new()).map_err(failed("name"))?;
        let slave = rustix::fs::open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed("open the slave of"))?;
        let mut termios = rustix::termios::tcgetattr(&slave).map_err(failed("configure"))?;
        termios.make_raw();
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &termios)
            .map_err(failed("configure"))?;
        let path = PathBuf::from(String::from_utf8_lossy(name.as_bytes()).into_owned());
        Ok(Self { master, slave, path })
    }

    /// The port that an agent opens, `/dev/pts/N`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a serial driver does when its last user has gone: exclusive use (TIOCEXCL) ends and
    /// unread bytes are lost. Our own hold on the slave keeps that last close from happening.
    pub fn release(&self) -> Result<(), PtyError> {
        self.end_exclusive_use()?;
        rustix::termios::tcflush(&self.master, QueueSelector::OFlush).map_err(release_failed)?;
        rustix::termios::tcflush(&self.slave, QueueSelector::IFlush).map_err(release_failed)
    }

    /// The half of [`Pty::release`] that does no harm while somebody has the port open.
    pub fn end_exclusive_use(&self) -> Result<(), PtyError> {
        rustix::termios::ioctl_tiocnxcl(&self.slave).map_err(release_failed)
    }

    /// Sends `bytes` without waiting. What does not fit because nobody reads is lost, as on a UART.
    ///
    /// # Errors
    /// Whatever the terminal reports, except that it is full.
    pub fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.master, bytes) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
                Ok(written) => bytes = &bytes[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn release_failed(error: rustix::io::Errno) -> PtyError {
    PtyError { doing: "release", source: error.into() }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

/// Reads what the agent sent; [`io::ErrorKind::WouldBlock`] when that is nothing.
impl io::Read for &Pty {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.master, buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn carries_every_byte_value_unchanged_and_echoes_none() {
        let pty = Pty::open().unwrap();
        let mut port = OpenOptions::new().read(true).write(true).open(pty.path()).unwrap();
        let all: Vec<u8> = (0..=255).collect();

        pty.send(&all).unwrap();
        let mut received = vec![0; all.len()];
        port.read_exact(&mut received).unwrap();
        assert_eq!(received, all);

        port.write_all(&all).unwrap();
        let mut sent = Vec::new();
        while sent.len() < all.len() {
            let mut buffer = [0; 512];
            match (&pty).read(&mut buffer) {
                Ok(count) => sent.extend_from_slice(&buffer[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(sent, all);
    }

    #[test]
    fn a_line_that_nobody_reads_loses_bytes_instead_of_blocking() {
        let pty = Pty::open().unwrap();
        for _ in 0..100 {
            pty.send(&[0x55; 4096]).unwrap();
        }
    }

    #[test]
    fn release_drops_what_nobody_has_read_and_ends_exclusive_use() {
        let pty = Pty::open().unwrap();
        {
            let port = OpenOptions::new().read(true).write(true).open(pty.path()).unwrap();
            rustix::termios::ioctl_tiocexcl(&port).unwrap();
            pty.send(b"stale").unwrap();
        }
        pty.release().unwrap();

        let mut port = OpenOptions::new().read(true).write(true).open(pty.path()).unwrap();
        pty.send(b"fresh").unwrap();
        let mut received = [0; 5];
        port.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"fresh");
    }

    #[test]
    fn reports_that_nothing_has_arrived() {
        let pty = Pty::open().unwrap();
        let error = (&pty).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
