use mavlink::dialects::development::MavCmd;

use super::super::file::Scenario;
use super::super::step::Step;
use super::*;
use crate::bench::vehicle::Form;

const KEY: &str = "photo";

#[test]
fn an_update_on_the_way_is_passed_over_and_an_end_is_not() {
    let mut world = Told::new();
    world.update(1, "ACCEPTED", None, false);
    world.update(2, "DELIVERED", None, false);
    let step = status("status = \"SUCCEEDED\"");
    assert_eq!(world.0.status(&step), Look::NotYet);
    world.update(3, "FAILED", Some("MAV_RESULT_DENIED"), true);
    assert_eq!(
        world.0.status(&step),
        Look::Wrong("FAILED with MAV_RESULT_DENIED at 40 %".to_owned())
    );
}

#[test]
fn status_code_progress_and_vendor_response_must_all_be_as_expected() {
    let holds = |expected: &str| {
        let mut world = Told::new();
        world.update(1, "SUCCEEDED", Some("MAV_RESULT_ACCEPTED"), true);
        world.0.status(&status(expected)) == Look::Found
    };
    assert!(holds("status = \"SUCCEEDED\", code = \"MAV_RESULT_ACCEPTED\""));
    assert!(holds(
        "status = \"SUCCEEDED\", progress = 40, vendor_response = { source_component = 1 }"
    ));
    assert!(!holds("status = \"FAILED\""));
    assert!(!holds("status = \"SUCCEEDED\", code = \"MAV_RESULT_DENIED\""));
    assert!(!holds("status = \"SUCCEEDED\", progress = 41"));
    assert!(!holds("status = \"SUCCEEDED\", vendor_response = { source_component = 100 }"));
}

#[test]
fn a_late_answer_may_follow_a_timeout_and_nothing_may_follow_a_success() {
    let mut world = Told::new();
    world.update(1, "TIMED_OUT", Some("timeout.ack"), true);
    world.update(2, "UNMATCHED_RESPONSE", Some("MAV_RESULT_ACCEPTED"), true);
    assert_eq!(world.0.faulty(), None);

    let mut world = Told::new();
    world.update(1, "SUCCEEDED", Some("MAV_RESULT_ACCEPTED"), true);
    world.update(2, "FAILED", Some("MAV_RESULT_DENIED"), true);
    let fault = world.0.faulty().unwrap();
    assert!(fault.contains("from the terminal SUCCEEDED"), "{fault}");
}

#[test]
fn the_same_number_again_is_no_update_and_a_lower_one_is_a_fault() {
    let mut world = Told::new();
    world.update(2, "DELIVERED", None, false);
    world.update(2, "DELIVERED", None, false);
    assert_eq!(world.0.faulty(), None);
    world.update(1, "ACCEPTED", None, false);
    assert!(world.0.faulty().unwrap().contains("seq went back from 2 to 1"));
}

#[test]
fn another_update_with_a_number_that_was_used_is_a_fault() {
    let mut world = Told::new();
    world.update(1, "SUCCEEDED", Some("MAV_RESULT_ACCEPTED"), true);
    world.update(1, "FAILED", Some("MAV_RESULT_ACCEPTED"), true);
    let fault = world.0.faulty().unwrap();
    assert!(fault.contains("seq 1 came twice") && fault.contains("FAILED"), "{fault}");
}

#[test]
fn an_error_counts_once_and_one_that_nobody_expected_is_left_over() {
    let mut world = Told::new();
    let Step::Error(step) = step("do = \"error\", code = \"auth.failed\"") else {
        unreachable!("it says so")
    };
    assert_eq!(world.0.error(&step), Look::NotYet);
    world.message(
        "replies/bench",
        br#"{"error":{"code":"auth.failed","message":"no","field":null}}"#,
    );
    assert!(world.0.leftovers().unwrap().contains("auth.failed"));
    assert_eq!(world.0.error(&step), Look::Found);
    assert_eq!(world.0.leftovers(), None);
    world.message(
        "replies/bench",
        br#"{"error":{"code":"auth.stale","message":"no","field":null}}"#,
    );
    assert_eq!(world.0.error(&step), Look::Wrong("error auth.stale: no".to_owned()));
}

#[test]
fn a_frame_must_be_told_and_look_as_told() {
    let mut world = Told::new();
    world.frame(MavCmd::MAV_CMD_NAV_LAND);
    assert!(world.0.stray_frames().unwrap().contains("1 frames of MAV_CMD_NAV_LAND"));
    let frame = |expected: &str| match step(&format!("do = \"frame\", {expected}")) {
        Step::Frame(step) => step,
        _ => unreachable!("it says so"),
    };
    assert_eq!(world.0.frame(&frame("command = \"nav_land\", count = 2")), Look::NotYet);
    assert_ne!(world.0.stray_frames(), None);
    for wrong in ["form = \"COMMAND_INT\"", "target_component = 100", "params = { 7 = 3 }"] {
        let step = frame(&format!("command = \"nav_land\", {wrong}"));
        assert!(matches!(world.0.frame(&step), Look::Wrong(_)), "{wrong}");
    }
    let step = frame("command = \"nav_land\", form = \"COMMAND_LONG\", params = { 7 = 0.1 }");
    assert_eq!(world.0.frame(&step), Look::Found);
    assert_eq!(world.0.stray_frames(), None);
    world.frame(MavCmd::MAV_CMD_NAV_LAND);
    assert_eq!(world.0.frame(&step), Look::Wrong("2 frames of it".to_owned()));
}

#[test]
fn a_last_will_says_nothing_of_a_later_session() {
    let mut world = Told::new();
    let online = br#"{"online":true,"session":"b","challenge":"c","link":{"state":"ready"}}"#;
    world.message("presence", online);
    world.message("presence", br#"{"online":false,"session":"a"}"#);
    assert_eq!(world.0.presence().link, Some(LinkState::Ready));
    world.message("presence", br#"{"online":false,"session":"b"}"#);
    assert_eq!(world.0.presence().session, None);
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    let mut world = Told::new();
    world.message("presence", b"{");
    assert!(world.0.faulty().unwrap().contains("cannot be read"));
}

struct Told(World);

impl Told {
    fn new() -> Self {
        Self(World::new("drone", "bench"))
    }

    fn message(&mut self, topic: &str, body: &[u8]) {
        let topics = Topics::new("test", "drone");
        self.0.on_message(&topics, &format!("test/px4/drone/{topic}"), body);
    }

    fn update(&mut self, seq: u64, status: &str, code: Option<&str>, terminal: bool) {
        let id = command_id("drone", "bench", KEY);
        let body = serde_json::json!({
            "command_id": id, "status": status, "response_code": code, "idempotency_key": KEY,
            "seq": seq, "terminal": terminal, "progress": 40,
            "vendor_response": { "source_component": 1 },
        });
        self.message(&format!("lifecycle/bench/{id}"), body.to_string().as_bytes());
    }

    fn frame(&mut self, command: MavCmd) {
        self.0.on_event(Event::Command(CommandFrame {
            bytes: Vec::new(),
            source: (1, 191),
            target: (1, 1),
            form: Form::Long,
            command,
            params: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f64::from(0.1_f32)],
        }));
    }
}

fn step(fields: &str) -> Step {
    let publish = format!("{{ do = \"publish\", command = \"nav_land\", key = \"{KEY}\" }}");
    let text = format!("description = \"\"\nsteps = [{publish}, {{ {fields} }}]");
    Scenario::parse("test", &text).unwrap().steps.remove(1)
}

fn status(fields: &str) -> StatusStep {
    match step(&format!("do = \"status\", key = \"{KEY}\", {fields}")) {
        Step::Status(step) => step,
        _ => unreachable!("it says so"),
    }
}
