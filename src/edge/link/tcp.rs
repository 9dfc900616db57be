//! A TCP connection that we open or accept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_tcp_user_timeout};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::WRITE_BOUND;
use super::port::Stream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Tcp(TcpStream);

impl Tcp {
    pub(super) async fn connect(host: &str, port: u16) -> io::Result<Self> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s"))??;
        // The kernel would send a frame again for minutes, and after we are gone.
        set_tcp_user_timeout(&stream, WRITE_BOUND.as_millis() as u32)?;
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        Self::of(stream)
    }

    pub(super) fn of(stream: TcpStream) -> io::Result<Self> {
        // A frame is small, and must not wait for the next one.
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

impl Stream for Tcp {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}
