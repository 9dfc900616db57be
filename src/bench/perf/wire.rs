//! How much of a slow line is used while commands wait.

use std::path::Path;
use std::time::{Duration, Instant};

use super::table::{Row, Target};
use super::{PerfArguments, PerfError, open};
use crate::bench::rig::{Line, Pace, Plan, Sample};

const LINE: Line = Line::Baud(921_600);
/// As many as PX4's queue holds.
const MAX_OUTSTANDING: usize = 8;
/// More than fit: some always wait.
const WINDOW: usize = 96;
/// A journal there costs no time, so the window of eight is enough to fill the line.
const MEMORY: &str = "/dev/shm";

/// Sends `commands` of eight kinds over a line of 921600 baud, always with some that wait, and tells
/// in how much of the time there was a byte on it.
pub async fn share_of_the_line(
    arguments: &PerfArguments,
    commands: usize,
) -> Result<Row, PerfError> {
    let memory = Path::new(MEMORY);
    let dir = if memory.is_dir() { memory } else { &arguments.dir };
    let mut site = open(arguments, dir, LINE, MAX_OUTSTANDING).await?;
    let station = site.add_running_station().await?;
    let plan = Plan { commands, stations: vec![station], pace: Pace::Window(WINDOW) };
    let samples = site.run(&plan, |_| {}).await?;
    let what = format!("use of a 921600 baud line, journal in {}", dir.display());
    Ok(Row::new(what, "%", 100.0 * share(&samples), Target::AtLeast(95.0)))
}

/// From when the first frame was over the line until the last one was.
fn share(samples: &[Sample]) -> f64 {
    let mut frames: Vec<(Instant, Duration)> = samples
        .iter()
        .filter_map(|sample| Some((sample.framed?, LINE.time(sample.frame_bytes))))
        .collect();
    frames.sort();
    let (Some((first, _)), Some((last, _))) = (frames.first(), frames.last()) else { return 0.0 };
    let busy: Duration = frames.iter().skip(1).map(|(_, time)| *time).sum();
    busy.as_secs_f64() / (*last - *first).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_used_while_frames_follow_each_other() {
        let begun = Instant::now();
        let bytes = 45;
        let sample = |number: u32, spacing: Duration| Sample {
            kind: 0,
            station: 0,
            due: begun,
            journaled: None,
            framed: Some(begun + spacing * number),
            answered: None,
            ended: None,
            repeated: 0,
            frame_bytes: bytes,
        };
        let frames = |spacing| (1..=100).map(|number| sample(number, spacing)).collect::<Vec<_>>();
        assert!((share(&frames(LINE.time(bytes))) - 1.0).abs() < 1e-6);
        assert!((share(&frames(LINE.time(bytes) * 4)) - 0.25).abs() < 1e-6);
        assert_eq!(share(&[]), 0.0);
    }
}
