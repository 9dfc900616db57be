use mavlink::dialects::development::{MavCmd, MavFrame};
use mavlink::{MavlinkReader, Message};

use super::*;

const SOURCE: Address = Address { system: 1, component: 191 };
const TARGET: Address = Address { system: 1, component: 1 };

/// Through the crate's own reader, which had no part in our serialization.
fn read_back(frame: &FrameBytes) -> (MavHeader, MavMessage) {
    MavlinkReader::new(frame.as_slice()).read_message(MavlinkVersion::V2).unwrap()
}

fn long(command: u16, confirmation: u8, params: [f32; 7]) -> CommandFrame {
    CommandFrame { target: TARGET, command, confirmation, body: Body::Long(LongParams(params)) }
}

fn int(command: u16, frame: u8, params: IntParams) -> CommandFrame {
    CommandFrame { target: TARGET, command, confirmation: 0, body: Body::Int { frame, params } }
}

const PARAMS: IntParams = IntParams {
    param1: 1.5,
    param2: -2.0,
    param3: 3.0,
    param4: f32::INFINITY,
    x: 473_977_418,
    y: i32::MAX,
    z: -488.25,
};

#[test]
fn command_long_reads_back_through_the_crate() {
    let params = [0.0, f32::MIN_POSITIVE, -1.0, 4.0, 5.0e9, 6.0, 7.5];
    let (header, message) = read_back(&command(200, SOURCE, &long(2001, 3, params)));
    assert_eq!(header, MavHeader { system_id: 1, component_id: 191, sequence: 200 });
    let expected = COMMAND_LONG_DATA {
        param1: params[0],
        param2: params[1],
        param3: params[2],
        param4: params[3],
        param5: params[4],
        param6: params[5],
        param7: params[6],
        command: MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE,
        target_system: 1,
        target_component: 1,
        confirmation: 3,
    };
    assert_eq!(message, MavMessage::COMMAND_LONG(expected));
}

#[test]
fn nan_stays_nan() {
    let (_, message) = read_back(&command(0, SOURCE, &long(2001, 0, [f32::NAN; 7])));
    let MavMessage::COMMAND_LONG(data) = message else { panic!("not COMMAND_LONG: {message:?}") };
    assert_eq!(data.param1.to_bits(), f32::NAN.to_bits());
    assert!(data.param7.is_nan());
}

#[test]
fn command_int_reads_back_through_the_crate() {
    let (header, message) = read_back(&command(255, SOURCE, &int(195, 3, PARAMS)));
    assert_eq!(header, MavHeader { system_id: 1, component_id: 191, sequence: 255 });
    let expected = COMMAND_INT_DATA {
        param1: PARAMS.param1,
        param2: PARAMS.param2,
        param3: PARAMS.param3,
        param4: PARAMS.param4,
        x: PARAMS.x,
        y: PARAMS.y,
        z: PARAMS.z,
        command: MavCmd::MAV_CMD_DO_SET_ROI_LOCATION,
        target_system: 1,
        target_component: 1,
        frame: MavFrame::MAV_FRAME_GLOBAL_RELATIVE_ALT,
        current: 0,
        autocontinue: 0,
    };
    assert_eq!(message, MavMessage::COMMAND_INT(expected));
}

#[test]
fn our_bytes_are_the_crates_own_bytes() {
    let header = MavHeader { system_id: 1, component_id: 191, sequence: 9 };
    for confirmation in [0, 1] {
        let mut expected = MAVLinkV2MessageRaw::new();
        expected.serialize_message_data(
            header,
            &COMMAND_LONG_DATA {
                param2: 8.0,
                command: MavCmd::MAV_CMD_SET_CAMERA_ZOOM,
                target_system: 1,
                target_component: 1,
                confirmation,
                ..COMMAND_LONG_DATA::DEFAULT
            },
        );
        let params = [0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let ours = command(9, SOURCE, &long(531, confirmation, params));
        assert_eq!(ours.as_slice(), expected.raw_bytes());
    }
}

#[test]
fn numbers_outside_of_the_dialect_are_written_as_they_are() {
    let frame = command(0, SOURCE, &long(65_535, 255, [1.0; 7]));
    let message = CommandLong::deser(MavlinkVersion::V2, frame.0.payload()).unwrap();
    let expected =
        CommandLong { params: [1.0; 7], command: 65_535, target: TARGET, confirmation: 255 };
    assert_eq!(message, expected);
    assert!(frame.0.has_valid_crc::<MavMessage>());

    let frame = command(0, SOURCE, &int(65_535, 200, PARAMS));
    let message = CommandInt::deser(MavlinkVersion::V2, frame.0.payload()).unwrap();
    let expected = CommandInt { params: PARAMS, command: 65_535, target: TARGET, frame: 200 };
    assert_eq!(message, expected);
    assert!(frame.0.has_valid_crc::<MavMessage>());
}

#[test]
fn heartbeat_is_that_of_a_companion_computer() {
    let frame = heartbeat(7, SOURCE);
    let (header, message) = read_back(&frame);
    assert_eq!(header, MavHeader { system_id: 1, component_id: 191, sequence: 7 });
    assert_eq!(message.message_name(), "HEARTBEAT");
    let MavMessage::HEARTBEAT(data) = message else { panic!("not HEARTBEAT: {message:?}") };
    assert_eq!(data.mavtype as u8, 18);
    assert_eq!(data.autopilot as u8, 8);
    assert_eq!(data.system_status as u8, 4);
    assert_eq!(data.base_mode.bits(), 0);
    assert_eq!(data.mavlink_version, 3);
    assert_eq!(frame.as_slice().len(), 21);
}
