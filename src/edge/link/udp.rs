//! UDP: waits for datagrams, and answers whoever sent the last frame.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::port::Stream;

pub(super) struct Udp {
    socket: UdpSocket,
    /// Who sent the last datagram.
    sender: Option<SocketAddr>,
    /// Who gets our frames.
    peer: Option<SocketAddr>,
}

impl Udp {
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: UdpSocket::bind(address).await?, sender: None, peer: None })
    }
}

impl Stream for Udp {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.peer {
            Some(peer) => self.socket.poll_send_to(context, bytes, peer),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        self.sender = Some(ready!(self.socket.poll_recv_from(context, &mut buffer))?);
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn is_datagram(&self) -> bool {
        true
    }

    fn has_peer(&self) -> bool {
        self.peer.is_some()
    }

    fn answer_sender(&mut self) {
        self.peer = self.sender;
    }
}
