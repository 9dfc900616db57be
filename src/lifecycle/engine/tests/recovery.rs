//! What a restart does to a command, by where it stood.

use super::*;

#[test]
fn a_command_that_may_be_out_is_never_sent_again() {
    for (sent, answer_comes) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut it = Harness::ready();
        let id = it.request("do_digicam_control", "a");
        it.drain();
        if sent {
            it.sent();
            it.drain();
        }
        it.crash(seconds(5));
        it.link_up();
        it.drain();
        it.request("do_digicam_control", "a");
        assert_eq!(it.drain(), ["acknowledge", "reply ACCEPTED duplicate"]);
        if answer_comes {
            it.ack(ack(AUTOPILOT, DIGICAM, 0));
            it.drain();
            assert_eq!(it.record(id).status, Status::Succeeded);
        } else {
            it.pass(seconds(25) - Duration::from_millis(1));
            it.drain();
            assert_eq!(it.record(id).status, Status::Accepted, "waits for what remains");
            it.pass(Duration::from_millis(1));
            it.drain();
            it.expect(id, Status::TimedOut, Code::RestartOutcomeUnknown);
        }
        assert_eq!(it.frames.len(), 1);
    }
}

#[test]
fn what_the_vehicle_says_since_makes_it_no_command_of_this_process() {
    let mut it = Harness::ready();
    let id = it.request("nav_roi", "a");
    it.drain();
    let dispatched = it.record(id).dispatch.unwrap().at.wall;
    it.crash(seconds(5));
    it.link_up();
    it.drain();
    it.ack(CommandAck { progress: 10, ..ack(AUTOPILOT, ROI, 5) });
    it.drain();
    assert_eq!(it.record(id).dispatch.unwrap().sent_at, Some(dispatched), "not when it answered");
    // COMMAND_LONG_ONLY
    it.ack(ack(AUTOPILOT, ROI, 7));
    it.drain();
    assert_eq!(it.record(id).status, Status::Failed);
    assert_eq!(it.frames.len(), 1, "what let it in may be gone");

    let mut it = Harness::ready();
    let id = it.request_and_send("nav_roi", "a");
    it.crash(seconds(5));
    it.ack(CommandAck { progress: 10, ..ack(AUTOPILOT, ROI, 5) });
    it.pass(seconds(30));
    it.drain();
    it.expect(id, Status::TimedOut, Code::TimeoutProgress);
}

#[test]
fn no_number_is_used_twice_when_delivered_was_published_but_not_durable() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    assert_eq!(it.published.last().map(|(_, record)| record.seq), Some(2));
    assert_eq!(it.journal.records[&id].seq, 1);
    it.crash(seconds(1));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    let numbers: Vec<(Status, u64)> =
        it.published.iter().map(|(_, record)| (record.status, record.seq)).collect();
    assert_eq!(
        numbers,
        [
            (Status::Accepted, 1),
            (Status::Delivered, 2),
            (Status::Accepted, 1),
            (Status::Delivered, 3),
            (Status::Succeeded, 4)
        ],
        "the same update twice is fine, another one under its number is not"
    );
}

#[test]
fn a_command_that_was_not_sent_goes_out_only_if_it_is_provably_in_time() {
    struct Case {
        reboot: bool,
        trusted_before: bool,
        trusted_after: bool,
        down: u64,
        goes_out: bool,
    }
    let case = |reboot, trusted_before, trusted_after, down, goes_out| Case {
        reboot,
        trusted_before,
        trusted_after,
        down,
        goes_out,
    };
    for case in [
        case(false, false, false, 5, true),
        case(false, true, true, 30, false),
        case(false, true, true, 31, false),
        case(true, true, true, 20, true),
        case(true, true, true, 31, false),
        case(true, true, false, 5, false),
        case(true, false, true, 5, false),
    ] {
        let mut it = Harness::ready();
        it.now.wall_trusted = case.trusted_before;
        it.request("do_digicam_control", "blocker");
        let id = it.request("do_digicam_control", "a");
        it.drain();
        if case.reboot {
            it.reboot(seconds(case.down), case.trusted_after);
        } else {
            it.crash(seconds(case.down));
        }
        it.drain();
        if case.goes_out {
            assert_eq!(it.record(id).status, Status::Accepted);
            it.link_up();
            it.ack(ack(AUTOPILOT, DIGICAM, 0));
            it.drain();
            it.sent();
            it.drain();
            // After an untraceable reboot the blocker is over and the answer is nobody's.
            assert_eq!(it.record(id).status, Status::Delivered);
            assert_eq!(it.frames.len(), 2);
        } else {
            it.expect(id, Status::TimedOut, Code::RestartExpired);
            assert_eq!(it.record(id).frame_sent(), Some(false));
            it.link_up();
            it.drain();
            assert_eq!(it.frames.len(), 1);
        }
    }
}

#[test]
fn a_waiting_command_must_still_be_permitted() {
    let mut it = Harness::ready();
    it.request("do_digicam_control", "blocker");
    let id = it.request("do_digicam_control", "a");
    it.drain();
    it.guard = harness::guard(Mode::Disabled, []);
    it.crash(seconds(1));
    it.drain();
    it.expect(id, Status::Failed, Code::GuardDisabled);
}

#[test]
fn after_an_untraceable_reboot_the_outcome_is_unknown_at_once() {
    let mut it = Harness::ready();
    let id = it.request_and_send("do_digicam_control", "a");
    it.reboot(seconds(5), false);
    it.drain();
    it.expect(id, Status::TimedOut, Code::RestartOutcomeUnknown);
    assert_eq!(it.record(id).frame_sent(), None);
    // The vehicle may have gone on all the while.
    it.link_up();
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::UnmatchedResponse);
}

#[test]
fn a_late_answer_still_counts_after_a_restart_within_its_window() {
    for (down, status) in [(299, Status::UnmatchedResponse), (300, Status::TimedOut)] {
        let mut it = Harness::ready();
        let id = it.request_and_send("do_digicam_control", "a");
        it.pass(seconds(30));
        it.drain();
        it.crash(seconds(down));
        it.drain();
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert_eq!(it.record(id).status, status, "{down} s");
        it.pass(seconds(301));
        it.drain();
        assert!(it.journal.records[&id].closed);
    }
}

#[test]
fn of_two_timed_out_commands_only_the_newer_takes_a_late_answer_after_a_restart() {
    let mut it = Harness::ready();
    let older = it.request_and_send("do_digicam_control", "a");
    it.pass(seconds(30));
    it.heartbeat();
    let newer = it.request_and_send("do_digicam_control", "b");
    it.pass(seconds(30));
    it.drain();
    it.crash(seconds(1));
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    assert_eq!(it.record(newer).status, Status::UnmatchedResponse);
    assert_eq!(it.record(older).status, Status::TimedOut);
}

#[test]
fn updates_that_were_not_acknowledged_go_out_after_a_restart() {
    let mut it = Harness::ready();
    it.keep_unpublished = true;
    it.request_and_send("do_digicam_control", "a");
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    it.published.clear();
    it.keep_unpublished = false;
    it.crash(seconds(3600));
    it.drain();
    let told: Vec<Status> = it.published.iter().map(|(_, record)| record.status).collect();
    assert_eq!(told, [Status::Accepted, Status::Delivered, Status::Succeeded]);
    it.pass(seconds(1));
    it.drain();
    assert!(it.journal.outbox.is_empty());
}

#[test]
fn a_number_that_was_told_is_not_found_with_another_content() {
    let doubts: [fn(&mut Harness); 2] = [|it| it.crash(seconds(1)), |it| it.send_unknown()];
    for doubt in doubts {
        let mut it = Harness::ready();
        let id = it.with_request("do_digicam_control", "a", |it| it.timeout_seconds = Some(0));
        it.drain();
        it.sent();
        it.drain();
        it.ack(ack(AUTOPILOT, DIGICAM, 8));
        it.drain();
        doubt(&mut it);
        it.drain();
        let told = it.published.last().map(|(_, record)| record.clone()).unwrap();
        assert_eq!((told.status, told.seq), (Status::Delivered, 4), "3 may have been told");
        assert_eq!(it.record(id), told);
        // Once, and an answer still completes the command.
        it.crash(seconds(1));
        assert!(!it.drain().iter().any(|effect| effect.starts_with("step")));
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert_eq!((it.record(id).status, it.record(id).seq), (Status::Succeeded, 5));
        assert_eq!(it.frames.len(), 2);
    }
}
