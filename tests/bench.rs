//! `downlink-bench` as it is run, with few commands: that every figure is there. How good they are
//! depends on the machine, and is no matter of a test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use downlinkd::bench::client::Publisher;
use serde_json::Value;

const DAEMON: &str = env!("CARGO_BIN_EXE_downlinkd");
/// The kernel's takes 40 ms.
const DELAYED_ACK_MS: f64 = 20.0;

fn bench(arguments: &[&str], folder: &Path) -> (Output, Value) {
    let json = folder.join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_downlink-bench"))
        .args(arguments)
        .arg("--dir")
        .arg(folder)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (output, serde_json::from_slice(&fs::read(json).unwrap()).unwrap())
}

fn left_behind(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("downlink-bench-")).count()
}

#[test]
fn load_tells_how_far_every_command_came_and_draws_it() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plot.svg");
    let arguments = ["load", "--commands", "60", "--vehicle", "instant", "--plot"];
    let (output, figures) =
        bench(&[&arguments[..], &[plot.to_str().unwrap()]].concat(), folder.path());
    // No progress bar where there is no terminal.
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(figures["outcomes"], serde_json::json!({ "SUCCEEDED": 60 }));
    let stages = figures["milliseconds_from_publish"].as_object().unwrap();
    assert_eq!(stages.len(), 4);
    for (name, stage) in stages {
        assert_eq!(stage["commands"], 60, "{name}");
        assert!(stage["percentiles"]["50"].as_f64().unwrap() > 0.0, "{name}");
    }
    assert!(figures["processor_microseconds_per_command"].as_f64().unwrap() > 0.0);
    assert!(fs::read_to_string(plot).unwrap().starts_with("<svg"));
    assert_eq!(left_behind(folder.path()), 0);
}

#[test]
fn load_does_not_wait_for_delayed_acks_of_its_own_at_a_broker_with_nagles_algorithm() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let arguments = ["load", "--commands", "30", "--window", "1", "--vehicle", "instant"];
    let (_, figures) =
        bench(&[&arguments[..], &["--broker", &broker.address]].concat(), folder.path());
    assert_eq!(figures["outcomes"], serde_json::json!({ "SUCCEEDED": 30 }));
    let stages = &figures["milliseconds_from_publish"];
    let median = stages["terminal update"]["percentiles"]["50"].as_f64().unwrap();
    assert!(median < DELAYED_ACK_MS, "{median} ms");
}

#[tokio::test]
async fn two_loads_share_a_broker_and_leave_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_downlink-bench"));
        command.args(["load", "--commands", "20", "--vehicle", "instant"]);
        command.args(["--broker", &broker.address, "--dir"]);
        command.arg(folder.path()).stdout(Stdio::piped()).spawn().unwrap()
    };
    for load in [start(), start()] {
        let output = load.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && printed.contains("20 SUCCEEDED"), "{printed}");
    }

    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let filters = vec!["downlink/#".to_owned(), "mark".to_owned()];
    let address = broker.address.parse().unwrap();
    let listener = Publisher::connect(address, "listener", filters, move |message| {
        sender.send(message.unwrap().topic).unwrap();
    })
    .await
    .unwrap();
    // What is retained comes before it.
    listener.publish("mark", String::new()).await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), "mark");
}

#[test]
fn load_says_that_no_broker_is_there() {
    let address = free_address();
    let program = env!("CARGO_BIN_EXE_downlink-bench");
    let output = Command::new(program).args(["load", "--broker", &address]).output().unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains(&format!("the broker at {address}: ")), "{complaint}");
}

#[test]
fn load_keeps_to_its_rate_and_its_mix() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["load", "--commands", "20", "--rate", "20", "--command", "nav_roi"];
    let (_, figures) = bench(&arguments, folder.path());
    assert_eq!(figures["outcomes"], serde_json::json!({ "SUCCEEDED": 20 }));
    // The last of them is published after 0.95 s.
    assert!(figures["seconds"].as_f64().unwrap() >= 0.95);
}

#[test]
fn load_counts_the_time_that_a_command_had_to_wait_for_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    // All of them are due at once, and no machine is so fast.
    let arguments = ["load", "--commands", "400", "--rate", "100000", "--vehicle", "instant"];
    let (_, figures) = bench(&arguments, folder.path());
    let seconds = figures["seconds"].as_f64().unwrap();
    let stages = &figures["milliseconds_from_publish"];
    let longest = stages["terminal update"]["percentiles"]["100"].as_f64().unwrap();
    assert!(longest > 800.0 * seconds, "{longest} ms of {seconds} s");
}

#[test]
fn what_cannot_be_measured_is_a_usage_error() {
    for arguments in [
        &["load", "--rate", "0"][..],
        &["load", "--rate", "-1"],
        &["load", "--rate", "nan"],
        &["load", "--window", "0"],
        &["fleet", "--rate", "-5"],
        &["fleet", "--rate", "nan"],
        &["fleet", "--seconds", "0"],
        &["fleet", "--vehicles", "61"],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_downlink-bench")).args(arguments).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {complaint}");
        assert!(complaint.contains(arguments[1]), "{complaint}");
    }
}

#[test]
fn nobody_has_to_read_what_a_load_came_to() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_downlink-bench"))
        .args(["load", "--commands", "1", "--dir", folder.path().to_str().unwrap(), "--json"])
        .arg(&json)
        .stdout(writer)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read_to_string(json).unwrap().contains("SUCCEEDED"));
}

#[test]
fn a_report_that_cannot_be_written_ends_a_run_before_it_begins() {
    for arguments in [
        &["load", "--json"][..],
        &["load", "--plot"],
        &["fleet", "--json"],
        &["perf", "--json"],
        &["run", "--json"],
        &["run", "--junit"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_downlink-bench"))
            .args(arguments)
            .arg("/nowhere/report")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains("failed to write /nowhere/report: "), "{complaint}");
    }
}

#[test]
fn a_signal_ends_a_load_and_leaves_nothing() {
    let signals = [rustix::process::Signal::TERM, rustix::process::Signal::HUP];
    let program = env!("CARGO_BIN_EXE_downlink-bench");
    // This program's own agent, and another one.
    for (signal, agent) in signals.into_iter().zip([&[][..], &["--agent", DAEMON]]) {
        let folder = tempfile::tempdir().unwrap();
        // Whoever runs the tests by nohup has SIGHUP ignored, and a bench under it would go on.
        let mut load = Command::new("env")
            .args(["--default-signal=HUP", program, "load", "--commands", "1000000", "--dir"])
            .arg(folder.path())
            .args(agent)
            .spawn()
            .unwrap();
        let agent = agent_of(&load);
        let id = rustix::process::Pid::from_child(&load);
        rustix::process::kill_process(id, signal).unwrap();
        assert_eq!(load.wait().unwrap().code(), Some(130));
        assert_eq!(left_behind(folder.path()), 0);
        assert!(!is_running(&agent), "{agent}");
    }
}

#[test]
fn an_agent_of_another_file_does_not_outlive_a_bench_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_downlink-bench");
    let mut load = Command::new(program)
        .args(["load", "--commands", "1000000", "--dir", folder.path().to_str().unwrap()])
        .args(["--agent", DAEMON])
        .spawn()
        .unwrap();
    let agent = agent_of(&load);
    load.kill().unwrap();
    load.wait().unwrap();
    let begun = Instant::now();
    while is_running(&agent) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{agent} runs on");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn load_says_which_command_does_not_exist() {
    let program = env!("CARGO_BIN_EXE_downlink-bench");
    let output = Command::new(program).args(["load", "--command", "fly_home"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"fly_home\" is no command"));
}

#[test]
fn perf_measures_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let (output, figures) = bench(&["perf", "--quick"], folder.path());
    let rows = figures["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 14);
    let table = String::from_utf8_lossy(&output.stdout);
    for row in rows {
        let what = row["what"].as_str().unwrap();
        assert!(table.contains(what), "{what}");
        // Of so few frames the difference to none may be less than nothing.
        let may_be_anything = what.contains("per frame");
        assert!(may_be_anything || row["measured"].as_f64().unwrap() > 0.0, "{what}");
    }
    for (name, floor) in figures["floors"].as_object().unwrap() {
        assert!(floor["p50"].as_f64().unwrap() > 0.0, "{name}");
    }
    assert_eq!(left_behind(folder.path()), 0);
}

#[test]
fn fleet_has_a_line_for_each_number_of_vehicles() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["fleet", "--vehicles", "3", "--seconds", "2", "--stream"];
    let (_, figures) = bench(&arguments, folder.path());
    let levels = figures.as_array().unwrap();
    for (level, vehicles) in levels.iter().zip([1, 2, 3]) {
        assert_eq!(level["vehicles"], vehicles);
        assert_eq!(level["commands"], vehicles * 10);
        assert_eq!(level["succeeded"], vehicles * 10);
    }
    assert_eq!(levels.len(), 3);
}

/// The process id of the daemon that a bench has started, once there is one.
fn agent_of(bench: &Child) -> String {
    let begun = Instant::now();
    loop {
        let list = format!("/proc/{0}/task/{0}/children", bench.id());
        let children = fs::read_to_string(list).unwrap();
        let is_agent = |id: &&str| {
            let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            command.starts_with(b"downlinkd\0run\0")
        };
        if let Some(id) = children.split_whitespace().find(is_agent) {
            return id.to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no agent was started");
        sleep(Duration::from_millis(10));
    }
}

/// A zombie has no command line.
fn is_running(id: &str) -> bool {
    fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|command| !command.is_empty())
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// As it is installed: without a configuration.
struct Mosquitto {
    process: Child,
    address: String,
}

impl Mosquitto {
    fn start() -> Self {
        let address = free_address();
        let (_, port) = address.split_once(':').unwrap();
        let installed = Path::new("/usr/sbin/mosquitto");
        let program = if installed.exists() { installed } else { Path::new("mosquitto") };
        let mut command = Command::new(program);
        command.args(["-p", port]).stderr(Stdio::null());
        let process = command.spawn().expect("failed to start mosquitto (apt install mosquitto)");
        let broker = Self { process, address };
        let begun = Instant::now();
        while TcpStream::connect(&broker.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "mosquitto does not listen");
            sleep(Duration::from_millis(10));
        }
        broker
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
