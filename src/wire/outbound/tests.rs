use serde_json::Value;

use super::*;
use crate::lifecycle::record::{Acknowledged, Dispatch};
use crate::lifecycle::status::Cause;
use crate::wire::mavlink::Address;

const AT: Timestamp = Timestamp::from_secs(1_781_481_600);

fn dispatched(sent_at: Option<Timestamp>) -> Record {
    let at = Record::example().accepted;
    let dispatch = Dispatch {
        transport: Transport::CommandInt,
        delivered_seq: 2,
        at,
        sent_at,
        other_form: false,
    };
    Record { dispatch: Some(dispatch), ..Record::example() }
}

fn acknowledged(result: u8, progress: u8) -> Record {
    let ack = CommandAck {
        source: Address { system: 1, component: 1 },
        command: 80,
        result,
        progress,
        result_param2: -7,
        target_system: 1,
        target_component: 191,
    };
    Record {
        ack: Some(Acknowledged { ack, at: AT }),
        cause: Some(Cause::Result(result)),
        status: Status::Delivered,
        ..dispatched(Some(AT))
    }
}

fn json(record: &Record) -> Value {
    serde_json::from_slice(&update("px4-real-1", record)).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn an_update_has_every_field_of_the_contract() {
    let mut update = json(&Record::example());
    assert_eq!(
        keys(&update),
        [
            "accepted_at",
            "command_id",
            "command_type",
            "device_id",
            "idempotency_key",
            "progress",
            "response_code",
            "response_message",
            "seq",
            "status",
            "terminal",
            "updated_at",
            "vendor",
            "vendor_response"
        ]
    );
    assert_eq!(update["accepted_at"], "2026-06-15T00:00:00.000Z");
    let vendor = update["vendor_response"].take();
    assert_eq!(
        keys(&vendor),
        [
            "acked_at",
            "advice",
            "frame_sent",
            "mavlink_command",
            "mavlink_command_id",
            "progress",
            "result",
            "result_param2",
            "sent_at",
            "source_component",
            "source_system",
            "transport"
        ]
    );
    assert_eq!(vendor["mavlink_command"], "MAV_CMD_NAV_ROI");
    assert_eq!(vendor["transport"], "COMMAND_INT");
    assert!(vendor["advice"][0].as_str().unwrap().contains("do_set_roi_location"));
}

#[test]
fn over_http_it_is_the_reference_and_no_more() {
    let read = |bytes: Vec<u8>| -> Value { serde_json::from_slice(&bytes).unwrap() };
    let record = acknowledged(0, 0);
    let update = json(&record);
    let created = read(created(&record));
    assert_eq!(keys(&created), ["accepted_at", "command_id", "status"]);
    let found = read(state("px4-real-1", &record));
    assert_eq!(
        keys(&found),
        [
            "command_id",
            "command_type",
            "device_id",
            "response_code",
            "response_message",
            "status",
            "vendor",
            "vendor_response"
        ]
    );
    let mut shown = read(command("px4-real-1", &record));
    for (some, all) in [(&created, &update), (&found, &update), (&update, &shown)] {
        for (name, value) in some.as_object().unwrap() {
            assert_eq!(all[name], *value, "{name}");
        }
    }
    assert_eq!(shown.as_object_mut().unwrap().remove("api_id"), Some("cloud".into()));
    assert_eq!(shown, update);
    let listed = read(commands("px4-real-1", &[record], true));
    assert_eq!(
        (&listed["commands"][0]["command_id"], &listed["complete"]),
        (&update["command_id"], &true.into())
    );
}

#[test]
fn what_is_not_known_is_null() {
    let sent = |record: &Record| json(record)["vendor_response"]["frame_sent"].clone();
    assert_eq!(sent(&Record::example()), false);
    assert_eq!(sent(&dispatched(None)), Value::Null);
    assert_eq!(sent(&dispatched(Some(AT))), true);
    let never_written = Record {
        cause: Some(Cause::Agent(Code::TransportWriteFailed)),
        status: Status::Failed,
        ..dispatched(None)
    };
    assert_eq!(sent(&never_written), false);
    assert_eq!(json(&Record::example())["response_code"], Value::Null);
}

#[test]
fn progress_is_told_only_while_the_vehicle_works_and_knows_it() {
    for (result, progress, told) in
        [(5, 40, Value::from(40)), (5, 255, Value::Null), (0, 40, Value::Null)]
    {
        let update = json(&acknowledged(result, progress));
        assert_eq!(update["progress"], told, "{result} {progress}");
        assert_eq!(update["vendor_response"]["result"], result);
        assert_eq!(update["vendor_response"]["result_param2"], -7);
    }
}

#[test]
fn the_code_is_the_vehicles_or_the_agents() {
    for (cause, code) in [
        (Cause::Result(0), "MAV_RESULT_ACCEPTED"),
        (Cause::Result(77), "MAV_RESULT_77"),
        (Cause::Agent(Code::GuardDisabled), "guard.disabled"),
    ] {
        assert_eq!(
            json(&Record { cause: Some(cause), ..Record::example() })["response_code"],
            code
        );
    }
}

#[test]
fn one_violation_stands_alone_several_are_listed() {
    let violation = |field: &str| Violation::new(Code::RequestInvalid, field, "wrong");
    let mut error = ErrorReply {
        violations: vec![violation("a")],
        idempotency_key: None,
        command_id: None,
        request_id: None,
        request_sha256: "00".to_owned(),
    };
    let told = |error: &ErrorReply| -> Value {
        serde_json::from_slice(&reply("px4-real-1", &Reply::Error(error.clone()))).unwrap()
    };
    let one = told(&error);
    assert_eq!(keys(&one), ["error", "idempotency_key", "request_sha256"]);
    assert_eq!(keys(&one["error"]), ["code", "field", "message"]);
    error.violations.push(violation("b"));
    error.command_id = Some(Uuid::nil());
    let two = told(&error);
    assert_eq!(two["error"]["field"], "a");
    assert_eq!(two["error"]["violations"][1]["field"], "b");
    assert_eq!(two["command_id"], Uuid::nil().to_string());
}
