//! One connection, from its first packet to its end.
//!
//! Runs inside of the client's task. `poll` is not cancel-safe, so one poll is kept alive until it
//! is ready while commands, deliveries and timers are served beside it. The only way in which a poll
//! is ever given up is together with its event loop: when the broker is silent (a half-open TCP
//! connection can hold a `poll` in a blocked write for minutes) or when the task ends.
//!
//! Requests go into rumqttc's channel with `try_*` only, since awaiting room in it from the task that
//! polls would be a deadlock. [`Outgoing`] counts what is in there, so it is never full.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing as Sent;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Packet, PubAck, PubAckReason, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event as Polled, EventLoop, MqttOptions};
use rustls::ClientConfig;
use tokio::pin;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::outgoing::{ACKNOWLEDGEMENT_WINDOW, Outgoing, PUBLISH_WINDOW};
use super::{Client, Command, Event, Publish, packet, reason, tls};

/// Beyond the windows: one SUBSCRIBE and one DISCONNECT.
const CHANNEL: usize = PUBLISH_WINDOW + ACKNOWLEDGEMENT_WINDOW + 2;
/// From the first packet until the subscriptions are granted.
const HANDSHAKE: Duration = Duration::from_secs(5).saturating_add(packet::CONNECT_TIMEOUT);
/// Undelivered events at which the socket is no longer read. Several times what the windows allow,
/// so only QoS 0 messages, which have no flow control, can get there.
const UNDELIVERED: usize = 256;
/// For the PUBACKs of the last publishes, and then for the DISCONNECT.
const SETTLE: Duration = Duration::from_millis(500);
const LEAVE: Duration = Duration::from_secs(1);

pub(super) enum End {
    /// The task is to end.
    Left,
    Lost(String),
}

/// Connects, and serves the connection to its end. Also returns for how long it was usable.
pub(super) async fn run(client: &mut Client) -> (End, Option<Duration>) {
    let tls = match tls_configuration(client).await {
        Ok(tls) => tls,
        Err(error) => {
            let reason = format!("failed to connect to {}: {error}", client.broker());
            return (End::Lost(reason), None);
        }
    };
    let options = packet::mqtt_options(&client.options, client.broker(), tls);
    let (requests, event_loop) = AsyncClient::new(options, CHANNEL);
    let mut connection = Connection {
        client,
        requests,
        outgoing: Outgoing::new(),
        phase: Phase::Connecting,
        session_present: false,
        largest_packet: u32::MAX,
        silence: HANDSHAKE,
        deadline: Instant::now() + HANDSHAKE,
        goodbye: None,
    };
    let end = connection.serve(event_loop).await;
    let end = if connection.goodbye.is_some() { End::Left } else { end };
    let connected_for = match connection.phase {
        Phase::Connected { since } => Some(since.elapsed()),
        Phase::Connecting | Phase::Subscribing => None,
    };
    (end, connected_for)
}

/// Read anew each time, beside the loop: a disk may be slow.
async fn tls_configuration(client: &Client) -> Result<Option<Arc<ClientConfig>>, tls::Error> {
    let broker = client.broker().clone();
    if !broker.tls {
        return Ok(None);
    }
    let tls = client.options.tls.clone();
    let reading = tokio::task::spawn_blocking(move || tls.connect_to(&broker));
    reading.await.expect("reading the certificates panicked").map(Some)
}

struct Connection<'a> {
    client: &'a mut Client,
    requests: AsyncClient,
    outgoing: Outgoing,
    phase: Phase,
    session_present: bool,
    /// What the broker takes, from its CONNACK.
    largest_packet: u32,
    /// How long the broker may say nothing.
    silence: Duration,
    deadline: Instant,
    goodbye: Option<Goodbye>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    /// The broker may send messages of an old session already; they wait in the queue.
    Subscribing,
    Connected {
        since: Instant,
    },
}

#[derive(Clone, Copy)]
struct Goodbye {
    settle_by: Instant,
    leave_by: Instant,
    said: bool,
}

impl Connection<'_> {
    async fn serve(&mut self, mut event_loop: EventLoop) -> End {
        // A clone, since waiting for room borrows the sender while `self` is at work.
        let events = self.client.events.clone();
        loop {
            let polled = {
                let poll = event_loop.poll();
                pin!(poll);
                loop {
                    if let Err(end) = self.deliver().and_then(|()| self.hand_over()) {
                        return end;
                    }
                    let usable = matches!(self.phase, Phase::Connected { .. });
                    let reading = !usable || self.client.queue.len() < UNDELIVERED;
                    if !reading {
                        // Not the broker's silence, but ours.
                        self.deadline = Instant::now() + self.silence;
                    }
                    let wake_at = self.goodbye.map_or(self.deadline, |goodbye| {
                        if goodbye.said { goodbye.leave_by } else { goodbye.settle_by }
                    });
                    tokio::select! {
                        polled = &mut poll, if reading => break polled,
                        command = self.client.commands.recv() => {
                            let Some(command) = command else { return End::Left };
                            if let Err(end) = self.obey_all(command) {
                                return end;
                            }
                        }
                        // There is room again; the next turn delivers.
                        Ok(_) = events.reserve(), if usable && !self.client.queue.is_empty() => {}
                        () = events.closed() => return End::Left,
                        () = sleep_until(self.deadline), if reading => {
                            return End::Lost(self.silence_reason());
                        }
                        () = sleep_until(wake_at), if self.goodbye.is_some() => {}
                    }
                }
            };
            let mut next = match polled {
                Ok(event) => Some(event),
                Err(error) => {
                    let connected = self.phase != Phase::Connecting;
                    let (options, broker) = (&self.client.options, self.client.broker());
                    let reason = reason::of(&error, options, broker, connected);
                    return End::Lost(reason);
                }
            };
            // What the next polls would return at once, without a turn for each.
            while let Some(event) = next {
                let handled = match event {
                    Polled::Incoming(packet) => self.receive(packet, &mut event_loop.options),
                    Polled::Outgoing(sent) => self.note_sent(sent),
                };
                if let Err(end) = handled {
                    return end;
                }
                next = event_loop.state.events.pop_front();
            }
        }
    }

    /// Gives the caller what there is room for.
    fn deliver(&mut self) -> Result<(), End> {
        if !matches!(self.phase, Phase::Connected { .. }) {
            return Ok(());
        }
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

    /// What the caller asks for at one time can be handed over at one time.
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
        match (command, self.phase) {
            (Command::Disconnect, Phase::Connected { .. }) => {
                let now = Instant::now();
                self.goodbye =
                    Some(Goodbye { settle_by: now + SETTLE, leave_by: now + LEAVE, said: false });
            }
            (Command::Disconnect, _) => return Err(End::Left),
            (Command::Publish(publish), Phase::Connected { .. }) => self.publish(publish),
            (Command::Acknowledge(acknowledgement), Phase::Connected { .. }) => {
                if acknowledgement.generation == self.client.generation
                    && acknowledgement.qos != QoS::AtMostOnce
                {
                    self.outgoing.acknowledge(acknowledgement);
                }
            }
            // Meant for the connection before this one.
            (Command::Publish(_) | Command::Acknowledge(_), _) => {}
        }
        Ok(())
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

    /// Gives rumqttc what the windows allow, and says goodbye when it is time.
    fn hand_over(&mut self) -> Result<(), End> {
        let full = |_| End::Lost("rumqttc's channel is full although its use is bounded".into());
        while let Some(acknowledgement) = self.outgoing.next_acknowledgement() {
            self.requests.try_ack(&packet::acknowledged(&acknowledgement)).map_err(full)?;
        }
        while let Some(publish) = self.outgoing.next_publish() {
            let packet = publish.packet;
            self.requests
                .try_publish_with_properties(
                    publish.topic,
                    packet.qos,
                    packet.retain,
                    packet.payload,
                    packet.properties.unwrap_or_default(),
                )
                .map_err(full)?;
        }
        if let Some(goodbye) = &mut self.goodbye {
            let now = Instant::now();
            if now >= goodbye.leave_by {
                return Err(End::Left);
            }
            if !goodbye.said && (self.outgoing.is_idle() || now >= goodbye.settle_by) {
                goodbye.said = true;
                self.requests.try_disconnect().map_err(full)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, packet: Packet, options: &mut MqttOptions) -> Result<(), End> {
        match packet {
            Packet::ConnAck(connack) => self.connected(&connack, options)?,
            Packet::SubAck(suback) => self.subscribed(&suback)?,
            Packet::Publish(publish) => {
                let message = packet::message(publish, self.client.generation);
                self.client.queue.push_back(Event::Message(message));
            }
            Packet::PubAck(puback) => self.publish_acknowledged(&puback),
            _ => {}
        }
        if matches!(self.phase, Phase::Connected { .. }) {
            self.deadline = Instant::now() + self.silence;
        }
        Ok(())
    }

    fn connected(&mut self, connack: &ConnAck, options: &mut MqttOptions) -> Result<(), End> {
        self.client.generation += 1;
        self.session_present = connack.session_present;
        if let Some(properties) = &connack.properties {
            self.largest_packet = properties.max_packet_size.unwrap_or(u32::MAX);
            if let Some(receive_maximum) = properties.receive_max {
                self.outgoing.limit(receive_maximum);
            }
        }
        if options.keep_alive().is_zero() {
            // The broker wants none, but rumqttc would ping without a pause, and we want to notice
            // when it is gone.
            options.set_keep_alive(packet::keep_alive(&self.client.options));
        }
        self.silence = 2 * options.keep_alive();
        self.phase = Phase::Subscribing;
        if self.client.options.subscriptions.is_empty() {
            self.usable();
            return Ok(());
        }
        self.requests
            .try_subscribe_many(packet::filters(&self.client.options))
            .map_err(|_| End::Lost("a subscription is not a valid topic filter".into()))
    }

    fn subscribed(&mut self, suback: &SubAck) -> Result<(), End> {
        let mut answers = suback.return_codes.iter();
        for filter in &self.client.options.subscriptions {
            match answers.next() {
                Some(SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)) => {}
                Some(SubscribeReasonCode::Success(QoS::AtMostOnce)) => {
                    return Err(End::Lost(format!(
                        "subscription to \"{filter}\" granted for QoS 0 only, which loses commands"
                    )));
                }
                refused => {
                    let answer =
                        refused.map_or("no answer".to_owned(), |reason| format!("{reason:?}"));
                    return Err(End::Lost(format!(
                        "subscription to \"{filter}\" refused by the broker: {answer}"
                    )));
                }
            }
        }
        self.usable();
        Ok(())
    }

    fn usable(&mut self) {
        // The caller sent these before it could know of this connection.
        while let Ok(command) = self.client.commands.try_recv() {
            if matches!(command, Command::Disconnect) {
                let now = Instant::now();
                self.goodbye = Some(Goodbye { settle_by: now, leave_by: now + LEAVE, said: false });
            }
        }
        self.phase = Phase::Connected { since: Instant::now() };
        self.client.queue.push_front(Event::Connected {
            generation: self.client.generation,
            session_present: self.session_present,
            broker: self.client.broker().clone(),
        });
    }

    fn publish_acknowledged(&mut self, puback: &PubAck) {
        let Some(id) = self.outgoing.publish_acknowledged(puback.pkid) else { return };
        let outcome = match puback.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
            _ => Err(reason::of_puback(puback)),
        };
        self.client.queue.push_back(Event::Published { id, outcome });
    }

    fn note_sent(&mut self, sent: Sent) -> Result<(), End> {
        match sent {
            Sent::Publish(packet_id) => self.outgoing.publish_sent(packet_id),
            Sent::PubAck(_) | Sent::PubRec(_) => self.outgoing.acknowledgement_sent(),
            // rumqttc also reports one that it should have sent for a topic alias out of nowhere.
            Sent::Disconnect if self.goodbye.is_some() => return Err(End::Left),
            Sent::Disconnect => return Err(End::Lost("protocol error by the broker".into())),
            _ => {}
        }
        Ok(())
    }

    fn silence_reason(&self) -> String {
        let broker = self.client.broker();
        match self.phase {
            Phase::Connecting => format!("failed to connect to {broker}: no answer in time"),
            Phase::Subscribing => {
                format!("failed to connect to {broker}: no answer to the subscriptions")
            }
            Phase::Connected { .. } => format!(
                "connection to {broker} lost: nothing heard for {} s",
                self.silence.as_secs()
            ),
        }
    }
}
