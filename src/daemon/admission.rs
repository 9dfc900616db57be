//! A PUBLISH or an HTTP request becomes an input of the engine, or a refusal. What an unknown sender
//! can cause is cheap: one hash and one comparison, no disk, and few answers.

use std::collections::HashMap;
use std::time::Duration;

use log::warn;

use crate::code::{Code, Violation};
use crate::edge::api::Submission;
use crate::edge::mqtt::Message;
use crate::guard::authentication::{Authenticated, Clock};
use crate::guard::rate::RateLimit;
use crate::guard::{Guard, Refusal};
use crate::lifecycle::effect::ErrorReply;
use crate::lifecycle::request::{CommandRequest, GrantMessage, Query, ReplyTo};
use crate::lifecycle::time::Now;
use crate::wire::explanation::Rehearsal;
use crate::wire::grant;
use crate::wire::inbound::{self, MAX_MESSAGE_BYTES};
use crate::wire::request_body::RequestBody;
use crate::wire::signature::{self, Unwrapped};
use crate::wire::topic::{Kind, Topics};

/// Replies to those who did not authenticate: enough for somebody who set up a publisher wrongly.
const UNKNOWN_SENDERS: (u32, Duration) = (5, Duration::from_secs(1));
/// Replies to messages that could not be read far enough to ask who they are from.
const UNREADABLE: (u32, Duration) = (50, Duration::from_millis(50));
/// Queries of one issuer's name, which anyone can send.
const QUERIES: (u32, Duration) = (50, Duration::from_millis(50));

/// What a message turned out to be.
#[derive(Debug)]
pub enum Admitted {
    Request(Box<CommandRequest>),
    Query(Query),
    Grant(Box<GrantMessage>),
    Refused(Denied),
}

/// Why a message makes nothing.
#[derive(Debug)]
pub struct Denied {
    pub code: Code,
    /// `None`: it gets no answer.
    pub reply: Option<Box<ErrorReply>>,
}

/// A message as it was sent, before it is known who has signed it.
#[derive(Clone, Copy)]
struct Sent<'message> {
    method: &'static str,
    path: &'message str,
    payload: &'message [u8],
    /// MQTT 5 user properties, or HTTP headers.
    properties: &'message [(String, String)],
}

/// What an issuer has signed.
struct Signed<'message> {
    api_id: String,
    body: RequestBody<'message>,
    authenticated: Option<Authenticated>,
}

#[derive(Debug)]
pub struct Admission {
    device_id: String,
    topics: Topics,
    /// Of this process, as presence tells it.
    challenge: String,
    unknown_senders: RateLimit,
    unreadable: RateLimit,
    /// Of issuers that the guard knows, so there are few.
    queries: HashMap<String, RateLimit>,
}

impl Admission {
    pub fn new(device_id: String, topics: Topics, challenge: String) -> Self {
        let rate_limit = |(burst, interval)| RateLimit::new(burst, interval);
        Self {
            device_id,
            topics,
            challenge,
            unknown_senders: rate_limit(UNKNOWN_SENDERS),
            unreadable: rate_limit(UNREADABLE),
            queries: HashMap::new(),
        }
    }

    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Whether a recording that is played back gets an answer now.
    pub fn may_answer(&mut self, now: Duration) -> bool {
        self.unknown_senders.take(now)
    }

    /// Reads a message.
    pub fn read(&mut self, guard: &Guard, message: &Message, now: &Now) -> (Admitted, ReplyTo) {
        let Some((kind, api_id)) = self.topics.parse(&message.topic) else {
            warn!("a message on {:?} was dropped: it is none of the agent's topics", message.topic);
            let denied = Denied { code: Code::EnvelopeMalformed, reply: None };
            return (Admitted::Refused(denied), ReplyTo::default());
        };
        let reply_to = ReplyTo {
            api_id: api_id.to_owned(),
            response_topic: message
                .response_topic
                .clone()
                .filter(|topic| self.topics.allows_response_topic(api_id, topic)),
            correlation_data: message.correlation_data.clone(),
        };
        let admitted = match kind {
            Kind::Commands => self.read_command(guard, api_id, message, now),
            Kind::Queries => self.read_query(guard, api_id, message, now),
            Kind::Grants => self.read_grant(guard, api_id, message, now),
        };
        (admitted.unwrap_or_else(Admitted::Refused), reply_to)
    }

    /// Reads a command that came by HTTP. Its issuer is who signs it; where nobody has to sign, the
    /// headers still name one.
    ///
    /// # Errors
    /// Why nothing comes of it.
    pub fn read_http(
        &mut self,
        guard: &Guard,
        submission: &Submission,
        now: &Now,
    ) -> Result<Box<CommandRequest>, Denied> {
        let sent = Sent::by_http(submission);
        check_size(sent.payload).map_err(|it| self.unreadable(sent.payload, it, now))?;
        let Signed { api_id, body, authenticated } = self.authenticate(guard, None, sent, now)?;
        let mut request = inbound::read_request(&body, &api_id, &self.device_id, None)?;
        request.authenticated = authenticated;
        Ok(Box::new(request))
    }

    /// Reads a request as if it had come on its issuer's topic, and tells whether it is authentic.
    /// Nothing is used up by it.
    ///
    /// # Errors
    /// What is wrong with the request itself.
    pub fn rehearse(
        &self,
        guard: &Guard,
        rehearsal: &Rehearsal,
        now: &Now,
    ) -> Result<(CommandRequest, Result<(), Refusal>), ErrorReply> {
        let payload = rehearsal.request.as_bytes();
        let Unwrapped { body, credentials } = signature::unwrap(payload, &[])
            .map_err(|violation| inbound::refused(payload, violation))?;
        let signer = credentials.as_ref().map(|credentials| &credentials.api_id);
        let Some(api_id) = rehearsal.issuer.as_ref().or(signer) else {
            let text = "whose request is it? Nobody has signed it, so name the issuer";
            return Err(inbound::refusal(payload, Code::RequestInvalid, text));
        };
        let mut request = inbound::read_request(&body, api_id, &self.device_id, None)?;
        let topic = self.topics.commands(api_id);
        let clock = Clock { wall: now.wall, trusted: now.wall_trusted, challenge: &self.challenge };
        let authenticated = guard
            .authenticate(api_id, signature::MQTT, &topic, &body, credentials.as_ref(), &clock)
            .map(|authenticated| request.authenticated = authenticated);
        Ok((request, authenticated))
    }

    fn read_command(
        &mut self,
        guard: &Guard,
        api_id: &str,
        message: &Message,
        now: &Now,
    ) -> Result<Admitted, Denied> {
        check_envelope(message).map_err(|it| self.unreadable(&message.payload, it, now))?;
        let sent = Sent::by_mqtt(message);
        let Signed { body, authenticated, .. } =
            self.authenticate(guard, Some(api_id), sent, now)?;
        let mut request =
            inbound::read_request(&body, api_id, &self.device_id, message.message_expiry)?;
        request.authenticated = authenticated;
        Ok(Admitted::Request(Box::new(request)))
    }

    fn read_grant(
        &mut self,
        guard: &Guard,
        api_id: &str,
        message: &Message,
        now: &Now,
    ) -> Result<Admitted, Denied> {
        check_envelope(message).map_err(|it| self.unreadable(&message.payload, it, now))?;
        let sent = Sent::by_mqtt(message);
        let Signed { body, authenticated, .. } =
            self.authenticate(guard, Some(api_id), sent, now)?;
        let mut message = grant::read_action(&body)?;
        message.authenticated = authenticated;
        Ok(Admitted::Grant(Box::new(message)))
    }

    /// What the issuer has signed, and whether that counts. `named`: the issuer by the topic; without
    /// one it is who signs.
    fn authenticate<'message>(
        &mut self,
        guard: &Guard,
        named: Option<&str>,
        sent: Sent<'message>,
        now: &Now,
    ) -> Result<Signed<'message>, Denied> {
        let unwrapped = signature::unwrap(sent.payload, sent.properties);
        let Unwrapped { body, credentials } =
            unwrapped.map_err(|violation| self.unreadable(sent.payload, violation, now))?;
        let signer = credentials.as_ref().map(|credentials| credentials.api_id.as_str());
        let Some(api_id) = named.or(signer) else {
            let refusal = Refusal::new(Code::AuthFailed, "the request names no issuer");
            return Err(self.unauthenticated("", &body, &refusal, now));
        };
        let clock = Clock { wall: now.wall, trusted: now.wall_trusted, challenge: &self.challenge };
        let authenticated = guard
            .authenticate(api_id, sent.method, sent.path, &body, credentials.as_ref(), &clock)
            .map_err(|refusal| self.unauthenticated(api_id, &body, &refusal, now))?;
        Ok(Signed { api_id: api_id.to_owned(), body, authenticated })
    }

    fn read_query(
        &mut self,
        guard: &Guard,
        api_id: &str,
        message: &Message,
        now: &Now,
    ) -> Result<Admitted, Denied> {
        guard
            .knows(api_id)
            .map_err(|refusal| self.unauthenticated(api_id, &message.payload, &refusal, now))?;
        check_envelope(message).map_err(|it| self.unreadable(&message.payload, it, now))?;
        if self.queries.len() > 64 && !self.queries.contains_key(api_id) {
            // Only where nobody is asked who they are: names cost memory.
            self.queries.clear();
        }
        let (burst, interval) = QUERIES;
        let bucket = || RateLimit::new(burst, interval);
        if !self.queries.entry(api_id.to_owned()).or_insert_with(bucket).take(now.boot) {
            return Err(Denied { code: Code::PolicyRateLimited, reply: None });
        }
        let query = inbound::read_query(&message.payload, api_id, &self.device_id)?;
        Ok(Admitted::Query(query))
    }

    /// The sender learns nothing that helps to guess; the log does. `body`: what is signed, or is not.
    fn unauthenticated(
        &mut self,
        api_id: &str,
        body: &[u8],
        refusal: &Refusal,
        now: &Now,
    ) -> Denied {
        let is_told = self.unknown_senders.take(now.boot);
        if is_told {
            warn!(API_ID = api_id, CODE = refusal.code.as_str(); "refused: {}", refusal.message);
        }
        let text = "the request could not be authenticated";
        Denied::telling(is_told, body, Violation::whole(refusal.code, text))
    }

    fn unreadable(&mut self, payload: &[u8], violation: Violation, now: &Now) -> Denied {
        Denied::telling(self.unreadable.take(now.boot), payload, violation)
    }
}

impl<'message> Sent<'message> {
    fn by_mqtt(message: &'message Message) -> Self {
        Self {
            method: signature::MQTT,
            path: &message.topic,
            payload: &message.payload,
            properties: &message.user_properties,
        }
    }

    fn by_http(submission: &'message Submission) -> Self {
        Self {
            method: signature::HTTP,
            path: signature::HTTP_COMMANDS,
            payload: &submission.body,
            properties: &submission.headers,
        }
    }
}

impl Denied {
    /// The answer names the message by its hash: nobody's is hashed for no answer.
    fn telling(is_told: bool, message: &[u8], violation: Violation) -> Self {
        let code = violation.code;
        Self { code, reply: is_told.then(|| Box::new(inbound::refused(message, violation))) }
    }
}

impl From<ErrorReply> for Denied {
    fn from(error: ErrorReply) -> Self {
        Self { code: error.violations[0].code, reply: Some(Box::new(error)) }
    }
}

/// What can be told without reading the message.
fn check_envelope(message: &Message) -> Result<(), Violation> {
    if message.retain {
        let text = "retained messages are never acted on; publish without retain";
        return Err(Violation::whole(Code::EnvelopeRetained, text));
    }
    check_size(&message.payload)?;
    if message.message_expiry == Some(Duration::ZERO) {
        let text = "the message's expiry was over when it arrived";
        return Err(Violation::whole(Code::EnvelopeExpired, text));
    }
    Ok(())
}

fn check_size(payload: &[u8]) -> Result<(), Violation> {
    let size = payload.len();
    if size <= MAX_MESSAGE_BYTES {
        return Ok(());
    }
    let text = format!("{size} bytes are too many; at most {MAX_MESSAGE_BYTES}");
    Err(Violation::whole(Code::EnvelopeTooLarge, text))
}
