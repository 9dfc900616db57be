//! A serial port: 8N1, with RTS/CTS or no flow control, opened exclusively.
//!
//! Watched by the runtime, it wakes the thread for every few bytes that come, whether anybody reads them
//! or not. So while it [rests](Stream::begin_rest) it is not. Nothing is closed for that: serialport's
//! closing would take the exclusiveness off the port.

use std::io::{self, Read as _, Write as _};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio_serial::SerialStream;
use serialport::TTYPort;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use tokio_serial::SerialPort as _;
use tokio_serial::{ClearBuffer, DataBits, ErrorKind, FlowControl, Parity, StopBits};

use super::port::Stream;
use super::rest::Rest;

/// Start bit, eight data bits, stop bit.
const BITS_PER_BYTE: u64 = 10;
/// What the line discipline holds (N_TTY_BUF_SIZE, 4096), less a tenth: beyond it RTS would hold the
/// sender up, and whoever reads so much has not read all.
const DISCIPLINE_BYTES: usize = 3712;
/// So many are to come during a rest. When the discipline is nearly full the driver of a USB adapter stops
/// reading, and the adapter's own buffer is small.
const AWAITED_BYTES: u32 = 3328;
const LONGEST_REST: Duration = Duration::from_millis(100);
/// None at all would not end: it is what takes the time off a timer.
const SHORTEST_REST: Duration = Duration::from_millis(1);
const IN_USE: &str = "another process has it open (a second downlinkd, ModemManager, a login console); \
                      stop that one";

pub(super) struct Serial {
    /// Without the poll(2) that serialport has before each reading and writing.
    port: SerialStream,
    /// The same port, watched or not.
    readiness: Readiness,
    rest: Rest,
    baud: u32,
    rtscts: bool,
    /// The last reading has not taken all.
    has_more: bool,
    /// When the last rest began, and how much has been read since.
    rested_at: Instant,
    read_since: u32,
}

impl Serial {
    pub(super) fn open(path: &str, baud: u32, rtscts: bool) -> io::Result<Self> {
        let flow_control = if rtscts { FlowControl::Hardware } else { FlowControl::None };
        let port = tokio_serial::new(path, baud)
            .data_bits(DataBits::Eight)
            .parity(Parity::None)
            .stop_bits(StopBits::One)
            .flow_control(flow_control)
            .exclusive(true)
            .open_native()
            .map_err(|error| match error.kind {
                // What the crate makes of EBUSY (TIOCEXCL) and of a flock(2) that is held.
                ErrorKind::NoDevice => io::Error::new(io::ErrorKind::ResourceBusy, IN_USE),
                _ => error.into(),
            })?;
        Ok(Self {
            readiness: Readiness { unwatched: Some(port.try_clone_native()?), watched: None },
            port: port.try_into()?,
            rest: Rest::new()?,
            baud,
            rtscts,
            has_more: false,
            rested_at: Instant::now(),
            read_since: 0,
        })
    }
}

impl Drop for Serial {
    /// Else closing would block the runtime: it waits for up to 30 s until the buffer is empty.
    fn drop(&mut self) {
        if self.undrained().is_ok_and(|undrained| undrained > 0) {
            self.discard_undrained();
        }
    }
}

// Without flush(), since that is a blocking tcdrain(3).
impl Stream for Serial {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.readiness.is_unwatched()
            && let Ok(length) = self.port.write(bytes)
        {
            return Poll::Ready(Ok(length));
        }
        let watched = self.readiness.watch()?;
        loop {
            let mut ready = ready!(watched.poll_write_ready(context))?;
            if let Ok(written) = ready.try_io(|_| self.port.write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.rest.poll_over(context))?;
        let length = if self.readiness.is_unwatched()
            && let Ok(length @ 1..) = self.port.read(buffer)
        {
            length
        } else {
            // Nothing came, or the port is gone: this will tell.
            let watched = self.readiness.watch()?;
            loop {
                let mut ready = ready!(watched.poll_read_ready(context))?;
                let Ok(read) = ready.try_io(|_| self.port.read(buffer)) else { continue };
                if matches!(read, Ok(1..DISCIPLINE_BYTES)) {
                    // That was all: what comes next makes it ready again (epoll(7), edge-triggered).
                    ready.clear_ready();
                }
                break read?;
            }
        };
        self.has_more = length >= DISCIPLINE_BYTES;
        self.read_since = self.read_since.saturating_add(length as u32);
        Poll::Ready(Ok(length))
    }

    fn undrained(&self) -> io::Result<u32> {
        Ok(self.port.bytes_to_write()?)
    }

    fn wire_time(&self, bytes: u32) -> Duration {
        let bits = u64::from(bytes) * BITS_PER_BYTE;
        Duration::from_micros(bits * 1_000_000 / u64::from(self.baud))
    }

    fn begin_rest(&mut self, now: Instant, longest: Duration) -> io::Result<Duration> {
        if self.has_more {
            return Ok(Duration::ZERO);
        }
        self.readiness.unwatch();
        let rest = awaited(self.read_since, now - self.rested_at);
        let mut rest = rest.min(LONGEST_REST).min(longest).max(SHORTEST_REST);
        if self.rtscts {
            rest = rest.min(self.wire_time(DISCIPLINE_BYTES as u32));
        }
        self.rest.begin(rest)?;
        self.rested_at = now;
        self.read_since = 0;
        Ok(rest)
    }

    fn end_rest(&mut self) {
        self.rest.end();
    }

    fn discard_undrained(&self) {
        // Fails when the device is gone, and then there is nothing to discard.
        let _ = self.port.clear(ClearBuffer::Output);
    }
}

/// The port as the runtime watches it (epoll), or does not while it rests: one of the two has it.
struct Readiness {
    unwatched: Option<TTYPort>,
    watched: Option<AsyncFd<TTYPort>>,
}

impl Readiness {
    fn is_unwatched(&self) -> bool {
        self.unwatched.is_some()
    }

    fn watch(&mut self) -> io::Result<&AsyncFd<TTYPort>> {
        if let Some(port) = self.unwatched.take() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            #[expect(deprecated, reason = "for a TTYPort, which owns its descriptor, it is sound")]
            let watched = AsyncFd::with_interest(port, interest)?;
            self.watched = Some(watched);
        }
        self.watched.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn unwatch(&mut self) {
        if let Some(watched) = self.watched.take() {
            self.unwatched = Some(watched.into_inner());
        }
    }
}

/// How long [`AWAITED_BYTES`] take if they come as the last did.
fn awaited(bytes: u32, time: Duration) -> Duration {
    time * AWAITED_BYTES / bytes.max(1)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::OwnedFd;

    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    #[tokio::test]
    async fn what_one_reading_cannot_take_is_read_without_a_rest() {
        let (path, master) = pty();
        let mut serial = Serial::open(&path, 921_600, false).unwrap();
        let mut unread = 0;
        while let Ok(length) = rustix::io::write(&master, &[0; 1024]) {
            unread += length;
        }
        assert!(unread > 4096, "the pty takes {unread} bytes");
        let mut buffer = [0; 8192];
        let mut full_readings = 0;
        while unread > 0 {
            let length = poll_fn(|context| serial.poll_read(context, &mut buffer)).await.unwrap();
            unread -= length;
            let is_full = length >= DISCIPLINE_BYTES;
            full_readings += u32::from(is_full);
            let second = Duration::from_secs(1);
            let rest = serial.begin_rest(serial.rested_at + second, second).unwrap();
            assert_eq!(rest.is_zero(), is_full);
        }
        assert!(full_readings > 0);
    }

    #[tokio::test]
    async fn the_more_comes_the_shorter_the_rest() {
        let (path, master) = pty();
        let mut serial = Serial::open(&path, 921_600, false).unwrap();
        let mut rest_after = async |bytes_per_second: u32| {
            let bytes = bytes_per_second as usize / 50;
            assert_eq!(rustix::io::write(&master, &vec![0; bytes]).unwrap(), bytes);
            let mut unread = bytes;
            while unread > 0 {
                let mut buffer = [0; 8192];
                unread -= poll_fn(|context| serial.poll_read(context, &mut buffer)).await.unwrap();
            }
            serial.begin_rest(serial.rested_at + Duration::from_millis(20), LONGEST_REST).unwrap()
        };
        for (bytes_per_second, rest) in [(50, 100), (5_000, 100), (41_600, 80), (83_200, 40)] {
            let expected = Duration::from_millis(rest);
            assert_eq!(rest_after(bytes_per_second).await, expected, "{bytes_per_second} bytes/s");
        }
    }

    #[tokio::test]
    async fn with_rts_cts_the_sender_is_not_held_up() {
        let (path, _master) = pty();
        let mut serial = Serial::open(&path, 921_600, true).unwrap();
        let second = Duration::from_secs(1);
        let rest = serial.begin_rest(serial.rested_at + second, second).unwrap();
        assert_eq!(rest, serial.wire_time(DISCIPLINE_BYTES as u32));
        assert!(rest < LONGEST_REST);
    }

    /// The path of one end, and the other.
    fn pty() -> (String, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        (path, master)
    }
}
