//! What a command costs the disk: a `Persist` is a flush, and what comes after it waits for it.

use super::*;

/// Commits on the way of one command from its request, which each step is followed by a drain.
fn commits(steps: &[fn(&mut Harness)]) -> usize {
    let mut it = Harness::ready();
    let before = it.persists;
    for step in steps {
        step(&mut it);
        it.drain();
    }
    it.persists - before
}

fn asked(it: &mut Harness) {
    it.request("do_digicam_control", "a");
}

fn succeeded(it: &mut Harness) {
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
}

fn in_progress(it: &mut Harness) {
    it.ack(CommandAck { progress: 30, ..ack(AUTOPILOT, DIGICAM, 5) });
}

fn further(it: &mut Harness) {
    it.ack(CommandAck { progress: 60, ..ack(AUTOPILOT, DIGICAM, 5) });
}

#[test]
fn from_publish_to_succeeded_a_command_waits_for_two() {
    assert_eq!(commits(&[asked, Harness::sent, succeeded]), 2);
    // An answer that overtakes the link's own word.
    assert_eq!(commits(&[asked, succeeded]), 2);
    // DELIVERED does not wait for its own, and is durable with the outcome.
    let mut it = Harness::ready();
    let id = it.request("do_digicam_control", "a");
    it.drain();
    it.sent();
    assert_eq!(it.drain(), ["step DELIVERED 2", "publish DELIVERED 2"]);
    assert_eq!(it.journal.records[&id].status, Status::Accepted);
    succeeded(&mut it);
    assert_eq!(it.drain(), ["persist", "step SUCCEEDED 3", "publish SUCCEEDED 3"]);
    assert_eq!(it.journal.records[&id].status, Status::Succeeded);
}

#[test]
fn what_else_costs_one_and_what_costs_none() {
    // Who asks again, at any time, makes the disk do nothing.
    assert_eq!(commits(&[asked, asked, Harness::sent, asked, succeeded, asked]), 2);
    assert_eq!(commits(&[asked, |it| it.query(harness::id("a"), "cloud"), succeeded]), 2);
    // Every piece of news is durable before it is visible; the same again is none.
    assert_eq!(commits(&[asked, Harness::sent, in_progress, succeeded]), 3);
    assert_eq!(
        commits(&[asked, Harness::sent, in_progress, in_progress, in_progress, succeeded]),
        3
    );
    assert_eq!(commits(&[asked, Harness::sent, in_progress, further, succeeded]), 4);
    // The second frame is journaled before it goes, too.
    let other_form: fn(&mut Harness) = |it| it.ack(ack(AUTOPILOT, DIGICAM, 8));
    assert_eq!(commits(&[asked, Harness::sent, other_form, Harness::sent, succeeded]), 3);
    // Refused: one says all.
    let refused: fn(&mut Harness) = |it| {
        it.request("do_set_home", "a");
    };
    assert_eq!(commits(&[refused]), 1);
}

#[test]
fn what_nobody_waits_for_is_written_once_in_a_second() {
    let mut it = Harness::ready();
    asked(&mut it);
    it.drain();
    it.sent();
    it.drain();
    let before = it.persists;
    for _ in 0..4 {
        it.pass(Duration::from_millis(250));
        it.drain();
    }
    assert_eq!(it.persists - before, 1, "DELIVERED, and the PUBACKs so far");
    succeeded(&mut it);
    it.drain();
    it.pass(seconds(20));
    it.drain();
    assert_eq!(it.persists - before, 3, "the outcome, and its PUBACK");
}

#[test]
fn commands_that_come_together_share_their_commits() {
    let mut it = Harness::ready();
    let before = it.persists;
    for (command, key) in
        [("do_digicam_control", "a"), ("image_stop_capture", "b"), ("nav_roi", "c")]
    {
        it.request(command, key);
    }
    it.drain();
    assert_eq!((it.frames.len(), it.persists - before), (3, 1));
    for command in [DIGICAM, STOP_CAPTURE, ROI] {
        it.ack(ack(AUTOPILOT, command, 0));
    }
    it.drain();
    assert_eq!(it.persists - before, 2);
}
