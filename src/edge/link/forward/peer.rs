//! The task of one endpoint: opens its socket, again and again if need be, and talks to the peer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::Event;
use super::super::tcp::Tcp;
use super::super::udp::{Udp, UdpOut};
use super::conversation::{Conversation, LinkEnded};
use super::{Direction, FRESH, ForwardEndpoint, Forwarded, PeerEnds, add};
use crate::wire::mavlink::{Address, ForeignCommand, Frame};

const RETRY: Duration = Duration::from_secs(1);

pub(in crate::edge::link) struct Peer {
    pub(super) ends: PeerEnds,
    /// Our own address.
    source: Address,
    events: mpsc::Sender<Event>,
}

impl Peer {
    pub(in crate::edge::link) fn new(
        ends: PeerEnds,
        source: Address,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { ends, source, events }
    }

    /// Ends with the link's task.
    pub(super) async fn run(mut self) {
        let Err(LinkEnded) = self.keep_open().await;
    }

    pub(super) fn tell_presence(&self, has_peer: bool) {
        self.ends.shared.has_peer.store(has_peer, Ordering::Relaxed);
    }

    /// Hands a frame on to the vehicle; false: it is dropped.
    pub(in crate::edge::link) fn forward(&self, frame: &Frame<'_>) -> bool {
        let shared = &self.ends.shared;
        // In our name only we speak: the vehicle's answers could not be told apart.
        if shared.options.direction == Direction::Out || frame.source() == self.source {
            add(&shared.refused, 1);
            return false;
        }
        let forwarded = Forwarded {
            bytes: frame.as_slice().into(),
            command: ForeignCommand::of(frame),
            by: Instant::now() + FRESH,
            shared: Arc::clone(shared),
        };
        let is_taken = self.ends.to_vehicle.try_send(forwarded).is_ok();
        if !is_taken {
            add(&shared.to_vehicle_dropped, 1);
        }
        is_taken
    }

    async fn keep_open(&mut self) -> Result<Infallible, LinkEnded> {
        let mut told = false;
        loop {
            let error = self.serve(&mut told).await?;
            self.tell_presence(false);
            if !std::mem::replace(&mut told, true) {
                let endpoint = self.ends.shared.options.endpoint.clone();
                let reason = error.to_string();
                self.emit(Event::ForwardFailed { endpoint, reason }).await?;
            }
            let retry = sleep(RETRY);
            tokio::pin!(retry);
            while !retry.is_elapsed() {
                tokio::select! {
                    () = &mut retry => {}
                    batch = self.ends.to_peer.recv() => drop(batch.ok_or(LinkEnded)?),
                }
            }
        }
    }

    /// `told`: that it could not be opened.
    async fn serve(&mut self, told: &mut bool) -> Result<io::Error, LinkEnded> {
        let endpoint = self.ends.shared.options.endpoint.clone();
        let opened = match &endpoint {
            ForwardEndpoint::UdpIn { bind } => {
                Udp::bind(*bind).await.map(|it| Socket::Datagrams(Conversation::new(Box::new(it))))
            }
            ForwardEndpoint::UdpOut { host, port } => UdpOut::open(host, *port)
                .await
                .map(|it| Socket::Datagrams(Conversation::new(Box::new(it)))),
            ForwardEndpoint::TcpIn { bind } => TcpListener::bind(*bind).await.map(Socket::Listener),
        };
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => return Ok(error),
        };
        *told = false;
        self.emit(Event::ForwardOpened { endpoint }).await?;
        match socket {
            Socket::Datagrams(mut conversation) => conversation.run(self).await,
            Socket::Listener(listener) => self.serve_connections(&listener).await,
        }
    }

    async fn serve_connections(&mut self, listener: &TcpListener) -> Result<io::Error, LinkEnded> {
        let mut connection = None;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let accepted = accepted.and_then(|(stream, _)| Tcp::of(stream));
                    match accepted {
                        Ok(stream) => connection = Some(Conversation::new(Box::new(stream))),
                        Err(error) => return Ok(error),
                    }
                    // Of the time before.
                    while self.ends.to_peer.try_recv().is_ok() {}
                }
                ended = self.serve_connection(&mut connection) => {
                    ended?;
                    connection = None;
                    self.tell_presence(false);
                }
            }
        }
    }

    /// Until it ends; without one, until the link ends. Cancel-safe.
    async fn serve_connection(
        &mut self,
        connection: &mut Option<Conversation>,
    ) -> Result<io::Error, LinkEnded> {
        match connection {
            Some(connection) => connection.run(self).await,
            None => loop {
                self.ends.to_peer.recv().await.ok_or(LinkEnded)?;
            },
        }
    }

    async fn emit(&self, event: Event) -> Result<(), LinkEnded> {
        self.events.send(event).await.map_err(|_| LinkEnded)
    }
}

enum Socket {
    Datagrams(Conversation),
    Listener(TcpListener),
}
