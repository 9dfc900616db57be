use super::*;
use crate::guard::nonces::NonceKey;
use uuid::Uuid;

const T: u64 = 1_781_481_600;
const LONGEST: Duration = Duration::from_secs(600);

fn now(seconds: u64, wall_trusted: bool) -> Now {
    Now {
        boot: Duration::from_secs(seconds),
        boot_id: Uuid::nil(),
        wall: Timestamp::from_secs(T + seconds),
        wall_trusted,
    }
}

/// Signed so many seconds after T.
fn nonce(seconds: i64, durable: bool) -> Nonce {
    let timestamp = Timestamp::from_secs(T.saturating_add_signed(seconds));
    Nonce { key: NonceKey([1; 16]), timestamp, expires: timestamp, durable }
}

fn fresh() -> Aftermath {
    Aftermath::new(Some(SetAside::NEW), LONGEST)
}

#[test]
fn without_one_nothing_is_refused() {
    let mut aftermath = Aftermath::new(None, LONGEST);
    aftermath.follow(&now(0, true));
    assert_eq!(aftermath.check(Some(&nonce(-1000, true))), Ok(()));
    assert_eq!(aftermath.check(None), Ok(()));
    assert_eq!(aftermath.left(), None);
}

#[test]
fn the_first_trusted_time_and_the_tolerance_bound_what_may_be_of_before() {
    let mut aftermath = fresh();
    aftermath.follow(&now(0, false));
    assert!(aftermath.check(Some(&nonce(0, true))).is_err(), "no bound yet");
    assert_eq!(aftermath.check(Some(&nonce(-1000, false))), Ok(()), "the challenge vouches");
    aftermath.follow(&now(10, true));
    for (signed, fits) in [(-50, false), (10, false), (15, false), (16, true)] {
        assert_eq!(aftermath.check(Some(&nonce(signed, true))).is_ok(), fits, "{signed}");
    }
    let refusal = aftermath.check(Some(&nonce(15, true))).unwrap_err();
    assert_eq!(refusal.code, Code::AuthStale);
    // The bound does not move with the clock, nor with a restart.
    let mut aftermath = Aftermath::new(aftermath.left(), LONGEST);
    aftermath.follow(&now(40, true));
    assert!(aftermath.check(Some(&nonce(15, true))).is_err());
    assert_eq!(aftermath.check(Some(&nonce(16, true))), Ok(()));
}

#[test]
fn a_restart_before_the_bound_is_durable_makes_it_later() {
    let mut aftermath = fresh();
    aftermath.follow(&now(10, true));
    let mut again = fresh();
    again.follow(&now(30, true));
    assert!(again.check(Some(&nonce(16, true))).is_err());
}

#[test]
fn who_does_not_sign_waits_from_the_connection_on() {
    let mut aftermath = fresh();
    aftermath.follow(&now(5000, true));
    assert_eq!(aftermath.check(None).unwrap_err().code, Code::AuthStale);
    aftermath.connected(&now(5000, true));
    aftermath.connected(&now(5100, true));
    aftermath.follow(&now(5599, true));
    assert!(aftermath.check(None).is_err());
    aftermath.follow(&now(5600, true));
    assert_eq!(aftermath.check(None), Ok(()));
}

#[test]
fn it_is_over_when_both_are() {
    let mut aftermath = fresh();
    aftermath.connected(&now(0, true));
    aftermath.follow(&now(0, true));
    aftermath.follow(&now(65, true));
    assert!(matches!(aftermath.left().unwrap().signatures, Signatures::Until(_)));
    aftermath.follow(&now(66, false));
    assert!(matches!(aftermath.left().unwrap().signatures, Signatures::Until(_)));
    aftermath.follow(&now(66, true));
    assert_eq!(aftermath.left().unwrap().signatures, Signatures::Over);
    assert!(aftermath.left().unwrap().unsigned_wait);
    aftermath.follow(&now(600, true));
    assert_eq!(aftermath.left(), None);
}
