//! The MQTT 5 client: one persistent session, acknowledgements in the caller's hands, the truth in
//! the caller's outbox.
//!
//! [`spawn`] starts one task, which owns the connection, reconnects it, and ends after
//! [`Command::Disconnect`] or when the caller has gone (all handles or the event receiver dropped).
//! Ending any other way than by `Disconnect`, also by being aborted, leaves without a goodbye, and
//! the broker publishes the will.
//!
//! Of rumqttc only the codec is used. Its event loop loses what it has queued when a connection
//! breaks, must not be cancelled, and writes each packet by itself (docs/architecture.md). Here a
//! connection (`connection.rs`) owns all that belongs to it, and nothing of an old one can surface in a
//! new one. What must not be lost lies elsewhere: received messages with the broker until they are
//! acknowledged, published ones with the caller until [`Event::Published`].
//!
//! Back-pressure: events that the caller has not taken wait in a local queue while the connection
//! lives on, so keep-alive does not depend on the caller. QoS 1 messages are bounded by our receive
//! maximum, since the caller acknowledges only what it has seen. Only a flood of QoS 0 messages can
//! fill the queue; then the socket is not read until the caller catches up.
//!
//! Reading order: `broker` (where one is), `tls` (the certificates), `backoff` (which one is
//! tried, and when), `network` with `codec` (bytes to packets), `packet` (our types to rumqttc's),
//! `handshake` (a connection becomes usable), `connection` (it lives), `outgoing` (what waits to leave by
//! it), `reason` (why it ended).

mod backoff;
mod broker;
mod codec;
mod connection;
mod handshake;
mod network;
mod outgoing;
mod packet;
mod reason;
pub mod tls;

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::mpsc::{self, error::SendError};
use tokio::time::{Instant, sleep_until, timeout};

use backoff::Backoff;
pub use broker::Broker;
use connection::End;
pub use packet::NotPublished;
pub use reason::Reason;
pub use tls::{ClientCertificate, Tls};

/// How long [`Handle::leave`] waits.
const GOODBYE: Duration = Duration::from_secs(2);

/// How to reach a broker, as whom, and what to hear.
#[derive(Clone)]
pub struct Options {
    /// Tried in turn, from the first; at least one.
    pub brokers: Vec<Broker>,
    /// For those of them with [`Broker::tls`].
    pub tls: Tls,
    /// Names the session at the broker; two clients with the same one throw each other out.
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    /// 5 s to 65 535 s; values outside are narrowed to that. A silent broker is left after twice
    /// this time. The broker may impose another value.
    pub keep_alive: Duration,
    /// How long the broker keeps the session while we are away, in whole seconds.
    pub session_expiry: Duration,
    /// Topic filters, all at QoS 1. A connection on which one is refused is not used.
    pub subscriptions: Vec<String>,
    /// A client that only visits has none.
    pub will: Option<Will>,
}

/// What the broker publishes, retained, when we vanish without a goodbye, or say goodbye before it has
/// taken everything. QoS 1, JSON.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
}

/// What the caller hears, in order.
#[derive(Debug)]
pub enum Event {
    /// CONNACK came and SUBACK granted every subscription. Precedes every [`Event::Message`] of its
    /// generation, also those that the broker sends before its SUBACK. Messages of earlier
    /// generations are void, and so is what was published without an [`Event::Published`]: publish
    /// it again.
    Connected { generation: u64, session_present: bool, broker: Broker },
    /// The connection ended, or an attempt failed. The next attempt, at the next broker, follows by
    /// itself after 0.1 s to 10 s.
    Disconnected { reason: Reason },
    /// A PUBLISH; its PUBACK is withheld until [`Command::Acknowledge`].
    Message(Message),
    /// The answer to the [`Command::Publish`] with this id: the broker took the message, or why it
    /// never will (`NotAuthorized`, `QuotaExceeded`, larger than it allows, ...). That nobody
    /// subscribes is a success.
    Published { id: PublishId, outcome: Result<(), NotPublished> },
}

/// A received PUBLISH.
#[derive(Debug)]
pub struct Message {
    /// Bytes that are not UTF-8 stand as U+FFFD. Empty, as no topic is: nothing of the message could
    /// be read but who is to get its PUBACK.
    pub topic: String,
    pub payload: Vec<u8>,
    /// Set on stored messages and, since we subscribe with Retain As Published, on live ones that
    /// were published with it.
    pub retain: bool,
    /// The broker's DUP flag: an earlier delivery was not acknowledged.
    pub duplicate: bool,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Vec<u8>>,
    /// What remains of the publisher's expiry, in whole seconds.
    pub message_expiry: Option<Duration>,
    pub user_properties: Vec<(String, String)>,
    pub acknowledgement: Acknowledgement,
}

/// The right to acknowledge one message, once, on the connection that it came by.
#[derive(Debug)]
pub struct Acknowledgement {
    generation: u64,
    packet_id: u16,
    qos: QoS,
}

/// Names a publish between [`Command::Publish`] and [`Event::Published`]; the caller chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishId(pub u64);

/// A message to publish: QoS 1, content type `application/json`, payload format UTF-8.
#[derive(Clone, Debug, Default)]
pub struct Publish {
    /// With an id its fate is reported as [`Event::Published`]. Where the broker is slow, those with
    /// an id and those without one take turns, and of the latter only 4096 wait: what comes then is
    /// dropped, unless it is retained. These go before all, and of a topic only the newest.
    pub id: Option<PublishId>,
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub correlation_data: Option<Vec<u8>>,
    /// How long the broker may keep it for somebody who is away, in whole seconds.
    pub message_expiry: Option<Duration>,
    pub user_properties: Vec<(String, String)>,
}

/// What the caller can ask for.
#[derive(Debug)]
pub enum Command {
    /// PUBACKs leave in the order of these. One for an older generation is dropped: its packet id
    /// may name another message by now.
    Acknowledge(Acknowledgement),
    /// While there is no connection this is forgotten; the caller publishes again after
    /// [`Event::Connected`]. One that was sent just before the caller took a `Connected` may still
    /// go out on that connection, so an id can be published, and reported, twice.
    Publish(Publish),
    /// Publishes what was asked for before, waits shortly for its PUBACKs, then leaves with a
    /// DISCONNECT. The will is not published, unless the broker has not taken everything by then: so
    /// it must say the same as the caller's last words. The task ends within 1 s.
    Disconnect,
}

/// Where commands go in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

impl Handle {
    /// Never blocks. The caller bounds what it has outstanding with an id; after the task's end this
    /// does nothing.
    pub fn send(&self, command: Command) {
        // The only error is that the task has ended.
        let _: Result<(), SendError<Command>> = self.commands.send(command);
    }

    /// Disconnects, and takes what still comes until the task has ended; false if that takes over 2 s.
    pub async fn leave(&self, events: &mut mpsc::Receiver<Event>) -> bool {
        self.send(Command::Disconnect);
        let ended = async { while events.recv().await.is_some() {} };
        timeout(GOODBYE, ended).await.is_ok()
    }

    /// Resolves when the task has ended. Cancel-safe.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }
}

/// Starts the task on the current runtime.
pub fn spawn(options: Options, events: mpsc::Sender<Event>) -> Handle {
    let (commands, receiver) = mpsc::unbounded_channel();
    let client = Client {
        backoff: Backoff::new(options.brokers.len()),
        options,
        commands: receiver,
        events,
        queue: VecDeque::new(),
        generation: 0,
    };
    tokio::spawn(client.run());
    Handle { commands }
}

struct Client {
    options: Options,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
    /// Events on their way to the caller. Empty when a connection starts.
    queue: VecDeque<Event>,
    generation: u64,
    backoff: Backoff,
}

impl Client {
    /// Whose turn it is.
    fn broker(&self) -> &Broker {
        &self.options.brokers[self.backoff.broker()]
    }

    async fn run(mut self) {
        loop {
            let (end, connected_for) = connection::run(&mut self).await;
            let End::Lost(reason) = end else { break };
            // The broker sends these again, so the caller need not see them twice.
            self.queue.retain(|event| match event {
                Event::Message(message) => message.acknowledgement.qos == QoS::AtMostOnce,
                _ => true,
            });
            self.queue.push_back(Event::Disconnected { reason });
            let pause = self.backoff.next_pause(connected_for);
            if !self.pause_until(Instant::now() + pause).await {
                break;
            }
        }
        // What is already true may still be of use; what is not taken now is lost with the task.
        for event in self.queue {
            if self.events.try_send(event).is_err() {
                break;
            }
        }
    }

    /// Delivers what is queued and forgets what is commanded until it is time for the next attempt
    /// and the caller has taken everything. `false` ends the task.
    async fn pause_until(&mut self, due: Instant) -> bool {
        while !self.queue.is_empty() || Instant::now() < due {
            tokio::select! {
                permit = self.events.reserve(), if !self.queue.is_empty() => match permit {
                    Ok(permit) => permit.send(self.queue.pop_front().expect("it is not empty")),
                    Err(SendError(())) => return false,
                },
                command = self.commands.recv() => match command {
                    Some(Command::Acknowledge(_) | Command::Publish(_)) => {}
                    Some(Command::Disconnect) | None => return false,
                },
                () = self.events.closed() => return false,
                () = sleep_until(due), if Instant::now() < due => {}
            }
        }
        true
    }
}
