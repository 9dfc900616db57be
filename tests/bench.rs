//! `downlink-bench` as it is run, with few commands: that every figure is there. How good they are
//! depends on the machine, and is no matter of a test.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

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
fn load_keeps_to_its_rate_and_its_mix() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["load", "--commands", "20", "--rate", "20", "--command", "nav_roi"];
    let (_, figures) = bench(&arguments, folder.path());
    assert_eq!(figures["outcomes"], serde_json::json!({ "SUCCEEDED": 20 }));
    // The last of them is published after 0.95 s.
    assert!(figures["seconds"].as_f64().unwrap() >= 0.95);
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
