//! UDP: waits for datagrams and answers whoever sent the last frame, or sends to a fixed address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::{UdpSocket, lookup_host};

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

/// Sends to one address, and takes what comes from there.
pub(super) struct UdpOut(UdpSocket);

impl UdpOut {
    pub(super) async fn open(host: &str, port: u16) -> io::Result<Self> {
        let mut addresses = lookup_host((host, port)).await?;
        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        Ok(Self(socket))
    }
}

impl Stream for UdpOut {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_send(context, bytes)
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.0.poll_recv(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn is_datagram(&self) -> bool {
        true
    }
}
