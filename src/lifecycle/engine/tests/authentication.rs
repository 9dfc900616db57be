//! What is recorded and played back finds its own command, or nothing.

use super::*;
use crate::guard::authentication::{Authenticated, Freshness};
use crate::guard::nonces::{Nonce, NonceKey};

/// Signed now, or by the challenge of this process.
pub(super) fn signed(it: &Harness, nonce: &str, durable: bool) -> Authenticated {
    let timestamp = it.now.wall;
    Authenticated {
        nonce: Nonce {
            key: NonceKey::new("cloud", nonce),
            timestamp,
            expires: timestamp.saturating_add(seconds(120)),
            durable,
        },
        freshness: Freshness::Fresh,
    }
}

fn request(it: &mut Harness, key: &str, body: &str, authenticated: Authenticated) -> CommandId {
    it.with_request("do_digicam_control", key, |request| {
        request.request_sha256 = body.to_owned();
        request.authenticated = Some(authenticated);
    })
}

pub(super) fn stale(authenticated: Authenticated, code: Code) -> Authenticated {
    Authenticated { freshness: Freshness::Stale(Refusal::new(code, "too old")), ..authenticated }
}

#[test]
fn a_nonce_is_durable_in_the_commit_of_its_command() {
    let mut it = Harness::ready();
    let first = signed(&it, "n", true);
    request(&mut it, "a", "body-a", first.clone());
    let persists = it.persists;
    it.drain();
    assert_eq!(it.persists - persists, 1);
    let kept: Vec<_> = it.journal.nonces_of_commands().collect();
    assert_eq!(kept, [(first.nonce.key, first.nonce.expires)]);
    assert!(it.journal.nonces.is_empty(), "the record is enough");

    it.crash(seconds(1));
    it.link_up();
    it.drain();
    request(&mut it, "b", "body-b", first);
    assert_eq!(it.drain(), ["acknowledge", "reply error auth.replay"]);
    assert!(!it.knows(harness::id("b")));
}

#[test]
fn a_verbatim_repetition_is_a_duplicate_whatever_its_age() {
    for code in [None, Some(Code::AuthStale), Some(Code::AuthClockUntrusted)] {
        let mut it = Harness::ready();
        let first = signed(&it, "n", true);
        request(&mut it, "a", "body-a", first.clone());
        it.drain();
        let again = match code {
            Some(code) => stale(first, code),
            None => first,
        };
        request(&mut it, "a", "body-a", again);
        assert_eq!(it.drain(), ["acknowledge", "reply ACCEPTED duplicate"], "{code:?}");
        assert_eq!(it.frames.len(), 1);
    }
}

#[test]
fn what_is_not_fresh_makes_no_command() {
    for code in [Code::AuthStale, Code::AuthClockUntrusted] {
        let mut it = Harness::ready();
        let old = stale(signed(&it, "n", true), code);
        request(&mut it, "a", "body-a", old);
        assert_eq!(it.drain(), ["acknowledge".to_owned(), format!("reply error {code}")]);
        assert!(!it.knows(harness::id("a")));
        assert!(it.journal.nonces.is_empty() && it.journal.records.is_empty());
    }
}

#[test]
fn a_request_that_was_not_accepted_can_be_sent_again_as_it_is() {
    let mut it = Harness::ready();
    for number in 0..=4 {
        it.request("do_digicam_control", &format!("key-{number}"));
    }
    it.drain();
    let first = signed(&it, "n", true);
    request(&mut it, "a", "body-a", first.clone());
    assert_eq!(it.drain(), ["acknowledge", "reply error busy.queue_full"]);
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    request(&mut it, "a", "body-a", first);
    assert!(it.drain().contains(&"reply ACCEPTED".to_owned()));
}

#[test]
fn a_nonce_of_a_challenge_is_not_journaled_but_known() {
    let mut it = Harness::ready();
    let first = signed(&it, "n", false);
    request(&mut it, "a", "body-a", first.clone());
    it.drain();
    assert_eq!(it.journal.nonces_of_commands().count() + it.journal.nonces.len(), 0);
    request(&mut it, "b", "body-b", first);
    assert_eq!(it.drain(), ["acknowledge", "reply error auth.replay"]);
}

/// Another command cannot come of it, since its signature is too old by then.
#[test]
fn a_nonce_of_a_command_is_forgotten_without_a_commit() {
    let mut it = Harness::ready();
    let first = signed(&it, "n", true);
    request(&mut it, "a", "body-a", first.clone());
    it.drain();
    it.now.wall_trusted = false;
    // Until nothing more can happen to the command.
    for _ in 0..3 {
        it.pass(seconds(1000));
        it.drain();
    }
    request(&mut it, "b", "body-b", first.clone());
    assert_eq!(it.drain(), ["acknowledge", "reply error auth.replay"]);
    it.now.wall_trusted = true;
    let persists = it.persists;
    it.pass(seconds(1));
    it.pass(seconds(1));
    it.drain();
    assert_eq!(it.persists, persists);
    request(&mut it, "b", "body-b", first);
    assert_eq!(it.drain(), ["acknowledge", "reply error auth.stale"]);
}
