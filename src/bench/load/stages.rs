//! How long after it was to be published a command came how far.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::bench::rig::Sample;

/// Significant digits: each value is within 0.1 %.
const DIGITS: u8 = 3;
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 100.0];
const HEADS: [&str; 5] = ["50 %", "90 %", "99 %", "99.9 %", "all"];

/// A stage, and its latencies in nanoseconds.
pub struct Stage {
    pub name: &'static str,
    pub latencies: Histogram<u64>,
}

/// Journaled, at the vehicle, answered, ended; each since it was due.
pub struct Stages(pub [Stage; 4]);

impl Stages {
    pub fn of(samples: &[Sample]) -> Self {
        let stage = |name, end: fn(&Sample) -> Option<Instant>| {
            let latencies =
                samples.iter().filter_map(|it| Some(end(it)?.saturating_duration_since(it.due)));
            Stage { name, latencies: histogram(latencies) }
        };
        Self([
            stage("journaled (create reply)", |it| it.journaled),
            stage("frame at the vehicle", |it| it.framed),
            stage("COMMAND_ACK sent", |it| it.answered),
            stage("terminal update", |it| Some(it.ended.as_ref()?.0)),
        ])
    }

    /// Milliseconds, one line per stage.
    pub fn table(&self) -> String {
        let mut table = format!("{:26}{:>9}", "ms from publish until", "commands");
        table.extend(HEADS.map(|head| format!("{head:>10}")));
        table.push('\n');
        for Stage { name, latencies } in &self.0 {
            table += &format!("{name:26}{:9}", latencies.len());
            table.extend(PERCENTILES.map(|it| format!("{:10.2}", milliseconds(latencies, it))));
            table.push('\n');
        }
        table
    }

    /// The same as JSON.
    pub fn figures(&self) -> Value {
        let stages = self.0.iter().map(|Stage { name, latencies }| {
            let percentiles = PERCENTILES.map(|it| (it.to_string(), milliseconds(latencies, it)));
            let percentiles = percentiles.map(|(name, value)| (name, json!(value)));
            let percentiles = serde_json::Map::from_iter(percentiles);
            (name.to_string(), json!({ "commands": latencies.len(), "percentiles": percentiles }))
        });
        Value::Object(stages.collect())
    }
}

/// In nanoseconds.
pub fn histogram(latencies: impl IntoIterator<Item = Duration>) -> Histogram<u64> {
    let mut histogram = Histogram::new(DIGITS).expect("three digits are among those allowed");
    for latency in latencies {
        histogram.record(latency.as_nanos() as u64).expect("it grows as is needed");
    }
    histogram
}

/// The latency that so many percent do not exceed.
pub fn milliseconds(latencies: &Histogram<u64>, percentile: f64) -> f64 {
    latencies.value_at_percentile(percentile) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_count_from_the_publish_and_leave_out_what_did_not_come() {
        let due = Instant::now();
        let samples: Vec<Sample> = (1..=100_u64)
            .map(|number| {
                let after = |times: u64| Some(due + Duration::from_millis(times * number));
                Sample {
                    kind: 0,
                    station: 0,
                    due,
                    journaled: after(1),
                    framed: after(2).filter(|_| number % 2 == 0),
                    answered: None,
                    ended: after(5).map(|at| (at, "SUCCEEDED".to_owned())),
                    repeated: 0,
                    frame_bytes: 0,
                }
            })
            .collect();
        let stages = Stages::of(&samples);
        let figures = stages.figures();
        let percentile = |stage: &str, percentile: &str| {
            figures[stage]["percentiles"][percentile].as_f64().unwrap()
        };
        assert!((percentile("journaled (create reply)", "50") / 50.0 - 1.0).abs() < 0.001);
        assert!((percentile("frame at the vehicle", "100") / 200.0 - 1.0).abs() < 0.001);
        assert!((percentile("terminal update", "99") / 495.0 - 1.0).abs() < 0.001);
        assert_eq!(figures["frame at the vehicle"]["commands"], 50);
        assert_eq!(figures["COMMAND_ACK sent"]["commands"], 0);
        assert_eq!(stages.table().lines().count(), 5);
    }
}
