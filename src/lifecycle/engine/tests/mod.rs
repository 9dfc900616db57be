//! The engine in virtual time: transition tables here, whole histories with crashes in
//! [`simulation`].

mod authentication;
mod extra_link;
mod flushes;
mod foreign;
mod grants;
mod harness;
mod learned;
mod outbox;
mod promises;
mod recovery;
mod set_aside;
mod simulation;
mod slow_commit;
mod small_world;
mod state;

use std::time::Duration;

use harness::{AUTOPILOT, CAMERA, Harness, US, ack, heartbeat, seconds};

use super::*;
use crate::catalog::Transport;
use crate::code::Code;
use crate::guard::Mode;
use crate::guard::policy::{Policy, Retransmit, Rule};
use crate::lifecycle::effect::Reply;
use crate::lifecycle::request::CommandRequest;
use crate::lifecycle::status::Cause;
use crate::wire::mavlink::{Body, CommandAck};

const ROI: u16 = 80;
const DIGICAM: u16 = 203;
const CAPTURE_STATUS: u16 = 527;
const STOP_CAPTURE: u16 = 2001;

#[test]
fn the_way_of_a_command_and_the_order_of_its_effects() {
    let mut it = Harness::ready();
    let id = it.request("do_digicam_control", "a");
    assert_eq!(
        it.drain(),
        [
            "persist",
            "acknowledge",
            "step ACCEPTED 1",
            "reply ACCEPTED",
            "send LONG 203",
            "publish ACCEPTED 1"
        ]
    );
    it.sent();
    assert_eq!(it.drain(), ["step DELIVERED 2", "publish DELIVERED 2"]);
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    assert_eq!(it.drain(), ["persist", "step SUCCEEDED 3", "publish SUCCEEDED 3"]);
    let record = it.record(id);
    assert_eq!(record.cause, Some(Cause::Result(0)));
    assert_eq!(record.frame_sent(), Some(true));
    assert!(record.closed);
    assert_eq!(it.persists, 2, "one commit before the frame, one before the outcome is visible");
}

#[test]
fn what_is_durable_does_not_wait_for_the_next_commit() {
    let mut it = Harness::ready();
    it.request("do_digicam_control", "a");
    it.drain();
    it.sent();
    it.drain();
    it.request("nav_roi", "b");
    it.heard_while_committing = vec![Input::CommandAck(LinkId::MAIN, ack(AUTOPILOT, DIGICAM, 0))];
    assert_eq!(
        it.drain(),
        [
            "persist",
            "acknowledge",
            "step ACCEPTED 1",
            "reply ACCEPTED",
            "send INT 80",
            "publish ACCEPTED 1",
            "persist",
            "step SUCCEEDED 3",
            "publish SUCCEEDED 3"
        ]
    );
}

#[test]
fn what_is_not_durable_is_in_no_list() {
    let mut it = Harness::ready();
    let id = it.request("do_digicam_control", "a");
    assert!(it.engine.live(id).is_none());
    it.drain();
    it.sent();
    assert_eq!(it.engine.live(id).unwrap().status, Status::Delivered);
    it.drain();
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    assert!(it.engine.live(id).is_none());
}

#[test]
fn by_http_it_is_the_same_way_without_an_acknowledgement() {
    let mut it = Harness::ready();
    let id = it.call("do_digicam_control", "a");
    assert_eq!(
        it.drain(),
        ["persist", "step ACCEPTED 1", "reply ACCEPTED", "send LONG 203", "publish ACCEPTED 1"]
    );
    // One key is one command, by whichever way it comes.
    it.request("do_digicam_control", "a");
    assert_eq!(it.drain(), ["acknowledge", "reply ACCEPTED duplicate"]);
    it.sent();
    it.drain();
    it.call("do_digicam_control", "a");
    assert_eq!(it.drain(), ["reply DELIVERED duplicate"]);
    it.call("nav_roi", "a");
    assert_eq!(it.drain(), ["reply error idempotency.conflict"]);
    it.look_up(id);
    assert_eq!(it.drain(), ["reply found DELIVERED"]);
    it.look_up(harness::id("never"));
    assert_eq!(it.drain(), ["reply error query.not_found"]);
    assert_eq!(it.frames.len(), 1);
}

#[test]
fn every_result_has_its_ending() {
    for (result, status, code) in [
        (0, Status::Succeeded, "MAV_RESULT_ACCEPTED"),
        (1, Status::Failed, "MAV_RESULT_TEMPORARILY_REJECTED"),
        (2, Status::Failed, "MAV_RESULT_DENIED"),
        (3, Status::Failed, "MAV_RESULT_UNSUPPORTED"),
        (4, Status::Failed, "MAV_RESULT_FAILED"),
        (6, Status::Failed, "MAV_RESULT_CANCELLED"),
        // The form that was sent already: a refusal, not a wish.
        (7, Status::Failed, "MAV_RESULT_COMMAND_LONG_ONLY"),
        (9, Status::Failed, "MAV_RESULT_COMMAND_UNSUPPORTED_MAV_FRAME"),
        (10, Status::Failed, "MAV_RESULT_NOT_IN_CONTROL"),
        (200, Status::Failed, "MAV_RESULT_200"),
    ] {
        let mut it = Harness::ready();
        let id = it.request_and_send("do_digicam_control", "a");
        it.ack(ack(AUTOPILOT, DIGICAM, result));
        it.drain();
        let record = it.record(id);
        assert_eq!(record.status, status, "{code}");
        assert_eq!(record.cause.unwrap().response_code(), code);
        assert_eq!(it.frames.len(), 1);
    }
}

#[test]
fn refusals_of_the_guard_are_accepted_then_failed_and_send_nothing() {
    let disabled = Harness::new(Mode::Disabled);
    let silent = Harness::new(Mode::Guarded);
    let mut stale = Harness::ready();
    stale.pass(seconds(3));
    for (mut it, command, code) in [
        (disabled, "do_digicam_control", Code::GuardDisabled),
        (silent, "do_digicam_control", Code::TransportNotReady),
        (stale, "do_digicam_control", Code::TransportNotReady),
        (Harness::ready(), "do_set_home", Code::PolicyCommandDenied),
    ] {
        it.drain();
        let persists = it.persists;
        let id = it.request(command, "a");
        assert_eq!(
            it.drain(),
            [
                "persist",
                "acknowledge",
                "step ACCEPTED 1",
                "step FAILED 2",
                "reply ACCEPTED",
                "publish ACCEPTED 1",
                "publish FAILED 2"
            ]
        );
        let record = it.record(id);
        assert_eq!(record.cause, Some(Cause::Agent(code)));
        assert_eq!(record.frame_sent(), Some(false));
        assert_eq!(it.persists - persists, 1);
        assert!(it.frames.is_empty());
    }
}

#[test]
fn a_target_component_must_be_allowed_by_its_rule() {
    for (component, code) in [
        (None, None),
        (Some(1), None),
        (Some(100), None),
        (Some(101), Some(Code::PolicyOutOfBounds)),
        (Some(0), Some(Code::PolicyOutOfBounds)),
    ] {
        let mut it = Harness::ready();
        it.with_request("image_stop_capture", "a", |request| request.target_component = component);
        it.drain();
        let record = it.record(harness::id("a"));
        assert_eq!(record.cause, code.map(Cause::Agent), "{component:?}");
        assert_eq!(it.frames.len(), usize::from(code.is_none()));
    }
}

#[test]
fn a_component_that_was_never_heard_is_refused_by_name() {
    let mut it = Harness::new(Mode::Guarded);
    it.input(Input::LinkOpened(LinkId::MAIN));
    it.input(Input::Heartbeat(LinkId::MAIN, heartbeat(AUTOPILOT), Duration::ZERO));
    it.input(Input::Heartbeat(
        LinkId::MAIN,
        heartbeat(Address { system: 2, component: 100 }),
        Duration::ZERO,
    ));
    it.drain();
    let to_camera = |request: &mut CommandRequest| request.target_component = Some(100);
    let refused = it.with_request("image_stop_capture", "a", to_camera);
    it.drain();
    it.expect(refused, Status::Failed, Code::TransportNotReady);
    let message = it.record(refused).message.unwrap();
    assert!(message.contains("component 1/100"), "{message}");
    it.input(Input::Heartbeat(LinkId::MAIN, heartbeat(CAMERA), Duration::ZERO));
    it.with_request("image_stop_capture", "b", to_camera);
    it.drain();
    assert_eq!(it.frames.len(), 1);
    assert_eq!(it.frames[0].target, CAMERA);
}

#[test]
fn the_default_component_is_the_rules_else_the_domains_else_the_autopilot() {
    let guard = harness::guard(
        Mode::Guarded,
        [("video_start_capture", Rule { target_component: Some(101), ..Rule::default() })],
    );
    for (command, requested, component) in [
        ("nav_roi", None, 1),
        ("nav_roi", Some(7), 7),
        ("do_gimbal_manager_configure", None, 154),
        ("video_start_capture", None, 101),
        ("video_start_capture", Some(100), 100),
    ] {
        let command = crate::catalog::find(command).unwrap();
        assert_eq!(guard.component(command, requested), component);
    }
}

#[test]
fn a_duplicate_changes_nothing_whenever_it_comes() {
    let mut it = Harness::ready();
    it.request("do_digicam_control", "a");
    it.drain();
    let progress = CommandAck { progress: 40, ..ack(AUTOPILOT, DIGICAM, 5) };
    for (status, step) in [
        ("ACCEPTED", None),
        ("DELIVERED", Some(Input::Sent { ticket: it.ticket() })),
        ("DELIVERED", Some(Input::CommandAck(LinkId::MAIN, progress))),
        ("SUCCEEDED", Some(Input::CommandAck(LinkId::MAIN, ack(AUTOPILOT, DIGICAM, 0)))),
    ] {
        if let Some(input) = step {
            it.input(input);
        }
        it.drain();
        let before = it.record(harness::id("a"));
        it.request("do_digicam_control", "a");
        assert_eq!(it.drain(), ["acknowledge".to_owned(), format!("reply {status} duplicate")]);
        assert_eq!(it.record(harness::id("a")), before);
    }
    assert_eq!(it.frames.len(), 1);
}

#[test]
fn a_duplicate_within_the_same_commit_is_one_command() {
    for mode in [Mode::Guarded, Mode::Disabled] {
        let mut it = Harness::new(mode);
        it.link_up();
        it.drain();
        it.request("do_digicam_control", "a");
        it.request("do_digicam_control", "a");
        let effects = it.drain();
        let persists = effects.iter().filter(|effect| *effect == "persist").count();
        let accepted = effects.iter().filter(|effect| *effect == "step ACCEPTED 1").count();
        assert_eq!((persists, accepted), (1, 1), "{effects:?}");
        assert!(effects.iter().any(|effect| effect.ends_with("duplicate")), "{effects:?}");
    }
}

#[test]
fn the_same_key_with_other_content_is_a_conflict() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    for change in [
        (|request| request.content.params[0] = Some(1.0)) as fn(&mut CommandRequest),
        |request| request.target_component = Some(100),
        |request| request.command = crate::catalog::find("nav_roi").unwrap(),
    ] {
        let before = it.record(id);
        it.with_request("do_digicam_control", "a", change);
        assert_eq!(it.drain(), ["acknowledge", "reply error idempotency.conflict"]);
        let Some(Reply::Error(error)) = it.replies.last() else { panic!() };
        assert_eq!(error.command_id, Some(id));
        assert!(error.violations[0].message.contains(&id.to_string()));
        assert_eq!(it.record(id), before);
    }
    // How long to wait is no content.
    it.with_request("do_digicam_control", "a", |request| request.timeout_seconds = Some(7));
    assert_eq!(it.drain(), ["acknowledge", "reply DELIVERED duplicate"]);
    // Nor is what the configuration makes of the same body today.
    let body = it.record(id).request_sha256;
    it.with_request("do_digicam_control", "a", |request| {
        request.target_component = Some(100);
        request.request_sha256 = body;
    });
    assert_eq!(it.drain(), ["acknowledge", "reply DELIVERED duplicate"]);
    assert_eq!(it.frames.len(), 1);
}

#[test]
fn one_in_flight_per_target_and_command_and_a_window_in_all() {
    let mut it = Harness::ready();
    for (command, key) in [
        ("do_digicam_control", "a"),
        ("do_digicam_control", "b"),
        ("image_stop_capture", "c"),
        ("request_camera_capture_status", "d"),
        ("nav_roi", "e"),
    ] {
        it.request(command, key);
    }
    it.with_request("image_stop_capture", "f", |request| request.target_component = Some(100));
    it.drain();
    // b waits for a; e and f wait for the window of 3.
    assert_eq!(it.commands_sent(), [DIGICAM, STOP_CAPTURE, CAPTURE_STATUS]);
    it.ack(ack(AUTOPILOT, STOP_CAPTURE, 0));
    it.drain();
    assert_eq!(it.commands_sent()[3..], [ROI]);
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.commands_sent()[4..], [DIGICAM]);
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 0));
    it.drain();
    assert_eq!(it.commands_sent()[5..], [STOP_CAPTURE]);
    assert_eq!(it.frames[5].target, CAMERA);
}

#[test]
fn a_full_queue_refuses_without_making_a_command() {
    let mut it = Harness::ready();
    for number in 0..=4 {
        it.request("do_digicam_control", &format!("key-{number}"));
    }
    it.drain();
    it.request("do_digicam_control", "one-too-many");
    assert_eq!(it.drain(), ["acknowledge", "reply error busy.queue_full"]);
    assert!(!it.knows(harness::id("one-too-many")));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    it.request("do_digicam_control", "one-too-many");
    assert!(it.drain().contains(&"reply ACCEPTED".to_owned()));
}

#[test]
fn deadlines() {
    // In the queue.
    let mut it = Harness::ready();
    it.request("do_digicam_control", "a");
    let queued = it.with_request("do_digicam_control", "b", |it| it.timeout_seconds = Some(2));
    it.drain();
    it.pass(seconds(2));
    it.drain();
    it.expect(queued, Status::TimedOut, Code::TimeoutQueue);
    assert_eq!(it.record(queued).frame_sent(), Some(false));

    // Waiting for the answer: the configured default of 30 s, and not a moment earlier.
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(30) - Duration::from_millis(1));
    it.drain();
    assert_eq!(it.record(id).status, Status::Delivered);
    it.pass(Duration::from_millis(1));
    it.drain();
    it.expect(id, Status::TimedOut, Code::TimeoutAck);
    assert_eq!(it.record(id).frame_sent(), Some(true));

    // The message's own expiry caps it.
    let mut it = Harness::ready();
    let id = it.with_request("do_digicam_control", "a", |it| it.message_expiry = Some(seconds(4)));
    it.drain();
    it.sent();
    it.pass(seconds(4));
    it.drain();
    it.expect(id, Status::TimedOut, Code::TimeoutAck);
}

#[test]
fn a_frame_that_would_be_late_is_not_sent() {
    let mut it = Harness::ready();
    it.commit_takes = seconds(31);
    let id = it.request("do_digicam_control", "a");
    it.drain();
    it.drain();
    it.expect(id, Status::TimedOut, Code::TimeoutQueue);
    assert!(it.frames.is_empty());
    assert_eq!(it.record(id).frame_sent(), Some(false));
}

#[test]
fn progress_restarts_the_wait_within_its_bound() {
    let progress = |percent| CommandAck { progress: percent, ..ack(AUTOPILOT, DIGICAM, 5) };
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(29));
    it.ack(progress(10));
    assert_eq!(it.drain(), ["persist", "step DELIVERED 3", "publish DELIVERED 3"]);
    it.pass(seconds(29));
    it.drain();
    // The same news is no update, and is found as it was told; but it counts.
    let told = it.record(id).ack;
    it.ack(progress(10));
    assert_eq!(it.drain(), [""; 0]);
    assert_eq!(it.record(id).ack, told);
    it.pass(seconds(29));
    it.drain();
    assert_eq!(it.record(id).status, Status::Delivered);
    it.pass(seconds(1));
    it.drain();
    it.expect(id, Status::TimedOut, Code::TimeoutProgress);

    // How long it lasts while there is always something new.
    let works = |it: &mut Harness, id| {
        let started = it.now.boot;
        for percent in (0..100).cycle() {
            it.ack(progress(percent));
            it.pass(seconds(20));
            it.drain();
            if it.record(id).status != Status::Delivered {
                break;
            }
        }
        it.expect(id, Status::TimedOut, Code::TimeoutProgress);
        it.now.boot - started
    };
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    let waited = works(&mut it, id);
    assert!(waited >= seconds(600) && waited < seconds(620), "{waited:?}");
    assert!(it.record(id).message.unwrap().contains("max_progress"));

    // Also when a reboot came in between and nobody knows the time any more.
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(10));
    it.ack(progress(1));
    it.drain();
    it.reboot(seconds(5), true);
    it.link_up();
    it.now.wall_trusted = false;
    let waited = works(&mut it, id);
    assert!(waited >= seconds(580) && waited < seconds(605), "{waited:?}");
}

#[test]
fn progress_of_unknown_extent_is_news_by_what_else_it_tells() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    for (result_param2, seq) in [(0, 3), (1, 4), (1, 4), (2, 5)] {
        it.ack(CommandAck { progress: 255, result_param2, ..ack(AUTOPILOT, DIGICAM, 5) });
        it.drain();
        let record = it.record(id);
        assert_eq!((record.seq, record.ack.unwrap().ack.result_param2), (seq, result_param2));
    }
}

#[test]
fn a_late_answer_counts_once() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(30));
    it.drain();
    it.pass(seconds(299));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    assert_eq!(
        it.drain(),
        ["persist", "step UNMATCHED_RESPONSE 4", "publish UNMATCHED_RESPONSE 4"]
    );
    assert_eq!(it.record(id).cause, Some(Cause::Result(0)));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    assert_eq!(it.drain(), ["unmatched 203"]);
}

#[test]
fn a_late_answer_must_be_in_the_window_and_of_the_newest_send() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(30));
    it.drain();
    it.pass(seconds(300));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    assert!(it.drain().contains(&"unmatched 203".to_owned()));
    assert_eq!(it.record(id).status, Status::TimedOut);

    let mut it = Harness::ready();
    let older = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(30));
    it.heartbeat();
    let newer = it.request_and_send("do_digicam_control", "b");
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    assert!(it.drain().contains(&"unmatched 203".to_owned()));
    assert_eq!(it.record(newer).status, Status::Succeeded);
    assert_eq!(it.record(older).status, Status::TimedOut);
    assert!(it.record(older).closed);
}

#[test]
fn an_answer_that_belongs_to_nothing_or_to_others() {
    let mut it = Harness::ready();
    it.request_and_send("do_digicam_control", "a");
    // Never asked.
    it.ack(ack(AUTOPILOT, ROI, 0));
    assert_eq!(it.drain(), ["unmatched 80"]);
    // Another vehicle.
    it.ack(ack(Address { system: 2, component: 1 }, DIGICAM, 0));
    assert_eq!(it.drain(), ["unmatched 203"]);
    // For another ground station; for another component of ours.
    for (system, component) in [(255, 190), (255, 0), (0, 190), (US.system, 190)] {
        let ack = CommandAck {
            target_system: system,
            target_component: component,
            ..ack(AUTOPILOT, DIGICAM, 0)
        };
        it.ack(ack);
        assert_eq!(it.drain(), [""; 0], "{system}/{component}");
    }
    let to_us = CommandAck {
        target_system: US.system,
        target_component: US.component,
        ..ack(AUTOPILOT, DIGICAM, 0)
    };
    it.ack(to_us);
    assert!(it.drain().contains(&"publish SUCCEEDED 3".to_owned()));
}

#[test]
fn an_answer_of_another_component_is_remembered() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.ack(ack(CAMERA, DIGICAM, 2));
    assert_eq!(it.drain(), [""; 0]);
    it.pass(seconds(30));
    it.drain();
    let record = it.record(id);
    assert_eq!(record.status, Status::UnmatchedResponse);
    assert_eq!(record.cause, Some(Cause::Result(2)));
    assert_eq!(record.ack.unwrap().ack.source, CAMERA);

    // The right one decides, whatever came before.
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.ack(ack(CAMERA, DIGICAM, 2));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
}

/// Two commands of one MAV_CMD to two components, and the second one's answer comes after its time.
#[test]
fn a_late_answer_is_not_another_components_stray() {
    for (timeout, before, after) in [
        (1, Status::TimedOut, Status::UnmatchedResponse),
        // Nobody waited.
        (0, Status::Delivered, Status::Succeeded),
    ] {
        let mut it = Harness::ready();
        let waits = it.request_and_send("image_stop_capture", "a");
        let late = it.with_request("image_stop_capture", "b", |request| {
            request.target_component = Some(CAMERA.component);
            request.timeout_seconds = Some(timeout);
        });
        it.drain();
        it.sent();
        it.pass(seconds(2));
        it.drain();
        assert_eq!(it.record(late).status, before);
        it.ack(ack(CAMERA, STOP_CAPTURE, 0));
        it.drain();
        assert_eq!(it.record(late).status, after);
        assert_eq!(it.record(waits).stray, None);
        it.pass(seconds(30));
        it.drain();
        it.expect(waits, Status::TimedOut, Code::TimeoutAck);
    }
}

#[test]
fn an_answer_of_another_component_is_for_whom_somebody_waits() {
    const GIMBAL: Address = Address { system: 1, component: 154 };
    let mut it = Harness::ready();
    let nobody_waits =
        it.with_request("image_stop_capture", "a", |it| it.timeout_seconds = Some(0));
    it.drain();
    it.sent();
    it.drain();
    it.ack(ack(GIMBAL, STOP_CAPTURE, 2));
    assert_eq!(it.drain(), ["unmatched 2001"]);
    let waits = it.with_request("image_stop_capture", "b", |request| {
        request.target_component = Some(CAMERA.component);
    });
    it.drain();
    it.sent();
    it.drain();
    it.ack(ack(GIMBAL, STOP_CAPTURE, 2));
    assert_eq!(it.drain(), [""; 0]);
    it.pass(seconds(30));
    it.drain();
    assert_eq!(it.record(waits).status, Status::UnmatchedResponse);
    assert_eq!(it.record(nobody_waits).status, Status::Delivered);
}

#[test]
fn the_other_form_goes_out_once() {
    for (command, number, wish, first, second) in [
        ("nav_roi", ROI, 7, Transport::CommandInt, Transport::CommandLong),
        ("do_digicam_control", DIGICAM, 8, Transport::CommandLong, Transport::CommandInt),
    ] {
        let mut it = Harness::ready();
        let id = it.request_and_send(command, "a");
        it.ack(ack(AUTOPILOT, number, wish));
        let effects = it.drain();
        assert_eq!(effects[0], "persist", "written ahead of the second frame");
        assert_eq!(effects.len(), 2, "{effects:?}");
        assert_eq!(it.forms(), [first, second]);
        // The same answer, come twice, is not the second frame's.
        it.ack(ack(AUTOPILOT, number, wish));
        assert_eq!(it.drain(), [""; 0]);
        it.sent();
        it.drain();
        let record = it.record(id);
        assert_eq!((record.status, record.seq), (Status::Delivered, 3));
        assert_eq!(record.dispatch.unwrap().transport, second);
        it.ack(ack(AUTOPILOT, number, 0));
        it.drain();
        assert_eq!(it.record(id).status, Status::Succeeded);
        assert_eq!(it.frames.len(), 2);

        // And back again it does not go.
        let mut it = Harness::ready();
        let id = it.request_and_send(command, "a");
        it.ack(ack(AUTOPILOT, number, wish));
        it.drain();
        it.sent();
        it.ack(ack(AUTOPILOT, number, 15 - wish));
        it.drain();
        assert_eq!(it.record(id).status, Status::Failed);
        assert_eq!(it.frames.len(), 2);
    }
}

#[test]
fn a_place_in_a_frame_of_its_own_has_no_other_form() {
    // MAV_FRAME_LOCAL_NED is 1, in metres, which COMMAND_LONG would make degrees.
    for (frame, frames) in [(0, 2), (1, 1), (3, 1), (5, 2)] {
        let mut it = Harness::ready();
        let id = it.with_request("nav_roi", "a", |request| request.content.frame = frame);
        it.drain();
        it.sent();
        it.ack(ack(AUTOPILOT, ROI, 7));
        it.drain();
        assert_eq!(it.frames.len(), frames, "MAV_FRAME {frame}");
        if frames == 1 {
            let record = it.record(id);
            assert_eq!((record.status, record.cause), (Status::Failed, Some(Cause::Result(7))));
        }
    }
}

#[test]
fn nobody_waits_with_timeout_zero() {
    let mut it = Harness::ready();
    let id = it.with_request("do_digicam_control", "a", |it| it.timeout_seconds = Some(0));
    it.drain();
    it.sent();
    let effects = it.drain();
    assert_eq!(effects, ["persist", "step DELIVERED 2", "publish DELIVERED 2"]);
    assert!(it.record(id).is_terminal());
    // Its place stays taken for a moment, for the vehicle's short queue.
    it.request("do_digicam_control", "b");
    it.drain();
    assert_eq!(it.frames.len(), 1);
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
    assert_eq!(it.frames.len(), 2);

    // Where nobody waits for late answers either, one that comes at once does so all the same.
    for answers in [true, false] {
        let settings = Settings { late_ack_window: Duration::ZERO, ..harness::settings() };
        let mut it = Harness::with_settings(settings, harness::guard(Mode::Guarded, []));
        it.link_up();
        let id = it.with_request("do_digicam_control", "a", |it| it.timeout_seconds = Some(0));
        it.drain();
        it.sent();
        it.drain();
        if answers {
            it.ack(ack(AUTOPILOT, DIGICAM, 0));
            it.drain();
            assert_eq!(it.record(id).status, Status::Succeeded);
        }
        it.pass(seconds(1));
        it.drain();
        it.heartbeat();
        assert_eq!(it.engine.outstanding(), 0);
        it.request("do_digicam_control", "b");
        it.drain();
        assert_eq!(it.frames.len(), 2);
    }

    // Long after, an answer still completes it; no answer changes nothing.
    for (result, status) in [(0, Status::Succeeded), (3, Status::Failed)] {
        let mut it = Harness::ready();
        let id = it.with_request("do_digicam_control", "a", |it| it.timeout_seconds = Some(0));
        it.drain();
        it.sent();
        it.pass(seconds(299));
        it.drain();
        assert_eq!(it.record(id).status, Status::Delivered);
        it.ack(ack(AUTOPILOT, DIGICAM, result));
        it.drain();
        assert_eq!(it.record(id).status, status);
    }
}

#[test]
fn the_other_form_keeps_the_place_that_it_needs() {
    const COMMAND_LONG_ONLY: u8 = 7;
    const ROI: u16 = 80;
    let mut it = Harness::ready();
    it.with_request("nav_roi", "a", |it| it.timeout_seconds = Some(0));
    it.drain();
    it.sent();
    it.drain();
    it.ack(ack(AUTOPILOT, ROI, COMMAND_LONG_ONLY));
    // The place would be free by now, but for the frame that waits for its commit.
    it.pass(seconds(2));
    it.request("nav_roi", "b");
    it.drain();
    assert_eq!(it.commands_sent(), [ROI, ROI]);
    it.ack(ack(AUTOPILOT, ROI, 0));
    it.drain();
    assert_eq!(it.commands_sent(), [ROI, ROI, ROI]);
}

#[test]
fn what_the_link_says_of_the_frame() {
    // Certainly not out.
    for (code, status) in [
        (Code::TransportLost, Status::Failed),
        (Code::TransportWriteFailed, Status::Failed),
        (Code::TimeoutQueue, Status::TimedOut),
    ] {
        let mut it = Harness::ready();
        let id = it.request("do_digicam_control", "a");
        it.drain();
        it.not_sent(code);
        it.drain();
        it.expect(id, status, code);
        assert_eq!(it.record(id).frame_sent(), Some(false));
    }
    // Perhaps out: only the answer can tell, or nobody ever knows.
    let mut it = Harness::ready();
    let id = it.request("do_digicam_control", "a");
    it.drain();
    it.send_unknown();
    it.drain();
    assert_eq!(it.record(id).status, Status::Accepted);
    assert_eq!(it.record(id).frame_sent(), None);
    it.pass(seconds(30));
    it.drain();
    it.expect(id, Status::TimedOut, Code::TimeoutAck);
    assert_eq!(it.record(id).frame_sent(), None);
    // An answer before the link's own word proves it.
    let mut it = Harness::ready();
    let id = it.request("do_digicam_control", "a");
    it.drain();
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    let effects = it.drain();
    assert_eq!(
        effects,
        [
            "persist",
            "step DELIVERED 2",
            "step SUCCEEDED 3",
            "publish DELIVERED 2",
            "publish SUCCEEDED 3"
        ]
    );
    it.sent();
    assert_eq!(it.drain(), [""; 0]);
    assert_eq!(it.record(id).status, Status::Succeeded);
}

#[test]
fn a_lost_link_ends_what_waits_but_not_what_is_out() {
    for lose in [Harness::link_down as fn(&mut Harness), |it| it.pass(seconds(3))] {
        let mut it = Harness::ready();
        let out = it.request_and_send("do_digicam_control", "a");
        let waits = it.request("do_digicam_control", "b");
        it.drain();
        lose(&mut it);
        it.drain();
        it.expect(waits, Status::Failed, Code::TransportLost);
        assert_eq!(it.record(out).status, Status::Delivered);
        it.link_up();
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert_eq!(it.record(out).status, Status::Succeeded);
        assert_eq!(it.frames.len(), 1);
    }
}

#[test]
fn a_heartbeat_of_somebody_else_makes_no_link_ready() {
    let mut it = Harness::new(Mode::Guarded);
    it.input(Input::LinkOpened(LinkId::MAIN));
    for source in [CAMERA, Address { system: 2, component: 1 }, US] {
        it.input(Input::Heartbeat(LinkId::MAIN, heartbeat(source), Duration::ZERO));
    }
    it.drain();
    assert_eq!(it.engine.link_state(LinkId::MAIN), LinkState::Open);
    it.heartbeat();
    it.drain();
    assert_eq!(it.engine.link_state(LinkId::MAIN), LinkState::Ready);
}

#[test]
fn retransmission_is_by_policy_and_counts_confirmation_up() {
    let mut it = Harness::with_rule(
        "request_camera_capture_status",
        Rule { retransmit: Some(Retransmit { times: 2, interval: seconds(1) }), ..Rule::default() },
    );
    let id = it.request_and_send("request_camera_capture_status", "a");
    for _ in 0..5 {
        it.pass(seconds(1));
        it.heartbeat();
        it.drain();
    }
    let confirmations: Vec<u8> = it.frames.iter().map(|frame| frame.confirmation).collect();
    assert_eq!(confirmations, [0, 1, 2]);
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
    assert_eq!(it.record(id).seq, 3);

    // In the other form it begins anew.
    let mut it = Harness::with_rule(
        "request_camera_capture_status",
        Rule { retransmit: Some(Retransmit { times: 2, interval: seconds(1) }), ..Rule::default() },
    );
    it.request_and_send("request_camera_capture_status", "a");
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 8));
    it.drain();
    it.sent();
    for _ in 0..5 {
        it.pass(seconds(1));
        it.heartbeat();
        it.drain();
    }
    let (long, int) = (Transport::CommandLong, Transport::CommandInt);
    assert_eq!(it.forms(), [long, int, int, int]);

    // Progress, or an answer, ends it.
    for result in [5, 0] {
        let mut it = Harness::with_rule(
            "request_camera_capture_status",
            Rule {
                retransmit: Some(Retransmit { times: 2, interval: seconds(1) }),
                ..Rule::default()
            },
        );
        it.request_and_send("request_camera_capture_status", "a");
        it.ack(ack(AUTOPILOT, CAPTURE_STATUS, result));
        it.pass(seconds(2));
        it.heartbeat();
        it.drain();
        assert_eq!(it.frames.len(), 1);
    }
}

#[test]
fn the_outbox_keeps_order_and_window_across_reconnects() {
    let mut it = Harness::ready();
    it.input(Input::BrokerDisconnected);
    for number in 0..20 {
        it.request("do_digicam_control", &format!("key-{number}"));
        it.drain();
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
    }
    assert!(it.published.is_empty());
    it.keep_unpublished = true;
    it.input(Input::BrokerConnected);
    it.drain();
    let first: Vec<u64> = it.published.iter().map(|(number, _)| *number).collect();
    assert_eq!(first, (1..=16).collect::<Vec<_>>(), "a window of 16");
    it.published.clear();
    it.input(Input::BrokerDisconnected);
    it.input(Input::BrokerConnected);
    it.drain();
    let again: Vec<u64> = it.published.iter().map(|(number, _)| *number).collect();
    assert_eq!(again, first, "what was not acknowledged goes out again, in order");
    it.input(Input::Published { number: 3, accepted: true });
    it.drain();
    assert_eq!(it.published.last().map(|(number, _)| *number), Some(17));
    // Refused by the broker: kept, and offered again later.
    it.input(Input::Published { number: 1, accepted: false });
    it.drain();
    assert_eq!(it.published.last().map(|(number, _)| *number), Some(18));
    it.input(Input::Published { number: 2, accepted: true });
    it.pass(seconds(5));
    it.drain();
    assert!(it.published[16..].iter().any(|(number, _)| *number == 1));
}

#[test]
fn lazy_writes_do_not_wait_for_ever() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    assert_eq!(it.journal.records[&id].status, Status::Accepted);
    it.pass(seconds(1));
    assert_eq!(it.drain(), ["persist"]);
    assert_eq!(it.journal.records[&id].status, Status::Delivered);
    assert_eq!(it.engine.poll_timeout().map(|at| at > it.now.boot), Some(true));
}

#[test]
fn queries_read_and_change_nothing() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.query(id, "cloud");
    assert_eq!(it.drain(), ["acknowledge", "reply found DELIVERED"]);
    it.query(id, "somebody-else");
    assert_eq!(it.drain(), ["acknowledge", "reply error query.not_found"]);
    it.query(harness::id("never"), "cloud");
    assert_eq!(it.drain(), ["acknowledge", "reply error query.not_found"]);
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    it.query(id, "cloud");
    assert_eq!(it.drain(), ["acknowledge", "reply found SUCCEEDED"]);
}

#[test]
fn stopping_sends_nothing_more_and_writes_what_is_left() {
    let mut it = Harness::ready();
    let out = it.request_and_send("do_digicam_control", "a");
    let waits = it.request("do_digicam_control", "b");
    it.drain();
    it.sent();
    it.input(Input::Stop);
    it.drain();
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(out).status, Status::Succeeded);
    assert_eq!(it.record(waits).status, Status::Accepted);
    assert_eq!(it.frames.len(), 1);
}

#[test]
fn a_new_guard_judges_what_waits_and_what_has_not_left() {
    let mut it = Harness::ready();
    let out = it.request_and_send("do_digicam_control", "a");
    let waits = it.request("do_digicam_control", "b");
    it.drain();
    // Dispatched, its frame still among the effects.
    let about_to_go = it.request("image_stop_capture", "c");
    let now = it.now;
    it.engine.replace_guard(&now, harness::guard(Mode::Disabled, []));
    it.input(Input::Tick);
    it.drain();
    for id in [waits, about_to_go] {
        it.expect(id, Status::Failed, Code::GuardDisabled);
        assert_eq!(it.record(id).frame_sent(), Some(false));
    }
    assert_eq!(it.frames.len(), 1);
    // What is out still takes its answer.
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(out).status, Status::Succeeded);
}

#[test]
fn a_new_guard_leaves_where_commands_go() {
    let mut it = Harness::ready();
    let policy = Policy::new(100, BTreeMap::new(), [("do_digicam_control", Rule::default())]);
    let now = it.now;
    it.engine.replace_guard(&now, Guard::example(Mode::Guarded, policy));
    let id = it.request_and_send("do_digicam_control", "a");
    assert_eq!(it.record(id).target, AUTOPILOT);
}

#[test]
fn a_location_command_goes_as_command_int() {
    let mut it = Harness::ready();
    it.request("nav_roi", "a");
    it.drain();
    let Body::Int { frame, params } = &it.frames[0].body else { panic!() };
    assert_eq!((*frame, params.x, params.y, params.z), (0, 0, 0, 30.0));
}
