//! The vehicle's state is asked for when a command comes, and again when its frame goes.

use super::*;
use crate::guard::state::Requirements;
use crate::wire::mavlink::{Heartbeat, Report, Telemetry};

const STATUS: &str = "request_camera_capture_status";

/// An autopilot that is ready, disarmed and on the ground.
fn on_the_ground(rule: Rule) -> Harness {
    let mut it = Harness::with_rule(STATUS, rule);
    it.land();
    it.drain();
    it
}

fn disarmed_and_landed() -> Rule {
    let require = Requirements { armed: Some(false), landed: Some(true), ..Default::default() };
    Rule { require, ..Rule::default() }
}

fn armed(it: &mut Harness) {
    it.input(heartbeat_when_armed(Duration::ZERO));
}

fn heartbeat_when_armed(age: Duration) -> Input {
    let heartbeat = Heartbeat { base_mode: 0x9D, ..heartbeat(AUTOPILOT) };
    Input::Heartbeat(LinkId::MAIN, heartbeat, age)
}

impl Harness {
    fn landed_state(&mut self, landed_state: u8) {
        let report = Report::ExtendedSysState { landed_state };
        self.input(Input::Telemetry(Telemetry { source: AUTOPILOT, report }, Duration::ZERO));
    }

    fn land(&mut self) {
        self.landed_state(1);
    }

    fn take_off(&mut self) {
        self.landed_state(2);
    }
}

#[test]
fn a_command_in_the_wrong_state_is_accepted_then_failed() {
    let mut it = on_the_ground(disarmed_and_landed());
    it.request(STATUS, "good");
    it.drain();
    assert_eq!(it.commands_sent(), [CAPTURE_STATUS]);
    for (wrong, code) in [
        (armed as fn(&mut Harness), Code::StatePrecondition),
        (Harness::take_off, Code::StatePrecondition),
        // The autopilot's heartbeat goes on, and its telemetry does not.
        (
            |it| {
                for _ in 0..5 {
                    it.pass(seconds(1));
                    it.heartbeat();
                }
            },
            Code::StateUnknown,
        ),
    ] {
        let mut it = on_the_ground(disarmed_and_landed());
        wrong(&mut it);
        it.drain();
        let id = it.request(STATUS, "a");
        it.drain();
        it.expect(id, Status::Failed, code);
        assert_eq!(it.record(id).frame_sent(), Some(false));
        assert!(it.frames.is_empty());
    }
}

#[test]
fn a_command_that_waited_while_the_state_changed_does_not_go_out() {
    for (change, code) in [
        (armed as fn(&mut Harness), Code::StatePrecondition),
        (Harness::take_off, Code::StatePrecondition),
        (|it| it.landed_state(0), Code::StateUnknown),
        (
            |it| {
                for _ in 0..5 {
                    it.pass(seconds(1));
                    it.heartbeat();
                }
            },
            Code::StateUnknown,
        ),
    ] {
        let mut it = on_the_ground(disarmed_and_landed());
        let first = it.request_and_send(STATUS, "a");
        let waits = it.request(STATUS, "b");
        let other = it.request("do_digicam_control", "c");
        it.drain();
        change(&mut it);
        it.drain();
        assert_eq!(it.record(waits).status, Status::Accepted, "not its turn yet");
        it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 0));
        it.drain();
        assert_eq!(it.record(first).status, Status::Succeeded);
        it.expect(waits, Status::Failed, code);
        assert_eq!(it.record(waits).frame_sent(), Some(false));
        assert_eq!(it.commands_sent(), [CAPTURE_STATUS, DIGICAM]);
        // Nobody else is held up.
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert_eq!(it.record(other).status, Status::Succeeded);
        assert_eq!(it.engine.queued(), 0);
    }
}

#[test]
fn a_state_that_came_back_in_time_is_good() {
    let mut it = on_the_ground(disarmed_and_landed());
    it.request_and_send(STATUS, "a");
    let waits = it.request(STATUS, "b");
    it.drain();
    armed(&mut it);
    it.heartbeat();
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 0));
    it.drain();
    it.sent();
    it.drain();
    assert_eq!(it.record(waits).status, Status::Delivered);
}

#[test]
fn news_that_come_before_the_frame_was_handed_out_take_it_back() {
    let mut it = on_the_ground(disarmed_and_landed());
    // Both wait for the same commit.
    let id = it.request(STATUS, "a");
    armed(&mut it);
    let effects = it.drain();
    assert_eq!(effects.iter().filter(|effect| *effect == "persist").count(), 1, "{effects:?}");
    it.expect(id, Status::Failed, Code::StatePrecondition);
    assert_eq!(it.record(id).frame_sent(), Some(false));
    assert!(it.frames.is_empty());
    // Its place is free again.
    it.heartbeat();
    it.request(STATUS, "b");
    it.drain();
    assert_eq!(it.commands_sent(), [CAPTURE_STATUS]);
}

#[test]
fn news_do_not_take_back_what_is_out() {
    let mut it = on_the_ground(disarmed_and_landed());
    let id = it.request(STATUS, "a");
    it.drain();
    armed(&mut it);
    it.drain();
    assert_eq!(it.record(id).status, Status::Accepted);
    it.sent();
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Succeeded);
}

/// A command that waits, and the process that dies.
fn restarted() -> (Harness, CommandId) {
    let mut it = on_the_ground(disarmed_and_landed());
    it.request(STATUS, "blocker");
    let id = it.request(STATUS, "a");
    it.drain();
    it.crash(seconds(1));
    it.link_up();
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 0));
    it.drain();
    assert_eq!(it.record(id).status, Status::Accepted);
    assert_eq!(it.frames.len(), 1, "nothing is known of the ground yet");
    (it, id)
}

#[test]
fn after_a_restart_a_command_waits_until_the_vehicle_has_told_its_state() {
    let (mut it, id) = restarted();
    it.land();
    it.drain();
    it.sent();
    it.drain();
    assert_eq!(it.record(id).status, Status::Delivered);
    assert_eq!(it.frames.len(), 2);

    let (mut it, id) = restarted();
    it.take_off();
    it.drain();
    it.expect(id, Status::Failed, Code::StatePrecondition);
    assert_eq!(it.frames.len(), 1);

    let (mut it, id) = restarted();
    armed(&mut it);
    it.drain();
    it.expect(id, Status::Failed, Code::StatePrecondition);
    assert_eq!(it.frames.len(), 1);

    // Others need not wait with it, but for as long as its time is not over.
    let (mut it, id) = restarted();
    it.request("do_digicam_control", "c");
    it.drain();
    assert_eq!(it.commands_sent()[1..], [DIGICAM]);
    for _ in 0..28 {
        it.pass(seconds(1));
        it.heartbeat();
        it.drain();
    }
    assert_eq!(it.record(id).status, Status::Accepted);
    it.pass(seconds(1));
    it.drain();
    it.expect(id, Status::TimedOut, Code::TimeoutQueue);
    it.heartbeat();
    it.land();
    it.drain();
    assert_eq!(it.frames.len(), 2);
}

#[test]
fn bounds_are_asked_again_after_a_restart() {
    let field = crate::catalog::find(STATUS).unwrap().field("capture_status").unwrap();
    let values = crate::guard::policy::Values::OneOf(vec![1.0]);
    let narrow = Rule {
        fields: vec![crate::guard::policy::FieldBounds { field, values, allow_unset: false }],
        ..Rule::default()
    };
    let mut it = on_the_ground(Rule::default());
    it.request(STATUS, "blocker");
    let id = it.request(STATUS, "a");
    it.drain();
    it.guard = harness::guard(Mode::Guarded, [(STATUS, narrow)]);
    it.crash(seconds(1));
    it.drain();
    it.expect(id, Status::Failed, Code::PolicyOutOfBounds);
}

#[test]
fn neither_a_copy_nor_the_other_form_goes_out_in_the_wrong_state() {
    let retransmit = Some(Retransmit { times: 2, interval: seconds(1) });
    let mut it = on_the_ground(Rule { retransmit, ..disarmed_and_landed() });
    let id = it.request_and_send(STATUS, "a");
    for _ in 0..3 {
        armed(&mut it);
        it.pass(seconds(1));
        it.drain();
    }
    assert_eq!(it.frames.len(), 1);
    assert_eq!(it.record(id).status, Status::Delivered, "the first one may still be answered");
    it.heartbeat();
    it.land();
    it.pass(seconds(1));
    it.drain();
    assert_eq!(it.frames.len(), 2);

    let mut it = on_the_ground(disarmed_and_landed());
    let id = it.request_and_send(STATUS, "a");
    armed(&mut it);
    // MAV_RESULT_COMMAND_INT_ONLY
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 8));
    it.drain();
    it.expect(id, Status::Failed, Code::StatePrecondition);
    assert_eq!(it.record(id).frame_sent(), Some(true));
    assert_eq!(it.frames.len(), 1);

    // Nor when the news come while it is written down.
    let mut it = on_the_ground(disarmed_and_landed());
    let id = it.request_and_send(STATUS, "a");
    it.ack(ack(AUTOPILOT, CAPTURE_STATUS, 8));
    it.heard_while_committing = vec![heartbeat_when_armed(Duration::ZERO)];
    it.drain();
    it.expect(id, Status::Failed, Code::StatePrecondition);
    assert_eq!(it.frames.len(), 1);
}

#[test]
fn what_is_known_of_the_vehicle_grows_old_during_a_commit() {
    let rule = Rule {
        require: Requirements { max_heartbeat_age: Some(seconds(2)), ..Requirements::default() },
        ..Rule::default()
    };
    for (commit_takes, age, code) in [
        // The last heartbeat came before it, or in it, or not lately enough.
        (1, None, None),
        (2, None, Some(Code::StateUnknown)),
        (2, Some(1), None),
        (3, Some(1), None),
        (3, Some(2), Some(Code::StateUnknown)),
        // Long enough a silence, though it is over.
        (6, Some(1), Some(Code::StateUnknown)),
    ] {
        let mut it = on_the_ground(rule.clone());
        it.commit_takes = seconds(commit_takes);
        let id = it.request(STATUS, "a");
        it.heard_while_committing = age
            .map(|age| Input::Heartbeat(LinkId::MAIN, heartbeat(AUTOPILOT), seconds(age)))
            .into_iter()
            .collect();
        it.drain();
        assert_eq!(it.frames.len(), usize::from(code.is_none()), "{commit_takes} s, {age:?}");
        if let Some(code) = code {
            it.expect(id, Status::Failed, code);
        }
    }
    // Without such a rule the link must still be there.
    let mut it = on_the_ground(Rule::default());
    it.commit_takes = seconds(3);
    let id = it.request(STATUS, "a");
    it.drain();
    it.expect(id, Status::Failed, Code::TransportLost);
    assert_eq!(it.record(id).frame_sent(), Some(false));
    assert!(it.frames.is_empty());
}

#[test]
fn a_policy_shortens_what_a_request_leaves_open() {
    let waits = 10;
    for (asked, terminal_when_sent) in [(None, false), (Some(0), true)] {
        let rule = Rule { max_timeout: Some(10), ..Rule::default() };
        let mut it = on_the_ground(rule);
        it.with_request(STATUS, "blocker", |it| it.timeout_seconds = Some(10));
        let id = it.with_request(STATUS, "a", |it| it.timeout_seconds = asked);
        it.drain();
        assert_eq!(it.record(id).deadline(), seconds(waits));
        assert_eq!(it.record(id).timeout_seconds == 0, terminal_when_sent);
        for _ in 0..waits {
            it.pass(seconds(1));
            it.heartbeat();
        }
        it.drain();
        it.expect(id, Status::TimedOut, Code::TimeoutQueue);
    }
    let mut it = on_the_ground(Rule { max_timeout: Some(10), ..Rule::default() });
    let id = it.with_request(STATUS, "a", |it| it.timeout_seconds = Some(11));
    it.drain();
    it.expect(id, Status::Failed, Code::PolicyOutOfBounds);
    assert!(it.frames.is_empty());
}

#[test]
fn what_the_vehicle_says_during_the_commit_still_stops_the_frame() {
    let mut it = on_the_ground(disarmed_and_landed());
    let id = it.request(STATUS, "a");
    it.heard_while_committing = vec![heartbeat_when_armed(Duration::ZERO)];
    assert_eq!(
        it.drain(),
        [
            "persist",
            "acknowledge",
            "step ACCEPTED 1",
            "reply ACCEPTED",
            "publish ACCEPTED 1",
            // The refusal is durable before anything of it is visible.
            "persist",
            "step FAILED 3",
            "publish FAILED 3"
        ]
    );
    it.expect(id, Status::Failed, Code::StatePrecondition);
    assert_eq!(it.record(id).frame_sent(), Some(false));
    assert!(it.frames.is_empty());
    // A rule that does not ask for it, and news that change nothing, cost nothing.
    for (rule, news) in [
        (Rule::default(), heartbeat_when_armed(Duration::ZERO)),
        (
            disarmed_and_landed(),
            Input::Heartbeat(LinkId::MAIN, heartbeat(AUTOPILOT), Duration::ZERO),
        ),
    ] {
        let mut it = on_the_ground(rule);
        it.request(STATUS, "a");
        it.heard_while_committing = vec![news];
        let effects = it.drain();
        assert_eq!(effects.iter().filter(|effect| *effect == "persist").count(), 1);
        assert_eq!(it.frames.len(), 1);
    }
}
