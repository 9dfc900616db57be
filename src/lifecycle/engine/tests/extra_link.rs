//! A camera behind a link of its own.

use super::harness::{EXTRA, guard, settings, two_links};
use super::*;
use crate::guard::grants::{Action, Ending, GrantRequest, Scope};
use crate::wire::mavlink::ForeignCommand;

/// Both links are open, and whoever is behind them speaks.
fn both_ready() -> Harness {
    let mut it = Harness::with_settings(two_links(settings()), guard(Mode::Guarded, []));
    it.input(Input::LinkOpened(LinkId::MAIN));
    it.input(Input::Heartbeat(LinkId::MAIN, heartbeat(AUTOPILOT), Duration::ZERO));
    it.input(Input::LinkOpened(EXTRA));
    it.input(Input::Heartbeat(EXTRA, heartbeat(CAMERA), Duration::ZERO));
    it.drain();
    it
}

/// To the camera; its frame has not left.
fn stop_capture(it: &mut Harness, key: &str) -> CommandId {
    it.with_request("image_stop_capture", key, |it| it.target_component = Some(CAMERA.component))
}

/// And now it has.
fn stop_capture_now(it: &mut Harness, key: &str) -> CommandId {
    let id = stop_capture(it, key);
    it.drain();
    it.sent();
    it.drain();
    id
}

/// Two commands that wait for their turn: one to the camera, one to the autopilot.
fn let_wait(it: &mut Harness) -> (CommandId, CommandId) {
    stop_capture_now(it, "first");
    it.request_and_send("do_digicam_control", "second");
    let waiting = (stop_capture(it, "third"), it.request("do_digicam_control", "fourth"));
    it.drain();
    assert_eq!(it.frames.len(), 2);
    waiting
}

#[test]
fn a_command_goes_out_by_its_targets_link_and_is_answered_there() {
    let mut it = both_ready();
    let camera = stop_capture_now(&mut it, "a");
    let autopilot = it.request_and_send("do_digicam_control", "b");
    assert_eq!(it.links, [EXTRA, LinkId::MAIN]);
    it.input(Input::CommandAck(EXTRA, ack(CAMERA, STOP_CAPTURE, 0)));
    it.input(Input::CommandAck(LinkId::MAIN, ack(AUTOPILOT, DIGICAM, 0)));
    it.drain();
    for id in [camera, autopilot] {
        assert_eq!(it.record(id).status, Status::Succeeded);
    }
}

#[test]
fn an_answer_by_another_link_is_no_answer() {
    let mut it = both_ready();
    let camera = stop_capture_now(&mut it, "a");
    let autopilot = it.request_and_send("do_digicam_control", "b");
    it.input(Input::CommandAck(LinkId::MAIN, ack(CAMERA, STOP_CAPTURE, 0)));
    it.input(Input::CommandAck(EXTRA, ack(AUTOPILOT, DIGICAM, 0)));
    assert_eq!(it.drain(), ["unmatched 2001", "unmatched 203"]);
    for id in [camera, autopilot] {
        assert_eq!(it.record(id).status, Status::Delivered);
    }
    // Nor a late one.
    it.pass(seconds(30));
    it.drain();
    it.input(Input::CommandAck(LinkId::MAIN, ack(CAMERA, STOP_CAPTURE, 0)));
    assert_eq!(it.drain(), ["unmatched 2001"]);
    it.expect(camera, Status::TimedOut, Code::TimeoutAck);
    it.input(Input::CommandAck(EXTRA, ack(CAMERA, STOP_CAPTURE, 0)));
    it.drain();
    assert_eq!(it.record(camera).status, Status::UnmatchedResponse);
}

#[test]
fn an_answer_of_another_component_counts_for_what_went_by_its_link() {
    let second_camera = Address { system: 1, component: 101 };
    for (link, status) in [(EXTRA, Status::UnmatchedResponse), (LinkId::MAIN, Status::TimedOut)] {
        let mut it = both_ready();
        let id = stop_capture_now(&mut it, "a");
        it.input(Input::CommandAck(link, ack(second_camera, STOP_CAPTURE, 2)));
        it.pass(seconds(30));
        it.drain();
        assert_eq!(it.record(id).status, status);
    }
}

#[test]
fn each_link_is_ready_by_its_own_port_and_component() {
    let mut it = Harness::with_settings(two_links(settings()), guard(Mode::Guarded, []));
    let expect = |it: &mut Harness, key: &str, because: &str| {
        let id = stop_capture(it, key);
        it.drain();
        it.expect(id, Status::Failed, Code::TransportNotReady);
        let message = it.record(id).message.unwrap();
        assert!(message.contains(because), "{message}");
    };
    it.link_up();
    assert_eq!(it.engine.link_state(LinkId::MAIN), LinkState::Ready);
    // The main link has heard a camera, which is not the way to it.
    expect(&mut it, "a", "the link camera is not ready: its port is not open");
    it.input(Input::LinkOpened(EXTRA));
    assert_eq!(it.engine.link_state(EXTRA), LinkState::Open);
    it.input(Input::Heartbeat(EXTRA, heartbeat(AUTOPILOT), Duration::ZERO));
    it.input(Input::Heartbeat(
        EXTRA,
        heartbeat(Address { system: 2, component: 100 }),
        Duration::ZERO,
    ));
    expect(&mut it, "b", "no heartbeat of component 1/100 has come by it within 3 s");
    it.input(Input::LinkClosed(LinkId::MAIN));
    it.input(Input::Heartbeat(EXTRA, heartbeat(CAMERA), Duration::ZERO));
    assert_eq!(it.engine.link_state(LinkId::MAIN), LinkState::Closed);
    assert_eq!(it.engine.link_state(EXTRA), LinkState::Ready);
    let id = stop_capture_now(&mut it, "c");
    assert_eq!(it.record(id).status, Status::Delivered);
    // And by its own heartbeat it stops being so, without anything else happening.
    it.pass(seconds(3));
    assert_eq!(it.engine.link_state(EXTRA), LinkState::Open);
    it.drain();
    expect(&mut it, "d", "the link camera is not ready: no heartbeat");
}

#[test]
fn a_link_that_is_lost_ends_only_what_waits_for_it() {
    for (lost, message) in
        [(EXTRA, "the link camera was lost"), (LinkId::MAIN, "to the vehicle was lost")]
    {
        for closed in [true, false] {
            let mut it = both_ready();
            let (camera, autopilot) = let_wait(&mut it);
            if closed {
                it.input(Input::LinkClosed(lost));
            } else {
                it.pass(seconds(2));
                let (other, source) =
                    if lost == EXTRA { (LinkId::MAIN, AUTOPILOT) } else { (EXTRA, CAMERA) };
                it.input(Input::Heartbeat(other, heartbeat(source), Duration::ZERO));
                it.pass(seconds(1));
            }
            it.drain();
            let (ended, waits) =
                if lost == EXTRA { (camera, autopilot) } else { (autopilot, camera) };
            it.expect(ended, Status::Failed, Code::TransportLost);
            assert!(it.record(ended).message.unwrap().contains(message));
            assert_eq!(it.record(waits).status, Status::Accepted);
        }
    }
}

#[test]
fn only_the_component_that_falls_silent_loses_its_commands() {
    let mut settings = two_links(settings());
    settings.extra_links[0].components.insert(101);
    let mut it = Harness::with_settings(settings, guard(Mode::Guarded, []));
    it.input(Input::LinkOpened(EXTRA));
    it.input(Input::Heartbeat(EXTRA, heartbeat(CAMERA), Duration::ZERO));
    // Open and not ready: the other camera has never spoken.
    assert_eq!(it.engine.link_state(EXTRA), LinkState::Open);
    stop_capture_now(&mut it, "a");
    let waits = stop_capture(&mut it, "b");
    it.pass(seconds(2));
    it.input(Input::Heartbeat(
        EXTRA,
        heartbeat(Address { system: 1, component: 101 }),
        Duration::ZERO,
    ));
    assert_eq!(it.engine.link_state(EXTRA), LinkState::Ready);
    assert_eq!(it.record(waits).status, Status::Accepted);
    it.pass(seconds(1));
    it.drain();
    it.expect(waits, Status::Failed, Code::TransportLost);
}

#[test]
fn a_command_whose_link_is_not_ready_holds_up_no_other() {
    let mut it = both_ready();
    for (command, key) in
        [("do_digicam_control", "a"), ("request_camera_capture_status", "b"), ("nav_roi", "c")]
    {
        it.request_and_send(command, key);
    }
    // No place is left for these.
    let camera = stop_capture(&mut it, "d");
    let autopilot = it.request("do_digicam_control", "e");
    it.drain();
    it.crash(seconds(1));
    it.link_up();
    it.drain();
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.links[3..], [LinkId::MAIN]);
    assert!(it.record(autopilot).dispatch.is_some());
    // It waits since before the restart, and so for its link.
    assert_eq!(it.record(camera).status, Status::Accepted);
    it.ack(ack(AUTOPILOT, ROI, 0));
    it.drain();
    assert_eq!(it.links[3..], [LinkId::MAIN]);
    it.input(Input::LinkOpened(EXTRA));
    it.input(Input::Heartbeat(EXTRA, heartbeat(CAMERA), Duration::ZERO));
    it.drain();
    assert_eq!(it.links[3..], [LinkId::MAIN, EXTRA]);
    assert!(it.record(camera).dispatch.is_some());
}

#[test]
fn a_retransmission_and_the_other_form_go_by_the_same_link_while_it_is_ready() {
    let again = Retransmit { times: 2, interval: seconds(1) };
    let rule = Rule { target_components: [100].into(), retransmit: Some(again), ..Rule::default() };
    let mut it = Harness::with_settings(
        two_links(settings()),
        guard(Mode::Guarded, [("image_stop_capture", rule)]),
    );
    it.input(Input::LinkOpened(EXTRA));
    it.input(Input::Heartbeat(EXTRA, heartbeat(CAMERA), Duration::ZERO));
    stop_capture_now(&mut it, "a");
    it.pass(seconds(1));
    it.drain();
    assert_eq!(it.links, [EXTRA, EXTRA]);
    // Nothing goes out while it is not, whatever the main link is.
    it.link_up();
    it.input(Input::LinkClosed(EXTRA));
    it.pass(seconds(1));
    it.drain();
    assert_eq!(it.links.len(), 2);
    it.input(Input::LinkOpened(EXTRA));
    it.input(Input::Heartbeat(EXTRA, heartbeat(CAMERA), Duration::ZERO));
    it.input(Input::CommandAck(EXTRA, ack(CAMERA, STOP_CAPTURE, 8)));
    it.drain();
    assert_eq!(it.links, [EXTRA; 3]);
    assert_eq!(it.forms(), [Transport::CommandLong, Transport::CommandLong, Transport::CommandInt]);
}

#[test]
fn the_other_form_waits_for_no_link() {
    let mut it = both_ready();
    let id = stop_capture_now(&mut it, "a");
    it.input(Input::LinkClosed(EXTRA));
    it.input(Input::LinkOpened(EXTRA));
    it.input(Input::CommandAck(EXTRA, ack(CAMERA, STOP_CAPTURE, 8)));
    it.drain();
    assert_eq!(it.record(id).cause, Some(Cause::Result(8)));
    assert_eq!(it.links, [EXTRA]);
}

#[test]
fn grants_stay_with_the_main_link() {
    let request = || {
        Action::Open(GrantRequest {
            scopes: vec![Scope::Command("nav_roi")],
            duration: seconds(60),
            count: 1,
            issuer: None,
            reason: None,
        })
    };
    let mut it = both_ready();
    it.grant(request());
    it.input(Input::LinkClosed(EXTRA));
    assert_eq!(it.ended_grants(), []);
    it.input(Input::LinkClosed(LinkId::MAIN));
    assert!(matches!(it.ended_grants()[..], [(_, Ending::LinkLost)]));
    it.input(Input::LinkOpened(EXTRA));
    it.input(Input::Heartbeat(EXTRA, heartbeat(CAMERA), Duration::ZERO));
    it.grant(request());
    it.drain();
    assert_eq!(it.grant_replies.pop().unwrap().unwrap_err().code, Code::TransportNotReady);
}

#[test]
fn a_doubt_about_whom_an_answer_is_for_holds_on_every_link() {
    let mut it = both_ready();
    let id = stop_capture_now(&mut it, "a");
    // The autopilot may have passed it on to the camera by a way of its own.
    it.input(Input::ForeignCommand(ForeignCommand { target: CAMERA, command: STOP_CAPTURE }));
    it.input(Input::CommandAck(EXTRA, ack(CAMERA, STOP_CAPTURE, 0)));
    it.drain();
    assert_eq!(it.record(id).status, Status::Delivered);
}
