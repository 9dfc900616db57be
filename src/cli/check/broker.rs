//! Whether the broker takes the agent, and shows what the agent says of itself.
//!
//! The visit has a client id and a session of its own, so an agent that runs keeps its own. It hears
//! the requests that come meanwhile, as the agent does, and does nothing with them.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::agent::Agent;
use super::finding::Finding;
use crate::cli::presence::Presence;
use crate::config::Config;
use crate::edge::mqtt::{self, Command, Event, Message, Publish, PublishId, Reason};
use crate::wire::outbound;
use crate::wire::topic::Topics;

const BROKER: &str = "broker";
const PRESENCE: &str = "presence";

/// For TCP, TLS, and the subscriptions; several brokers are tried in turn.
const CONNECT: Duration = Duration::from_secs(5);
/// A retained message comes right behind the subscription.
const RETAINED: Duration = Duration::from_secs(1);
/// From our own publish until the broker shows it.
const READ_BACK: Duration = Duration::from_secs(2);
/// At each broker, since one that restarts may refuse the first.
const ATTEMPTS: usize = 2;
const EVENTS: usize = 64;
const PUBLISH: PublishId = PublishId(1);

/// What the visit saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The broker that took us, or why none did; without a reason, none answered.
    pub connected: Result<String, Vec<Reason>>,
    pub seen: Seen,
    /// An agent runs on this machine; `None`: that is not known.
    pub agent_runs: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There was no connection, or it was lost.
    Nothing,
    /// What was retained already; nothing was published.
    Retained(Option<Presence>),
    /// Ours was published, and read back.
    ReadBack,
    /// Ours was published, and the broker does not show it.
    NotShown,
    /// The broker did not take ours.
    Refused(String),
}

/// Visits the broker, for a few seconds at most.
pub async fn gather(config: &Config, agent: &Agent) -> Facts {
    let agent_runs = match agent {
        Agent::Runs(_) => Some(true),
        Agent::Absent => Some(false),
        Agent::Unknown(_) => None,
    };
    let topics = Topics::new(&config.mqtt.prefix, &config.device_id);
    let mut subscriptions = topics.subscriptions();
    subscriptions.push(topics.presence());
    let (sender, events) = mpsc::channel(EVENTS);
    let mqtt = mqtt::spawn(
        mqtt::Options {
            client_id: format!("{}-check", config.mqtt.client_id),
            session_expiry: Duration::ZERO,
            subscriptions,
            ..config.mqtt.options()
        },
        sender,
    );
    let brokers = config.mqtt.brokers.len();
    let mut visit = Visit { mqtt, events, presence: topics.presence(), brokers };
    let connected = visit.connect().await;
    let seen = match &connected {
        Ok(_) => visit.look(agent_runs, &config.device_id).await,
        Err(_) => Seen::Nothing,
    };
    visit.leave().await;
    Facts { connected, seen, agent_runs }
}

pub fn judge(facts: &Facts) -> Finding {
    match &facts.connected {
        Ok(broker) => {
            Finding::ok(BROKER, format!("{broker} takes us, and grants the agent's subscriptions"))
        }
        Err(reasons) => Finding::failure(BROKER, found(reasons), advice(reasons)),
    }
}

/// `None`: there was no connection to see it by.
pub fn judge_presence(facts: &Facts) -> Option<Finding> {
    let finding = match (&facts.seen, facts.agent_runs) {
        (Seen::Nothing, _) => return None,
        (Seen::ReadBack, _) => Finding::ok(PRESENCE, "published, and read back"),
        (Seen::Refused(reason), _) => Finding::failure(
            PRESENCE,
            format!("the broker does not take it: {reason}"),
            "let this user publish to the presence, replies and lifecycle topics of this device",
        ),
        (Seen::NotShown, _) => Finding::warning(
            PRESENCE,
            "published, and the broker does not show it to us",
            "may this user read the presence topic? Those who send commands must be able to",
        ),
        (Seen::Retained(Some(presence)), Some(true)) if presence.online => {
            Finding::ok(PRESENCE, "the broker shows that the agent is online")
        }
        (Seen::Retained(_), Some(true)) => Finding::failure(
            PRESENCE,
            "the agent runs, and the broker does not show that it is online",
            "may this user publish to the presence topic, and read it? Is the agent connected \
             (downlinkd status)?",
        ),
        (Seen::Retained(Some(presence)), _) if presence.online => Finding::warning(
            PRESENCE,
            "the broker shows that an agent is online, and none answers here",
            "does another machine have the same [device] id? If nothing runs, the broker will notice",
        ),
        (Seen::Retained(_), _) => Finding::ok(
            PRESENCE,
            "nobody is online; nothing was published, since an agent may be running here",
        ),
    };
    Some(finding)
}

fn found(reasons: &[Reason]) -> String {
    if reasons.is_empty() {
        return format!("no answer of the broker within {} s", CONNECT.as_secs());
    }
    let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
    reasons.join("; ")
}

/// For the one that came furthest, where several brokers were tried.
fn advice(reasons: &[Reason]) -> &'static str {
    let is_one = |kind: fn(&Reason) -> bool| reasons.iter().any(kind);
    if is_one(|it| matches!(it, Reason::Subscription { .. })) {
        "let this user subscribe to the commands, queries, grants and presence of this device"
    } else if is_one(|it| matches!(it, Reason::Refused { .. })) {
        "look at [mqtt] username, password_file and client_id, and at the broker's users"
    } else if is_one(|it| matches!(it, Reason::Tls { .. })) {
        "look at [mqtt] ca_file, cert_file and key_file, at the broker's certificate and the clock"
    } else {
        "is the network up, [mqtt] url right and the broker running?"
    }
}

struct Visit {
    mqtt: mqtt::Handle,
    events: mpsc::Receiver<Event>,
    presence: String,
    /// How many are tried in turn.
    brokers: usize,
}

impl Visit {
    async fn connect(&mut self) -> Result<String, Vec<Reason>> {
        let until = Instant::now() + CONNECT;
        let mut reasons = Vec::new();
        let mut attempts = 0;
        loop {
            match timeout_at(until, self.events.recv()).await {
                Ok(Some(Event::Connected { broker, .. })) => return Ok(broker.to_string()),
                Ok(Some(Event::Disconnected { reason })) => {
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                    attempts += 1;
                    if attempts == ATTEMPTS * self.brokers {
                        break;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        Err(reasons)
    }

    async fn look(&mut self, agent_runs: Option<bool>, device_id: &str) -> Seen {
        let retained = self.next_presence(RETAINED, |_| true).await.ok();
        // An agent elsewhere would be made to look offline.
        let is_online = retained.as_ref().is_some_and(|presence| presence.online);
        if agent_runs != Some(false) || is_online {
            return Seen::Retained(retained);
        }
        let session = Uuid::new_v4();
        self.mqtt.send(Command::Publish(Publish {
            id: Some(PUBLISH),
            topic: self.presence.clone(),
            payload: outbound::absence(session, device_id),
            retain: true,
            ..Publish::default()
        }));
        match self.next_presence(READ_BACK, |presence| presence.session == session).await {
            Ok(_) => Seen::ReadBack,
            Err(None) => Seen::NotShown,
            Err(Some(reason)) => Seen::Refused(reason),
        }
    }

    /// `Err(None)`: none came in time; `Err(Some)`: the broker did not take ours.
    async fn next_presence(
        &mut self,
        within: Duration,
        is_wanted: impl Fn(&Presence) -> bool,
    ) -> Result<Presence, Option<String>> {
        let until = Instant::now() + within;
        loop {
            match timeout_at(until, self.events.recv()).await {
                Ok(Some(Event::Message(message))) => {
                    let Message { topic, payload, acknowledgement, .. } = message;
                    self.mqtt.send(Command::Acknowledge(acknowledgement));
                    if topic == self.presence
                        && let Ok(presence) = serde_json::from_slice(&payload)
                        && is_wanted(&presence)
                    {
                        return Ok(presence);
                    }
                }
                Ok(Some(Event::Published { outcome: Err(reason), .. })) => {
                    return Err(Some(reason.to_string()));
                }
                Ok(Some(Event::Disconnected { reason })) => return Err(Some(reason.to_string())),
                Ok(Some(Event::Connected { .. } | Event::Published { .. })) => {}
                Ok(None) | Err(_) => return Err(None),
            }
        }
    }

    async fn leave(mut self) {
        // Too late a goodbye changes nothing any more.
        self.mqtt.leave(&mut self.events).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::super::finding::Level;
    use super::*;
    use crate::edge::mqtt::Broker;

    fn presence(online: bool) -> Presence {
        Presence {
            online,
            session: Uuid::nil(),
            guard_mode: None,
            link: None,
            clock: None,
            challenge: None,
        }
    }

    fn facts(seen: Seen, agent_runs: Option<bool>) -> Facts {
        Facts { connected: Ok("mqtt://b:1883".to_owned()), seen, agent_runs }
    }

    /// What a visit finds where every client hears these packets, one after each of its own.
    async fn visit(answers: &'static [&'static [u8]]) -> Facts {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let broker = async move {
            if answers.is_empty() {
                // Keeps the port from others, without listening.
                let _socket = socket;
                return std::future::pending().await;
            }
            let listener = socket.listen(8).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in answers {
                    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                    stream.write_all(answer).await.unwrap();
                }
                // Until the client has gone.
                let _ = stream.read(&mut [0; 1024]).await;
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("downlinkd.toml");
        let text = format!(
            "[device]\nid = \"a\"\n[link]\nendpoint = \"udpin:0.0.0.0:1\"\n\
             [mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        tokio::select! {
            facts = gather(&config, &Agent::Absent) => facts,
            () = broker => unreachable!(),
        }
    }

    #[tokio::test]
    async fn why_no_broker_takes_us() {
        const ACCEPTED: &[u8] = &[0x20, 3, 0, 0, 0];
        const NOT_AUTHORIZED: &[u8] = &[0x20, 3, 0, 0x87, 0];
        const NO_SUBSCRIPTION: &[u8] = &[0x90, 4, 0, 1, 0, 0x87];
        // TLS's handshake_failure.
        const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
        for (answers, found, advice) in [
            (&[][..], "Connection refused (os error 111)", "is the network up"),
            (&[ALERT], "perhaps it is TLS (mqtts://)", "is the network up"),
            (&[NOT_AUTHORIZED], "refused by the broker: it wants a user name", "username"),
            (&[ACCEPTED, NO_SUBSCRIPTION], "refused by the broker: NotAuthorized", "subscribe to"),
        ] {
            let facts = visit(answers).await;
            let finding = judge(&facts);
            assert_eq!(finding.level, Level::Failure);
            assert!(finding.found.contains(found), "{found} is not in {}", finding.found);
            let told = finding.advice.unwrap();
            assert!(told.contains(advice), "{}: {told}", finding.found);
            assert_eq!(judge_presence(&facts), None);
        }
    }

    #[test]
    fn the_advice_is_for_the_broker_that_came_furthest() {
        let broker = || Broker { host: "b".to_owned(), port: 8883, tls: true };
        let mut reasons = Vec::new();
        for (reason, told) in [
            (Reason::Unreachable { broker: broker(), why: "x".to_owned() }, "is the network up"),
            (Reason::Tls { broker: broker(), why: "x".to_owned() }, "ca_file"),
            (Reason::Refused { broker: broker(), why: "x".to_owned() }, "username"),
            (Reason::Subscription { filter: "f".to_owned(), why: "x".to_owned() }, "subscribe to"),
            (Reason::Lost { broker: broker(), why: "x".to_owned() }, "subscribe to"),
        ] {
            reasons.push(reason);
            assert!(advice(&reasons).contains(told), "{reasons:?}");
        }
        assert!(
            found(&reasons)
                .ends_with("subscription to \"f\" x; connection to mqtts://b:8883 lost: x")
        );
        assert_eq!(found(&[]), "no answer of the broker within 5 s");
        assert_eq!(judge(&facts(Seen::ReadBack, None)).level, Level::Ok);
    }

    #[test]
    fn what_the_presence_says() {
        let online = || Seen::Retained(Some(presence(true)));
        let offline = || Seen::Retained(Some(presence(false)));
        for (seen, agent_runs, level) in [
            (Seen::ReadBack, Some(false), Level::Ok),
            (Seen::NotShown, Some(false), Level::Warning),
            (Seen::Refused("NotAuthorized".to_owned()), Some(false), Level::Failure),
            (online(), Some(true), Level::Ok),
            (offline(), Some(true), Level::Failure),
            (Seen::Retained(None), Some(true), Level::Failure),
            (online(), Some(false), Level::Warning),
            (online(), None, Level::Warning),
            (offline(), None, Level::Ok),
            (Seen::Retained(None), None, Level::Ok),
        ] {
            let facts = facts(seen, agent_runs);
            assert_eq!(judge_presence(&facts).unwrap().level, level, "{facts:?}");
        }
    }
}
