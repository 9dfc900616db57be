//! The adapter under test with its caller's side.

use std::time::Duration;

use downlinkd::edge::mqtt::{
    self, Broker, Command, Event, Handle, Message, Options, Publish, PublishId, Reason, Tls, Will,
};
use tokio::sync::mpsc;

use crate::soon;

pub const COMMANDS: &str = "base/commands/api";
pub const REPLIES: &str = "base/replies/api";
pub const PRESENCE: &str = "base/presence";

pub fn options(port: u16) -> Options {
    Options {
        brokers: vec![Broker { host: "127.0.0.1".into(), port, tls: false }],
        tls: Tls { ca_file: "/nonexistent".into(), client: None },
        client_id: "agent".into(),
        username: None,
        password: None,
        keep_alive: Duration::from_secs(30),
        session_expiry: Duration::from_secs(3600),
        subscriptions: vec!["base/commands/+".into(), "base/queries/+".into()],
        will: Some(Will { topic: PRESENCE.into(), payload: b"offline".to_vec() }),
    }
}

/// Dropping it drops the event receiver: the adapter's task ends without a goodbye.
pub struct Agent {
    pub handle: Handle,
    events: mpsc::Receiver<Event>,
}

impl Agent {
    pub fn start(options: Options) -> Self {
        Self::start_with_capacity(options, 64)
    }

    pub fn start_with_capacity(options: Options, capacity: usize) -> Self {
        let (sender, events) = mpsc::channel(capacity);
        Self { handle: mqtt::spawn(options, sender), events }
    }

    /// Started and connected; also returns whether the session was present.
    pub async fn connect(options: Options) -> (Self, bool) {
        let mut agent = Self::start(options);
        let (_, session_present) = agent.connected().await;
        (agent, session_present)
    }

    pub async fn next(&mut self) -> Event {
        soon(self.events.recv()).await.expect("the adapter's task has ended")
    }

    /// `None` when the task has ended and everything was taken.
    pub async fn next_or_end(&mut self) -> Option<Event> {
        soon(self.events.recv()).await
    }

    /// Skips failed attempts; anything else is a failure.
    pub async fn connected(&mut self) -> (u64, bool) {
        let connected = async {
            loop {
                match self.next().await {
                    Event::Connected { generation, session_present, .. } => {
                        return (generation, session_present);
                    }
                    Event::Disconnected { .. } => {}
                    other => panic!("{other:?} before Connected"),
                }
            }
        };
        soon(connected).await
    }

    pub async fn disconnected(&mut self) -> String {
        self.ended().await.to_string()
    }

    pub async fn ended(&mut self) -> Reason {
        match self.next().await {
            Event::Disconnected { reason } => reason,
            other => panic!("{other:?} instead of Disconnected"),
        }
    }

    pub async fn message(&mut self) -> Message {
        match self.next().await {
            Event::Message(message) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    pub async fn published(&mut self) -> (u64, Result<(), String>) {
        match self.next().await {
            Event::Published { id, outcome } => (id.0, outcome.map_err(|error| error.to_string())),
            other => panic!("{other:?} instead of Published"),
        }
    }

    pub fn acknowledge(&self, message: Message) {
        self.handle.send(Command::Acknowledge(message.acknowledgement));
    }

    pub fn publish(&self, id: u64, topic: &str, payload: &str) {
        self.handle.send(Command::Publish(publish(Some(id), topic, payload)));
    }

    /// Returns when the broker has handled everything that was commanded before: packets of one
    /// connection are handled in their order.
    pub async fn settle(&mut self) {
        self.publish(u64::MAX, "settle", "");
        assert_eq!(self.published().await, (u64::MAX, Ok(())));
    }
}

pub fn publish(id: Option<u64>, topic: &str, payload: &str) -> Publish {
    Publish {
        id: id.map(PublishId),
        topic: topic.into(),
        payload: payload.into(),
        ..Publish::default()
    }
}
