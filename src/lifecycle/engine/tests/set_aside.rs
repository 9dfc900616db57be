//! A damaged journal was set aside: what may have been sent before is not sent again.

use super::harness::ModelJournal;
use super::*;
use crate::guard::authentication::{Authenticated, Freshness};
use crate::guard::nonces::{Nonce, NonceKey};
use crate::guard::set_aside::SetAside;

/// As the broker delivers it again: signed `ago` before now, and still in the window.
fn signed(it: &Harness, ago: Duration, durable: bool) -> Authenticated {
    let timestamp = Timestamp::from_millis(it.now.wall.as_millis() - ago.as_millis() as u64);
    let key = NonceKey::new("cloud", &timestamp.to_string());
    let expires = timestamp.saturating_add(seconds(120));
    Authenticated { nonce: Nonce { key, timestamp, expires, durable }, freshness: Freshness::Fresh }
}

/// Returns the answer.
fn request(it: &mut Harness, key: &str, authenticated: Authenticated) -> String {
    it.with_request("do_digicam_control", key, |request| {
        request.request_sha256 = key.to_owned();
        request.authenticated = Some(authenticated);
    });
    it.drain().into_iter().find(|effect| effect.starts_with("reply")).expect("an answer")
}

/// The agent stops, its journal is set aside, and it starts again with an empty one.
fn set_aside(it: &mut Harness, down: Duration, clock_trusted: bool) {
    it.journal = ModelJournal::default();
    it.reboot(down, clock_trusted);
    it.engine = it.journal.recover(&it.now, harness::settings(), it.guard.clone());
    it.engine.recover_set_aside(Some(SetAside::UntilClockTrusted));
    it.input(Input::BrokerConnected);
    it.link_up();
    it.drain();
}

const STALE: &str = "reply error auth.stale";
const ACCEPTED: &str = "reply ACCEPTED";

#[test]
fn a_command_that_was_sent_is_not_sent_again_while_its_signature_is_valid() {
    let mut it = Harness::ready();
    let first = signed(&it, Duration::ZERO, true);
    request(&mut it, "a", first.clone());
    assert_eq!(it.frames.len(), 1);
    set_aside(&mut it, seconds(2), true);
    assert_eq!(request(&mut it, "a", first), STALE);
    // Signed by a clock that is ahead, as far as it is let in.
    it.pass(seconds(3));
    let early = signed(&it, Duration::ZERO, true);
    assert_eq!(request(&mut it, "b", early), STALE);
    assert_eq!(it.frames.len(), 1);
    it.pass(seconds(3));
    it.link_up();
    let later = signed(&it, Duration::ZERO, true);
    assert_eq!(request(&mut it, "c", later), ACCEPTED);
    assert_eq!(it.frames.len(), 2);
}

#[test]
fn without_a_clock_only_the_challenge_of_this_process_counts_until_there_is_one() {
    let mut it = Harness::ready();
    let first = signed(&it, Duration::ZERO, true);
    request(&mut it, "a", first.clone());
    set_aside(&mut it, seconds(2), false);
    let challenged = signed(&it, seconds(1_000_000), false);
    assert_eq!(request(&mut it, "b", challenged), ACCEPTED);
    it.now.wall_trusted = true;
    it.pass(seconds(1));
    assert_eq!(request(&mut it, "a", first), STALE);
}

#[test]
fn a_restart_takes_it_up() {
    let mut it = Harness::ready();
    set_aside(&mut it, seconds(2), true);
    let before = signed(&it, seconds(1), true);
    let left = it.engine.set_aside();
    it.crash(seconds(10));
    it.engine.recover_set_aside(left);
    it.input(Input::BrokerConnected);
    it.link_up();
    it.drain();
    assert_eq!(request(&mut it, "a", before), STALE);
    // What this journal knows is a duplicate, as ever.
    let later = signed(&it, Duration::ZERO, true);
    request(&mut it, "b", later.clone());
    assert_eq!(request(&mut it, "b", later), "reply ACCEPTED duplicate");
}
