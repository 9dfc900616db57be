//! A PUBLISH becomes an input of the engine, or a refusal.

use std::time::Duration;

use log::warn;

use crate::code::Code;
use crate::edge::mqtt::Message;
use crate::guard::Guard;
use crate::guard::rate::RateLimit;
use crate::lifecycle::effect::ErrorReply;
use crate::lifecycle::request::{CommandRequest, Query, ReplyTo};
use crate::wire::inbound::{self, MAX_MESSAGE_BYTES};
use crate::wire::topic::{Kind, Topics};

/// Replies to unknown senders: enough for somebody who set up a publisher wrongly.
const UNKNOWN_SENDERS: (u32, Duration) = (5, Duration::from_secs(1));

/// What a message turned out to be.
#[derive(Debug)]
pub enum Admitted {
    Request(Box<CommandRequest>),
    Query(Query),
    /// `None`: it gets no answer.
    Refused(Option<ErrorReply>),
}

#[derive(Debug)]
pub struct Admission {
    device_id: String,
    topics: Topics,
    unknown_senders: RateLimit,
}

impl Admission {
    pub fn new(device_id: String, topics: Topics) -> Self {
        let (burst, interval) = UNKNOWN_SENDERS;
        Self { device_id, topics, unknown_senders: RateLimit::new(burst, interval) }
    }

    /// Reads a message. `now`: the boot clock.
    pub fn read(&mut self, guard: &Guard, message: &Message, now: Duration) -> (Admitted, ReplyTo) {
        let Some((kind, api_id)) = self.topics.parse(&message.topic) else {
            warn!("a message on {:?} was dropped: it is none of the agent's topics", message.topic);
            return (Admitted::Refused(None), ReplyTo::default());
        };
        let reply_to = ReplyTo {
            api_id: api_id.to_owned(),
            response_topic: message
                .response_topic
                .clone()
                .filter(|topic| self.topics.allows_response_topic(api_id, topic)),
            correlation_data: message.correlation_data.clone(),
        };
        let admitted = match self.check(guard, kind, api_id, message, now) {
            Ok(admitted) => admitted,
            Err(error) => {
                if let Some(violation) = error.as_ref().and_then(|error| error.violations.first()) {
                    warn!(API_ID = api_id, CODE = violation.code.as_str(); "refused: {violation}");
                }
                Admitted::Refused(error)
            }
        };
        (admitted, reply_to)
    }

    fn check(
        &mut self,
        guard: &Guard,
        kind: Kind,
        api_id: &str,
        message: &Message,
        now: Duration,
    ) -> Result<Admitted, Option<ErrorReply>> {
        let body = &message.payload[..];
        let refuse = |code, text: String| Err(Some(inbound::refusal(body, code, text)));
        if let Err(refusal) = guard.admit(api_id) {
            if !self.unknown_senders.take(now) {
                return Err(None);
            }
            // The sender learns nothing that helps to guess.
            warn!(API_ID = api_id, CODE = refusal.code.as_str(); "{}", refusal.message);
            return refuse(refusal.code, "the request could not be authenticated".to_owned());
        }
        if message.retain {
            let text = "retained messages are never acted on; publish without retain";
            return refuse(Code::EnvelopeRetained, text.to_owned());
        }
        if body.len() > MAX_MESSAGE_BYTES {
            let text = format!("{} bytes are too many; at most {MAX_MESSAGE_BYTES}", body.len());
            return refuse(Code::EnvelopeTooLarge, text);
        }
        if message.message_expiry == Some(Duration::ZERO) {
            let text = "the message's expiry was over when it arrived";
            return refuse(Code::EnvelopeExpired, text.to_owned());
        }
        match kind {
            Kind::Commands => {
                inbound::read_request(body, api_id, &self.device_id, message.message_expiry)
                    .map(|request| Admitted::Request(Box::new(request)))
            }
            Kind::Queries => {
                inbound::read_query(body, api_id, &self.device_id).map(Admitted::Query)
            }
        }
        .map_err(Some)
    }
}
