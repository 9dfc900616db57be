use mavlink::calculate_crc;

use super::*;
use crate::catalog::{IntParams, LongParams};
use crate::wire::mavlink::{Body, CommandFrame, Framer, command, heartbeat};

const AGENT: Address = Address { system: 1, component: 191 };
const AUTOPILOT: Address = Address { system: 1, component: 1 };
const T: SigningTime = SigningTime(0x0012_3456_789A);

fn key() -> Key {
    Key::read(&std::array::from_fn::<u8, 32, _>(|index| index as u8)).unwrap()
}

/// With all timestamps to use.
fn signer(link_id: u8, start: SigningTime) -> Signer {
    let mut signer = Signer::new(key(), link_id, start);
    signer.grant(SigningTime::MAX);
    signer
}

fn hex(frame: &FrameBytes) -> String {
    data_encoding::HEXLOWER.encode(frame.as_slice())
}

fn verify(signer: &mut Signer, bytes: &[u8], now: SigningTime) -> Result<(), Rejection> {
    let mut framer = Framer::new();
    framer.push(bytes);
    signer.verify(&framer.next().expect("an intact frame"), now)
}

/// A HEARTBEAT of the autopilot.
fn signed(link_id: u8, timestamp: SigningTime) -> Vec<u8> {
    seal(&heartbeat(0, AUTOPILOT), &key(), link_id, timestamp).as_slice().to_vec()
}

fn ticks(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// pymavlink 2.4.50 made the expected frames, with the key 00 01 02 … 1f.
#[test]
fn our_frames_are_pymavlinks_frames() {
    let long = Body::Long(LongParams([0.0; 7]));
    let long = CommandFrame { target: AUTOPILOT, command: 2001, confirmation: 0, body: long };
    let params = IntParams {
        param1: 1.5,
        param2: 0.0,
        param3: 0.0,
        param4: 0.0,
        x: 473_977_418,
        y: 85_455_939,
        z: 100.0,
    };
    let int = Body::Int { frame: 0, params };
    let int = CommandFrame { target: AUTOPILOT, command: 192, confirmation: 0, body: int };
    for (frame, link_id, timestamp, expected) in [
        (
            heartbeat(5, AGENT),
            7,
            T,
            "fd0901000501bf0000000000000012080004033b98079a78563412003819a771b087",
        ),
        (
            command(6, AGENT, &long),
            7,
            T,
            "fd2001000601bf4c0000000000000000000000000000000000000000000000000000000000\
             00d1070101cda0079a7856341200ec54b33e2c78",
        ),
        (
            command(8, AGENT, &int),
            255,
            SigningTime(0xFFFF_FFFF_FFFE),
            "fd2001000801bf4b00000000c03f0000000000000000000000004a52401c43f41705\
             0000c842c00001019691fffeffffffffff35c99457c6ab",
        ),
    ] {
        let sealed = signer(link_id, SigningTime(0)).sign(&frame, timestamp).unwrap();
        assert_eq!(hex(&sealed), expected);
    }
}

#[test]
fn a_frame_of_pymavlink_counts_and_each_of_its_bits_matters() {
    let ack = "fd0a01000701014d0000d10700000000000001bfbf45009b785634120023777cf5dfb5";
    let ack = data_encoding::HEXLOWER.decode(ack.as_bytes()).unwrap();
    assert_eq!(verify(&mut signer(9, SigningTime(0)), &ack, T), Ok(()));
    for bit in 0..8 * ack.len() {
        let mut damaged = ack.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut framer = Framer::new();
        framer.push(&damaged);
        // Up to the checksum the framer notices.
        if let Some(frame) = framer.next() {
            assert!(bit / 8 >= ack.len() - consts::v2::SIGNATURE_SIZE, "bit {bit}");
            let verdict = signer(9, SigningTime(0)).verify(&frame, T);
            assert_eq!(verdict, Err(Rejection::BadSignature), "bit {bit}");
        }
    }
}

#[test]
fn what_is_not_signed_with_the_key_does_not_count() {
    let mut signer = signer(0, SigningTime(0));
    let frame = heartbeat(0, AUTOPILOT);
    assert_eq!(verify(&mut signer, frame.as_slice(), T), Err(Rejection::Unsigned));
    let other = Key::read(&[7; 32]).unwrap();
    let forged = seal(&frame, &other, 0, T);
    assert_eq!(verify(&mut signer, forged.as_slice(), T), Err(Rejection::BadSignature));
    // It has not moved our time or made a stream.
    assert_eq!(verify(&mut signer, &signed(0, SigningTime(1)), SigningTime(0)), Ok(()));
}

#[test]
fn mavlink_1_is_never_signed() {
    let mut frame = vec![0xFE, 3, 0, 1, 1, 77, 0xD1, 0x07, 0];
    let checksum = calculate_crc(&frame[1..], crc_extra(77).unwrap());
    frame.extend_from_slice(&checksum.to_le_bytes());
    assert_eq!(verify(&mut signer(0, SigningTime(0)), &frame, T), Err(Rejection::Unsigned));
}

#[test]
fn a_timestamp_counts_once_in_its_stream() {
    let mut signer = signer(0, SigningTime(0));
    let next = SigningTime(T.0 + 1);
    assert_eq!(verify(&mut signer, &signed(3, T), T), Ok(()));
    assert_eq!(verify(&mut signer, &signed(3, T), T), Err(Rejection::Replayed));
    assert_eq!(verify(&mut signer, &signed(3, SigningTime(T.0 - 1)), T), Err(Rejection::Replayed));
    assert_eq!(verify(&mut signer, &signed(3, next), T), Ok(()));
    // Another link id is another stream, which may be a minute behind.
    assert_eq!(verify(&mut signer, &signed(4, SigningTime(next.0 - 6_000_000)), T), Ok(()));
    let stale = signed(5, SigningTime(next.0 - 6_000_001));
    assert_eq!(verify(&mut signer, &stale, T), Err(Rejection::Stale));
    // A known stream may be as far behind as it likes.
    assert_eq!(
        verify(&mut signer, &signed(3, SigningTime(next.0 + 1)), T.saturating_add(ticks(600))),
        Ok(())
    );
}

#[test]
fn our_time_follows_the_clock_the_vehicle_and_our_own_frames() {
    let mut signer = signer(0, SigningTime(0));
    let frame = heartbeat(0, AGENT);
    let sign = |signer: &mut Signer, now| {
        let sealed = signer.sign(&frame, now).unwrap();
        let (signed, _) = sealed.as_slice().split_at(sealed.as_slice().len() - 6);
        origin(AGENT, signed).1
    };
    assert_eq!(sign(&mut signer, T), T);
    assert_eq!(sign(&mut signer, T), SigningTime(T.0 + 1));
    // The clock is set back.
    assert_eq!(sign(&mut signer, SigningTime(5)), SigningTime(T.0 + 2));
    let ahead = T.saturating_add(ticks(86_400));
    assert_eq!(verify(&mut signer, &signed(0, ahead), T), Ok(()));
    assert_eq!(sign(&mut signer, T), SigningTime(ahead.0 + 1));
}

#[test]
fn no_timestamp_outside_of_the_lease_is_used() {
    let frame = heartbeat(0, AGENT);
    let mut signer = Signer::new(key(), 0, T);
    assert_eq!(signer.sign(&frame, T), None);
    let until = signer.wanted(SigningTime(0)).unwrap();
    assert_eq!(until, SigningTime(T.0 - 1).saturating_add(LEASE));
    signer.grant(until);
    assert_eq!(signer.wanted(T), None);
    // Behind the clock rather than ahead of the lease.
    let late = until.saturating_add(ticks(10));
    for used in [until.0 - 3, until.0 - 2, until.0 - 1] {
        let expected = seal(&frame, &key(), 0, SigningTime(used));
        assert_eq!(signer.sign(&frame, SigningTime(used).max(T)), Some(expected));
    }
    assert_eq!(signer.sign(&frame, late), None);
    let next = signer.wanted(late).unwrap();
    assert_eq!(next, late.saturating_add(LEASE));
    signer.grant(next);
    assert_eq!(signer.sign(&frame, late), Some(seal(&frame, &key(), 0, late)));
}

#[test]
fn a_clock_ahead_of_the_lease_uses_its_end() {
    let frame = heartbeat(0, AGENT);
    let mut signer = Signer::new(key(), 0, SigningTime(0));
    signer.grant(T);
    let last = SigningTime(T.0 - 1);
    let late = T.saturating_add(ticks(10));
    assert_eq!(signer.sign(&frame, late), Some(seal(&frame, &key(), 0, last)));
    assert_eq!(signer.sign(&frame, late), None);
}

#[test]
fn after_a_restart_nothing_of_before_counts_or_comes_again() {
    let mut before = signer(0, SigningTime(0));
    assert_eq!(verify(&mut before, &signed(0, T), T), Ok(()));
    let bound = T.saturating_add(LEASE);
    let mut after = signer(0, bound);
    for timestamp in [T, SigningTime(T.0 + 1), SigningTime(bound.0 - 1)] {
        assert_eq!(verify(&mut after, &signed(0, timestamp), T), Err(Rejection::Stale));
    }
    let first = after.sign(&heartbeat(0, AGENT), SigningTime(0)).unwrap();
    assert_eq!(first, seal(&heartbeat(0, AGENT), &key(), 0, bound));
    // The vehicle has heard it.
    assert_eq!(verify(&mut after, &signed(0, SigningTime(bound.0 + 1)), T), Ok(()));
}

#[test]
fn a_stream_that_gave_way_cannot_be_played_back() {
    let mut signer = signer(0, SigningTime(0));
    for link_id in 0..=MAX_STREAMS as u8 {
        let timestamp = SigningTime(T.0 + u64::from(link_id));
        assert_eq!(verify(&mut signer, &signed(link_id, timestamp), T), Ok(()));
    }
    assert_eq!(signer.streams.len(), MAX_STREAMS);
    assert_eq!(verify(&mut signer, &signed(0, T), T), Err(Rejection::Stale));
}

#[test]
fn the_last_timestamp_of_all_ends_it() {
    let mut signer = signer(0, SigningTime(0));
    assert_eq!(verify(&mut signer, &signed(0, SigningTime::MAX), T), Ok(()));
    assert_eq!(signer.sign(&heartbeat(0, AGENT), T), None);
    assert_eq!(signer.wanted(T), None);
}

#[test]
fn time_counts_from_2015_in_tens_of_microseconds() {
    let start: Timestamp = "2015-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(SigningTime::from(start), SigningTime(0));
    assert_eq!(SigningTime::from(Timestamp::from_secs(0)), SigningTime(0));
    let later: Timestamp = "2015-01-01T00:00:01.001Z".parse().unwrap();
    assert_eq!(SigningTime::from(later).ticks(), 100_100);
    assert_eq!(SigningTime::from(Timestamp::MAX), SigningTime::MAX);
    assert_eq!(SigningTime(0).saturating_add(Duration::from_micros(25)), SigningTime(2));
}
