//! Flight commands between grants that come and go.

use std::collections::BTreeMap;

use super::authentication::{signed, stale};
use super::harness::*;
use super::*;
use crate::catalog::Risk;
use crate::guard::Mode;
use crate::guard::authentication::Keys;
use crate::guard::grants::{Action, Answer, Ending, GrantId, GrantRequest, Limits, Opener, Scope};
use crate::guard::permission::Permission;
use crate::guard::policy::{Policy, Rule};

/// Guarded, with a ready link; some commands are allowed but need a grant.
fn flying() -> Harness {
    let retransmit = Some(Retransmit { times: 2, interval: seconds(1) });
    Harness::with_rules([
        ("nav_takeoff", Rule::default()),
        ("do_set_home", Rule { retransmit, ..Rule::default() }),
        (
            "video_start_capture",
            Rule { grant: Some(true), target_components: [102].into(), ..Rule::default() },
        ),
    ])
}

fn flight(count: u32) -> Action {
    Action::Open(GrantRequest {
        scopes: vec![Scope::Risk(Risk::Flight)],
        duration: seconds(60),
        count,
        issuer: None,
        reason: None,
    })
}

#[track_caller]
fn open(it: &mut Harness, count: u32) -> GrantId {
    it.grant(flight(count));
    it.drain();
    match it.grant_replies.pop() {
        Some(Ok(Answer::Grant(view))) => view.id,
        other => panic!("{other:?}"),
    }
}

/// With takeoffs allowed under a grant.
fn takeoffs(mode: Mode, may_grant: bool, limits: Limits) -> Guard {
    let permission = Permission { all_commands: true, may_grant, ..Permission::default() };
    let issuers = [("cloud".to_owned(), permission)].into();
    let keys = Keys::new(BTreeMap::new()).unwrap();
    let policy =
        Policy::new(AUTOPILOT.component, BTreeMap::new(), [("nav_takeoff", Rule::default())]);
    Guard::new(mode, issuers, keys, policy, limits)
}

fn replace_guard(it: &mut Harness, guard: Guard) {
    let now = it.now;
    it.engine.replace_guard(&now, guard);
}

/// Keeps the link ready meanwhile.
fn wait(it: &mut Harness, time: u64) {
    for _ in 0..time {
        it.pass(seconds(1));
        it.heartbeat();
    }
}

#[test]
fn without_a_grant_no_frame() {
    let mut it = flying();
    let id = it.request("nav_takeoff", "a");
    it.drain();
    it.expect(id, Status::Failed, Code::GrantMissing);
    assert_eq!(it.record(id).frame_sent(), Some(false));
    assert!(it.frames.is_empty());
}

#[test]
fn a_grant_lets_as_many_commands_through_as_it_says() {
    let mut it = flying();
    open(&mut it, 2);
    for key in ["a", "b"] {
        let id = it.request_and_send("nav_takeoff", key);
        it.ack(ack(AUTOPILOT, 22, 0));
        it.drain();
        assert_eq!(it.record(id).status, Status::Succeeded);
    }
    let third = it.request("nav_takeoff", "c");
    it.drain();
    it.expect(third, Status::Failed, Code::GrantExhausted);
    assert_eq!(it.commands_sent(), [22, 22]);
}

#[test]
fn duplicates_and_refused_commands_count_nothing() {
    let mut it = flying();
    open(&mut it, 2);
    it.request_and_send("nav_takeoff", "a");
    for _ in 0..5 {
        it.request("nav_takeoff", "a");
    }
    // Refused by the layer behind.
    let elsewhere = it.with_request("nav_takeoff", "b", |it| it.target_component = Some(9));
    it.drain();
    it.expect(elsewhere, Status::Failed, Code::PolicyOutOfBounds);
    assert_eq!(it.engine.grants().views(it.now.boot)[0].count_left, 1);
}

#[test]
fn a_command_that_the_link_refuses_counts_nothing() {
    let mut it = flying();
    let id = open(&mut it, 1);
    // This camera has not been heard.
    let camera = it.with_request("video_start_capture", "a", |it| it.target_component = Some(102));
    it.drain();
    it.expect(camera, Status::Failed, Code::TransportNotReady);
    let views = it.engine.grants().views(it.now.boot);
    assert_eq!(views.iter().map(|it| (it.id, it.count_left)).collect::<Vec<_>>(), [(id, 1)]);
}

#[test]
fn time_ends_a_grant_and_everything_is_told() {
    let mut it = flying();
    it.grant(flight(1));
    assert_eq!(it.drain(), ["grant reply", "grants changed, 0 ended"]);
    assert_eq!(it.engine.poll_timeout(), Some(it.now.boot + seconds(3)));
    wait(&mut it, 59);
    assert_eq!(it.drain(), Vec::<String>::new());
    wait(&mut it, 1);
    assert_eq!(it.drain(), ["grants changed, 1 ended"]);
    let id = it.request("nav_takeoff", "a");
    it.drain();
    it.expect(id, Status::Failed, Code::GrantExpired);
}

#[test]
fn a_grant_wakes_the_loop_when_it_ends() {
    let mut it = flying();
    let opened = it.now.boot;
    open(&mut it, 1);
    wait(&mut it, 59);
    assert_eq!(it.engine.poll_timeout(), Some(opened + seconds(60)));
}

#[test]
fn the_lost_link_ends_every_grant() {
    for stale in [false, true] {
        let mut it = flying();
        open(&mut it, 3);
        if stale {
            it.pass(seconds(3));
        } else {
            it.link_down();
        }
        assert!(it.drain().contains(&"grants changed, 1 ended".to_owned()));
        it.link_up();
        let id = it.request("nav_takeoff", "a");
        it.drain();
        it.expect(id, Status::Failed, Code::GrantMissing);
        assert!(it.frames.is_empty());
    }
}

#[test]
fn a_link_that_came_back_within_one_turn_was_still_lost() {
    let mut it = flying();
    open(&mut it, 3);
    it.link_down();
    it.link_up();
    let id = it.request("nav_takeoff", "a");
    it.drain();
    it.expect(id, Status::Failed, Code::GrantMissing);
}

#[test]
fn nothing_is_granted_without_the_link_or_in_disabled_mode() {
    let mut down = flying();
    down.link_down();
    let mut disabled = Harness::new(Mode::Disabled);
    disabled.link_up();
    for (it, code) in [(&mut down, Code::TransportNotReady), (&mut disabled, Code::GuardDisabled)] {
        it.drain();
        it.grant(flight(1));
        assert_eq!(it.drain(), [format!("grant refused {code}")]);
        assert!(it.engine.grants().views(it.now.boot).is_empty());
        // Stopping is always possible.
        it.grant(Action::RevokeAll);
        assert_eq!(it.drain(), ["grant reply"]);
    }
}

#[test]
fn a_restart_ends_every_grant_and_what_waited_under_it() {
    let mut it = flying();
    open(&mut it, 5);
    for key in ["a", "b"] {
        it.request("nav_takeoff", key);
    }
    it.drain();
    assert_eq!(it.frames.len(), 1);
    it.crash(seconds(1));
    it.link_up();
    it.drain();
    it.expect(id("b"), Status::Failed, Code::GrantMissing);
    assert_eq!(it.frames.len(), 1);
    assert!(it.engine.grants().views(it.now.boot).is_empty());
}

#[test]
fn what_a_restart_found_sent_is_not_sent_in_the_other_form() {
    const COMMAND_LONG_ONLY: u8 = 7;
    let mut it = flying();
    open(&mut it, 5);
    let id = it.request_and_send("nav_takeoff", "a");
    it.crash(seconds(1));
    it.link_up();
    it.drain();
    it.ack(ack(AUTOPILOT, 22, COMMAND_LONG_ONLY));
    it.drain();
    assert_eq!(it.record(id).status, Status::Failed);
    assert_eq!(it.frames.len(), 1);
}

#[test]
fn a_revocation_stops_what_waits_and_leaves_what_is_out() {
    let mut it = flying();
    let grant = open(&mut it, 5);
    let out = it.request_and_send("nav_takeoff", "a");
    let waits = it.request("nav_takeoff", "b");
    let other = it.request("request_camera_capture_status", "c");
    it.drain();
    it.grant(Action::Revoke(grant));
    it.drain();
    it.expect(waits, Status::Failed, Code::GrantMissing);
    assert_eq!(it.record(waits).frame_sent(), Some(false));
    assert_eq!(it.record(out).status, Status::Delivered);
    it.ack(ack(AUTOPILOT, 22, 0));
    it.drain();
    assert_eq!(it.record(out).status, Status::Succeeded);
    assert!(it.record(other).is_undecided());
    assert_eq!(it.commands_sent(), [22, 527]);
}

#[test]
fn a_revocation_of_the_same_turn_comes_before_the_frame() {
    let mut it = flying();
    let grant = open(&mut it, 5);
    let id = it.request("nav_takeoff", "a");
    it.grant(Action::Revoke(grant));
    it.drain();
    it.expect(id, Status::Failed, Code::GrantMissing);
    assert!(it.frames.is_empty());
}

#[test]
fn a_command_does_not_outlast_its_grant_in_the_queue() {
    let mut it = flying();
    open(&mut it, 2);
    wait(&mut it, 50);
    it.request_and_send("nav_takeoff", "a");
    // The grant is used up by it, and still holds for it until its time is over.
    let waits = it.request("nav_takeoff", "b");
    it.drain();
    wait(&mut it, 9);
    it.drain();
    assert!(it.record(waits).is_undecided());
    wait(&mut it, 1);
    it.drain();
    it.expect(waits, Status::Failed, Code::GrantExpired);
    assert_eq!(it.frames.len(), 1);
}

#[test]
fn nothing_is_written_again_after_a_revocation() {
    for revoked in [false, true] {
        let mut it = flying();
        let grant = open(&mut it, 5);
        it.request_and_send("do_set_home", "a");
        if revoked {
            it.grant(Action::Revoke(grant));
        }
        for _ in 0..2 {
            it.pass(seconds(1));
            it.drain();
        }
        assert_eq!(it.frames.len(), if revoked { 1 } else { 3 });
    }
}

#[test]
fn a_grant_that_is_used_up_holds_however_many_have_ended_since() {
    let settings = Settings { max_queue: 64, ..settings() };
    let rules = guard(Mode::Guarded, [("nav_takeoff", Rule::default())]);
    let mut it = Harness::with_settings(settings, rules);
    it.link_up();
    it.drain();
    let queued: Vec<_> = (0..40)
        .map(|number| {
            open(&mut it, 1);
            let id = it.request("nav_takeoff", &format!("key-{number}"));
            it.drain();
            id
        })
        .collect();
    it.heartbeat();
    it.drain();
    for id in queued {
        assert!(it.record(id).is_undecided(), "{:?}", it.record(id).message);
    }
}

#[test]
fn a_rule_can_ask_for_a_grant_and_do_without_one() {
    let mut it = flying();
    let payload = it.request("video_start_capture", "a");
    it.drain();
    it.expect(payload, Status::Failed, Code::GrantMissing);
    // A flight grant covers the lower risks too.
    open(&mut it, 1);
    let payload = it.request_and_send("video_start_capture", "b");
    assert_eq!(it.record(payload).status, Status::Delivered);
    // The harness's own rule for this critical command.
    let reboot = it.request_and_send("preflight_reboot_shutdown", "c");
    assert_eq!(it.record(reboot).status, Status::Delivered);
}

#[test]
fn disabled_and_policy_refuse_before_the_grant_is_asked() {
    let mut it = Harness::new(Mode::Disabled);
    let id = it.request("nav_takeoff", "a");
    it.drain();
    it.expect(id, Status::Failed, Code::GuardDisabled);
    let mut it = flying();
    let id = it.request("nav_land", "a");
    it.drain();
    it.expect(id, Status::Failed, Code::PolicyCommandDenied);
}

#[test]
fn how_each_grant_ended_is_told() {
    let mut it = flying();
    let used_up = open(&mut it, 1);
    it.request("nav_takeoff", "a");
    let ended = it.ended_grants();
    assert_eq!(ended, [(used_up, Ending::Exhausted)]);
    let lost = open(&mut it, 1);
    it.link_down();
    assert_eq!(it.ended_grants(), [(lost, Ending::LinkLost)]);
}

#[test]
fn an_issuer_opens_a_grant_by_a_signed_message() {
    let mut it = flying();
    let message = signed(&it, "n", true);
    it.grant_message(flight(1), message.clone());
    // The nonce is durable before anybody hears of the grant.
    let told = ["persist", "acknowledge", "reply grant", "grants changed, 0 ended"];
    assert_eq!(it.drain(), told);
    assert!(it.journal.nonces.contains_key(&message.nonce.key));
    let view = it.engine.grants().views(it.now.boot).remove(0);
    assert_eq!(view.opened_by, Opener::Issuer("cloud".to_owned()));

    // A broker's redelivery, or a recording.
    it.grant_message(flight(1), message.clone());
    assert_eq!(it.drain(), ["acknowledge", "reply error auth.replay"]);
    it.crash(seconds(1));
    it.link_up();
    it.drain();
    it.grant_message(flight(1), message);
    assert_eq!(it.drain(), ["acknowledge", "reply error auth.replay"]);
    assert!(it.engine.grants().views(it.now.boot).is_empty());
}

/// No record holds it: its entry is removed, also one of before a restart.
#[test]
fn the_nonce_of_a_message_is_forgotten_when_a_trusted_clock_has_passed_it() {
    for crashes in [false, true] {
        let mut it = flying();
        let message = signed(&it, "n", true);
        it.grant_message(flight(1), message.clone());
        it.drain();
        if crashes {
            it.crash(seconds(1));
        }
        it.now.wall_trusted = false;
        it.pass(seconds(1000));
        it.drain();
        assert!(it.journal.nonces.contains_key(&message.nonce.key));
        it.now.wall_trusted = true;
        it.pass(seconds(1));
        it.pass(seconds(1));
        it.drain();
        assert!(it.journal.nonces.is_empty());
    }
}

#[test]
fn a_message_that_is_not_fresh_opens_nothing() {
    for code in [Code::AuthStale, Code::AuthClockUntrusted] {
        let mut it = flying();
        let message = stale(signed(&it, "n", true), code);
        it.grant_message(flight(1), message);
        assert_eq!(it.drain(), ["acknowledge".to_owned(), format!("reply error {code}")]);
        assert!(it.engine.grants().views(it.now.boot).is_empty());
    }
}

#[test]
fn only_issuers_who_may_grant_have_their_way_with_grants() {
    let mut it = Harness::with_guard(takeoffs(Mode::Guarded, false, Limits::default()));
    it.link_up();
    let grant = open(&mut it, 1);
    for (nonce, action) in [
        ("a", flight(1)),
        ("b", Action::Approve(grant)),
        ("c", Action::Revoke(grant)),
        ("d", Action::RevokeAll),
    ] {
        let message = signed(&it, nonce, true);
        it.grant_message(action, message);
        assert_eq!(it.drain(), ["acknowledge", "reply error auth.not_permitted"]);
    }
    assert_eq!(it.engine.grants().views(it.now.boot).len(), 1);
}

#[test]
fn another_mode_or_other_limits_end_every_grant() {
    for (mode, max_duration, ends) in [
        (Mode::Guarded, Limits::default().max_duration, false),
        (Mode::Guarded, seconds(300), true),
        (Mode::Disabled, Limits::default().max_duration, true),
    ] {
        let mut it = flying();
        open(&mut it, 5);
        it.request_and_send("nav_takeoff", "a");
        let waits = it.request("nav_takeoff", "b");
        it.drain();
        let limits = Limits { max_duration, ..Limits::default() };
        replace_guard(&mut it, takeoffs(mode, true, limits));
        it.drain();
        assert_eq!(it.engine.grants().views(it.now.boot).is_empty(), ends);
        match (mode, ends) {
            (Mode::Disabled, _) => it.expect(waits, Status::Failed, Code::GuardDisabled),
            (_, true) => it.expect(waits, Status::Failed, Code::GrantMissing),
            (_, false) => assert!(it.record(waits).is_undecided()),
        }
    }
}

#[test]
fn a_rule_that_comes_to_need_a_grant_counts_what_waits_once() {
    let without = Rule { grant: Some(false), ..Rule::default() };
    let mut it = Harness::with_rules([("nav_takeoff", without)]);
    it.request_and_send("nav_takeoff", "a");
    let first = it.request("nav_takeoff", "b");
    let second = it.request("nav_takeoff", "c");
    it.drain();
    open(&mut it, 1);
    replace_guard(&mut it, takeoffs(Mode::Guarded, true, Limits::default()));
    it.drain();
    assert!(it.record(first).is_undecided());
    it.expect(second, Status::Failed, Code::GrantExhausted);
    // Read again, it counts nothing twice.
    replace_guard(&mut it, takeoffs(Mode::Guarded, true, Limits::default()));
    it.drain();
    assert!(it.record(first).is_undecided());
}
