//! A broker's bytes become packets, by rumqttc's codec. Pure.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{Packet, check};

use super::packet::LARGEST_INCOMING;

/// Takes the next packet off, if it is whole; otherwise makes room for the rest of it.
///
/// # Errors
/// Not MQTT 5, or larger than was asked for.
pub(super) fn decode(bytes: &mut BytesMut) -> Result<Option<Packet>, Error> {
    let header = match check(bytes.iter(), Some(LARGEST_INCOMING)) {
        Ok(header) => header,
        Err(Error::InsufficientBytes(missing)) => {
            bytes.reserve(missing);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut packet = bytes.split_to(header.frame_length());
    complete(&mut packet);
    match Packet::read(&mut packet, None)? {
        // A topic alias, and none was offered (MQTT 5, 3.3.2.3.4).
        Packet::Publish(publish) if publish.topic.is_empty() => Err(Error::MalformedPacket),
        packet => Ok(Some(packet)),
    }
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
