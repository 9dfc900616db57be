use mavlink::dialects::development::{COMMAND_ACK_DATA, HEARTBEAT_DATA, MavCmd, MavResult};
use mavlink::{MAVLinkV1MessageRaw, MAVLinkV2MessageRaw, MavHeader, MessageData, calculate_crc};

use super::*;
use crate::wire::mavlink::Framer;

const SOURCE: Address = Address { system: 1, component: 1 };

fn decode_bytes(bytes: &[u8]) -> Option<Received> {
    let mut framer = Framer::new();
    framer.push(bytes);
    let frame = framer.next().expect("the frame's checksum fits");
    assert_eq!(frame.as_slice(), bytes);
    decode(&frame)
}

/// A MAVLink 2 frame of any payload, as an autopilot with a newer dialect may send it.
fn v2(message_id: u8, crc_extra: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xFD, payload.len() as u8, 0, 0, 5, 1, 1, message_id, 0, 0];
    frame.extend_from_slice(payload);
    let checksum = calculate_crc(&frame[1..], crc_extra);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

fn v1(message_id: u8, crc_extra: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xFE, payload.len() as u8, 5, 1, 1, message_id];
    frame.extend_from_slice(payload);
    let checksum = calculate_crc(&frame[1..], crc_extra);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

fn header() -> MavHeader {
    MavHeader { system_id: 1, component_id: 1, sequence: 0 }
}

#[test]
fn command_ack_with_all_fields() {
    let mut raw = MAVLinkV2MessageRaw::new();
    raw.serialize_message_data(
        header(),
        &COMMAND_ACK_DATA {
            command: MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE,
            result: MavResult::MAV_RESULT_IN_PROGRESS,
            progress: 40,
            result_param2: -7,
            target_system: 1,
            target_component: 191,
        },
    );
    let expected = CommandAck {
        source: SOURCE,
        command: 2001,
        result: 5,
        progress: 40,
        result_param2: -7,
        target_system: 1,
        target_component: 191,
    };
    assert_eq!(decode_bytes(raw.raw_bytes()), Some(Received::CommandAck(expected)));
}

#[test]
fn command_ack_of_a_command_and_result_that_no_dialect_knows() {
    let expected = CommandAck {
        source: SOURCE,
        command: 65_535,
        result: 200,
        progress: 0,
        result_param2: 0,
        target_system: 0,
        target_component: 0,
    };
    let received = Some(Received::CommandAck(expected));
    assert_eq!(decode_bytes(&v2(77, 143, &[0xFF, 0xFF, 200])), received);
    assert_eq!(decode_bytes(&v1(77, 143, &[0xFF, 0xFF, 200])), received);
}

#[test]
fn mavlink_2_payloads_are_zero_extended_and_may_be_longer() {
    let accepted = CommandAck {
        source: SOURCE,
        command: 0x00D1,
        result: 0,
        progress: 0,
        result_param2: 0,
        target_system: 0,
        target_component: 0,
    };
    assert_eq!(decode_bytes(&v2(77, 143, &[0xD1])), Some(Received::CommandAck(accepted)));
    let addressed = CommandAck { target_system: 1, target_component: 191, ..accepted };
    let newer = [0xD1, 0, 0, 0, 0, 0, 0, 0, 1, 191, 0xAA, 0xBB];
    assert_eq!(decode_bytes(&v2(77, 143, &newer)), Some(Received::CommandAck(addressed)));
}

#[test]
fn mavlink_1_carries_no_extension_fields_and_no_short_payloads() {
    let Some(Received::CommandAck(ack)) =
        decode_bytes(&v1(77, 143, &[0xD1, 0, 4, 99, 1, 1, 1, 1, 1, 1]))
    else {
        panic!("not a COMMAND_ACK")
    };
    assert_eq!((ack.command, ack.result), (0xD1, 4));
    assert_eq!((ack.progress, ack.result_param2, ack.target_system), (0, 0, 0));
    assert_eq!(decode_bytes(&v1(77, 143, &[0xD1, 0])), None);
    assert_eq!(decode_bytes(&v1(0, 50, &[0; 8])), None);
}

#[test]
fn heartbeats_of_both_versions() {
    let data = HEARTBEAT_DATA { custom_mode: 0x0405_0000, ..HEARTBEAT_DATA::DEFAULT };
    let expected = Heartbeat {
        source: SOURCE,
        autopilot: data.autopilot as u8,
        vehicle_type: data.mavtype as u8,
        base_mode: data.base_mode.bits(),
        custom_mode: 0x0405_0000,
        system_status: data.system_status as u8,
    };
    let mut raw = MAVLinkV1MessageRaw::new();
    raw.serialize_message_data(header(), &data);
    assert_eq!(decode_bytes(raw.raw_bytes()), Some(Received::Heartbeat(expected)));
    let mut raw = MAVLinkV2MessageRaw::new();
    raw.serialize_message_data(header(), &data);
    assert_eq!(decode_bytes(raw.raw_bytes()), Some(Received::Heartbeat(expected)));

    // A QUAD on PX4, armed, with a state that no dialect knows.
    let payload = [1, 2, 3, 4, 2, 12, 0x9D, 99, 3];
    let expected = Heartbeat {
        source: SOURCE,
        autopilot: 12,
        vehicle_type: 2,
        base_mode: 0x9D,
        custom_mode: 0x0403_0201,
        system_status: 99,
    };
    assert_eq!(decode_bytes(&v2(0, 50, &payload)), Some(Received::Heartbeat(expected)));
}

#[test]
fn nothing_else_is_decoded() {
    // ATTITUDE (30), CRC_EXTRA 39.
    assert_eq!(decode_bytes(&v2(30, 39, &[1; 28])), None);
    assert_eq!(COMMAND_ACK_DATA::ID, COMMAND_ACK_ID);
}

#[test]
fn result_names_are_those_of_the_dialect() {
    let known = [
        MavResult::MAV_RESULT_ACCEPTED,
        MavResult::MAV_RESULT_TEMPORARILY_REJECTED,
        MavResult::MAV_RESULT_DENIED,
        MavResult::MAV_RESULT_UNSUPPORTED,
        MavResult::MAV_RESULT_FAILED,
        MavResult::MAV_RESULT_IN_PROGRESS,
        MavResult::MAV_RESULT_CANCELLED,
        MavResult::MAV_RESULT_COMMAND_LONG_ONLY,
        MavResult::MAV_RESULT_COMMAND_INT_ONLY,
        MavResult::MAV_RESULT_COMMAND_UNSUPPORTED_MAV_FRAME,
        MavResult::MAV_RESULT_NOT_IN_CONTROL,
    ];
    for result in known {
        assert_eq!(result_name(result as u8), format!("{result:?}"));
    }
    assert_eq!(result_name(11), "MAV_RESULT_11");
    assert_eq!(result_name(255), "MAV_RESULT_255");
}
