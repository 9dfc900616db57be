//! Latency: one command at a time, beside what it cannot do without.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::floor::{Flushes, TurnAround};
use super::table::{Row, Target};
use super::{Extent, PerfError, agent_of, history, resources};
use crate::bench::load::stages::{histogram, milliseconds};
use crate::bench::rig::{Sample, Site, processor_time};

/// Bytes of a signed request and of a terminal update.
const REQUEST_BYTES: usize = 550;
const UPDATE_BYTES: usize = 800;

/// What the machine and the broker allowed meanwhile.
pub struct Floors {
    hop: Histogram<u64>,
    flush: Histogram<u64>,
    turn_around: Histogram<u64>,
}

pub struct Measured {
    pub rows: Vec<Row>,
    pub floors: Floors,
}

/// The sums that a command is held against, and what it took.
#[derive(Default)]
struct Series {
    hops: Vec<Duration>,
    flushes: Vec<Duration>,
    turn_arounds: Vec<Duration>,
    frame_floors: Vec<Duration>,
    frames: Vec<Duration>,
    end_floors: Vec<Duration>,
    ends: Vec<Duration>,
}

/// Sends `commands`, each after the two hops and the two flushes that its own way consists of.
pub async fn against_the_floor(
    site: &mut Site,
    station: usize,
    commands: usize,
) -> Result<Measured, PerfError> {
    let mut flushes = Flushes::new(&site.stations[station].journal())?;
    let mut turn_around = TurnAround::new()?;
    let agent = agent_of(site, station)?;
    let before = processor_time(agent).map_err(crate::bench::rig::RigError::from)?;
    let mut series = Series::default();
    for _ in 0..commands {
        let hops = [site.echo(REQUEST_BYTES).await?, site.echo(UPDATE_BYTES).await?];
        let flushed = [flushes.flush()?, flushes.flush()?];
        series.turn_arounds.push(turn_around.measure()?);
        let command = whole(&site.one(station).await?)?;
        series.frame_floors.push(hops[0] + flushed[0]);
        series.frames.push(command.until_frame);
        let both = hops.iter().chain(&flushed).sum::<Duration>();
        series.end_floors.push(both + command.answer);
        series.ends.push(command.until_end);
        series.hops.extend(hops);
        series.flushes.extend(flushed);
    }
    let used = processor_time(agent).map_err(crate::bench::rig::RigError::from)? - before;
    let mut rows = Vec::new();
    for (what, measured, floor) in [
        ("publish to frame", &series.frames, &series.frame_floors),
        ("publish to SUCCEEDED", &series.ends, &series.end_floors),
    ] {
        let (measured, floor) = (of(measured), of(floor));
        for (percentile, target) in [(50.0, 1.15), (99.0, 1.5)] {
            let row = Row::new(
                format!("{what}, p{percentile}"),
                "ms",
                milliseconds(&measured, percentile),
                Target::AtMost(target),
            );
            rows.push(row.over(milliseconds(&floor, percentile)));
        }
    }
    rows.push(Row::new(
        "processor time per command, one at a time",
        "µs",
        used.as_secs_f64() * 1e6 / commands as f64,
        Target::AtMost(100.0),
    ));
    let floors = Floors {
        hop: of(&series.hops),
        flush: of(&series.flushes),
        turn_around: of(&series.turn_arounds),
    };
    Ok(Measured { rows, floors })
}

/// Agents with journals of each size side by side: how long each takes to start, what commands take
/// with it, in turn, and how much memory the largest needs.
pub async fn with_histories(site: &mut Site, extent: &Extent) -> Result<Vec<Row>, PerfError> {
    let mut stations = Vec::new();
    let mut starts = Vec::new();
    for commands in extent.histories {
        let station = site.add_station()?;
        let device_id = site.stations[station].device_id.clone();
        history::fill(&site.stations[station].journal(), &device_id, commands).await?;
        starts.clear();
        for _ in 0..extent.starts {
            site.stations[station].kill_agent().map_err(crate::bench::rig::RigError::from)?;
            starts.push(site.start_agent(station).await?);
        }
        stations.push(station);
    }
    let mut latencies = vec![Vec::new(); stations.len()];
    for _ in 0..extent.per_history {
        for (&station, latencies) in stations.iter().zip(&mut latencies) {
            latencies.push(whole(&site.one(station).await?)?.until_end);
        }
    }
    let medians: Vec<f64> = latencies.iter().map(|it| milliseconds(&of(it), 50.0)).collect();
    let [few, some, many] = extent.histories;
    let largest = stations[stations.len() - 1];
    let memory = resources::memory(site, largest)?;
    let row = |what, unit, measured, target| Row::new(what, unit, measured, Target::AtMost(target));
    let sent = extent.per_history;
    let start = milliseconds(&of(&starts), 50.0);
    Ok(vec![
        row(format!("memory, {many} journaled, {sent} sent since"), "MB", memory, 16.0),
        row(format!("start to READY, {many} journaled"), "ms", start, 300.0),
        row(
            format!("publish to SUCCEEDED, p50, {some} over {few} journaled"),
            "ms",
            medians[1],
            1.1,
        )
        .over(medians[0]),
        row(
            format!("publish to SUCCEEDED, p50, {many} over {few} journaled"),
            "ms",
            medians[2],
            1.1,
        )
        .over(medians[0]),
    ])
}

/// A command that went the whole way.
struct Whole {
    until_frame: Duration,
    /// Of the vehicle.
    answer: Duration,
    until_end: Duration,
}

fn whole(sample: &Sample) -> Result<Whole, PerfError> {
    let since = |at: Instant| at.saturating_duration_since(sample.due);
    match (sample.framed, sample.answered, &sample.ended) {
        (Some(framed), Some(answered), Some((ended, status))) if status == "SUCCEEDED" => {
            let answer = answered - framed;
            Ok(Whole { until_frame: since(framed), answer, until_end: since(*ended) })
        }
        (.., Some((_, status))) => Err(PerfError::Outcome(status.clone())),
        (.., None) => Err(PerfError::Outcome("nothing".to_owned())),
    }
}

fn of(latencies: &[Duration]) -> Histogram<u64> {
    histogram(latencies.iter().copied())
}

impl Floors {
    fn each(&self) -> [(&'static str, &Histogram<u64>); 3] {
        [
            ("broker, there and back", &self.hop),
            ("write and fdatasync", &self.flush),
            ("pty, there and back", &self.turn_around),
        ]
    }

    pub fn figures(&self) -> Value {
        let floor = |(name, histogram): (&str, _)| {
            let percentile = |it| json!(milliseconds(histogram, it));
            (name.to_owned(), json!({ "p50": percentile(50.0), "p99": percentile(99.0) }))
        };
        Value::Object(self.each().map(floor).into_iter().collect())
    }
}

impl fmt::Display for Floors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the floor, ms                 p50       p99")?;
        for (name, histogram) in self.each() {
            let [p50, p99] = [50.0, 99.0].map(|it| milliseconds(histogram, it));
            write!(f, "\n{name:24}{p50:9.3} {p99:9.3}")?;
        }
        Ok(())
    }
}
