//! `downlinkd catalog`, as a process.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Command, Output, Stdio};

use downlinkd::catalog::{self, Risk};
use downlinkd::wire::inbound::read_request;
use downlinkd::wire::request_body::RequestBody;
use downlinkd::wire::topic::{Kind, Topics};
use serde_json::{Value, json};

const USAGE: i32 = 64;

fn catalog(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downlinkd"));
    command.arg("catalog").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    catalog(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// The commands of a table, in order.
fn names(table: &str) -> Vec<&str> {
    table.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect()
}

#[test]
fn the_table_has_a_line_for_every_command() {
    let table = printed(&[]);
    let all: Vec<_> = catalog::all().iter().map(|command| command.command_type).collect();
    assert_eq!(names(&table), all);
    for line in table.lines() {
        assert!(line.len() <= 100 && line.is_ascii() && !line.contains('\x1b'), "{line:?}");
    }
    let nav_roi = table.lines().find(|line| line.starts_with("nav_roi ")).unwrap();
    let cells: Vec<_> = nav_roi.split_whitespace().collect();
    assert_eq!(
        cells,
        ["nav_roi", "80", "COMMAND_INT", "navigation", "flight", "superseded,", "advice"]
    );
}

#[test]
fn filters_narrow_the_table_together() {
    let domain = printed(&["--domain", "camera-media"]);
    let expected = catalog::all().iter().filter(|command| command.domain == "camera-media");
    assert_eq!(names(&domain).len(), expected.count());
    let risk = printed(&["--risk", "query"]);
    let expected = catalog::all().iter().filter(|command| command.risk == Risk::Query);
    assert_eq!(names(&risk).len(), expected.count());
    let both = printed(&["--domain", "camera-media", "--risk", "query"]);
    let [domain, risk]: [BTreeSet<_>; 2] = [names(&domain), names(&risk)].map(BTreeSet::from_iter);
    assert_eq!(BTreeSet::from_iter(names(&both)), &domain & &risk);
    assert!(!names(&both).is_empty());

    // A number, a name in MAVLink, a field, a word of the description.
    for text in ["80", "mav_cmd_nav_roi", "WP_Index", "Region of Interest"] {
        assert!(names(&printed(&["--search", text])).contains(&"nav_roi"), "{text}");
    }
    assert_eq!(names(&printed(&["--search", "no command says this"])), [""; 0]);
    let found: Value =
        serde_json::from_str(&printed(&["--json", "--search", "mav_cmd_nav_roi"])).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
}

#[test]
fn every_page_tells_all_and_its_example_is_accepted() {
    for command in catalog::all() {
        let page = printed(&[command.command_type]);
        assert_eq!(page.lines().next(), Some(command.command_type));
        for line in page.lines().filter(|line| !line.starts_with("mosquitto_pub ")) {
            // A URL is not broken.
            let breakable = line.trim_start().contains(' ');
            assert!(line.chars().count() <= 100 || !breakable, "{line:?}");
        }
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut told = vec![
            command.description.to_owned(),
            format!("PX4 capability domain: {}.", command.domain),
            format!("MAVLink command: {}", command.mavlink_command),
            format!("Command ID: {}", command.mavlink_command_id),
            format!("Default transport: {}", command.transport),
            format!("Source XML: {}", command.source_xml),
            "Guard: real PX4 downlink is disabled by default; guarded mode requires explicit \
             authorization and a ready transport."
                .to_owned(),
        ];
        told.extend(command.advice.iter().map(|advice| advice.to_string()));
        for field in command.fields {
            told.push(format!("payload.{}: number Meaning: {}", field.name, field.label));
            told.push(format!("maps to MAVLink parameter {} in the PX4 frame.", field.param));
            let entries = field.enumeration.map_or(&[][..], |enumeration| enumeration.entries);
            told.extend(entries.iter().map(|entry| format!("{} ({})", entry.name, entry.value)));
        }
        for text in told {
            assert!(words.contains(text.trim()), "{}: no {text:?}", command.command_type);
        }
        check_example(&page);
    }
}

/// The line to copy carries the example, and the agent would take it.
fn check_example(page: &str) {
    let line = page.lines().last().unwrap();
    let quoted: Vec<&str> = line.split('\'').collect();
    let [start, topic, "-m"] = [quoted[0], quoted[1], quoted[2].trim()] else { panic!("{line}") };
    assert_eq!(start, "mosquitto_pub -h localhost -q 1 -t ");
    let topics = Topics::new("downlink/v1", "px4-real-1");
    assert_eq!(topics.parse(topic), Some((Kind::Commands, "cloud")));
    let body = quoted[3];
    read_request(&RequestBody::new(body.as_bytes()), "cloud", "px4-real-1", None)
        .unwrap_or_else(|error| panic!("{body}: {error:?}"));
    let shown = page.split("\nExample\n").nth(1).unwrap().split("\nmosquitto_pub").next().unwrap();
    let [shown, body]: [Value; 2] = [shown, body].map(|text| serde_json::from_str(text).unwrap());
    assert_eq!(shown, body);
}

#[test]
fn the_reference_pages_have_their_own_examples() {
    for body in [
        r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"image_stop_capture","payload":{"target_camera_id":0},"idempotency_key":"req-image_stop_capture-001","timeout_seconds":30}"#,
        r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"request_camera_capture_status","payload":{"capture_status":0},"idempotency_key":"req-request_camera_capture_status-001","timeout_seconds":30}"#,
        r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"do_digicam_control","payload":{"session_control":0,"zoom_absolute":0,"zoom_relative":0,"focus":0,"shoot_command":0,"command_identity":0,"shot_id":0},"idempotency_key":"req-do_digicam_control-001","timeout_seconds":30}"#,
        r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"preflight_reboot_shutdown","payload":{"autopilot":0,"companion":0,"component_action":0,"component_id":0,"conditions":0},"idempotency_key":"req-preflight_reboot_shutdown-001","timeout_seconds":30}"#,
        r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"nav_roi","payload":{"roi_mode":0,"wp_index":0,"roi_index":0,"x":0,"y":0,"z":30.0},"idempotency_key":"req-nav_roi-001","timeout_seconds":30}"#,
    ] {
        let request: Value = serde_json::from_str(body).unwrap();
        let page = printed(&[request["command_type"].as_str().unwrap()]);
        assert!(page.trim_end().ends_with(&format!("-m '{body}'")), "{page}");
    }
}

#[test]
fn the_json_is_the_whole_table() {
    let listed: Value = serde_json::from_str(&printed(&["--json"])).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 181);
    for (listed, command) in std::iter::zip(listed, catalog::all()) {
        let expected = json!({
            "command_type": command.command_type,
            "mavlink_command": command.mavlink_command,
            "mavlink_command_id": command.mavlink_command_id,
            "transport": command.transport.as_str(),
            "source_xml": command.source_xml,
            "domain": command.domain,
            "risk": command.risk.as_str(),
            "repeatable": command.repeatable,
            "status": command.status.as_str(),
            "fields": command.fields.iter().map(field).collect::<Vec<_>>(),
            "advice": command.advice,
        });
        assert_eq!(listed, &expected);
    }
    let one: Value = serde_json::from_str(&printed(&["--json", "nav_roi"])).unwrap();
    let nav_roi = listed.iter().find(|listed| listed["command_type"] == "nav_roi").unwrap();
    assert_eq!(one, json!([nav_roi]));
}

fn field(field: &catalog::Field) -> Value {
    let enumeration = field.enumeration.map(|enumeration| {
        let entries = enumeration.entries.iter();
        let entries: Vec<_> =
            entries.map(|entry| json!({ "name": entry.name, "value": entry.value })).collect();
        json!({ "name": enumeration.name, "bitmask": enumeration.bitmask, "entries": entries })
    });
    json!({
        "name": field.name,
        "param": field.param,
        "label": field.label,
        "units": field.units,
        "enum": enumeration,
        "min": field.minimum.map(catalog::json_number),
        "max": field.maximum.map(catalog::json_number),
        "increment": field.increment.map(catalog::json_number),
        "default": field.default.map(catalog::json_number),
    })
}

#[test]
fn what_is_unknown_is_refused_with_what_is_near() {
    for (name, near) in [
        ("nav_rio", "nav_roi"),
        ("MAV_CMD_NAV_ROI", "nav_roi"),
        ("80", "nav_roi"),
        ("takeoff", "nav_takeoff"),
    ] {
        for form in [&[][..], &["--json"], &["--schema"]] {
            let message = refused(&[&[name], form].concat());
            assert!(message.contains(&format!("{name:?}")), "{message}");
            assert!(message.contains(&format!("did you mean {near}")), "{message}");
        }
    }
    assert!(refused(&["qqqq"]).contains("downlinkd catalog lists all"));
    assert!(refused(&["--domain", "cameras"]).contains("camera-media"));
    assert!(refused(&["--risk", "high"]).contains("critical"));
    refused(&["nav_roi", "--domain", "navigation"]);
    refused(&["--json", "--schema"]);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child =
        catalog(&["--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More than a pipe holds, so that it is written to after this end is gone.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = File::create("/dev/full").unwrap();
    let output = catalog(&[]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("failed to write the output"), "{message}");
}
