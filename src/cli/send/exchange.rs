//! The conversation with broker and vehicle, on the caller's runtime: connect, read the presence,
//! publish once, follow. It ends for sure: every wait has a deadline.
//!
//! What is published is one message. When the connection breaks before the vehicle has answered, the
//! very same bytes go out again: to the vehicle they are one command, whatever it got.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

use super::ending::Ending;
use super::follow::{Follow, Heard, Next, Step};
use super::render;
use super::request::Request;
use super::screen::Screen;
use crate::cli::presence::Presence;
use crate::edge::mqtt::{self, Command, Event, Publish, PublishId};
use crate::guard::authentication::signer::{Occasion, Signer};
use crate::wire::signature::MQTT;
use crate::wire::topic::Topics;

const CONNECT: Duration = Duration::from_secs(10);
/// A retained message comes right behind the subscription.
const PRESENCE: Duration = Duration::from_secs(2);
/// On top of the vehicle's own deadline, for the way there and back.
const MARGIN: Duration = Duration::from_secs(5);
/// For the answer to the last query.
const LAST_WORD: Duration = Duration::from_secs(5);
/// A vehicle that reports progress can go on for long, but not for ever.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// As long as a signature is fresh: for requests that do not say how long they may take.
const UNSAID_EXPIRY: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
const EVENTS: usize = 64;
const PUBLISH: PublishId = PublishId(1);

/// What is to be sent, and how.
pub struct Plan {
    /// Without subscriptions.
    pub options: mqtt::Options,
    pub topics: Topics,
    pub api_id: String,
    pub signer: Signer,
    pub request: Request,
    /// Of the request, in seconds.
    pub timeout: Option<u32>,
    /// Not only to the create reply.
    pub to_the_end: bool,
}

/// Sends and follows.
pub async fn run(plan: Plan, screen: &mut Screen) -> Ending {
    let Plan { topics, api_id, request, .. } = &plan;
    let subscriptions = vec![
        topics.presence(),
        topics.replies(api_id),
        topics.lifecycle(api_id, request.command_id),
    ];
    let options = mqtt::Options { subscriptions, ..plan.options.clone() };
    let (sender, events) = mpsc::channel(EVENTS);
    let mqtt = mqtt::spawn(options, sender);
    let follow = Follow::new(request.command_id, request.sha256.clone(), plan.to_the_end);
    let now = Instant::now();
    let mut exchange = Exchange {
        expiry: expiry(plan.timeout),
        plan,
        screen,
        mqtt,
        follow,
        phase: Phase::Connecting,
        is_connected: false,
        last_trouble: None,
        begun: now,
        deadline: now + CONNECT,
        asked_last: false,
        waits_for: "connecting to the broker".to_owned(),
    };
    exchange.run(events).await
}

struct Exchange<'a> {
    plan: Plan,
    screen: &'a mut Screen,
    mqtt: mqtt::Handle,
    follow: Follow,
    phase: Phase,
    is_connected: bool,
    /// Why there was no connection, last time.
    last_trouble: Option<String>,
    /// When the request was published; before that, when we began to connect.
    begun: Instant,
    deadline: Instant,
    /// The vehicle has been asked what became of it, for the last time.
    asked_last: bool,
    waits_for: String,
    /// How long the broker may keep the request, and so how late the vehicle may take it.
    expiry: Duration,
}

enum Phase {
    Connecting,
    /// Connected, and waiting for the retained presence.
    Looking,
    /// The request went out, so often.
    Published {
        message: Publish,
        times: u32,
    },
}

impl Exchange<'_> {
    async fn run(&mut self, mut events: mpsc::Receiver<Event>) -> Ending {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let ending = loop {
            let ended = tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => Some(self.without_answer()),
                },
                () = sleep_until(self.deadline) => self.on_deadline(),
                _ = ticks.tick(), if self.screen.is_live() => {
                    self.screen.wait(&self.waits_for, self.begun.elapsed());
                    None
                }
            };
            if let Some(ending) = ended {
                break ending;
            }
        };
        self.screen.clear();
        // Too late a goodbye changes nothing any more.
        self.mqtt.leave(&mut events).await;
        ending
    }

    fn on_event(&mut self, event: Event) -> Option<Ending> {
        match event {
            Event::Connected { .. } => {
                self.is_connected = true;
                self.on_connected();
                None
            }
            Event::Disconnected { reason } => {
                self.on_disconnected(reason.to_string());
                None
            }
            Event::Published { id: PUBLISH, outcome: Err(reason) } => {
                self.on_refused(&reason.to_string())
            }
            Event::Published { .. } => None,
            Event::Message(message) => {
                let mqtt::Message { topic, payload, retain, acknowledgement, .. } = message;
                self.mqtt.send(Command::Acknowledge(acknowledgement));
                if topic == self.plan.topics.presence() {
                    self.on_presence(&payload);
                    return None;
                }
                // Answers are never retained; somebody else's leftovers are no answer.
                if retain { None } else { self.on_answer(&payload) }
            }
        }
    }

    fn on_connected(&mut self) {
        match self.phase {
            Phase::Connecting => {
                self.phase = Phase::Looking;
                self.deadline = Instant::now() + PRESENCE;
                self.waits_for = "looking for the vehicle".to_owned();
            }
            Phase::Looking => {}
            Phase::Published { .. } if self.follow.is_known() => self.ask(),
            Phase::Published { .. } => self.publish(),
        }
    }

    fn on_disconnected(&mut self, reason: String) {
        let was_connected = std::mem::replace(&mut self.is_connected, false);
        if was_connected || self.last_trouble.is_none() {
            self.screen.note(&format!("{reason}; trying again"));
        }
        self.last_trouble = Some(reason);
    }

    fn on_presence(&mut self, payload: &[u8]) {
        if matches!(self.phase, Phase::Looking) {
            self.begin(serde_json::from_slice(payload).ok().as_ref());
        }
    }

    /// Signs at this moment, and publishes.
    fn begin(&mut self, presence: Option<&Presence>) {
        if let Some(warning) = render::warning(presence, self.expiry) {
            self.screen.note(&warning);
        }
        let Plan { topics, api_id, signer, request, .. } = &self.plan;
        let topic = topics.commands(api_id);
        let credentials = signer.sign(
            request.body.as_bytes(),
            Occasion {
                method: MQTT,
                path: &topic,
                // A clock before 1970 is refused like every wrong one.
                timestamp: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs(),
                nonce: &Uuid::new_v4().simple().to_string(),
                challenge: presence.and_then(Presence::needed_challenge),
            },
        );
        let message = Publish {
            id: Some(PUBLISH),
            topic,
            payload: request.body.clone().into_bytes(),
            user_properties: credentials.properties(),
            ..Publish::default()
        };
        self.phase = Phase::Published { message, times: 0 };
        self.begun = Instant::now();
        self.deadline = self.begun + self.expiry + MARGIN;
        self.waits_for = "waiting for the vehicle".to_owned();
        self.publish();
    }

    /// Publishes the request, or the same again, for as long as it may be taken.
    fn publish(&mut self) {
        let Phase::Published { message, times } = &mut self.phase else { return };
        let age = (*times > 0).then(|| self.begun.elapsed());
        let message_expiry = message_expiry(self.expiry, age);
        if message_expiry.is_none() {
            return;
        }
        *times += 1;
        self.mqtt.send(Command::Publish(Publish { message_expiry, ..message.clone() }));
    }

    /// Asks what became of the command; a query changes nothing.
    fn ask(&mut self) {
        let Plan { topics, api_id, request, .. } = &self.plan;
        let query = serde_json::json!({
            "command_id": request.command_id, "request_id": self.follow.query_id(),
        });
        self.mqtt.send(Command::Publish(Publish {
            topic: topics.queries(api_id),
            payload: query.to_string().into_bytes(),
            message_expiry: Some(LAST_WORD),
            ..Publish::default()
        }));
    }

    fn on_refused(&mut self, reason: &str) -> Option<Ending> {
        match self.phase {
            // What the broker took before may still be on its way.
            Phase::Published { times: 1, .. } if !self.follow.is_known() => {
                self.screen.note(&format!("the request was not published: {reason}"));
                Some(Ending::Refused)
            }
            _ => None,
        }
    }

    fn on_answer(&mut self, payload: &[u8]) -> Option<Ending> {
        let Heard::News(step, next) = self.follow.hear(payload) else { return None };
        self.screen.news(payload, step.as_ref(), self.begun.elapsed());
        if let Some(Step::Status { status, .. }) = step {
            self.waits_for = format!("{}, waiting for the vehicle", status.as_str());
        }
        // News buys time, but not for ever.
        let (now, limit) = (Instant::now(), self.begun + LONGEST);
        if now < limit {
            self.asked_last = false;
            self.deadline = (now + self.expiry + MARGIN).min(limit);
        }
        match next {
            Next::Wait => None,
            Next::Ask => {
                self.ask();
                None
            }
            Next::End(ending) => Some(ending),
        }
    }

    fn on_deadline(&mut self) -> Option<Ending> {
        let now = Instant::now();
        match self.phase {
            Phase::Looking if self.is_connected => {
                self.begin(None);
                None
            }
            Phase::Published { .. } if self.is_connected && !self.asked_last => {
                self.asked_last = true;
                self.deadline = now + LAST_WORD;
                self.ask();
                None
            }
            _ => Some(self.without_answer()),
        }
    }

    fn without_answer(&mut self) -> Ending {
        let trouble = self.last_trouble.as_deref().unwrap_or("no answer in time");
        if let Phase::Published { .. } = self.phase {
            let what = match (self.is_connected, self.follow.is_known()) {
                (true, true) => "the vehicle has fallen silent",
                (true, false) => {
                    "no answer; the vehicle is away, or does not know this issuer and key"
                }
                (false, _) => trouble,
            };
            let what = format!(
                "what became of the command is not known: {what}; the same --idempotency-key asks \
                 again and sends nothing twice"
            );
            self.screen.note(&what);
            return Ending::Unknown;
        }
        let what = format!("nothing was published: {trouble}");
        self.screen.note(&what);
        Ending::Unreachable
    }
}

/// How long a request may be taken: as long as it may take, at least.
fn expiry(timeout: Option<u32>) -> Duration {
    match timeout {
        None | Some(0) => UNSAID_EXPIRY,
        Some(seconds) => Duration::from_secs(seconds.into()),
    }
}

/// How long the broker may keep what was first published so long ago, or never before; `None`: not
/// at all any more.
fn message_expiry(expiry: Duration, age: Option<Duration>) -> Option<Duration> {
    let Some(age) = age else { return Some(expiry) };
    let left = expiry.saturating_sub(age);
    // MQTT has whole seconds, and 0 would be no expiry at all for some brokers.
    (!left.is_zero()).then(|| Duration::from_secs(left.as_secs().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_told_the_whole_time_first_and_then_what_is_left_of_it() {
        let told = |age: Option<u64>| {
            let told = message_expiry(Duration::from_secs(5), age.map(Duration::from_millis));
            told.map(|it| it.as_secs_f64())
        };
        assert_eq!(told(None), Some(5.0));
        for (age_ms, seconds) in [(1, 4.0), (1000, 4.0), (3001, 1.0), (4001, 1.0), (4999, 1.0)] {
            assert_eq!(told(Some(age_ms)), Some(seconds), "{age_ms} ms");
        }
        assert_eq!((told(Some(5000)), told(Some(60_000))), (None, None));
    }

    #[test]
    fn nothing_is_kept_for_longer_than_it_may_take() {
        for (timeout, seconds) in [(None, 60), (Some(0), 60), (Some(5), 5), (Some(300), 300)] {
            assert_eq!(expiry(timeout), Duration::from_secs(seconds));
        }
    }
}
