//! Others command the vehicle through us: whose COMMAND_ACK is whose.

use super::*;
use crate::wire::mavlink::ForeignCommand;

const GROUND_STATION: Address = Address { system: 255, component: 190 };
const DENIED: u8 = 2;

fn passed(target: Address, command: u16) -> Input {
    Input::ForeignCommand(ForeignCommand { target, command })
}

fn addressed(to: Address, ack: CommandAck) -> CommandAck {
    CommandAck { target_system: to.system, target_component: to.component, ..ack }
}

#[test]
fn an_answer_that_names_nobody_answers_nobody_while_two_wait_for_it() {
    for before in [true, false] {
        let mut it = Harness::ready();
        if before {
            it.input(passed(AUTOPILOT, DIGICAM));
        }
        let id = it.request_and_send("do_digicam_control", "a");
        if !before {
            it.input(passed(AUTOPILOT, DIGICAM));
        }
        for result in [DENIED, 0, 5] {
            it.ack(ack(AUTOPILOT, DIGICAM, result));
            assert!(!it.drain().contains(&"persist".to_owned()));
        }
        assert_eq!(it.record(id).status, Status::Delivered);
        it.pass(seconds(30));
        it.drain();
        it.expect(id, Status::TimedOut, Code::TimeoutAck);
        let message = it.record(id).message.unwrap();
        assert!(message.contains("another sent the same"), "{message}");
    }
}

#[test]
fn an_answer_that_names_us_is_ours_whatever_others_sent() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.input(passed(AUTOPILOT, DIGICAM));
    it.ack(addressed(GROUND_STATION, ack(AUTOPILOT, DIGICAM, DENIED)));
    assert_eq!(it.drain(), [""; 0]);
    it.ack(addressed(US, ack(AUTOPILOT, DIGICAM, 0)));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
}

#[test]
fn what_is_clearly_not_for_us_makes_no_noise() {
    let mut it = Harness::ready();
    it.input(passed(AUTOPILOT, ROI));
    it.ack(ack(AUTOPILOT, ROI, 0));
    it.ack(addressed(GROUND_STATION, ack(AUTOPILOT, ROI, 0)));
    assert_eq!(it.drain(), [""; 0]);
    // Of the camera nobody wanted anything.
    it.ack(ack(CAMERA, ROI, 0));
    assert_eq!(it.drain(), ["unmatched 80"]);
}

#[test]
fn another_command_or_component_is_no_doubt() {
    for (target, command) in [(AUTOPILOT, ROI), (CAMERA, DIGICAM)] {
        let mut it = Harness::ready();
        it.input(passed(target, command));
        let id = it.request_and_send("do_digicam_control", "a");
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert_eq!(it.record(id).status, Status::Succeeded);
    }
}

#[test]
fn a_broadcast_may_be_answered_by_anybody() {
    for (system, component) in [(0, 0), (0, 1), (1, 0)] {
        let mut it = Harness::ready();
        let id = it.request_and_send("do_digicam_control", "a");
        it.input(passed(Address { system, component }, DIGICAM));
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert_eq!(it.record(id).status, Status::Delivered, "{system}/{component}");
    }
}

#[test]
fn a_foreign_command_is_remembered_for_half_a_minute_and_while_it_goes_on() {
    let mut it = Harness::ready();
    it.input(passed(AUTOPILOT, DIGICAM));
    it.pass(seconds(30));
    it.heartbeat();
    let id = it.request_and_send("do_digicam_control", "a");
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);

    let mut it = Harness::ready();
    it.input(passed(AUTOPILOT, DIGICAM));
    for _ in 0..3 {
        it.pass(seconds(29));
        it.ack(ack(AUTOPILOT, DIGICAM, 5));
    }
    it.heartbeat();
    let id = it.request_and_send("do_digicam_control", "a");
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Delivered);
}

#[test]
fn a_late_answer_that_may_be_anothers_changes_nothing() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(30));
    it.drain();
    it.input(passed(AUTOPILOT, DIGICAM));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    assert_eq!(it.drain(), [""; 0]);
    it.expect(id, Status::TimedOut, Code::TimeoutAck);
}

#[test]
fn more_foreign_commands_than_are_told_apart_make_every_answer_doubtful() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    for command in 1000..=2024 {
        it.input(passed(AUTOPILOT, command));
    }
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Delivered);
    it.ack(addressed(US, ack(AUTOPILOT, DIGICAM, 0)));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
}

#[test]
fn what_passed_before_a_restart_is_not_known_after_it() {
    for (forwards, status) in [(true, Status::Delivered), (false, Status::Succeeded)] {
        let mut it = Harness::ready();
        it.settings.forwards = forwards;
        let id = it.with_request("do_digicam_control", "a", |it| it.timeout_seconds = Some(120));
        it.drain();
        it.sent();
        it.pass(seconds(2));
        it.drain();
        it.crash(seconds(1));
        it.link_up();
        if forwards {
            // Nor how long it goes on.
            it.pass(seconds(29));
            it.ack(ack(AUTOPILOT, DIGICAM, 5));
            it.pass(seconds(29));
        }
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert_eq!(it.record(id).status, status);
        it.ack(addressed(US, ack(AUTOPILOT, DIGICAM, 0)));
        it.drain();
        assert_eq!(it.record(id).status, Status::Succeeded);
    }
}
