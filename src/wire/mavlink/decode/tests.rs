use mavlink::dialects::development::{
    COMMAND_ACK_DATA, EXTENDED_SYS_STATE_DATA, GPS_RAW_INT_DATA, GpsFixType, HEARTBEAT_DATA,
    HOME_POSITION_DATA, MavCmd, MavLandedState, MavResult, SYS_STATUS_DATA, SYSTEM_TIME_DATA,
};
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

/// What a typed message says in both versions of MAVLink, which must be the same.
fn report<M: MessageData>(data: &M) -> Option<Report> {
    let mut v1 = MAVLinkV1MessageRaw::new();
    v1.serialize_message_data(header(), data);
    let mut v2 = MAVLinkV2MessageRaw::new();
    v2.serialize_message_data(header(), data);
    let received = decode_bytes(v2.raw_bytes());
    assert_eq!(decode_bytes(v1.raw_bytes()), received);
    match received? {
        Received::Telemetry(Telemetry { source, report }) => {
            assert_eq!(source, SOURCE);
            Some(report)
        }
        other => panic!("{other:?} is no telemetry"),
    }
}

#[test]
fn telemetry_as_the_typed_encoders_write_it() {
    for (voltage_battery, battery_remaining) in [(15_900, 87), (u16::MAX, -1), (0, 0), (1, 100)] {
        let data = SYS_STATUS_DATA {
            // Every other field is far from 0 and from the two that are read.
            load: 0x1111,
            current_battery: 0x2222,
            drop_rate_comm: 0x3333,
            errors_comm: 0x4444,
            errors_count1: 0x5555,
            errors_count4: 0x6666,
            voltage_battery,
            battery_remaining,
            ..SYS_STATUS_DATA::DEFAULT
        };
        let expected = Report::SysStatus { voltage_battery, battery_remaining };
        assert_eq!(report(&data), Some(expected));
    }
    for time_unix_usec in [0, 1, 1_781_481_600_123_456, u64::MAX] {
        let data = SYSTEM_TIME_DATA { time_unix_usec, time_boot_ms: 0x7777_7777 };
        assert_eq!(report(&data), Some(Report::SystemTime { time_unix_usec }));
    }
    for fix_type in [
        GpsFixType::GPS_FIX_TYPE_NO_GPS,
        GpsFixType::GPS_FIX_TYPE_3D_FIX,
        GpsFixType::GPS_FIX_TYPE_PPP,
    ] {
        for satellites_visible in [0, 17] {
            let data = GPS_RAW_INT_DATA {
                time_usec: 1,
                lat: 473_977_418,
                cog: 0x1234,
                fix_type,
                satellites_visible,
                ..GPS_RAW_INT_DATA::DEFAULT
            };
            assert_eq!(report(&data), Some(Report::GpsRawInt { fix_type: fix_type as u8 }));
        }
    }
    for landed_state in [
        MavLandedState::MAV_LANDED_STATE_UNDEFINED,
        MavLandedState::MAV_LANDED_STATE_ON_GROUND,
        MavLandedState::MAV_LANDED_STATE_LANDING,
    ] {
        let data = EXTENDED_SYS_STATE_DATA { landed_state, ..EXTENDED_SYS_STATE_DATA::DEFAULT };
        let expected = Report::ExtendedSysState { landed_state: landed_state as u8 };
        assert_eq!(report(&data), Some(expected));
    }
    for (latitude, longitude) in [(473_977_418, 85_455_939), (-1, i32::MIN), (0, 0)] {
        let data = HOME_POSITION_DATA {
            latitude,
            longitude,
            altitude: 488_000,
            approach_z: 1.0,
            ..HOME_POSITION_DATA::DEFAULT
        };
        assert_eq!(report(&data), Some(Report::HomePosition { latitude, longitude }));
    }
}

#[test]
fn telemetry_is_zero_extended_and_may_be_longer() {
    let telemetry = |report| Some(Received::Telemetry(Telemetry { source: SOURCE, report }));
    // MAVLink 2 keeps at least one byte.
    let zero = Report::SysStatus { voltage_battery: 0, battery_remaining: 0 };
    assert_eq!(decode_bytes(&v2(1, 124, &[0])), telemetry(zero));
    assert_eq!(
        decode_bytes(&v2(2, 137, &[7])),
        telemetry(Report::SystemTime { time_unix_usec: 7 })
    );
    assert_eq!(decode_bytes(&v2(24, 24, &[9; 28])), telemetry(Report::GpsRawInt { fix_type: 0 }));
    // A landed state and a fix type that no dialect knows.
    assert_eq!(
        decode_bytes(&v2(245, 130, &[0, 200])),
        telemetry(Report::ExtendedSysState { landed_state: 200 })
    );
    assert_eq!(decode_bytes(&v2(24, 24, &[99; 60])), telemetry(Report::GpsRawInt { fix_type: 99 }));
    let newer = [1; 70];
    let home = Report::HomePosition { latitude: 0x0101_0101, longitude: 0x0101_0101 };
    assert_eq!(decode_bytes(&v2(242, 104, &newer)), telemetry(home));
}

#[test]
fn mavlink_1_carries_no_short_telemetry() {
    for (message_id, crc_extra, length) in
        [(1, 124, 31), (2, 137, 12), (24, 24, 30), (245, 130, 2), (242, 104, 52)]
    {
        let payload = vec![1; length];
        assert!(decode_bytes(&v1(message_id, crc_extra, &payload)).is_some(), "{message_id}");
        assert_eq!(decode_bytes(&v1(message_id, crc_extra, &payload[1..])), None, "{message_id}");
    }
}

#[test]
fn message_ids_are_those_of_the_dialect() {
    assert_eq!(
        [SYS_STATUS_ID, SYSTEM_TIME_ID, GPS_RAW_INT_ID, EXTENDED_SYS_STATE_ID, HOME_POSITION_ID],
        [
            SYS_STATUS_DATA::ID,
            SYSTEM_TIME_DATA::ID,
            GPS_RAW_INT_DATA::ID,
            EXTENDED_SYS_STATE_DATA::ID,
            HOME_POSITION_DATA::ID
        ]
    );
}

#[test]
fn nothing_else_is_decoded() {
    // ATTITUDE (30), CRC_EXTRA 39.
    assert_eq!(decode_bytes(&v2(30, 39, &[1; 28])), None);
    assert_eq!(COMMAND_ACK_DATA::ID, COMMAND_ACK_ID);
}
