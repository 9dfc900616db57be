//! `downlink-bench run`: what passes, what must fail, and what a real vehicle never gets.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const GOOD: &str = r#"
description = "PX4 refuses what is a camera's"
steps = [
  { do = "publish", command = "image_stop_capture" },
  { do = "status", key = "image_stop_capture", status = "FAILED", code = "MAV_RESULT_UNSUPPORTED" },
  { do = "frame", command = "image_stop_capture" },
]
"#;

#[test]
fn a_right_scenario_passes_and_each_wrong_expectation_fails_at_its_step() {
    let folder = Folder::new();
    folder.write("good", GOOD);
    folder.write("wrong-status", &GOOD.replace("FAILED", "SUCCEEDED"));
    folder.write("wrong-code", &GOOD.replace("UNSUPPORTED", "DENIED"));
    folder.write(
        "wrong-form",
        &GOOD.replace(
            "image_stop_capture\" },\n]",
            "image_stop_capture\", form = \"COMMAND_INT\" },\n]",
        ),
    );
    folder.write(
        "forgotten-frame",
        &GOOD.replace("  { do = \"frame\", command = \"image_stop_capture\" },\n", ""),
    );
    folder
        .write("wrong-key-of-the-agent", &format!("{GOOD}[config.delivery]\nmax_outstandin = 3\n"));
    folder.write(
        "forgotten-error",
        &GOOD.replace("steps = [", "steps = [\n  { do = \"publish_raw\", body = \"{\" },"),
    );
    let json = folder.path("report.json");
    let junit = folder.path("report.xml");
    let options = ["--json", text(&json), "--junit", text(&junit)];
    let output = run(&[&[text(folder.0.path())], &options[..]].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("1 passed, 6 failed, 0 skipped"), "{printed}");

    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let of = |name: &str| {
        let all = report["scenarios"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(of("good")["result"], "passed");
    for (name, step, came) in [
        ("wrong-status", Value::from(2), "FAILED with MAV_RESULT_UNSUPPORTED"),
        ("wrong-code", Value::from(2), "FAILED with MAV_RESULT_UNSUPPORTED"),
        ("wrong-form", Value::from(3), "COMMAND_LONG instead of COMMAND_INT"),
        ("forgotten-frame", Value::Null, "1 frames of MAV_CMD_IMAGE_STOP_CAPTURE"),
        ("wrong-key-of-the-agent", Value::Null, "the agent ended by itself"),
        ("forgotten-error", Value::Null, "auth.failed"),
    ] {
        let played = of(name);
        assert_eq!(
            (&played["result"], &played["step"]),
            (&Value::from("failed"), &step),
            "{played}"
        );
        assert!(played["came"].as_str().unwrap().contains(came), "{played}");
    }
    assert!(of("wrong-key-of-the-agent")["log"].as_str().unwrap().contains("max_outstandin"));
    let junit = fs::read_to_string(junit).unwrap();
    assert!(junit.contains("tests=\"7\" failures=\"6\""), "{junit}");
}

#[test]
fn a_file_with_a_mistake_is_a_usage_error_before_anything_is_played() {
    let folder = Folder::new();
    folder.write("good", GOOD);
    folder.write("wrong", &GOOD.replace("key =", "kay ="));
    let output = run(&[text(folder.0.path())]);
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("wrong.toml: step 2 (status)"), "{complaint}");
}

#[test]
fn a_real_vehicle_gets_nothing_dangerous_unless_it_is_allowed_by_name() {
    let folder = Folder::new();
    let mut vehicle = Vehicle::start(&["--port", text(&folder.path("px4"))]);
    let endpoint = format!("serial:{}:921600", text(&folder.path("px4")));
    folder.write("harmless", GOOD);
    let arm = GOOD.replace("image_stop_capture", "component_arm_disarm");
    let arm =
        arm.replace("FAILED", "SUCCEEDED").replace("MAV_RESULT_UNSUPPORTED", "MAV_RESULT_ACCEPTED");
    folder.write("arms", &arm);
    // Neither does it pass when it is not seen among the steps.
    let body = r#"'{"vendor":"px4","device_id":"px4-real-1","command_type":"component_arm_disarm","payload":{},"idempotency_key":"k"}'"#;
    let hidden = format!(
        "description = \"\"\nsteps = [\n  {{ do = \"publish_raw\", body = {body} }},\n  \
         {{ do = \"error\", code = \"auth.failed\" }},\n]\n\
         [[config.guard.command]]\ntype = \"component_arm_disarm\"\ngrant = false\n"
    );
    folder.write("hides", &hidden);
    folder.write("simulates", &GOOD.replace("steps = [", "steps = [\n  { do = \"arm\" },"));

    let json = folder.path("report.json");
    let arguments = [text(folder.0.path()), "--endpoint", &endpoint, "--json", text(&json)];
    let output = run(&arguments);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("2 passed, 0 failed, 2 skipped"), "{printed}");
    assert!(
        printed.contains("arms: sends commands of risk critical: --allow component_arm_disarm"),
        "{printed}"
    );
    assert!(printed.contains("simulates: needs the simulated vehicle: step 1 (arm)"), "{printed}");

    let output = run(&[&arguments[..], &["--allow", "component_arm_disarm"]].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("3 passed, 0 failed, 1 skipped"), "{printed}");

    let seen = vehicle.stop();
    let arms = seen.iter().filter(|line| line.contains("MAV_CMD_COMPONENT_ARM_DISARM of")).count();
    assert_eq!(arms, 1, "{seen:#?}");
}

#[test]
fn where_no_vehicle_is_heard_one_scenario_waits_and_the_rest_is_skipped() {
    let folder = Folder::new();
    for name in ["a", "b", "c"] {
        folder.write(name, GOOD);
    }
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("udpin:{}", nobody.local_addr().unwrap());
    let options = ["--endpoint", &endpoint, "--ready-within", "3"];
    let output = run(&[&[text(folder.0.path())], &options[..]].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("0 passed, 1 failed, 2 skipped"), "{printed}");
    let reason = format!("no vehicle was heard at {endpoint} (a)");
    assert!(printed.contains(&format!("b: {reason}")), "{printed}");
    assert!(printed.contains(&format!("c: {reason}")), "{printed}");
}

#[test]
fn nobody_has_to_read_how_a_run_goes() {
    let folder = Folder::new();
    folder.write("good", GOOD);
    let junit = folder.path("report.xml");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let arguments = ["run", text(folder.0.path()), "--junit", text(&junit)];
    let status = bench().args(arguments).stdout(writer).status().unwrap();
    assert!(status.success(), "{status}");
    assert!(fs::read_to_string(junit).unwrap().contains("tests=\"1\" failures=\"0\""));
}

#[test]
fn a_failed_scenario_shows_the_last_lines_of_the_agents_log() {
    let folder = Folder::new();
    let wrong = GOOD.replace("FAILED", "SUCCEEDED");
    folder.write("wrong", &wrong);
    let printed = String::from_utf8(run(&[text(folder.0.path())]).stdout).unwrap();
    let shown = printed.split("the agent's log ends with").nth(1).unwrap();
    // What it says last of all, when it is told to end.
    assert!(shown.contains("INFO stopping"), "{printed}");
}

#[test]
fn a_vehicle_is_reached_by_udp_and_by_tcp() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let paced = ["--telemetry", "onboard", "--baud", "115200"];
    for (kind, option, more) in [
        ("udpin", "--udp", &paced[..]),
        ("udpin", "--udp", &paced[..2]),
        ("tcpout", "--tcp", &paced[2..]),
    ] {
        let address = free();
        let mut vehicle = Vehicle::start(&[&[option, &address], more].concat());
        let output = run(&["request-message", "--endpoint", &format!("{kind}:{address}")]);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{printed}");
        let seen = vehicle.stop();
        assert!(seen.iter().any(|line| line.contains("-> MAV_CMD_REQUEST_MESSAGE")), "{seen:#?}");
    }
}

#[test]
fn an_unknown_command_cannot_be_allowed() {
    let output = run(&["--endpoint", "udpin:127.0.0.1:14540", "--allow", "take_off"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8(output.stderr).unwrap().contains("take_off"));
}

fn run(arguments: &[&str]) -> Output {
    bench().arg("run").args(arguments).output().unwrap()
}

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downlink-bench"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(&format!("{name}.toml")), text).unwrap();
    }
}

/// `downlink-bench vehicle`: as far as `run` can tell, a real one.
struct Vehicle {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Vehicle {
    fn start(options: &[&str]) -> Self {
        let mut process =
            bench().arg("vehicle").args(options).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        assert!(first.contains("a simulated PX4"), "{first}");
        Self { process, output }
    }

    /// What it has printed.
    fn stop(&mut self) -> Vec<String> {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let lines = (&mut self.output).lines().map(Result::unwrap).collect();
        assert!(self.process.wait().unwrap().success());
        lines
    }
}

impl Drop for Vehicle {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
