//! What the agent publishes, as far as the demo looks at it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::commands::{API_ID, topic};

#[derive(Debug)]
pub enum Message {
    Reply(Reply),
    Refusal(Refusal),
    Update(Update),
    Presence(Presence),
    Unmatched(String),
}

/// A create reply.
#[derive(Debug, Deserialize)]
pub struct Reply {
    pub command_id: String,
    pub status: String,
    pub idempotency_key: String,
    pub duplicate: bool,
}

/// An error that made no command.
#[derive(Debug, Deserialize)]
pub struct Refusal {
    pub error: RefusalReason,
}

#[derive(Debug, Deserialize)]
pub struct RefusalReason {
    pub code: String,
    pub message: String,
}

/// A lifecycle update.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Update {
    pub command_id: String,
    pub status: String,
    pub command_type: String,
    pub response_code: Option<String>,
    pub idempotency_key: String,
    pub seq: u64,
    pub terminal: bool,
    /// Everything else, of which only counts whether it changes.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
pub struct Presence {
    pub online: bool,
    pub session: Option<String>,
    pub challenge: Option<String>,
    pub link: Option<Link>,
}

#[derive(Debug, Deserialize)]
pub struct Link {
    pub state: String,
}

#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("unexpected message on {0}: {1}")]
    Topic(String, String),
    #[error("unreadable message on {topic}: {source}: {body}")]
    Body { topic: String, source: serde_json::Error, body: String },
}

impl Message {
    /// Reads a message of the topics in [`Message::filters`].
    pub fn parse(topic_name: &str, payload: &[u8]) -> Result<Self, MessageError> {
        let body = || String::from_utf8_lossy(payload).into_owned();
        let unreadable =
            |source| MessageError::Body { topic: topic_name.to_owned(), source, body: body() };
        let lifecycle = topic(&format!("lifecycle/{API_ID}/"));
        if let Some(command_id) = topic_name.strip_prefix(&lifecycle) {
            let update: Update = serde_json::from_slice(payload).map_err(unreadable)?;
            if update.command_id != command_id {
                return Err(MessageError::Topic(topic_name.to_owned(), body()));
            }
            Ok(Self::Update(update))
        } else if topic_name == topic(&format!("replies/{API_ID}")) {
            let value: serde_json::Value = serde_json::from_slice(payload).map_err(unreadable)?;
            let message = if value.get("error").is_some() {
                serde_json::from_value(value).map(Self::Refusal)
            } else if value.get("duplicate").is_some() {
                serde_json::from_value(value).map(Self::Reply)
            } else {
                // The answer to a query, which only a person asks here.
                serde_json::from_value(value).map(Self::Update)
            };
            message.map_err(unreadable)
        } else if topic_name == topic("presence") {
            serde_json::from_slice(payload).map(Self::Presence).map_err(unreadable)
        } else if topic_name == topic("unmatched") {
            Ok(Self::Unmatched(body()))
        } else {
            Err(MessageError::Topic(topic_name.to_owned(), body()))
        }
    }

    /// Everything that the agent publishes.
    pub fn filters() -> Vec<String> {
        ["replies/#", "lifecycle/#", "presence", "unmatched"].map(topic).to_vec()
    }
}

impl Presence {
    /// The session, once the agent is online and has heard the vehicle.
    pub fn ready_session(&self) -> Option<&str> {
        let ready = self.link.as_ref().is_some_and(|link| link.state == "ready");
        self.session.as_deref().filter(|_| self.online && ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_on_another_commands_topic_is_an_error() {
        let body = br#"{"command_id":"a","status":"ACCEPTED","command_type":"nav_roi",
            "response_code":null,"idempotency_key":"k","seq":1,"terminal":false}"#;
        assert!(matches!(
            Message::parse("downlink/v1/px4/px4-real-1/lifecycle/demo/a", body),
            Ok(Message::Update(_))
        ));
        assert!(matches!(
            Message::parse("downlink/v1/px4/px4-real-1/lifecycle/demo/b", body),
            Err(MessageError::Topic(..))
        ));
    }

    #[test]
    fn tells_replies_from_refusals_and_answers_to_queries() {
        let topic = "downlink/v1/px4/px4-real-1/replies/demo";
        let refusal = br#"{"error":{"code":"request.invalid","message":"no","field":null}}"#;
        assert!(matches!(Message::parse(topic, refusal), Ok(Message::Refusal(_))));
        let reply = br#"{"command_id":"a","status":"ACCEPTED","accepted_at":"t",
            "idempotency_key":"k","duplicate":false}"#;
        assert!(matches!(Message::parse(topic, reply), Ok(Message::Reply(_))));
        let found = br#"{"command_id":"a","status":"ACCEPTED","command_type":"nav_roi",
            "response_code":null,"idempotency_key":"k","seq":1,"terminal":false}"#;
        assert!(matches!(Message::parse(topic, found), Ok(Message::Update(_))));
        assert!(matches!(Message::parse(topic, b"{"), Err(MessageError::Body { .. })));
    }

    #[test]
    fn is_ready_only_online_and_with_a_heartbeat() {
        let session = |body: &[u8]| {
            let topic = "downlink/v1/px4/px4-real-1/presence";
            let Ok(Message::Presence(presence)) = Message::parse(topic, body) else {
                panic!("not a presence");
            };
            presence.ready_session().map(str::to_owned)
        };
        let ready = br#"{"online":true,"session":"s","link":{"state":"ready"}}"#;
        assert_eq!(session(ready).as_deref(), Some("s"));
        assert_eq!(session(br#"{"online":true,"session":"s","link":{"state":"open"}}"#), None);
        assert_eq!(session(br#"{"online":false,"session":"s","link":{"state":"ready"}}"#), None);
        assert_eq!(session(br#"{"online":false}"#), None);
    }
}
