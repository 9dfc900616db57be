//! One opened port: what serial, UDP and TCP have in common, and where they differ.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_serial::{ClearBuffer, DataBits, FlowControl, Parity, SerialStream, StopBits};
use tokio_serial::{SerialPort as _, SerialPortBuilderExt as _};

use super::Endpoint;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bits on the wire for one byte: start bit, 8N1, stop bit.
const BITS_PER_BYTE: u64 = 10;

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

#[derive(Debug)]
pub(super) struct Port {
    endpoint: Endpoint,
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Serial(Serial),
    Udp {
        socket: UdpSocket,
        /// Who sent the last datagram.
        sender: Option<SocketAddr>,
        /// Who gets our frames.
        peer: Option<SocketAddr>,
    },
    Tcp(TcpStream),
}

#[derive(Debug)]
struct Serial {
    stream: SerialStream,
    baud: u32,
}

impl Port {
    /// Opens by the configured name each time, so that a udev symlink finds the device again.
    /// Cancel-safe.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let opened = match endpoint {
            Endpoint::Serial { path, baud } => open_serial(path, *baud).map(Stream::Serial),
            Endpoint::UdpIn { bind } => UdpSocket::bind(bind).await.map(|socket| Stream::Udp {
                socket,
                sender: None,
                peer: None,
            }),
            Endpoint::TcpOut { host, port } => connect(host, *port).await.map(Stream::Tcp),
        };
        match opened {
            Ok(stream) => Ok(Self { endpoint: endpoint.clone(), stream }),
            Err(source) => Err(Failure::Open { endpoint: endpoint.clone(), source }),
        }
    }

    /// Writes some of `unwritten` or reads into `buffer`, whichever is possible first. Cancel-safe.
    // Not readable() and try_read(): those of tokio-serial never clear the readiness, and would spin.
    pub(super) async fn activity(
        &mut self,
        unwritten: Option<&[u8]>,
        buffer: &mut [u8],
    ) -> Result<Activity, Failure> {
        let endpoint = &self.endpoint;
        let stream = &mut self.stream;
        poll_fn(|context| {
            if let Some(unwritten) = unwritten
                && let Poll::Ready(written) = stream.poll_write(context, unwritten)
            {
                let endpoint = endpoint.clone();
                return Poll::Ready(match written {
                    Ok(0) => {
                        Err(Failure::Write { endpoint, source: io::ErrorKind::WriteZero.into() })
                    }
                    Ok(length) => Ok(Activity::Wrote(length)),
                    Err(source) => Err(Failure::Write { endpoint, source }),
                });
            }
            let is_stream = !matches!(stream, Stream::Udp { .. });
            let length = ready!(stream.poll_read(context, buffer));
            Poll::Ready(match length {
                // An unplugged serial adapter reads so for ever.
                Ok(0) if is_stream => Err(Failure::Ended { endpoint: endpoint.clone() }),
                Ok(length) => Ok(Activity::Read(length)),
                Err(source) => Err(Failure::Read { endpoint: endpoint.clone(), source }),
            })
        })
        .await
    }

    /// Whether there is somebody to send to.
    pub(super) fn has_peer(&self) -> bool {
        !matches!(self.stream, Stream::Udp { peer: None, .. })
    }

    /// Whether each read is a datagram of whole frames.
    pub(super) fn is_datagram(&self) -> bool {
        matches!(self.stream, Stream::Udp { .. })
    }

    /// What was read last were frames: from now on ours go to where they came from.
    pub(super) fn answer_sender(&mut self) {
        if let Stream::Udp { sender, peer, .. } = &mut self.stream {
            *peer = *sender;
        }
    }

    /// How many bytes wait in the kernel's buffer. UDP and TCP always have 0: what is handed to the
    /// kernel counts as sent there.
    pub(super) fn undrained(&self) -> Result<u32, Failure> {
        let Stream::Serial(Serial { stream, .. }) = &self.stream else { return Ok(0) };
        stream.bytes_to_write().map_err(|error| Failure::Write {
            endpoint: self.endpoint.clone(),
            source: error.into(),
        })
    }

    /// How long so many bytes may take to drain.
    pub(super) fn drain_bound(&self, undrained: u32) -> Duration {
        let Stream::Serial(Serial { baud, .. }) = &self.stream else { return DRAIN_SLACK };
        let bits = u64::from(undrained) * BITS_PER_BYTE;
        // Twice, since adapters have buffers and a rate of their own.
        2 * Duration::from_micros(bits * 1_000_000 / u64::from(*baud)) + DRAIN_SLACK
    }

    pub(super) fn stalled(&self) -> Failure {
        Failure::Stalled { endpoint: self.endpoint.clone() }
    }

    pub(super) fn never_drained(&self, undrained: u32) -> Failure {
        Failure::Undrained { endpoint: self.endpoint.clone(), undrained }
    }
}

impl Stream {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Serial(Serial { stream, .. }) => Pin::new(stream).poll_write(context, bytes),
            Self::Udp { socket, peer: Some(peer), .. } => {
                socket.poll_send_to(context, bytes, *peer)
            }
            Self::Udp { peer: None, .. } => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        match self {
            Self::Serial(Serial { stream, .. }) => {
                ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
            }
            Self::Udp { socket, sender, .. } => {
                *sender = Some(ready!(socket.poll_recv_from(context, &mut buffer))?);
            }
            Self::Tcp(stream) => ready!(Pin::new(stream).poll_read(context, &mut buffer))?,
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl Drop for Serial {
    /// Closing a serial port first waits for what is in its buffer, up to 30 s, and so would block
    /// the runtime and send the frame late. What was answered with `Sent` is not in it any more.
    fn drop(&mut self) {
        // Fails when the device is gone, and then there is nothing to discard.
        let _ = self.stream.clear(ClearBuffer::Output);
    }
}

fn open_serial(path: &str, baud: u32) -> io::Result<Serial> {
    let stream = tokio_serial::new(path, baud)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None)
        .exclusive(true)
        .open_native_async()?;
    Ok(Serial { stream, baud })
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
