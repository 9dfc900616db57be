//! The bytes to and from a broker, over TCP or TLS, as packets.
//!
//! Runs inside of the client's task. What is sent waits in a buffer, and leaves in one write with the
//! next [`Network::receive`]: a command's PUBACK, reply and updates are one segment, not one each.
//! `receive` is cancel-safe, also in the middle of a packet; `connect`, cancelled, leaves nothing behind.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::Packet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::{Broker, codec};

/// For one reading.
const READING: usize = 8 * 1024;
/// How long an address is tried alone before the next one is tried, too. A round trip by cellular takes
/// less, and all have their turn within half of the time that a connection may take to be made.
const HEAD_START: Duration = Duration::from_secs(1);
const LAST_START: Duration = Duration::from_secs(5);

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
        let addresses = lookup_host((broker.host.as_str(), broker.port)).await?.collect();
        let tcp = connect_to_first(addresses, TcpStream::connect).await?;
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

/// Whichever answers first. A dead address says nothing, perhaps for minutes: those after it do not wait
/// for that (RFC 8305, 5).
async fn connect_to_first<S, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<S>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let head_start = HEAD_START.min(LAST_START / addresses.len().max(1) as u32);
    let mut untried = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match untried.next() {
            Some(address) => drop(attempts.spawn(connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt.expect("connecting panicked") {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = sleep(head_start), if untried.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io::ErrorKind;

    use tokio::time::{Instant, timeout};

    use super::*;

    /// The port that was reached or why none was, and after how many milliseconds.
    async fn reach(ports: &[u16]) -> (Result<u16, ErrorKind>, u128) {
        let addresses = ports.iter().map(|port| ([192, 0, 2, 1], *port).into()).collect();
        let begin = Instant::now();
        // As long as the handshake waits.
        let reached = timeout(Duration::from_secs(10), connect_to_first(addresses, attempt)).await;
        let reached = reached.expect("no address answered in time");
        (reached.map_err(|error| error.kind()), begin.elapsed().as_millis())
    }

    /// Some never answer, some refuse at once, and some take a while.
    async fn attempt(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            DEAD => pending().await,
            CLOSED => Err(ErrorKind::ConnectionRefused.into()),
            milliseconds => {
                sleep(Duration::from_millis(milliseconds.into())).await;
                Ok(milliseconds)
            }
        }
    }

    const DEAD: u16 = 1;
    const CLOSED: u16 = 2;

    #[tokio::test(start_paused = true)]
    async fn dead_addresses_hide_no_live_one() {
        assert_eq!(reach(&[800]).await, (Ok(800), 800));
        assert_eq!(reach(&[DEAD, 50]).await, (Ok(50), 1050));
        assert_eq!(reach(&[DEAD, CLOSED, 50]).await, (Ok(50), 1050), "a refusal is not waited for");
        assert_eq!(reach(&[2500, 1600]).await, (Ok(2500), 2500), "the first goes on meanwhile");
        let many = [&[DEAD; 19][..], &[50]].concat();
        assert_eq!(reach(&many).await, (Ok(50), 4800));
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_answers_that_is_said_at_once() {
        assert_eq!(reach(&[CLOSED, CLOSED]).await, (Err(ErrorKind::ConnectionRefused), 0));
        assert_eq!(reach(&[]).await, (Err(ErrorKind::NotFound), 0));
    }
}
