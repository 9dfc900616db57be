mod world;

use std::time::Duration;

use uuid::Uuid;

use super::*;

fn key(n: u8) -> NonceKey {
    NonceKey([n; 16])
}

fn secs(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn nonce(n: u8, timestamp: u64) -> Nonce {
    let timestamp = secs(timestamp);
    let expires = timestamp.saturating_add(NONCE_KEPT);
    Nonce { key: key(n), timestamp, expires, durable: true }
}

fn now(wall: u64, wall_trusted: bool) -> Now {
    Now { boot: Duration::ZERO, boot_id: Uuid::nil(), wall: secs(wall), wall_trusted }
}

fn refusal(result: Result<(), Refusal>) -> Option<Code> {
    result.err().map(|refusal| refusal.code)
}

#[test]
fn a_key_tells_issuers_and_nonces_apart() {
    // printf 'cloud\0n-1' | sha256sum
    let expected = "NonceKey(fcc15cde63d02be7bc4ceeda0e6e41f1)";
    assert_eq!(format!("{:?}", NonceKey::new("cloud", "n-1")), expected);
    let names = [("cloud", "n-1"), ("cloud", "n-2"), ("cloudn", "-1"), ("clou", "dn-1"), ("", "")];
    let keys: BTreeSet<NonceKey> = names.map(|(a, b)| NonceKey::new(a, b)).into();
    assert_eq!(keys.len(), names.len());
}

#[test]
fn once_and_never_again() {
    let mut nonces = Nonces::new(10);
    assert!(!nonces.seen(&key(1)));
    assert_eq!(nonces.remember(&nonce(1, 1_000)), Ok(()));
    assert!(nonces.seen(&key(1)));
    assert_eq!(refusal(nonces.remember(&nonce(1, 2_000))), Some(Code::AuthReplay));
    assert_eq!(nonces.remember(&nonce(2, 1_000)), Ok(()));
}

#[test]
fn only_a_trusted_clock_that_has_passed_forgets() {
    let mut nonces = Nonces::new(10);
    nonces.remember(&nonce(1, 1_000)).unwrap();
    nonces.remember(&nonce(2, 1_001)).unwrap();
    nonces.remember(&nonce(3, 9_000)).unwrap();
    assert_eq!(nonces.expire(&now(1_000_000, false)), []);
    assert_eq!(nonces.expire(&now(1_120, true)), []);
    assert_eq!(nonces.expire(&now(1_121, true)), [key(1)]);
    assert_eq!(nonces.expire(&now(1_121, true)), []);
    assert_eq!(nonces.expire(&now(5_000, true)), [key(2)]);
    assert!(!nonces.seen(&key(1)) && !nonces.seen(&key(2)) && nonces.seen(&key(3)));
}

#[test]
fn what_may_have_been_forgotten_is_not_let_in() {
    let mut nonces = Nonces::new(10);
    nonces.remember(&nonce(1, 1_000)).unwrap();
    nonces.expire(&now(50_000, true));
    assert_eq!(refusal(nonces.remember(&nonce(1, 1_000))), Some(Code::AuthStale));
    assert_eq!(refusal(nonces.remember(&nonce(2, 999))), Some(Code::AuthStale));
    // Nothing that was signed later has been forgotten.
    assert_eq!(nonces.remember(&nonce(1, 1_001)), Ok(()));
}

#[test]
fn a_full_store_refuses_rather_than_forgets() {
    let mut nonces = Nonces::new(2);
    nonces.remember(&nonce(1, 1_000)).unwrap();
    nonces.remember(&nonce(2, 2_000)).unwrap();
    assert_eq!(refusal(nonces.remember(&nonce(3, 2_000))), Some(Code::BusyJournalFull));
    assert!(nonces.seen(&key(1)) && nonces.seen(&key(2)) && !nonces.seen(&key(3)));
    assert_eq!(refusal(nonces.remember(&nonce(1, 2_000))), Some(Code::AuthReplay));
    nonces.expire(&now(1_121, true));
    assert_eq!(nonces.remember(&nonce(3, 2_000)), Ok(()));
}

#[test]
fn the_journal_may_hold_more_than_fits_and_one_nonce_twice() {
    let mut nonces = Nonces::new(1);
    nonces.restore([(key(1), secs(10)), (key(2), secs(20)), (key(1), secs(30))]);
    assert_eq!(refusal(nonces.remember(&nonce(3, 1_000))), Some(Code::BusyJournalFull));
    assert_eq!(nonces.expire(&now(25, true)), [key(2)]);
    assert!(nonces.seen(&key(1)));
    assert_eq!(nonces.expire(&now(31, true)), [key(1)]);
}
