//! Our types to rumqttc's and back. Pure.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Filter, LastWill, LastWillProperties, Login, Packet,
    Publish as PublishPacket, PublishProperties, Subscribe,
};

use super::{Acknowledgement, Message, Options, Publish, PublishId, Will};

/// Larger packets are not for a command; the broker drops them instead of sending them. Bytes.
pub(super) const LARGEST_INCOMING: u32 = 256 * 1024;
const CONTENT_TYPE: &str = "application/json";
/// Payload Format Indicator: UTF-8 (MQTT 5, 3.3.2.3.2).
const PAYLOAD_IS_UTF8: u8 = 1;
/// Unacknowledged messages that the broker may send at most: what one group commit takes in.
const RECEIVE_MAXIMUM: u16 = 32;
/// MQTT strings and binary data have two bytes for their length (1.5.4, 1.5.6).
const LONGEST_FIELD: usize = u16::MAX as usize;
/// Four bytes of seven bits for the remaining length (1.5.5), and at most five for the fixed header.
const LARGEST_PACKET: usize = 268_435_455 + 5;

pub(super) fn connect(options: &Options) -> Packet {
    let connect = Connect {
        keep_alive: keep_alive(options).as_secs() as u16,
        client_id: options.client_id.clone(),
        clean_start: false,
        // No topic alias maximum: a message names its topic.
        properties: Some(ConnectProperties {
            session_expiry_interval: Some(seconds(options.session_expiry)),
            receive_maximum: Some(RECEIVE_MAXIMUM),
            max_packet_size: Some(LARGEST_INCOMING),
            ..ConnectProperties::new()
        }),
    };
    let login = (options.username.is_some() || options.password.is_some()).then(|| {
        Login::new(
            options.username.clone().unwrap_or_default(),
            options.password.clone().unwrap_or_default(),
        )
    });
    Packet::Connect(connect, options.will.as_ref().map(last_will), login)
}

fn last_will(will: &Will) -> LastWill {
    LastWill::new(
        &will.topic,
        will.payload.clone(),
        QoS::AtLeastOnce,
        true,
        Some(LastWillProperties {
            delay_interval: None,
            payload_format_indicator: Some(PAYLOAD_IS_UTF8),
            message_expiry_interval: None,
            content_type: Some(CONTENT_TYPE.into()),
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        }),
    )
}

/// In whole seconds, for which the packet has two bytes.
pub(super) fn keep_alive(options: &Options) -> Duration {
    options.keep_alive.clamp(Duration::from_secs(5), Duration::from_secs(u16::MAX.into()))
}

/// QoS 1, and Retain As Published: otherwise the broker clears the flag of a retained command when
/// it delivers it live, and only its later copies could be told from a command that may be obeyed.
pub(super) fn subscribe(options: &Options) -> Packet {
    let filters = options
        .subscriptions
        .iter()
        .map(|topic| Filter { preserve_retain: true, ..Filter::new(topic, QoS::AtLeastOnce) });
    // The first packet of the connection that has an id; answered before there is another.
    Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new_many(filters, None) })
}

pub(super) fn message(packet: PublishPacket, generation: u64) -> Message {
    let properties = packet.properties.unwrap_or_default();
    Message {
        topic: String::from_utf8_lossy(&packet.topic).into_owned(),
        payload: packet.payload.into(),
        retain: packet.retain,
        duplicate: packet.dup,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data.map(Into::into),
        message_expiry: properties
            .message_expiry_interval
            .map(|seconds| Duration::from_secs(seconds.into())),
        user_properties: properties.user_properties,
        acknowledgement: Acknowledgement { generation, packet_id: packet.pkid, qos: packet.qos },
    }
}

/// Why the broker never will take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    #[error("\"{0}\" is not a topic to publish to")]
    Topic(String),
    #[error("the {0} is longer than 65535 bytes")]
    TooLong(&'static str),
    #[error("the {what} has a character that MQTT does not allow: {text:?}")]
    Character { what: &'static str, text: String },
    #[error("the payload is not UTF-8")]
    Payload,
    #[error("the packet has {size} bytes, the broker takes {largest}")]
    TooLarge { size: usize, largest: usize },
    /// By its PUBACK.
    #[error("refused by the broker: {0}")]
    Refused(String),
}

/// A publish that the broker has no reason to hang up on.
#[derive(Debug)]
pub(super) struct Prepared {
    pub id: Option<PublishId>,
    pub packet: PublishPacket,
}

/// Refuses what would cost the connection, and so come back after every reconnect: a packet larger
/// than the broker takes, or one that is malformed by the specification.
pub(super) fn prepare(publish: Publish, largest: u32) -> Result<Prepared, NotPublished> {
    if publish.topic.is_empty() || publish.topic.contains(['+', '#']) {
        return Err(NotPublished::Topic(publish.topic));
    }
    check_string("topic", &publish.topic)?;
    for (key, value) in &publish.user_properties {
        check_string("user property's name", key)?;
        check_string("user property", value)?;
    }
    if publish.correlation_data.as_ref().is_some_and(|data| data.len() > LONGEST_FIELD) {
        return Err(NotPublished::TooLong("correlation data"));
    }
    if std::str::from_utf8(&publish.payload).is_err() {
        return Err(NotPublished::Payload);
    }
    let mut packet = PublishPacket::new(
        publish.topic,
        QoS::AtLeastOnce,
        publish.payload,
        Some(PublishProperties {
            payload_format_indicator: Some(PAYLOAD_IS_UTF8),
            content_type: Some(CONTENT_TYPE.into()),
            correlation_data: publish.correlation_data.map(Into::into),
            message_expiry_interval: publish.message_expiry.map(seconds),
            user_properties: publish.user_properties,
            ..PublishProperties::default()
        }),
    );
    packet.retain = publish.retain;
    // Any packet id but 0 makes `size` count the id, too. The real one comes with its turn.
    packet.pkid = 1;
    let (size, largest) = (packet.size(), LARGEST_PACKET.min(largest as usize));
    if size > largest {
        return Err(NotPublished::TooLarge { size, largest });
    }
    Ok(Prepared { id: publish.id, packet })
}

/// MQTT 5, 1.5.4: null is forbidden, and a receiver may hang up on control characters and
/// non-characters (mosquitto does).
fn check_string(what: &'static str, text: &str) -> Result<(), NotPublished> {
    if text.len() > LONGEST_FIELD {
        return Err(NotPublished::TooLong(what));
    }
    let forbidden = |character: char| {
        let code = u32::from(character);
        character.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    if text.contains(forbidden) {
        return Err(NotPublished::Character { what, text: text.to_owned() });
    }
    Ok(())
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::{Broker, Tls};
    use super::*;

    fn broker(host: &str) -> Broker {
        Broker { host: host.into(), port: 1883, tls: false }
    }

    fn options() -> Options {
        Options {
            brokers: vec![broker("broker.example")],
            tls: Tls { ca_file: "/ca.pem".into(), client: None },
            client_id: "px4-real-1".into(),
            username: None,
            password: None,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::from_secs(3600),
            subscriptions: vec!["a/+".into()],
            will: Some(Will { topic: "presence".into(), payload: b"{}".to_vec() }),
        }
    }

    fn publish() -> Publish {
        Publish {
            id: Some(PublishId(1)),
            topic: "a/b".into(),
            payload: b"{}".to_vec(),
            ..Publish::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut Publish)) -> String {
        let mut publish = publish();
        change(&mut publish);
        prepare(publish, u32::MAX).unwrap_err().to_string()
    }

    /// As it is on the wire.
    fn connect_packet(options: &Options) -> (Connect, Option<LastWill>, Option<Login>) {
        let mut bytes = BytesMut::new();
        connect(options).write(&mut bytes, None).unwrap();
        match Packet::read(&mut bytes, None).unwrap() {
            Packet::Connect(connect, will, login) => (connect, will, login),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_session_persists() {
        let (connect, will, login) = connect_packet(&options());
        assert!(!connect.clean_start);
        assert_eq!(connect.client_id, "px4-real-1");
        let properties = connect.properties.unwrap();
        assert_eq!(properties.session_expiry_interval, Some(3600));
        assert_eq!(properties.receive_maximum, Some(RECEIVE_MAXIMUM));
        assert_eq!(properties.max_packet_size, Some(LARGEST_INCOMING));
        assert_eq!(properties.topic_alias_max, None);
        let will = will.unwrap();
        assert!(will.retain);
        assert_eq!(will.qos, QoS::AtLeastOnce);
        assert_eq!(login, None);
    }

    #[test]
    fn a_client_that_only_visits_has_no_will() {
        let (_, will, _) = connect_packet(&Options { will: None, ..options() });
        assert_eq!(will, None);
    }

    #[test]
    fn keep_alive_is_narrowed_to_what_can_be_asked_for() {
        for (seconds, expected) in [(0, 5), (5, 5), (70_000, 65_535)] {
            let options = Options { keep_alive: Duration::from_secs(seconds), ..options() };
            assert_eq!(connect_packet(&options).0.keep_alive, expected);
        }
    }

    #[test]
    fn a_packet_may_be_exactly_as_large_as_the_broker_takes() {
        let size = prepare(publish(), u32::MAX).unwrap().packet.size();
        let largest = u32::try_from(size).unwrap();
        assert!(prepare(publish(), largest).is_ok());
        let refused = prepare(publish(), largest - 1).unwrap_err().to_string();
        assert_eq!(refused, format!("the packet has {size} bytes, the broker takes {}", size - 1));
    }

    #[test]
    fn what_a_broker_hangs_up_on_is_refused_by_name() {
        assert!(refusal(|p| p.topic.clear()).contains("topic"));
        assert!(refusal(|p| p.topic = "a/#".into()).contains("a/#"));
        assert!(refusal(|p| p.topic = "a/\0".into()).contains("topic"));
        assert!(refusal(|p| p.topic = "a".repeat(65_536)).contains("topic"));
        assert!(refusal(|p| p.payload = vec![0xFF]).contains("payload"));
        assert!(refusal(|p| p.correlation_data = Some(vec![0; 65_536])).contains("correlation"));
        for (key, value) in [("k\u{1}", "v"), ("k", "v\u{FFFE}"), ("k", "\u{FDD0}")] {
            let property = (key.to_owned(), value.to_owned());
            assert!(refusal(|p| p.user_properties.push(property)).contains("user property"));
        }
    }

    #[test]
    fn a_topic_that_is_not_utf_8_is_marked_and_a_payload_kept() {
        let packet = PublishPacket {
            topic: vec![b'a', 0xFF].into(),
            payload: vec![0xFF, 0].into(),
            qos: QoS::AtLeastOnce,
            pkid: 7,
            ..PublishPacket::default()
        };
        let message = message(packet, 3);
        assert_eq!(message.topic, "a\u{FFFD}");
        assert_eq!(message.payload, [0xFF, 0]);
        assert_eq!(message.acknowledgement.packet_id, 7);
        assert_eq!(message.acknowledgement.generation, 3);
    }
}
