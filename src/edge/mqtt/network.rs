//! The bytes to and from a broker, over TCP or TLS, as packets.
//!
//! Runs inside of the client's task. What is sent waits in a buffer, and leaves in one write with the
//! next [`Network::receive`]: a command's PUBACK, reply and updates are one segment, not one each.
//! `receive` is cancel-safe, also in the middle of a packet.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::Packet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::{Broker, codec};

/// For one reading.
const READING: usize = 8 * 1024;

pub(super) struct Network {
    stream: Either<TcpStream, TlsStream<TcpStream>>,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Something was read that TCP perhaps has not acknowledged.
    unacknowledged: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("closed by the broker")]
    Closed,
    #[error("\"{0}\" is not a name that a certificate could have")]
    Name(String),
}

impl Network {
    /// # Errors
    /// The name is not resolved, nobody listens at any of its addresses, or one side does not believe
    /// the other in TLS.
    pub async fn connect(broker: &Broker, tls: Option<Arc<ClientConfig>>) -> Result<Self, Error> {
        let tcp = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
        // Otherwise Nagle and delayed ACKs add 40 ms each way.
        tcp.set_nodelay(true)?;
        let stream = match tls {
            Some(tls) => {
                let name = ServerName::try_from(broker.host.clone())
                    .map_err(|_| Error::Name(broker.host.clone()))?;
                Either::Right(TlsConnector::from(tls).connect(name, tcp).await?)
            }
            None => Either::Left(tcp),
        };
        let (incoming, outgoing) = (BytesMut::new(), BytesMut::new());
        Ok(Self { stream, incoming, outgoing, unacknowledged: false })
    }

    /// Leaves with the next [`receive`](Self::receive) or [`close`](Self::close).
    ///
    /// # Errors
    /// A packet that MQTT has no form for.
    pub fn send(&mut self, packet: &Packet) -> Result<(), Error> {
        packet.write(&mut self.outgoing, None)?;
        Ok(())
    }

    /// The next packet. Meanwhile writes what was sent; that goes on when not `reading`, but then no
    /// packet comes.
    ///
    /// # Errors
    /// The connection is at its end, or what came is not MQTT 5.
    pub async fn receive(&mut self, reading: bool) -> Result<Packet, Error> {
        poll_fn(|context| {
            let written = self.poll_write(context);
            // A broker that hangs up may have said why.
            if reading && let Poll::Ready(received) = self.poll_read(context) {
                return Poll::Ready(received);
            }
            match written {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The next of those packets that came together.
    ///
    /// # Errors
    /// What came is not MQTT 5.
    pub fn received(&mut self) -> Result<Option<Packet>, Error> {
        Ok(codec::decode(&mut self.incoming)?)
    }

    /// Writes what was sent, and says in TLS and TCP that no more comes.
    ///
    /// # Errors
    /// The connection was at its end before.
    pub async fn close(&mut self) -> Result<(), Error> {
        poll_fn(|context| self.poll_write(context)).await?;
        Ok(self.stream.shutdown().await?)
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let stream = Pin::new(&mut self.stream);
            if ready!(poll_write_buf(stream, context, &mut self.outgoing))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        // TLS has a buffer of its own.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Packet, Error>> {
        loop {
            if let Some(packet) = self.received()? {
                return Poll::Ready(Ok(packet));
            }
            self.incoming.reserve(READING);
            let stream = Pin::new(&mut self.stream);
            let Poll::Ready(read) = poll_read_buf(stream, context, &mut self.incoming) else {
                self.acknowledge_segments()?;
                return Poll::Pending;
            };
            if read? == 0 {
                return Poll::Ready(Err(Error::Closed));
            }
            self.unacknowledged = true;
        }
    }

    /// A broker with Nagle's algorithm on, as mosquitto has it unless told otherwise, holds back what
    /// follows a small packet until TCP acknowledges that one, which else may take 40 ms (tcp(7)).
    fn acknowledge_segments(&mut self) -> io::Result<()> {
        let tcp = match &self.stream {
            Either::Left(_) if !self.unacknowledged => return Ok(()),
            Either::Left(tcp) => tcp,
            // Half a record may have been read, which it does not tell.
            Either::Right(tls) => tls.get_ref().0,
        };
        // The kernel forgets it with what is written next.
        tcp.set_quickack(true)?;
        self.unacknowledged = false;
        Ok(())
    }
}
