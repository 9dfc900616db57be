//! A broker's bytes become packets, by rumqttc's codec. Pure, but for a line in the log.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{FixedHeader, Packet, Publish as PublishPacket, check};
use rumqttc::v5::mqttbytes::{Error, QoS};

use super::packet::LARGEST_INCOMING;

/// The packet's type, in the upper half of its first byte (MQTT 5, 2.1.2).
const PUBLISH: u8 = 3;

/// Takes the next packet off, if it is whole; otherwise makes room for the rest of it. A PUBLISH at
/// QoS 1 of which only the head can be read has no topic, payload or properties.
///
/// # Errors
/// Not MQTT 5, or larger than was asked for.
pub(super) fn decode(bytes: &mut BytesMut) -> Result<Option<Packet>, Error> {
    loop {
        let header = match check(bytes.iter(), Some(LARGEST_INCOMING)) {
            Ok(header) => header,
            Err(Error::InsufficientBytes(missing)) => {
                bytes.reserve(missing);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut packet = bytes.split_to(header.frame_length());
        if packet[0] >> 4 != PUBLISH {
            complete(&mut packet);
            return Packet::read(&mut packet, None).map(Some);
        }
        if let Some(publish) = read_publish(header, packet.freeze())? {
            return Ok(Some(Packet::Publish(publish)));
        }
    }
}

/// `None`: there is nothing to hand on.
fn read_publish(header: FixedHeader, packet: Bytes) -> Result<Option<PublishPacket>, Error> {
    match PublishPacket::read(header, packet.clone()) {
        // A topic alias, and none was offered (MQTT 5, 3.3.2.3.4).
        Ok(publish) if publish.topic.is_empty() => Err(Error::MalformedPacket),
        Ok(publish) => Ok(Some(publish)),
        Err(error) => read_head(&packet, error),
    }
}

/// What a publisher may have put there, such as a property that is not UTF-8, and not every broker
/// checks, must not cost the connection: the broker would send it first on the next one, for ever. So
/// at QoS 1 it is handed on to be refused and acknowledged; at QoS 0 it is gone.
fn read_head(packet: &[u8], error: Error) -> Result<Option<PublishPacket>, Error> {
    let Some((topic, packet_id)) = topic_and_packet_id(packet) else { return Err(error) };
    let qos = match (packet[0] >> 1 & 0b11, packet_id) {
        (0, _) => QoS::AtMostOnce,
        (1, Some(1..)) => QoS::AtLeastOnce,
        _ => return Err(error),
    };
    let topic = String::from_utf8_lossy(topic);
    log::warn!("a message on {topic:?} is dropped: malformed properties, perhaps not UTF-8");
    let publish = PublishPacket {
        dup: packet[0] & 0b1000 != 0,
        qos,
        retain: packet[0] & 1 != 0,
        pkid: packet_id.unwrap_or_default(),
        ..PublishPacket::default()
    };
    Ok((qos == QoS::AtLeastOnce).then_some(publish))
}

/// MQTT 5, 3.3.2. At QoS 0 there is no packet id, and what stands there may be too short for one.
fn topic_and_packet_id(packet: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let length_bytes = packet[1..].iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (length, rest) = packet[1 + length_bytes..].split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let packet_id = rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    // Without a topic it has an alias.
    (!topic.is_empty()).then_some((topic, packet_id))
}

/// Adds what may be left out, but the codec wants to see: DISCONNECT's reason and properties (MQTT 5,
/// 3.14.2), and the properties in the CONNACK of a broker that speaks only MQTT 3.1.1.
fn complete(packet: &mut BytesMut) {
    let missing: &[u8] = match packet[..] {
        [0xE0, 0] => &[0, 0],
        [0xE0, 1, _] | [0x20, 2, _, _] => &[0],
        _ => return,
    };
    packet[1] += missing.len() as u8;
    packet.extend_from_slice(missing);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;

    use super::*;

    fn bytes(bytes: &[u8]) -> BytesMut {
        bytes.into()
    }

    fn decode_all(mut bytes: BytesMut) -> Result<Vec<Packet>, Error> {
        std::iter::from_fn(|| decode(&mut bytes).transpose()).collect()
    }

    #[test]
    fn a_disconnect_may_leave_out_its_end() {
        let reason = |packet: &[u8]| match decode(&mut bytes(packet)) {
            Ok(Some(Packet::Disconnect(disconnect))) => disconnect.reason_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&[0xE0, 0]), DisconnectReasonCode::NormalDisconnection);
        assert_eq!(reason(&[0xE0, 1, 0x8E]), DisconnectReasonCode::SessionTakenOver);
        assert_eq!(reason(&[0xE0, 2, 0x8E, 0]), DisconnectReasonCode::SessionTakenOver);
    }

    #[test]
    fn a_packet_is_waited_for_until_it_is_whole_and_then_judged() {
        let publish = [0x32, 7, 0, 1, b't', 0, 9, 0, b'x'];
        for length in 0..publish.len() {
            assert_eq!(decode_all(bytes(&publish[..length])).unwrap(), []);
        }
        assert_eq!(decode_all(bytes(&[publish, publish].concat())).unwrap().len(), 2);
        // Its topic is said to have 200 bytes.
        assert!(decode(&mut bytes(&[0x32, 7, 0, 200, b't', 0, 9, 0, b'x'])).is_err());
    }

    #[test]
    fn a_message_names_its_topic() {
        // Topic Alias 1, packet id 9, payload "x".
        let alias = [0x32, 9, 0, 0, 0, 9, 3, 0x23, 0, 1, b'x'];
        assert!(matches!(decode(&mut bytes(&alias)), Err(Error::MalformedPacket)));
    }

    #[test]
    fn of_a_message_whose_properties_cannot_be_read_the_head_counts() {
        // Topic "t", a user property "k" that is "\xFF", payload "x".
        let rest = [7, 0x26, 0, 1, b'k', 0, 1, 0xFF, b'x'];
        let bad = |first, packet_id: &[u8]| {
            let length = 3 + packet_id.len() + rest.len();
            [&[first, length as u8, 0, 1, b't'], packet_id, &rest[..]].concat()
        };
        let good = [0x32, 7, 0, 1, b't', 0, 8, 0, b'x'];
        let head = PublishPacket {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: true,
            pkid: 9,
            ..PublishPacket::default()
        };
        let after = |packet: Vec<u8>| {
            let mut packets = decode_all(bytes(&[&packet, &good[..]].concat()))?;
            assert!(matches!(packets.pop(), Some(Packet::Publish(good)) if good.pkid == 8));
            Ok::<_, Error>(packets)
        };
        assert_eq!(after(bad(0x3B, &[0, 9])).unwrap(), [Packet::Publish(head)]);
        assert_eq!(after(bad(0x30, &[])).unwrap(), []);
        // Packet id 0; QoS 2 and 3.
        for malformed in [bad(0x32, &[0, 0]), bad(0x34, &[0, 9]), bad(0x36, &[0, 9])] {
            assert!(after(malformed).is_err());
        }
        // No topic, and no room for a packet id.
        assert!(
            decode(&mut bytes(&[0x32, 12, 0, 0, 0, 9, 7, 0x26, 0, 1, b'k', 0, 1, 0xFF])).is_err()
        );
        assert!(decode(&mut bytes(&[0x32, 4, 0, 1, b't', 9])).is_err());
    }

    #[test]
    fn a_packet_larger_than_was_asked_for_is_refused_by_its_head() {
        assert!(matches!(
            decode(&mut bytes(&[0x32, 0xFF, 0xFF, 0x7F])),
            Err(Error::PayloadSizeLimitExceeded { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// What panics ends the agent.
        #[test]
        fn no_broker_can_send_what_panics(
            kind in any::<u8>(),
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                // As lengths, flags and properties are.
                proptest::collection::vec(0_u8..44, 0..40),
            ],
        ) {
            let packet = [&[kind, body.len() as u8][..], &body].concat();
            let _ = decode_all(bytes(&packet));
        }
    }
}
