//! Frames that must be signed, with timestamps that are leased.

use super::*;
use crate::wire::mavlink::{Key, Rejection, Signer, SigningTime};

const KEY: &[u8] = &[7; 32];
const LINK_ID: u8 = 3;
const T: SigningTime = SigningTime::from_ticks(1_000_000_000);

fn signing() -> Option<Signing> {
    Some(Signing { key: Key::read(KEY).unwrap(), link_id: LINK_ID, start: T, now: T })
}

/// Another one with the same key.
fn vehicle() -> Signer {
    let mut vehicle = Signer::new(Key::read(KEY).unwrap(), 0, SigningTime::default());
    vehicle.grant(SigningTime::from_ticks(u64::MAX));
    vehicle
}

/// Frames that the vehicle verifies.
fn verified(vehicle: &mut Signer, bytes: &[u8]) -> usize {
    let mut framer = Framer::new();
    framer.push(bytes);
    let mut count = 0;
    while let Some(frame) = framer.next() {
        assert_eq!(vehicle.verify(&frame, T), Ok(()));
        count += 1;
    }
    count
}

/// The first lease that is asked for.
async fn asked_for(running: &mut Running) -> SigningTime {
    running.settle().await;
    let seen = running.seen();
    let [Event::SigningLease { until }] = seen[..] else { panic!("{seen:?}") };
    until
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_its_timestamp_is_durable() {
    let mut running = Running::start_with(signing(), |_| {});
    running.port.change(|script| script.room = 1000);
    running.send(1);
    let until = asked_for(&mut running).await;
    assert!(until > T);
    running.pass(HEARTBEAT_PERIOD).await;
    assert_eq!(running.seen(), [], "it is asked for once");
    assert!(running.port.change(|script| script.written.is_empty()));

    running.lease.send_replace((Lease { now: T, until }, Instant::now()));
    running.settle().await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }]);
    let written = running.port.change(|script| std::mem::take(&mut script.written));
    // With the heartbeat that was due.
    assert_eq!(verified(&mut vehicle(), &written), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_timestamp_goes_before_what_came_later() {
    let mut running = Running::start_with(signing(), |_| {});
    running.port.change(|script| script.room = 1000);
    running.send(1);
    running.send(2);
    let until = asked_for(&mut running).await;
    // With the next heartbeat, which takes up the lease.
    running.lease.send_replace((Lease { now: T, until }, Instant::now()));
    running.send(3);
    advance(HEARTBEAT_PERIOD).await;
    running.settle().await;
    let sent = [1, 2, 3].map(|ticket| Event::Sent { ticket });
    assert_eq!(running.seen(), sent);
}

#[tokio::test(start_paused = true)]
async fn without_a_timestamp_a_frame_is_dropped_when_its_time_is_over() {
    let mut running = Running::start_with(signing(), |_| {});
    running.port.change(|script| script.room = 1000);
    running.send(1);
    asked_for(&mut running).await;
    running.pass(WRITE_BOUND - MILLISECOND).await;
    assert_eq!(running.seen(), []);
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [not_begun(1)]);
    // Nobody is left who could lease any.
    running.lease = watch::channel((Lease::default(), Instant::now())).0;
    running.send_within(2, HEARTBEAT_PERIOD);
    running.pass(HEARTBEAT_PERIOD - MARGIN - MILLISECOND).await;
    assert_eq!(running.seen(), []);
    // What is read is not held up by it.
    running.port.change(|script| script.to_read.push_back(Ok(ack_bytes())));
    running.settle().await;
    assert!(matches!(running.seen()[..], [Event::Rejected { .. }]));
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [Event::NotSent { ticket: 2, cause: NotSent::TooLate }]);
    assert!(running.port.change(|script| script.written.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_that_comes_late_does_not_make_a_frame_wait_for_the_heartbeat() {
    let mut running = Running::start_with(signing(), |_| {});
    running.send(1);
    let until = asked_for(&mut running).await;
    running.pass(WRITE_BOUND - MILLISECOND).await;
    // The port takes nothing, and the heartbeat that was due has more time than the frame.
    running.lease.send_replace((Lease { now: T, until }, Instant::now()));
    running.settle().await;
    assert_eq!(running.seen(), []);
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [not_begun(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_timestamp_is_lost_with_the_port() {
    let mut running = Running::start_with(signing(), |_| {});
    running.port.change(|script| script.room = 1000);
    running.send(1);
    asked_for(&mut running).await;
    running.port.change(|script| script.to_read.push_back(Ok(Vec::new())));
    running.settle().await;
    assert_eq!(running.seen(), [Event::NotSent { ticket: 1, cause: NotSent::Lost }]);
    assert!(matches!(running.session.await.unwrap(), End::Failed(Failure::Ended { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_vehicle_has_outrun_is_followed_by_another() {
    let mut running = Running::start_with(signing(), |_| {});
    running.port.change(|script| script.room = 1000);
    let first = asked_for(&mut running).await;
    let ahead = first.saturating_add(Duration::from_secs(3600));
    let signed = vehicle().sign(&mavlink::heartbeat(0, AUTOPILOT), ahead).unwrap();
    running.port.change(|script| script.to_read.push_back(Ok(signed.as_slice().to_vec())));
    running.send(1);
    running.settle().await;
    // The first one is being made durable yet.
    let seen = running.seen();
    let [Event::SigningLease { until }, Event::Heartbeat { .. }] = seen[..] else {
        panic!("{seen:?}");
    };
    assert!(until > ahead);
    running.lease.send_replace((Lease { now: T, until: first }, Instant::now()));
    running.pass(HEARTBEAT_PERIOD).await;
    assert_eq!(running.seen(), []);
    assert!(running.port.change(|script| script.written.is_empty()));
    running.lease.send_replace((Lease { now: T, until }, Instant::now()));
    running.settle().await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }]);
    let written = running.port.change(|script| std::mem::take(&mut script.written));
    let mut strict = Signer::new(Key::read(KEY).unwrap(), 0, ahead);
    assert_eq!(verified(&mut strict, &written), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_takes_minutes_is_followed_by_another() {
    let mut running = Running::start_with(signing(), |_| {});
    let first = asked_for(&mut running).await;
    let mut last = first;
    for _ in 0..600 {
        running.pass(HEARTBEAT_PERIOD).await;
        for event in running.seen() {
            let Event::SigningLease { until } = event else { panic!("{event:?}") };
            assert!(until >= last.saturating_add(Duration::from_secs(60)), "too soon again");
            last = until;
        }
    }
    assert!(last > first.saturating_add(Duration::from_secs(500)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_asked_for_before_the_last_one_ends() {
    let mut running = Running::start_with(signing(), |_| {});
    let mut vehicle = vehicle();
    let mut lease = Lease { now: T, until: T };
    let (mut asked, mut heard) = (0, 0);
    for _ in 0..3600 {
        running.port.change(|script| script.room = 1000);
        running.pass(HEARTBEAT_PERIOD).await;
        for event in running.seen() {
            let Event::SigningLease { until } = event else { panic!("{event:?}") };
            asked += 1;
            lease = Lease { now: lease.now, until };
            running.lease.send_modify(|(granted, _)| *granted = lease);
        }
        let written = running.port.change(|script| std::mem::take(&mut script.written));
        heard += verified(&mut vehicle, &written);
    }
    assert!((10..=20).contains(&asked), "{asked} in an hour");
    assert!(heard >= 3595, "{heard} heartbeats in an hour");
}

#[tokio::test(start_paused = true)]
async fn with_a_key_only_what_is_signed_counts() {
    let mut running = Running::start_with(signing(), |_| {});
    running.port.change(|script| script.room = 1000);
    let until = asked_for(&mut running).await;
    running.lease.send_replace((Lease { now: T, until }, Instant::now()));

    let beat = mavlink::heartbeat(0, AUTOPILOT);
    let signed = vehicle().sign(&beat, SigningTime::from_ticks(T.ticks() + 1)).unwrap();
    let rejected = |why, count| Event::Rejected { source: AUTOPILOT, why, count };
    let read = |bytes: &[u8]| {
        running.port.change(|script| script.to_read.push_back(Ok(bytes.to_vec())));
    };
    for _ in 0..3 {
        read(beat.as_slice());
        read(&ack_bytes());
    }
    running.settle().await;
    assert_eq!(running.seen(), [rejected(Rejection::Unsigned, 1)]);
    let read = |bytes: &[u8]| {
        running.port.change(|script| script.to_read.push_back(Ok(bytes.to_vec())));
    };
    read(signed.as_slice());
    read(signed.as_slice());
    running.settle().await;
    let seen = running.seen();
    let [Event::Heartbeat { heartbeat, .. }, replayed] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(heartbeat.source, AUTOPILOT);
    assert_eq!(*replayed, rejected(Rejection::Replayed, 1));

    running.pass(Duration::from_secs(30)).await;
    running.port.change(|script| script.to_read.push_back(Ok(ack_bytes())));
    running.settle().await;
    assert_eq!(running.seen(), [rejected(Rejection::Unsigned, 6)]);
    let counters = *running.counters.lock().unwrap();
    assert_eq!((counters.unsigned, counters.replayed), (7, 1));
    assert_eq!((counters.bad_signature, counters.stale, counters.foreign), (0, 0, 0));
    assert_eq!((counters.framed.frames, counters.framed.mavlink_1), (9, 4));
}

#[tokio::test(start_paused = true)]
async fn a_vehicle_whose_time_is_ahead_is_followed_once_that_is_durable() {
    let mut running = Running::start_with(signing(), |_| {});
    running.port.change(|script| script.room = 1000);
    let until = asked_for(&mut running).await;
    running.lease.send_replace((Lease { now: T, until }, Instant::now()));
    let mut vehicle = vehicle();
    let ahead = until.saturating_add(Duration::from_secs(3600));
    let signed = vehicle.sign(&mavlink::heartbeat(0, AUTOPILOT), ahead).unwrap();
    running.port.change(|script| script.to_read.push_back(Ok(signed.as_slice().to_vec())));
    running.settle().await;
    // Before the heartbeat that makes the link ready.
    let seen = running.seen();
    let [Event::SigningLease { until }, Event::Heartbeat { .. }] = seen[..] else {
        panic!("{seen:?}");
    };
    assert!(until > ahead);
    running.lease.send_replace((Lease { now: T, until }, Instant::now()));
    running.send(1);
    running.settle().await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }]);
    let written = running.port.change(|script| std::mem::take(&mut script.written));
    // The heartbeat was due since before: it waited for its timestamp.
    let mut strict = Signer::new(Key::read(KEY).unwrap(), 0, ahead);
    assert_eq!(verified(&mut strict, &written), 2);
}
