use mavlink::dialects::development::{
    ATTITUDE_DATA, COMMAND_ACK_DATA, HEARTBEAT_DATA, LOG_DATA_DATA, MavCmd, MavMessage, MavResult,
    STATUSTEXT_DATA,
};
use mavlink::{MAVLinkV1MessageRaw, MAVLinkV2MessageRaw, MavHeader, Message, calculate_crc};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::mavlink::{Received, decode};

fn v1(sequence: u8, message: &MavMessage) -> Vec<u8> {
    let mut raw = MAVLinkV1MessageRaw::new();
    raw.serialize_message(MavHeader { system_id: 1, component_id: 1, sequence }, message);
    raw.raw_bytes().to_vec()
}

fn v2(sequence: u8, message: &MavMessage) -> Vec<u8> {
    let mut raw = MAVLinkV2MessageRaw::new();
    raw.serialize_message(MavHeader { system_id: 1, component_id: 1, sequence }, message);
    raw.raw_bytes().to_vec()
}

fn signed(sequence: u8, message: &MavMessage) -> Vec<u8> {
    let mut frame = v2(sequence, message);
    frame[2] = 0x01;
    let checksum_at = frame.len() - 2;
    let checksum =
        calculate_crc(&frame[1..checksum_at], MavMessage::extra_crc(message.message_id()));
    frame[checksum_at..].copy_from_slice(&checksum.to_le_bytes());
    // Link id, timestamp and signature, full of markers.
    frame.extend_from_slice(&[0xFD, 0xFE, 0xFD, 9, 0, 0, 0xFE, 3, 0xFD, 0xFF, 0, 0, 0xFD]);
    frame
}

fn ack(command: MavCmd) -> MavMessage {
    MavMessage::COMMAND_ACK(COMMAND_ACK_DATA {
        command,
        result: MavResult::MAV_RESULT_ACCEPTED,
        target_system: 1,
        target_component: 191,
        ..COMMAND_ACK_DATA::DEFAULT
    })
}

fn heartbeat() -> MavMessage {
    MavMessage::HEARTBEAT(HEARTBEAT_DATA::DEFAULT)
}

fn attitude(value: f32) -> MavMessage {
    MavMessage::ATTITUDE(ATTITUDE_DATA { roll: value, yawspeed: -value, ..ATTITUDE_DATA::DEFAULT })
}

/// LOG_DATA with these bytes in it.
fn log_data(content: &[u8]) -> MavMessage {
    let mut data = [0xFD; 90];
    data[..content.len()].copy_from_slice(content);
    MavMessage::LOG_DATA(LOG_DATA_DATA { count: 90, data, ..LOG_DATA_DATA::DEFAULT })
}

fn drain(framer: &mut Framer, frames: &mut Vec<Vec<u8>>) {
    while let Some(frame) = framer.next() {
        frames.push(frame.as_slice().to_vec());
    }
}

/// The stream in two parts.
fn read_split(stream: &[u8], boundary: usize) -> (Vec<Vec<u8>>, Counters) {
    let mut framer = Framer::new();
    let mut seen = Vec::new();
    for part in [&stream[..boundary], &stream[boundary..]] {
        framer.push(part);
        drain(&mut framer, &mut seen);
    }
    (seen, framer.counters())
}

/// What comes out once the stream has ended.
fn drain_to_the_end(framer: &mut Framer, frames: &mut Vec<Vec<u8>>) {
    drain(framer, frames);
    while framer.resynchronize() {
        drain(framer, frames);
    }
}

#[test]
fn fields_of_both_versions() {
    let message = ack(MavCmd::MAV_CMD_DO_SET_ROI_LOCATION);
    for (version, bytes) in [
        (Version::V1, v1(42, &message)),
        (Version::V2, v2(42, &message)),
        (Version::V2, signed(42, &message)),
    ] {
        let mut framer = Framer::new();
        framer.push(&bytes);
        let frame = framer.next().unwrap();
        assert_eq!(frame.version(), version);
        assert_eq!(frame.sequence(), 42);
        assert_eq!(frame.source(), Address { system: 1, component: 1 });
        assert_eq!(frame.message_id(), 77);
        assert_eq!(frame.payload()[..3], [195, 0, 0]);
        assert_eq!(frame.as_slice(), bytes);
        assert_eq!(framer.next(), None);
        assert!(!framer.is_holding());
        let counters = framer.counters();
        assert_eq!(counters.mavlink_1, u64::from(version == Version::V1));
        let expected = Counters { bytes: bytes.len() as u64, frames: 1, ..Counters::default() };
        assert_eq!(Counters { mavlink_1: 0, ..counters }, expected);
    }
}

#[test]
fn frames_split_at_every_byte_boundary() {
    let frames = [
        v2(0, &heartbeat()),
        v1(1, &attitude(0.5)),
        signed(2, &ack(MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE)),
        v2(3, &log_data(&v2(0, &ack(MavCmd::MAV_CMD_NAV_LAND)))),
        v2(4, &ack(MavCmd::MAV_CMD_DO_SET_ROI_LOCATION)),
    ];
    let stream = frames.concat();
    for boundary in 0..=stream.len() {
        let (seen, counters) = read_split(&stream, boundary);
        assert_eq!(seen, frames, "split at {boundary}");
        assert_eq!(counters.skipped_bytes, 0);
    }
    let mut framer = Framer::new();
    let mut seen = Vec::new();
    for byte in stream.chunks(1) {
        framer.push(byte);
        drain(&mut framer, &mut seen);
    }
    assert_eq!(seen, frames);
}

#[test]
fn an_ack_inside_of_a_payload_is_never_read() {
    let inner = v2(0, &ack(MavCmd::MAV_CMD_NAV_LAND));
    let outer = v2(1, &log_data(&inner));
    let at = outer.windows(inner.len()).position(|window| window == inner).unwrap();
    let mut framer = Framer::new();
    framer.push(&outer[..at + inner.len()]);
    assert_eq!(framer.next(), None, "the outer frame is incomplete, the inner one is whole");
    framer.push(&outer[at + inner.len()..]);
    assert_eq!(framer.next().unwrap().as_slice(), outer);
    assert_eq!(framer.next(), None);
}

#[test]
fn a_stray_marker_with_length_255_holds_back_until_the_stream_pauses() {
    let good = v2(7, &ack(MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE));
    // Plausible to the last byte of its header: SYS_STATUS, 255 bytes long.
    let stray = [0xFD, 0xFF, 0, 0, 0, 1, 1, 1, 0, 0];
    let mut framer = Framer::new();
    framer.push(&stray);
    framer.push(&good);
    assert_eq!(framer.next(), None);
    assert!(framer.is_holding());
    assert!(framer.resynchronize());
    assert_eq!(framer.next().unwrap().as_slice(), good);
    assert_eq!(framer.next(), None);
    assert!(!framer.is_holding());
    assert!(!framer.resynchronize());
    let skipped_bytes = stray.len() as u64;
    let bytes = skipped_bytes + good.len() as u64;
    let expected = Counters { bytes, frames: 1, skipped_bytes, ..Counters::default() };
    assert_eq!(framer.counters(), expected);
}

#[test]
fn a_stray_marker_in_a_busy_stream_loses_nothing() {
    let mut stream = vec![0xFD, 0xFF, 0, 0, 0, 1, 1, 1, 0, 0];
    let frames: Vec<_> = (0..20).map(|sequence| v2(sequence, &heartbeat())).collect();
    stream.extend(frames.concat());
    let mut framer = Framer::new();
    let mut seen = Vec::new();
    for chunk in stream.chunks(21) {
        framer.push(chunk);
        drain(&mut framer, &mut seen);
    }
    assert_eq!(seen, frames);
    assert_eq!(framer.counters().bad_checksum, 1);
}

#[test]
fn incompatibility_flags_that_we_do_not_know_are_dropped_at_once() {
    let good = v2(7, &ack(MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE));
    for flags in 2..=u8::MAX {
        // Intact but for them.
        let mut other = good.clone();
        other[2] = flags;
        let checksum = calculate_crc(&other[1..other.len() - 2], crc_extra(77).unwrap());
        let checksum_at = other.len() - 2;
        other[checksum_at..].copy_from_slice(&checksum.to_le_bytes());
        let mut framer = Framer::new();
        framer.push(&other);
        framer.push(&good);
        let mut seen = Vec::new();
        drain_to_the_end(&mut framer, &mut seen);
        assert_eq!(seen.last(), Some(&good), "{flags}");
        assert!(!seen.contains(&other));
        assert!(framer.counters().unknown_flags >= 1);
    }
}

#[test]
fn resynchronizing_keeps_a_frame_that_may_still_be_completed() {
    let frame = v2(0, &attitude(0.25));
    let mut framer = Framer::new();
    framer.push(&frame[..20]);
    assert_eq!(framer.next(), None);
    assert!(!framer.resynchronize());
    framer.push(&frame[20..]);
    assert_eq!(framer.next().unwrap().as_slice(), frame);
}

/// A message of a private dialect around `payload`, whose CRC_EXTRA nobody here knows.
fn unknown(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xFD, payload.len() as u8, 0, 0, 3, 1, 1, 0x39, 0x30, 0xF0];
    frame.extend_from_slice(payload);
    let checksum = calculate_crc(&frame[1..], 199);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

#[test]
fn an_unknown_message_is_skipped_whole() {
    let good = v2(4, &ack(MavCmd::MAV_CMD_DO_SET_ROI_LOCATION));
    let tunnel = unknown(&v2(0, &ack(MavCmd::MAV_CMD_NAV_LAND)));
    for unknown in [&unknown(&[]), &unknown(&[0xFD, 0xFE, 200, 0xFD, 9, 0, 0, 1]), &tunnel] {
        let stream = [&unknown[..], &good].concat();
        for boundary in 0..=stream.len() {
            let (seen, counters) = read_split(&stream, boundary);
            assert_eq!(seen, std::slice::from_ref(&good), "split at {boundary}");
            assert_eq!(counters.unknown_message, 1);
            assert_eq!(counters.skipped_bytes, unknown.len() as u64);
        }
    }
    // Nor is it read into behind a candidate that is given up.
    let mut framer = Framer::new();
    framer.push(&[0xFD, 0xFF, 0, 0, 0, 1, 1, 1, 0, 0]);
    framer.push(&[&tunnel[..], &good].concat());
    let mut seen = Vec::new();
    drain_to_the_end(&mut framer, &mut seen);
    assert_eq!(seen, [good]);
}

#[test]
fn noise_that_looks_like_an_unknown_message_costs_one_byte() {
    let mut noise = unknown(&[1, 2, 3]);
    let last = noise.len() - 1;
    // No CRC_EXTRA comes near.
    noise[last] ^= 0x55;
    noise[last - 1] ^= 0x01;
    let good = v2(4, &ack(MavCmd::MAV_CMD_DO_SET_ROI_LOCATION));
    let mut framer = Framer::new();
    framer.push(&[&noise[..], &good].concat());
    assert_eq!(framer.next().unwrap().as_slice(), good);
    assert_eq!((framer.counters().unknown_message, framer.counters().bad_checksum), (0, 1));
}

/// A later dialect may append fields, which older ones do not know.
#[test]
fn extension_fields_and_cut_zeros_do_not_matter() {
    let whole = ack(MavCmd::MAV_CMD_DO_SET_ROI_LOCATION);
    for extra in [&[][..], &[0; 4], &[1, 2, 3]] {
        let mut frame = v2(0, &whole);
        frame.truncate(frame.len() - 2);
        frame.extend_from_slice(extra);
        frame[1] += extra.len() as u8;
        let checksum = calculate_crc(&frame[1..], crc_extra(77).unwrap());
        frame.extend_from_slice(&checksum.to_le_bytes());
        let mut framer = Framer::new();
        framer.push(&frame);
        let Some(Received::CommandAck(read)) = decode(&framer.next().unwrap()) else {
            panic!("not COMMAND_ACK");
        };
        assert_eq!((read.command, read.target_system, read.target_component), (195, 1, 191));
    }
}

#[test]
fn a_frame_with_one_flipped_bit_is_not_returned() {
    let frame = v2(0, &ack(MavCmd::MAV_CMD_NAV_LAND));
    for bit in 0..8 * frame.len() {
        let mut damaged = frame.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut framer = Framer::new();
        framer.push(&damaged);
        let mut seen = Vec::new();
        drain_to_the_end(&mut framer, &mut seen);
        assert_eq!(seen, Vec::<Vec<u8>>::new(), "bit {bit}");
    }
}

/// PX4 in onboard mode: about 520 frames and 33 kB in a second, read in uneven pieces.
#[test]
fn ten_seconds_of_a_telemetry_stream() {
    let mut stream = Vec::new();
    let mut acks = 0;
    for number in 0..5200_u32 {
        let sequence = number as u8;
        stream.extend(match number {
            _ if number % 520 == 0 => v2(sequence, &heartbeat()),
            _ if number % 97 == 3 => {
                acks += 1;
                v2(sequence, &ack(MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE))
            }
            _ if number % 13 == 0 => v2(sequence, &log_data(&number.to_le_bytes())),
            _ if number % 101 == 0 => {
                v2(sequence, &MavMessage::STATUSTEXT(STATUSTEXT_DATA::DEFAULT))
            }
            _ => v2(sequence, &attitude(number as f32)),
        });
    }
    let mut framer = Framer::new();
    let (mut heartbeats, mut received_acks) = (0, 0);
    let mut rest = &stream[..];
    for size in (1..=64).cycle() {
        let (read, unread) = rest.split_at(size.min(rest.len()));
        framer.push(read);
        while let Some(frame) = framer.next() {
            match decode(&frame) {
                Some(Received::Heartbeat(_)) => heartbeats += 1,
                Some(Received::CommandAck(ack)) => {
                    assert_eq!((ack.command, ack.target_component), (2001, 191));
                    received_acks += 1;
                }
                Some(Received::Telemetry(_)) | None => {}
            }
        }
        rest = unread;
        if rest.is_empty() {
            break;
        }
    }
    let bytes = stream.len() as u64;
    assert_eq!(framer.counters(), Counters { bytes, frames: 5200, ..Counters::default() });
    assert_eq!((heartbeats, received_acks), (10, acks));
    // The buffer has not grown beyond a read and a frame.
    assert!(framer.buffer.capacity() <= 1024, "{}", framer.buffer.capacity());
}

#[derive(Clone, Debug)]
enum Piece {
    Intact(Vec<u8>),
    Noise(Vec<u8>),
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        Just(heartbeat()),
        any::<f32>().prop_map(attitude),
        vec(any::<u8>(), 0..90).prop_map(|content| log_data(&content)),
        Just(ack(MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE)),
        // A whole ACK as payload.
        Just(log_data(&v2(3, &ack(MavCmd::MAV_CMD_NAV_LAND)))),
    ];
    (message, any::<u8>(), 0..3).prop_map(|(message, sequence, form)| match form {
        0 => v1(sequence, &message),
        1 => v2(sequence, &message),
        _ => signed(sequence, &message),
    })
}

fn piece() -> impl Strategy<Value = Piece> {
    let byte = prop_oneof![2 => any::<u8>(), 1 => Just(0xFD), 1 => Just(0xFE), 1 => Just(0)];
    prop_oneof![
        3 => frame().prop_map(Piece::Intact),
        2 => vec(byte, 1..40).prop_map(Piece::Noise),
        // Its beginning only.
        1 => (frame(), any::<prop::sample::Index>()).prop_map(|(frame, length)| {
            Piece::Noise(frame[..length.index(frame.len())].to_vec())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every intact frame comes out, in order, and nothing else does.
    #[test]
    fn noise_and_splits(pieces in vec(piece(), 0..12), sizes in vec(1_usize..80, 1..20)) {
        let mut stream = Vec::new();
        let mut intact = Vec::new();
        let mut noise = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Intact(frame) => {
                    intact.push(frame.clone());
                    stream.extend_from_slice(frame);
                }
                Piece::Noise(bytes) => {
                    noise.extend(stream.len()..stream.len() + bytes.len());
                    stream.extend_from_slice(bytes);
                }
            }
        }
        // Noise may be a frame by chance, once in 65536, or in 256 an unknown one; that is not what
        // this is about.
        let by_chance = noise.iter().any(|&at| {
            matches!(
                examine(&stream[at..]),
                Candidate::Frame { .. } | Candidate::UnknownMessage { .. }
            )
        });
        prop_assume!(!by_chance);

        let mut framer = Framer::new();
        let mut seen = Vec::new();
        let mut rest = &stream[..];
        for &size in sizes.iter().cycle() {
            let (read, unread) = rest.split_at(size.min(rest.len()));
            framer.push(read);
            drain(&mut framer, &mut seen);
            rest = unread;
            if rest.is_empty() {
                break;
            }
        }
        drain_to_the_end(&mut framer, &mut seen);
        prop_assert_eq!(&seen, &intact);

        let counters = framer.counters();
        prop_assert_eq!(counters.frames, intact.len() as u64);
        let unread = (framer.buffer.len() - framer.start) as u64;
        prop_assert_eq!(counters.skipped_bytes + unread, noise.len() as u64);
    }

    #[test]
    fn no_bytes_can_make_it_panic(bytes in vec(any::<u8>(), 0..600)) {
        let mut framer = Framer::new();
        framer.push(&bytes);
        let mut seen = Vec::new();
        drain_to_the_end(&mut framer, &mut seen);
        let read: usize = seen.iter().map(Vec::len).sum();
        let unread = framer.buffer.len() - framer.start;
        prop_assert_eq!(framer.counters().skipped_bytes as usize + read + unread, bytes.len());
    }
}

/// A frame of a message that is in no dialect, by its sender's own seed.
fn private(sequence: u8, seed: u8) -> Vec<u8> {
    let mut frame = vec![MAV_STX_V2, 5, 0, 0, sequence, 1, 1, 0x39, 0x30, 0xAB];
    frame.extend_from_slice(&[1, 2, 3, 4, sequence]);
    let checksum = calculate_crc(&frame[1..], seed);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

#[test]
fn a_message_of_no_dialect_is_known_by_its_second_frame() {
    let stream = [private(0, 77), private(1, 77), v2(2, &heartbeat()), private(3, 77)];
    let mut framer = Framer::new();
    let mut frames = Vec::new();
    for byte in stream.concat() {
        framer.push(&[byte]);
        drain(&mut framer, &mut frames);
    }
    assert_eq!(frames, stream[1..]);
    let Counters { frames, unknown_message, skipped_bytes, .. } = framer.counters();
    assert_eq!((frames, unknown_message, skipped_bytes as usize), (1, 3, stream[0].len()));
}

#[test]
fn a_seed_that_changes_proves_nothing() {
    for (second, expected) in [(private(1, 77), 1), (private(1, 78), 0)] {
        let mut broken = private(9, 77);
        broken[12] ^= 1;
        let mut framer = Framer::new();
        let mut frames = Vec::new();
        framer.push(&[private(0, 77), second.clone(), broken].concat());
        drain_to_the_end(&mut framer, &mut frames);
        assert_eq!(frames, vec![second; expected]);
    }
}

#[test]
fn noise_does_not_fill_the_memory_for_unknown_messages() {
    let mut framer = Framer::new();
    for id in 0..1000_u32 {
        let mut frame = private(0, 77);
        frame[7..10].copy_from_slice(&(0xAB_0000 + id).to_le_bytes()[..3]);
        let checksum_at = frame.len() - 2;
        let checksum = calculate_crc(&frame[1..checksum_at], 77);
        frame[checksum_at..].copy_from_slice(&checksum.to_le_bytes());
        framer.push(&frame);
        assert_eq!(framer.next(), None);
    }
    assert_eq!(framer.seeds.len(), 64);
}
