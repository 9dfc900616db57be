//! What the measuring commands have in common: how they run and end, what they take, and their
//! figures in a file.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::process::ExitCode;

use serde_json::Value;

use super::INTERRUPTED;
use super::output::{Output, OutputError};
use super::signals::Signals;

/// In a second.
const RATES: RangeInclusive<f64> = 0.001..=1_000_000.0;

/// Runs a measurement to its end, or to a signal. Exit code 130 when interrupted.
pub fn run<E: Display>(measurement: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("failed to start the runtime: {error}")),
    };
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            result = measurement => Ok(Some(result)),
            () = signals.recv() => Ok(None),
        }
    });
    match result {
        Ok(Some(Ok(()))) => ExitCode::SUCCESS,
        Ok(Some(Err(error))) => failed(error),
        Ok(None) => ExitCode::from(INTERRUPTED),
        Err::<_, io::Error>(error) => failed(format_args!("failed to handle signals: {error}")),
    }
}

/// As it is said to whoever watches.
pub fn failed(error: impl Display) -> ExitCode {
    say(error);
    ExitCode::FAILURE
}

/// A line on standard error; nobody is left to tell when that is closed.
pub fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "downlink-bench: {what}");
}

pub fn write(output: Option<Output>, figures: &Value) -> Result<(), OutputError> {
    output.map_or(Ok(()), |output| output.write(&format!("{figures:#}\n")))
}

/// Reads how many in a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| format!("it must be {} to {}", RATES.start(), RATES.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_that_time_can_be_divided_by() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "inf", "1e-300", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
