//! What the measuring commands have in common: how they run and end, and their figures in a file.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::INTERRUPTED;

/// Runs a measurement to its end, or to a Ctrl-C. Exit code 130 when interrupted.
pub fn run<E: Display>(measurement: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("failed to start the runtime: {error}")),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = measurement => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match result {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => failed(error),
        None => ExitCode::from(INTERRUPTED),
    }
}

pub fn write(path: &Path, figures: &Value) -> io::Result<()> {
    fs::write(path, format!("{figures:#}\n"))
}

fn failed(error: impl Display) -> ExitCode {
    eprintln!("downlink-bench: {error}");
    ExitCode::FAILURE
}
