//! The topics under `{prefix}/{vendor}/{device_id}`.

use uuid::Uuid;

/// The only vendor that this agent serves.
pub const VENDOR: &str = "px4";

/// `{base}` of all topics of this vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

/// What an incoming topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Commands,
    Queries,
    Grants,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Commands, Kind::Queries, Kind::Grants];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Commands => "commands",
            Kind::Queries => "queries",
            Kind::Grants => "grants",
        }
    }
}

impl Topics {
    pub fn new(prefix: &str, device_id: &str) -> Self {
        Self { base: format!("{prefix}/{VENDOR}/{device_id}") }
    }

    /// The topic filters to subscribe to.
    pub fn subscriptions(&self) -> Vec<String> {
        Kind::ALL.iter().map(|kind| format!("{}/{}/+", self.base, kind.as_str())).collect()
    }

    /// The kind and the issuer that an incoming topic names.
    pub fn parse<'topic>(&self, topic: &'topic str) -> Option<(Kind, &'topic str)> {
        let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let (kind, api_id) = rest.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind)?;
        is_level(api_id).then_some((kind, api_id))
    }

    pub fn commands(&self, api_id: &str) -> String {
        [&self.base, "commands", api_id].join("/")
    }

    pub fn queries(&self, api_id: &str) -> String {
        [&self.base, "queries", api_id].join("/")
    }

    pub fn grants(&self, api_id: &str) -> String {
        [&self.base, "grants", api_id].join("/")
    }

    pub fn replies(&self, api_id: &str) -> String {
        [&self.base, "replies", api_id].join("/")
    }

    pub fn lifecycle(&self, api_id: &str, command_id: Uuid) -> String {
        let mut buffer = Uuid::encode_buffer();
        let command_id = command_id.hyphenated().encode_lower(&mut buffer);
        // One per update: `format!` would ask for memory several times.
        [&self.base, "lifecycle", api_id, command_id].join("/")
    }

    pub fn presence(&self) -> String {
        format!("{}/presence", self.base)
    }

    pub fn unmatched(&self) -> String {
        format!("{}/unmatched", self.base)
    }

    /// A Response Topic is honoured only at or below the issuer's own replies: a requester must not
    /// make the agent publish anywhere else.
    pub fn allows_response_topic(&self, api_id: &str, response_topic: &str) -> bool {
        let own = self.replies(api_id);
        let below = match response_topic.strip_prefix(&own) {
            Some(below) => below,
            None => return false,
        };
        (below.is_empty() || below.starts_with('/'))
            && !response_topic.contains(['+', '#', '\0'])
            && response_topic.len() <= 1024
    }
}

/// One topic level that names somebody: no separators, wildcards or control characters.
pub fn is_level(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.contains(['/', '+', '#'])
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incoming_topics() {
        let topics = Topics::new("downlink/v1", "drone-1");
        for (topic, expected) in [
            ("downlink/v1/px4/drone-1/commands/cloud", Some((Kind::Commands, "cloud"))),
            ("downlink/v1/px4/drone-1/queries/cloud", Some((Kind::Queries, "cloud"))),
            ("downlink/v1/px4/drone-1/grants/ops", Some((Kind::Grants, "ops"))),
            ("downlink/v1/px4/drone-1/commands/", None),
            ("downlink/v1/px4/drone-1/commands/a/b", None),
            ("downlink/v1/px4/drone-1/replies/cloud", None),
            ("downlink/v1/px4/drone-11/commands/cloud", None),
            ("downlink/v1/px4/drone-1", None),
            ("", None),
        ] {
            assert_eq!(topics.parse(topic), expected, "{topic}");
        }
    }

    #[test]
    fn response_topics_stay_with_their_issuer() {
        let topics = Topics::new("downlink/v1", "drone-1");
        let base = "downlink/v1/px4/drone-1/replies";
        for (topic, allowed) in [
            (format!("{base}/cloud"), true),
            (format!("{base}/cloud/session/7"), true),
            (format!("{base}/cloudy"), false),
            (format!("{base}/other"), false),
            (format!("{base}/cloud/#"), false),
            (format!("{base}/cloud/+/x"), false),
            ("downlink/v1/px4/drone-1/presence".to_owned(), false),
        ] {
            assert_eq!(topics.allows_response_topic("cloud", &topic), allowed, "{topic}");
        }
    }
}
