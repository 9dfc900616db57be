//! One opened port: what serial, UDP and TCP have in common.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::Endpoint;
use super::serial::Serial;
use super::tcp::Tcp;
use super::udp::Udp;

/// For driver and adapter, on top of the time that the bytes take.
const DRAIN_SLACK: Duration = Duration::from_millis(500);

/// Why a port is closed, or was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("failed to open {endpoint}: {source}")]
    Open { endpoint: Endpoint, source: io::Error },
    #[error("lost {endpoint}: the other end is gone")]
    Ended { endpoint: Endpoint },
    #[error("failed to read from {endpoint}: {source}")]
    Read { endpoint: Endpoint, source: io::Error },
    #[error("failed to write to {endpoint}: {source}")]
    Write { endpoint: Endpoint, source: io::Error },
    #[error("failed to finish a frame on {endpoint}: no room for the rest of it within 2 s")]
    Stalled { endpoint: Endpoint },
    #[error("failed to drain {endpoint}: {undrained} bytes stay in the kernel's buffer")]
    Undrained { endpoint: Endpoint, undrained: u32 },
}

/// What the port did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// So many bytes are in the buffer; with UDP one datagram, which may be empty.
    Read(usize),
    /// So many bytes, at least one, were taken.
    Wrote(usize),
}

/// Bytes in and out. The polls are like those of `AsyncRead` and `AsyncWrite`: `Pending` means that
/// nothing has happened and that the task is woken when something can.
pub(super) trait Stream: Send {
    /// How many of the bytes were taken.
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// How many bytes were read; 0 at the end of what is no datagram.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>>;

    /// How many bytes wait in the kernel's buffer. Always 0 where what the kernel has counts as sent.
    fn undrained(&self) -> io::Result<u32> {
        Ok(0)
    }

    /// How long so many bytes take on the wire.
    fn wire_time(&self, _bytes: u32) -> Duration {
        Duration::ZERO
    }

    /// Nobody waits for what is received, so it may be read a little later, if that is of use:
    /// meanwhile it stays in the kernel's buffer, far from filling it. For how long, `longest` at
    /// most; ends with the next reading.
    fn begin_rest(&mut self, _now: Instant, _longest: Duration) -> io::Result<Duration> {
        Ok(Duration::ZERO)
    }

    /// Ends the rest before its time.
    fn end_rest(&mut self) {}

    /// Empties the kernel's buffer.
    fn discard_undrained(&self) {}

    /// Whether each read is a datagram of whole frames.
    fn is_datagram(&self) -> bool {
        false
    }

    /// Whether there is somebody to send to.
    fn has_peer(&self) -> bool {
        true
    }

    /// What was read last were frames: from now on ours go to where they came from.
    fn answer_sender(&mut self) {}
}

pub(super) struct Port {
    endpoint: Endpoint,
    stream: Box<dyn Stream>,
}

impl Port {
    /// Opens by the configured name each time, so that a udev symlink finds the device again.
    /// Cancel-safe.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let stream: io::Result<Box<dyn Stream>> = match endpoint {
            Endpoint::Serial { path, baud, rtscts } => {
                Serial::open(path, *baud, *rtscts).map(|it| Box::new(it) as _)
            }
            Endpoint::UdpIn { bind } => Udp::bind(*bind).await.map(|it| Box::new(it) as _),
            Endpoint::TcpOut { host, port } => {
                Tcp::connect(host, *port).await.map(|it| Box::new(it) as _)
            }
        };
        match stream {
            Ok(stream) => Ok(Self::new(endpoint.clone(), stream)),
            Err(source) => Err(Failure::Open { endpoint: endpoint.clone(), source }),
        }
    }

    pub(super) fn new(endpoint: Endpoint, stream: Box<dyn Stream>) -> Self {
        Self { endpoint, stream }
    }

    /// Writes some of `unwritten` or reads into `buffer`, whichever is possible first. Cancel-safe.
    pub(super) async fn activity(
        &mut self,
        unwritten: Option<&[u8]>,
        buffer: &mut [u8],
    ) -> Result<Activity, Failure> {
        poll_fn(|context| {
            if let Some(unwritten) = unwritten
                && let Poll::Ready(written) = self.stream.poll_write(context, unwritten)
            {
                return Poll::Ready(match written {
                    Ok(0) => Err(self.write_failure(io::ErrorKind::WriteZero.into())),
                    Ok(length) => Ok(Activity::Wrote(length)),
                    Err(source) => Err(self.write_failure(source)),
                });
            }
            Poll::Ready(match ready!(self.stream.poll_read(context, buffer)) {
                // An unplugged serial adapter reads so for ever.
                Ok(0) if !self.stream.is_datagram() => {
                    Err(Failure::Ended { endpoint: self.endpoint.clone() })
                }
                Ok(length) => Ok(Activity::Read(length)),
                Err(source) => Err(Failure::Read { endpoint: self.endpoint.clone(), source }),
            })
        })
        .await
    }

    /// See [`Stream::undrained`].
    pub(super) fn undrained(&self) -> Result<u32, Failure> {
        self.stream.undrained().map_err(|source| self.write_failure(source))
    }

    /// How long so many bytes may take to drain.
    pub(super) fn drain_bound(&self, undrained: u32) -> Duration {
        // Twice, since adapters have buffers and a rate of their own.
        2 * self.stream.wire_time(undrained) + DRAIN_SLACK
    }

    /// See [`Stream::begin_rest`].
    pub(super) fn begin_rest(
        &mut self,
        now: Instant,
        longest: Duration,
    ) -> Result<Duration, Failure> {
        let rests = self.stream.begin_rest(now, longest);
        rests.map_err(|source| Failure::Read { endpoint: self.endpoint.clone(), source })
    }

    /// See [`Stream::end_rest`].
    pub(super) fn end_rest(&mut self) {
        self.stream.end_rest();
    }

    /// For a port that is closed with a frame on its way, which would go out late.
    pub(super) fn discard_undrained(&self) {
        self.stream.discard_undrained();
    }

    /// See [`Stream::is_datagram`].
    pub(super) fn is_datagram(&self) -> bool {
        self.stream.is_datagram()
    }

    /// See [`Stream::has_peer`].
    pub(super) fn has_peer(&self) -> bool {
        self.stream.has_peer()
    }

    /// See [`Stream::answer_sender`].
    pub(super) fn answer_sender(&mut self) {
        self.stream.answer_sender();
    }

    pub(super) fn stalled(&self) -> Failure {
        Failure::Stalled { endpoint: self.endpoint.clone() }
    }

    pub(super) fn never_drained(&self, undrained: u32) -> Failure {
        Failure::Undrained { endpoint: self.endpoint.clone(), undrained }
    }

    fn write_failure(&self, source: io::Error) -> Failure {
        Failure::Write { endpoint: self.endpoint.clone(), source }
    }
}
