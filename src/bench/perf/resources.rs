//! Processor time, memory and disk space.

use std::path::Path;
use std::time::Duration;

use super::table::{Row, Target};
use super::{PerfError, agent_of};
use crate::bench::rig::{Pace, Plan, RigError, Site, processor_time, resident_bytes};

/// Commands under way at a time, under load.
const WINDOW: usize = 32;
/// For the stream to begin, and for what the last commands left to do.
const SETTLE: Duration = Duration::from_millis(1500);

/// Megabytes of the agent of `station`, once it has had nothing to do for `idle`.
pub async fn idle_memory(site: &Site, station: usize, idle: Duration) -> Result<f64, PerfError> {
    tokio::time::sleep(idle).await;
    memory(site, station)
}

/// Megabytes.
pub fn memory(site: &Site, station: usize) -> Result<f64, PerfError> {
    let bytes = resident_bytes(agent_of(site, station)?).map_err(RigError::from)?;
    Ok(bytes as f64 / 1e6)
}

/// Of so many commands that share commits, as they come.
pub async fn processor_under_load(
    site: &mut Site,
    station: usize,
    commands: usize,
) -> Result<Row, PerfError> {
    let before = used(site, station)?;
    let plan = Plan { commands, stations: vec![station], pace: Pace::Window(WINDOW) };
    site.run(&plan, |_| {}).await?;
    let used = used(site, station)? - before;
    let each = used.as_secs_f64() * 1e6 / commands as f64;
    Ok(Row::new("processor time per command, under load", "µs", each, Target::AtMost(100.0)))
}

/// Of each frame of PX4's onboard stream: with it, less what it is without. So many spans of each,
/// alternating.
pub async fn processor_per_frame(
    site: &Site,
    station: usize,
    (rounds, span): (usize, Duration),
) -> Result<Row, PerfError> {
    let vehicle = site.stations[station].craft.stand_in().ok_or(PerfError::NoAgent)?;
    let mut used_by = [Duration::ZERO; 2];
    let mut frames = 0;
    for _ in 0..rounds {
        for (streams, used_by) in [false, true].into_iter().zip(&mut used_by) {
            vehicle.stream(streams);
            tokio::time::sleep(SETTLE).await;
            let (before, sent) = (used(site, station)?, vehicle.frames_streamed());
            tokio::time::sleep(span).await;
            *used_by += used(site, station)? - before;
            frames += vehicle.frames_streamed() - sent;
        }
    }
    vehicle.stream(false);
    let each = (used_by[1].as_secs_f64() - used_by[0].as_secs_f64()) * 1e6 / frames as f64;
    Ok(Row::new("processor time per frame of the onboard stream", "µs", each, Target::AtMost(2.0)))
}

/// Of a program's file.
pub fn size_of(program: &Path) -> Result<Row, PerfError> {
    let failed = |source| PerfError::File { path: program.to_owned(), source };
    let bytes = program.metadata().map_err(failed)?.len();
    let what = format!("size of {}", program.display());
    Ok(Row::new(what, "MB", bytes as f64 / 1e6, Target::AtMost(6.0)))
}

fn used(site: &Site, station: usize) -> Result<Duration, PerfError> {
    Ok(processor_time(agent_of(site, station)?).map_err(RigError::from)?)
}
