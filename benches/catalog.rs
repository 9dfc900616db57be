//! What it costs to look a command up and to encode its payload: `cargo bench --bench catalog`.
//! Wanted: under 1 us, and no allocation (divan would add a line for those).

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use downlinkd::catalog::{self, Command};
use serde_json::{Map, Value};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// From no field at all to seven, a long enumeration by number and by name, and a bitmask by names.
const REQUESTS: [(&str, &str); 7] = [
    ("nav_return_to_launch", r#"{}"#),
    ("image_stop_capture", r#"{"target_camera_id":0}"#),
    ("nav_roi", r#"{"roi_mode":0,"wp_index":0,"roi_index":0,"x":0,"y":0,"z":30.0}"#),
    (
        "do_digicam_control",
        r#"{"session_control":0,"zoom_absolute":0,"zoom_relative":0,"focus":0,"shoot_command":0,"command_identity":0,"shot_id":0}"#,
    ),
    ("actuator_test", r#"{"value":0.1,"timeout":1,"output_function":36}"#),
    (
        "configure_actuator",
        r#"{"configuration":"ACTUATOR_CONFIGURATION_BEEP","output_function":"ACTUATOR_OUTPUT_FUNCTION_SERVO16"}"#,
    ),
    (
        "do_gimbal_manager_pitchyaw",
        r#"{"pitch_angle":-30,"gimbal_manager_flags":"GIMBAL_MANAGER_FLAGS_RC_EXCLUSIVE|GIMBAL_MANAGER_FLAGS_RC_MIXED"}"#,
    ),
];

fn main() {
    divan::main();
}

#[divan::bench(args = REQUESTS.map(|(command_type, _)| command_type))]
fn find_and_encode(bencher: Bencher, command_type: &str) {
    let (_, payload) = REQUESTS.into_iter().find(|(name, _)| *name == command_type).unwrap();
    let payload: Map<String, Value> = serde_json::from_str(payload).unwrap();
    bencher.bench(|| {
        let command = catalog::find(black_box(command_type)).unwrap();
        command.encode(black_box(&payload), None).unwrap()
    });
}

/// All commands, each with its example: the throughput is in commands.
#[divan::bench]
fn every_example(bencher: Bencher) {
    let payload = |command: &Command| -> Map<String, Value> {
        command.example().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let requests: Vec<_> =
        catalog::all().iter().map(|command| (command.command_type, payload(command))).collect();
    bencher.counter(ItemsCount::new(requests.len())).bench(|| {
        for (command_type, payload) in &requests {
            let command = catalog::find(black_box(command_type)).unwrap();
            black_box(command.encode(black_box(payload), None).unwrap());
        }
    });
}
