use mavlink::dialects::development::MavCmd;

use super::*;
use crate::bench::demo::message::{Refusal, RefusalReason};
use crate::bench::vehicle::Form;

/// do_digicam_control.
const PHOTO: usize = 2;

#[test]
fn five_flawless_commands_with_a_duplicate_and_a_kill_make_the_verdict() {
    let mut ledger = flawless();
    ledger.requested(PHOTO);
    assert!(!ledger.duplicates_answered(PHOTO));
    ledger.on_message(&reply(PHOTO, "SUCCEEDED", true)).unwrap();
    assert!(ledger.duplicates_answered(PHOTO));
    ledger.killed();
    let verdict = Verdict { commands: 5, frames: 5, duplicates: 1, kills: 1 };
    assert_eq!(ledger.verdict(), Ok(verdict));
}

#[test]
fn a_command_is_finished_with_its_reply_and_its_terminal_update() {
    let mut ledger = Ledger::default();
    ledger.requested(PHOTO);
    for (seq, status) in [(1, "ACCEPTED"), (2, "DELIVERED"), (3, "SUCCEEDED")] {
        assert!(!ledger.is_finished(PHOTO));
        ledger.on_message(&update(PHOTO, seq, status)).unwrap();
    }
    assert!(!ledger.is_finished(PHOTO));
    ledger.on_message(&reply(PHOTO, "ACCEPTED", false)).unwrap();
    assert!(ledger.is_finished(PHOTO));
    assert_eq!(ledger.command_id(PHOTO), Some("id-2"));
}

#[test]
fn an_update_that_comes_twice_is_no_news_and_no_fault() {
    let mut ledger = flawless();
    assert_eq!(ledger.on_message(&update(PHOTO, 2, "DELIVERED")), Ok(false));
    assert!(ledger.verdict().is_ok());
}

#[test]
fn another_update_with_a_seq_that_was_used_is_a_violation() {
    let mut ledger = flawless();
    let result = ledger.on_message(&update(PHOTO, 2, "ACCEPTED"));
    assert_fault(result, "seq 2 came twice");
}

#[test]
fn a_second_frame_is_a_violation() {
    let mut ledger = flawless();
    assert_fault(ledger.on_event(&frame(PHOTO)), "2 frames");
    assert_fault(ledger.verdict(), "2 frames");
}

#[test]
fn a_frame_before_its_request_is_a_violation() {
    assert_fault(Ledger::default().on_event(&frame(PHOTO)), "1 frames");
}

#[test]
fn a_missing_frame_is_a_violation() {
    let mut ledger = flawless();
    ledger.entries[PHOTO].frames = 0;
    assert_fault(ledger.verdict(), "0 frames");
}

#[test]
fn a_frame_of_a_command_that_nobody_asked_for_is_a_violation() {
    let mut ledger = flawless();
    let Event::Command(mut stray) = frame(PHOTO) else { unreachable!("frame() is a command") };
    stray.command = MavCmd::MAV_CMD_COMPONENT_ARM_DISARM;
    let result = ledger.on_event(&Event::Command(stray));
    assert!(matches!(result, Err(Violation::StrayFrame(_))));
    let result = ledger.on_event(&Event::Undecodable { bytes: vec![0xfd] });
    assert!(matches!(result, Err(Violation::StrayFrame(_))));
}

#[test]
fn the_wrong_form_or_address_is_a_violation() {
    type Change = fn(&mut CommandFrame);
    let changes: [(Change, &str); 3] = [
        (|frame| frame.form = Form::Int, "sent as Int"),
        (|frame| frame.target = (1, 100), "(1, 100)"),
        (|frame| frame.source = (255, 190), "(255, 190)"),
    ];
    for (change, words) in changes {
        let mut ledger = Ledger::default();
        ledger.requested(PHOTO);
        let Event::Command(mut frame) = frame(PHOTO) else { unreachable!("frame() is a command") };
        change(&mut frame);
        assert_fault(ledger.on_event(&Event::Command(frame)), words);
    }
}

#[test]
fn a_wrong_outcome_is_a_violation() {
    let mut ledger = Ledger::default();
    ledger.requested(PHOTO);
    assert_fault(ledger.on_message(&update(PHOTO, 1, "TIMED_OUT")), "it ended as TIMED_OUT");
}

#[test]
fn a_change_after_the_end_is_a_violation() {
    let mut ledger = flawless();
    let result = ledger.on_message(&update(PHOTO, 4, "FAILED"));
    assert_fault(result, "from the terminal SUCCEEDED to FAILED");
}

#[test]
fn a_seq_that_goes_back_is_a_violation() {
    let mut ledger = Ledger::default();
    ledger.requested(PHOTO);
    ledger.on_message(&update(PHOTO, 7, "ACCEPTED")).unwrap();
    assert_fault(ledger.on_message(&update(PHOTO, 6, "DELIVERED")), "seq went back from 7 to 6");
}

#[test]
fn a_skipped_seq_is_none() {
    let mut ledger = Ledger::default();
    ledger.requested(PHOTO);
    ledger.on_message(&update(PHOTO, 1, "ACCEPTED")).unwrap();
    assert_eq!(ledger.on_message(&update(PHOTO, 3, "DELIVERED")), Ok(true));
}

#[test]
fn a_lifecycle_that_skips_a_status_is_a_violation() {
    let mut ledger = flawless();
    ledger.entries[PHOTO].updates.remove(1);
    assert_fault(ledger.verdict(), r#"["ACCEPTED", "SUCCEEDED"]"#);
}

#[test]
fn a_duplicate_that_is_taken_for_new_is_a_violation() {
    let mut ledger = flawless();
    ledger.requested(PHOTO);
    assert_fault(ledger.on_message(&reply(PHOTO, "ACCEPTED", false)), "a second command");
}

#[test]
fn a_duplicate_without_the_present_status_is_a_violation() {
    let mut ledger = flawless();
    ledger.requested(PHOTO);
    let result = ledger.on_message(&reply(PHOTO, "ACCEPTED", true));
    assert_fault(result, "says ACCEPTED instead of SUCCEEDED");
}

#[test]
fn an_unanswered_duplicate_is_a_violation() {
    let mut ledger = flawless();
    ledger.requested(PHOTO);
    assert_fault(ledger.verdict(), "0 of 1 duplicates");
}

#[test]
fn another_command_id_is_a_violation() {
    let mut ledger = flawless();
    ledger.requested(PHOTO);
    let Message::Reply(mut reply) = reply(PHOTO, "SUCCEEDED", true) else {
        unreachable!("reply() is a reply")
    };
    reply.command_id = "another".into();
    assert_fault(ledger.on_message(&Message::Reply(reply)), "changed from id-2 to another");
}

#[test]
fn what_nobody_sent_is_a_violation() {
    let result = Ledger::default().on_message(&reply(PHOTO, "ACCEPTED", false));
    assert!(matches!(result, Err(Violation::UnknownKey(_))));
}

#[test]
fn a_refusal_and_an_unmatched_ack_are_violations() {
    let error = RefusalReason { code: "request.invalid".into(), message: "no".into() };
    let refused = Ledger::default().on_message(&Message::Refusal(Refusal { error }));
    assert!(matches!(refused, Err(Violation::Refused { .. })));
    let unmatched = Ledger::default().on_message(&Message::Unmatched("{}".into()));
    assert!(matches!(unmatched, Err(Violation::Unmatched(_))));
}

#[test]
fn nothing_at_all_proves_nothing() {
    assert!(Ledger::default().verdict().is_err());
}

/// All five commands, each as it should be.
fn flawless() -> Ledger {
    let mut ledger = Ledger::default();
    for (index, command) in COMMANDS.iter().enumerate() {
        ledger.requested(index);
        ledger.on_message(&reply(index, "ACCEPTED", false)).unwrap();
        ledger.on_message(&update(index, 1, "ACCEPTED")).unwrap();
        ledger.on_event(&frame(index)).unwrap();
        ledger.on_message(&update(index, 2, "DELIVERED")).unwrap();
        ledger.on_message(&update(index, 3, command.status)).unwrap();
    }
    ledger
}

fn reply(index: usize, status: &str, duplicate: bool) -> Message {
    Message::Reply(Reply {
        command_id: format!("id-{index}"),
        status: status.into(),
        idempotency_key: COMMANDS[index].idempotency_key(),
        duplicate,
    })
}

fn update(index: usize, seq: u64, status: &str) -> Message {
    let command = &COMMANDS[index];
    let terminal = !matches!(status, "ACCEPTED" | "DELIVERED");
    Message::Update(Update {
        command_id: format!("id-{index}"),
        status: status.into(),
        command_type: command.command_type.into(),
        response_code: terminal.then(|| command.response_code.into()),
        idempotency_key: command.idempotency_key(),
        seq,
        terminal,
        rest: Default::default(),
    })
}

#[expect(deprecated, reason = "nav_roi is superseded, and one of the five")]
fn frame(index: usize) -> Event {
    let commands = [
        MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE,
        MavCmd::MAV_CMD_REQUEST_CAMERA_CAPTURE_STATUS,
        MavCmd::MAV_CMD_DO_DIGICAM_CONTROL,
        MavCmd::MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN,
        MavCmd::MAV_CMD_NAV_ROI,
    ];
    Event::Command(CommandFrame {
        bytes: Vec::new(),
        source: AGENT,
        target: AUTOPILOT,
        form: COMMANDS[index].form,
        command: commands[index],
        params: [0.0; 7],
    })
}

fn assert_fault<T: fmt::Debug>(result: Result<T, Violation>, words: &str) {
    let text = result.expect_err("no violation").to_string();
    assert!(text.contains(words), "{text:?} does not say {words:?}");
}
