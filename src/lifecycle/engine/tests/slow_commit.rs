//! What the link tells while a commit takes its time: all of it is heard before anything follows from
//! it.

use super::harness::{Harness, seconds};
use super::*;
use crate::catalog::Risk;
use crate::guard::grants::{Action, GrantRequest, Scope};

const CAPTURE: &str = "request_camera_capture_status";

fn heartbeat_of(age: u64) -> Input {
    Input::Heartbeat(LinkId::MAIN, heartbeat(AUTOPILOT), seconds(age))
}

fn open_grant(it: &mut Harness) {
    it.grant(Action::Open(GrantRequest {
        scopes: vec![Scope::Risk(Risk::Flight)],
        duration: seconds(600),
        count: 5,
        issuer: None,
        reason: None,
    }));
    it.drain();
}

#[test]
fn a_vehicle_that_spoke_all_the_while_is_not_lost() {
    let mut it = Harness::ready();
    open_grant(&mut it);
    it.request_and_send("do_digicam_control", "out");
    let queued = it.request("do_digicam_control", "queued");
    let sent = it.request("image_stop_capture", "sent");
    it.commit_takes = seconds(4);
    it.heard_while_committing = [3, 2, 1, 0].map(heartbeat_of).into();
    let told = it.drain();
    assert_eq!(it.record(sent).frame_sent(), None, "{told:?}");
    assert_eq!(it.frames.len(), 2);
    assert_eq!(it.record(queued).status, Status::Accepted, "{:?}", it.record(queued).message);
    assert_eq!(it.engine.grants().views(it.now.boot).len(), 1);
}

#[test]
fn a_vehicle_that_was_lost_meanwhile_was_lost() {
    let closed =
        [Input::LinkClosed(LinkId::MAIN), Input::LinkOpened(LinkId::MAIN), heartbeat_of(0)];
    // A silence of 4 s that is over, and a port that is back.
    for heard in [vec![heartbeat_of(0)], closed.into()] {
        let mut it = Harness::ready();
        open_grant(&mut it);
        let id = it.request("do_digicam_control", "a");
        it.commit_takes = seconds(4);
        it.heard_while_committing = heard;
        it.drain();
        it.expect(id, Status::Failed, Code::TransportLost);
        assert!(it.frames.is_empty());
        assert_eq!(it.engine.grants().views(it.now.boot).len(), 0);
    }
}

#[test]
fn an_answer_behind_a_heartbeat_still_decides() {
    let mut it = Harness::ready();
    let id = it.with_request("do_digicam_control", "a", |it| it.timeout_seconds = Some(2));
    it.drain();
    it.sent();
    it.drain();
    it.request("nav_roi", "b");
    it.commit_takes = Duration::from_millis(2500);
    let answer = Input::CommandAck(LinkId::MAIN, ack(AUTOPILOT, DIGICAM, 0));
    it.heard_while_committing = vec![heartbeat_of(2), answer, heartbeat_of(0)];
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
}

#[test]
fn no_copy_goes_out_after_the_answer() {
    let retransmit = Some(Retransmit { times: 3, interval: seconds(1) });
    let mut it = Harness::with_rule(CAPTURE, Rule { retransmit, ..Rule::default() });
    let id = it.request_and_send(CAPTURE, "a");
    // The first copy waits for the commit of another command, in which the next is due.
    it.request("nav_roi", "b");
    it.pass(seconds(1));
    it.commit_takes = seconds(1);
    let answer = Input::CommandAck(LinkId::MAIN, ack(AUTOPILOT, CAPTURE_STATUS, 0));
    it.heard_while_committing = vec![heartbeat_of(0), answer];
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
    assert_eq!(it.frames.iter().filter(|frame| frame.command == CAPTURE_STATUS).count(), 1);
}
