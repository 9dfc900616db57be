//! One connection, from its first packet to its end.
//!
//! Runs inside of the client's task. Whatever the caller asks for at one time leaves in one write, and
//! whatever came in one reading is taken in one turn.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Disconnect, DisconnectProperties, DisconnectReasonCode, Packet, PingReq, PubAck, PubAckReason,
    PubComp, PubRec, Publish as PublishPacket,
};
use tokio::pin;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::handshake::{self, Session};
use super::network::{self, Network};
use super::outgoing::Outgoing;
use super::{Acknowledgement, Client, Command, Event, Publish, Reason, packet, reason};

/// Undelivered events at which the socket is no longer read. Several times what the windows allow,
/// so only QoS 0 messages, which have no flow control, can get there.
const UNDELIVERED: usize = 256;
/// For the PUBACKs of the last publishes, and then for the DISCONNECT.
const SETTLE: Duration = Duration::from_millis(500);
const LEAVE: Duration = Duration::from_secs(1);

pub(super) enum End {
    /// The task is to end.
    Left,
    Lost(Reason),
}

/// Connects, and serves the connection to its end. Also returns for how long it was usable.
pub(super) async fn run(client: &mut Client) -> (End, Option<Duration>) {
    let broker = client.broker().clone();
    let session = tokio::select! {
        session = handshake::establish(&client.options, &broker) => session,
        () = goodbye(&mut client.commands) => return (End::Left, None),
        () = client.events.closed() => return (End::Left, None),
    };
    let session = match session {
        Ok(session) => session,
        Err(reason) => return (End::Lost(reason), None),
    };
    let since = Instant::now();
    let mut connection = Connection::new(client, session);
    let end = connection.serve().await;
    let end = if connection.goodbye.is_some() { End::Left } else { end };
    (end, Some(since.elapsed()))
}

/// Forgets what is commanded until nobody wants a connection any more.
async fn goodbye(commands: &mut mpsc::UnboundedReceiver<Command>) {
    while !matches!(commands.recv().await, Some(Command::Disconnect) | None) {}
}

struct Connection<'a> {
    client: &'a mut Client,
    network: Network,
    outgoing: Outgoing,
    largest_packet: u32,
    keep_alive: Duration,
    ping_at: Instant,
    heard_at: Instant,
    goodbye: Option<Goodbye>,
}

#[derive(Clone, Copy)]
struct Goodbye {
    settle_by: Instant,
    leave_by: Instant,
}

impl<'a> Connection<'a> {
    fn new(client: &'a mut Client, session: Session) -> Self {
        client.generation += 1;
        let (generation, broker) = (client.generation, client.broker().clone());
        let session_present = session.present;
        client.queue.push_back(Event::Connected { generation, session_present, broker });
        let now = Instant::now();
        let mut connection = Self {
            client,
            network: session.network,
            outgoing: Outgoing::new(session.receive_maximum),
            largest_packet: session.largest_packet,
            keep_alive: session.keep_alive,
            ping_at: now + session.keep_alive,
            heard_at: now,
            goodbye: None,
        };
        for publish in session.early {
            connection.message(publish);
        }
        // The caller sent these before it could know of this connection.
        while let Ok(command) = connection.client.commands.try_recv() {
            if matches!(command, Command::Disconnect) {
                connection.goodbye = Some(Goodbye { settle_by: now, leave_by: now + LEAVE });
            }
        }
        connection
    }

    async fn serve(&mut self) -> End {
        // A clone, since waiting for room borrows the sender while `self` is at work.
        let events = self.client.events.clone();
        let timer = sleep_until(self.due());
        pin!(timer);
        loop {
            if let Err(end) = self.deliver().and_then(|()| self.publish_what_may_leave()) {
                return end;
            }
            if let Some(goodbye) = self.goodbye
                && (self.outgoing.is_idle() || Instant::now() >= goodbye.settle_by)
            {
                self.leave(goodbye.leave_by).await;
                return End::Left;
            }
            let reading = self.client.queue.len() < UNDELIVERED;
            if !reading {
                // Not the broker's silence, but ours.
                self.heard_at = Instant::now();
            }
            // Mostly it has moved on, and the timer finds that out when it ends.
            let due = self.due();
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            let served = tokio::select! {
                received = self.network.receive(reading) => self.take(received),
                command = self.client.commands.recv() => match command {
                    Some(command) => self.obey_all(command),
                    None => Err(End::Left),
                },
                // There is room again; the next turn delivers.
                Ok(_) = events.reserve(), if !self.client.queue.is_empty() => Ok(()),
                () = events.closed() => Err(End::Left),
                () = &mut timer => {
                    let served = self.keep_alive();
                    timer.as_mut().reset(self.due());
                    served
                }
            };
            if let Err(end) = served {
                return end;
            }
        }
    }

    /// When the timer has something to do.
    fn due(&self) -> Instant {
        let due = self.ping_at.min(self.heard_at + self.silence());
        self.goodbye.map_or(due, |goodbye| goodbye.settle_by.min(due))
    }

    /// How long the broker may say nothing.
    fn silence(&self) -> Duration {
        2 * self.keep_alive
    }

    fn keep_alive(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if now >= self.heard_at + self.silence() {
            let why = format!("nothing heard for {} s", self.silence().as_secs());
            return Err(End::Lost(Reason::lost(self.client.broker(), why)));
        }
        if now >= self.ping_at {
            self.ping_at = now + self.keep_alive;
            self.send(&Packet::PingReq(PingReq))?;
        }
        Ok(())
    }

    /// Gives the caller what there is room for.
    fn deliver(&mut self) -> Result<(), End> {
        while let Some(event) = self.client.queue.pop_front() {
            match self.client.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.client.queue.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => return Err(End::Left),
            }
        }
        Ok(())
    }

    /// What the caller asks for at one time.
    fn obey_all(&mut self, first: Command) -> Result<(), End> {
        let mut next = Some(first);
        while let Some(command) = next {
            self.obey(command)?;
            next = self.client.commands.try_recv().ok();
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<(), End> {
        if self.goodbye.is_some() {
            return Ok(());
        }
        match command {
            Command::Disconnect => {
                let now = Instant::now();
                self.goodbye = Some(Goodbye { settle_by: now + SETTLE, leave_by: now + LEAVE });
                Ok(())
            }
            Command::Publish(publish) => {
                self.publish(publish);
                Ok(())
            }
            Command::Acknowledge(acknowledgement) => self.acknowledge(&acknowledgement),
        }
    }

    fn publish(&mut self, publish: Publish) {
        let id = publish.id;
        match (packet::prepare(publish, self.largest_packet), id) {
            (Ok(prepared), _) => self.outgoing.publish(prepared),
            (Err(reason), Some(id)) => {
                self.client.queue.push_back(Event::Published { id, outcome: Err(reason) });
            }
            (Err(reason), None) => log::warn!("failed to publish: {reason}"),
        }
    }

    fn publish_what_may_leave(&mut self) -> Result<(), End> {
        while let Some(publish) = self.outgoing.next() {
            self.send(&Packet::Publish(publish))?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, acknowledgement: &Acknowledgement) -> Result<(), End> {
        // Otherwise it is meant for the connection before this one.
        if acknowledgement.generation != self.client.generation {
            return Ok(());
        }
        let packet_id = acknowledgement.packet_id;
        match acknowledgement.qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.send(&Packet::PubAck(PubAck::new(packet_id, None))),
            // Nothing is subscribed at QoS 2, but the session may have messages of another client.
            QoS::ExactlyOnce => self.send(&Packet::PubRec(PubRec::new(packet_id, None))),
        }
    }

    /// A packet, and those that came with it.
    fn take(&mut self, received: Result<Packet, network::Error>) -> Result<(), End> {
        self.heard_at = Instant::now();
        let mut next = Some(received.map_err(|error| self.lost(&error))?);
        while let Some(packet) = next {
            self.receive(packet)?;
            next = self.network.received().map_err(|error| self.lost(&error))?;
        }
        Ok(())
    }

    fn receive(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.message(publish),
            Packet::PubAck(puback) => self.publish_acknowledged(&puback),
            Packet::PubRel(pubrel) => {
                self.send(&Packet::PubComp(PubComp::new(pubrel.pkid, None)))?;
            }
            Packet::Disconnect(disconnect) => {
                let (options, broker) = (&self.client.options, self.client.broker());
                return Err(End::Lost(reason::of_disconnect(&disconnect, options, broker)));
            }
            // PINGRESP; nothing else has a meaning now.
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, publish: PublishPacket) {
        let message = packet::message(publish, self.client.generation);
        self.client.queue.push_back(Event::Message(message));
    }

    fn publish_acknowledged(&mut self, puback: &PubAck) {
        let Some(id) = self.outgoing.acknowledged(puback.pkid) else { return };
        let outcome = match puback.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
            _ => Err(reason::of_puback(puback)),
        };
        self.client.queue.push_back(Event::Published { id, outcome });
    }

    fn send(&mut self, packet: &Packet) -> Result<(), End> {
        self.network.send(packet).map_err(|error| self.lost(&error))
    }

    async fn leave(&mut self, by: Instant) {
        let goodbye = self.last_words();
        if self.network.send(&Packet::Disconnect(goodbye)).is_ok() {
            // A broker that is gone by then needs none.
            let _ = timeout_at(by, self.network.close()).await;
        }
    }

    /// What the caller published last may still wait, and a retained state that says the opposite would
    /// stay at the broker for ever: the will then speaks for us.
    fn last_words(&self) -> Disconnect {
        if self.outgoing.is_idle() || self.client.options.will.is_none() {
            return Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        }
        let properties = DisconnectProperties {
            // The codec cannot write this reason without a property.
            reason_string: Some("not everything was acknowledged".to_owned()),
            session_expiry_interval: None,
            user_properties: Vec::new(),
            server_reference: None,
        };
        Disconnect {
            reason_code: DisconnectReasonCode::DisconnectWithWillMessage,
            properties: Some(properties),
        }
    }

    fn lost(&self, error: &network::Error) -> End {
        End::Lost(reason::of_lost_network(error, &self.client.options, self.client.broker()))
    }
}
