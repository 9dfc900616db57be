//! Topics.

use crate::wire::topic::{Kind, Topics, is_level};

/// Lines: the prefix, the device, a topic, a Response Topic.
pub fn topic(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (prefix, device_id, topic, response) = (line(), line(), line(), line());
    // What the configuration lets through.
    if !prefix.split('/').all(is_level) || !is_level(device_id) {
        return false;
    }
    let topics = Topics::new(prefix, device_id);
    let base = format!("{prefix}/px4/{device_id}");
    let mut is_ours = false;
    for topic in [topic, response] {
        if let Some((kind, api_id)) = topics.parse(topic) {
            assert_eq!(topic, format!("{base}/{}/{api_id}", kind.as_str()));
            assert!(is_level(api_id));
            check_issuer(&topics, api_id, response);
            is_ours = true;
        }
    }
    if is_level(topic) {
        assert_eq!(topics.parse(&topics.commands(topic)), Some((Kind::Commands, topic)));
        check_issuer(&topics, topic, response);
    }
    is_ours
}

/// What is published for an issuer is no subscription of ours, and nobody else's.
fn check_issuer(topics: &Topics, api_id: &str, response: &str) {
    let own = topics.replies(api_id);
    assert_eq!(topics.parse(&own), None);
    // Longer ones are refused, which only a prefix of many levels can make.
    assert_eq!(topics.allows_response_topic(api_id, &own), own.len() <= 1024);
    if topics.allows_response_topic(api_id, response) {
        let below = response.strip_prefix(&own).expect("it is the issuer's own");
        assert!(below.is_empty() || below.starts_with('/'));
        assert!(!response.contains(['+', '#', '\0']), "it is no topic's name");
        assert_eq!(topics.parse(response), None);
    }
}
