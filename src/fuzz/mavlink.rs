//! The frame reader, and the messages in the frames.

use mavlink::dialects::development::{COMMAND_ACK_DATA, MavMessage};
use mavlink::{MavlinkVersion, Message, calculate_crc};

use crate::wire::mavlink::{
    Address, Counters, Frame, Framer, Received, Report, Version, decode, heartbeat,
};

/// Longer than a frame can be twice over: whatever a frame can hold back has come in then.
const SILENCE: [u8; 600] = [0; 600];

/// One byte says how many cuts there are, and in its upper half whether to seal what looks like a
/// frame; then a byte for each cut, the distance from the one before; then the stream.
pub fn mavlink(data: &[u8]) -> bool {
    let Some((&head, rest)) = data.split_first() else { return false };
    let (distances, stream) = rest.split_at(usize::from(head % 16).min(rest.len()));
    let mut stream = stream.to_vec();
    if head >= 16 {
        seal(&mut stream);
    }
    let stream = &stream[..];
    let whole = read(std::iter::once(stream));
    for frame in &whole.frames {
        check_frame(stream, frame);
    }
    check_order(stream.len(), &whole);
    assert_eq!(read(cut(stream, distances)), whole, "the result depends on how it was read");
    assert_eq!(read(stream.chunks(1)), whole, "the result depends on how it was read");
    check_that_a_frame_comes_through(stream);
    !whole.frames.is_empty()
}

/// Chance does not find the checksum of a payload that nobody has sent.
fn seal(stream: &mut [u8]) {
    let mut at = 0;
    while let Some((checksum_at, checksum)) = first_checksum(&stream[at..]) {
        at += checksum_at;
        stream[at..at + 2].copy_from_slice(&checksum.to_le_bytes());
        at += 2;
    }
}

/// Where the first candidate of a known message has its checksum, and what it must be.
fn first_checksum(stream: &[u8]) -> Option<(usize, u16)> {
    (0..stream.len()).find_map(|at| {
        let rest = &stream[at..];
        let (id, header) = match rest {
            [0xFE, _, _, _, _, id, ..] => (u32::from(*id), 6),
            [0xFD, _, 0 | 1, _, _, _, _, _, _, _, ..] => (id_of(rest), 10),
            _ => return None,
        };
        MavMessage::default_message_from_id(id)?;
        let end = header + usize::from(rest[1]);
        rest.get(end..end + 2)?;
        Some((at + end, calculate_crc(&rest[1..end], MavMessage::extra_crc(id))))
    })
}

/// What came of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Where each begins, and its bytes.
    frames: Vec<(u64, Vec<u8>)>,
    counters: Counters,
    is_holding: bool,
}

impl Outcome {
    fn end(&self) -> u64 {
        let bytes: usize = self.frames.iter().map(|(_, frame)| frame.len()).sum();
        bytes as u64 + self.counters.skipped_bytes
    }
}

fn read<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut framer = Framer::new();
    let mut outcome =
        Outcome { frames: Vec::new(), counters: Counters::default(), is_holding: false };
    for part in parts {
        framer.push(part);
        drain(&mut framer, &mut outcome);
    }
    outcome
}

fn drain(framer: &mut Framer, outcome: &mut Outcome) {
    while let Some(frame) = framer.next() {
        check_message(&frame);
        let frame = frame.as_slice().to_vec();
        outcome.counters = framer.counters();
        outcome.frames.push((outcome.end(), frame));
    }
    outcome.counters = framer.counters();
    outcome.is_holding = framer.is_holding();
}

fn cut<'a>(stream: &'a [u8], distances: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut distances = distances.iter();
    std::iter::from_fn(move || {
        let part = match distances.next() {
            Some(&distance) => rest.split_off(..usize::from(distance).min(rest.len()))?,
            None if rest.is_empty() => return None,
            None => std::mem::take(&mut rest),
        };
        Some(part)
    })
}

/// It stands in the stream, and its checksum is right by the table of the `mavlink` crate.
fn check_frame(stream: &[u8], (at, frame): &(u64, Vec<u8>)) {
    let at = *at as usize;
    assert_eq!(stream[at..at + frame.len()], frame[..]);
    let (id, header, tail) = match frame[..] {
        [0xFE, ..] => (u32::from(frame[5]), 6, 0),
        [0xFD, _, 0, ..] => (id_of(frame), 10, 0),
        [0xFD, _, 1, ..] => (id_of(frame), 10, 13),
        _ => panic!("no frame begins like {frame:02x?}"),
    };
    let checksum_at = header + usize::from(frame[1]);
    assert_eq!(frame.len(), checksum_at + 2 + tail);
    let checksum = calculate_crc(&frame[1..checksum_at], MavMessage::extra_crc(id));
    assert_eq!(frame[checksum_at..checksum_at + 2], checksum.to_le_bytes());
}

fn id_of(frame: &[u8]) -> u32 {
    u32::from_le_bytes([frame[7], frame[8], frame[9], 0])
}

fn check_order(length: usize, outcome: &Outcome) {
    let mut end = 0;
    for (at, frame) in &outcome.frames {
        assert!(*at >= end, "frames overlap");
        end = at + frame.len() as u64;
    }
    assert!(end <= outcome.end() && outcome.end() <= length as u64);
    assert_eq!(outcome.is_holding, outcome.end() < length as u64);
    assert_eq!(outcome.counters.frames, outcome.frames.len() as u64);
    let Counters { bad_checksum, unknown_message, skipped_bytes, .. } = outcome.counters;
    assert!(bad_checksum + unknown_message <= skipped_bytes);
}

/// A frame behind `noise` is read: once the stream pauses, or once enough has followed. Only another
/// intact frame that shares bytes with it may take its place, or a message of no dialect, which is
/// skipped whole.
fn check_that_a_frame_comes_through(noise: &[u8]) {
    let good = heartbeat(7, Address { system: 1, component: 1 });
    let place = noise.len() as u64..(noise.len() + good.as_slice().len()) as u64;
    let mut stream = [noise, good.as_slice()].concat();
    let mut paused = Framer::new();
    let mut outcome = read(std::iter::empty());
    paused.push(&stream);
    drain(&mut paused, &mut outcome);
    while paused.resynchronize() {
        outcome.counters = paused.counters();
        drain(&mut paused, &mut outcome);
    }
    stream.extend(SILENCE);
    for outcome in [outcome, read(std::iter::once(&stream[..]))] {
        let is_there = outcome
            .frames
            .iter()
            .any(|(at, frame)| *at < place.end && at + frame.len() as u64 > place.start);
        let may_be_inside = outcome.counters.unknown_message > 0;
        assert!(is_there || may_be_inside, "the frame at {} was lost", place.start);
        for frame in &outcome.frames {
            check_frame(&stream, frame);
        }
    }
}

/// As the `mavlink` crate reads the message, where that can.
fn check_message(frame: &Frame<'_>) {
    let version = match frame.version() {
        Version::V1 => MavlinkVersion::V1,
        Version::V2 => MavlinkVersion::V2,
    };
    let message = MavMessage::parse(version, frame.message_id(), frame.payload());
    let source = frame.source();
    match (decode(frame), message) {
        (Some(Received::Heartbeat(ours)), Ok(MavMessage::HEARTBEAT(theirs))) => {
            assert_eq!(ours.source, source);
            assert_eq!(ours.autopilot, theirs.autopilot as u8);
            assert_eq!(ours.vehicle_type, theirs.mavtype as u8);
            assert_eq!(ours.base_mode, theirs.base_mode.bits());
            assert_eq!(ours.custom_mode, theirs.custom_mode);
            assert_eq!(ours.system_status, theirs.system_status as u8);
        }
        (Some(Received::CommandAck(ours)), Ok(MavMessage::COMMAND_ACK(theirs))) => {
            assert_eq!(ours.source, source);
            // MAVLink 1 has no extension fields.
            let theirs = match frame.version() {
                Version::V1 => COMMAND_ACK_DATA {
                    command: theirs.command,
                    result: theirs.result,
                    ..COMMAND_ACK_DATA::DEFAULT
                },
                Version::V2 => theirs,
            };
            assert_eq!(ours.command, theirs.command as u16);
            assert_eq!(ours.result, theirs.result as u8);
            assert_eq!(ours.progress, theirs.progress);
            assert_eq!(ours.result_param2, theirs.result_param2);
            assert_eq!(ours.target_system, theirs.target_system);
            assert_eq!(ours.target_component, theirs.target_component);
        }
        (Some(Received::Telemetry(ours)), Ok(theirs)) => {
            assert_eq!(ours.source, source);
            assert_eq!(Some(ours.report), report(&theirs));
        }
        // An enumeration's value that the crate does not know, or a flag.
        (Some(_), Err(_)) => {}
        (None, Ok(theirs)) => {
            let is_ours = report(&theirs).is_some()
                || matches!(theirs, MavMessage::HEARTBEAT(_) | MavMessage::COMMAND_ACK(_));
            // A short payload of MAVLink 1 is some other message.
            assert!(!is_ours || frame.version() == Version::V1, "not read: {theirs:?}");
        }
        (None, Err(_)) => {}
        (Some(ours), Ok(theirs)) => panic!("{ours:?} was {theirs:?}"),
    }
}

fn report(message: &MavMessage) -> Option<Report> {
    Some(match message {
        MavMessage::SYS_STATUS(it) => Report::SysStatus {
            voltage_battery: it.voltage_battery,
            battery_remaining: it.battery_remaining,
        },
        MavMessage::SYSTEM_TIME(it) => Report::SystemTime { time_unix_usec: it.time_unix_usec },
        MavMessage::GPS_RAW_INT(it) => Report::GpsRawInt { fix_type: it.fix_type as u8 },
        MavMessage::EXTENDED_SYS_STATE(it) => {
            Report::ExtendedSysState { landed_state: it.landed_state as u8 }
        }
        MavMessage::HOME_POSITION(it) => {
            Report::HomePosition { latitude: it.latitude, longitude: it.longitude }
        }
        _ => return None,
    })
}
