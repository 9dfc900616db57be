//! `downlink-bench perf`: the agent's figures against what this machine allows, measured beside each
//! other, since machines are noisy: every command between the floors that it is held against.
//!
//! The vehicle is the stand-in, which answers at once: a PX4 would hide the agent's share behind the
//! 10 ms of its commander.

mod floor;
mod history;
mod latency;
mod resources;
mod table;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::measurement::{self, say};
use super::output::{Output, OutputError, print};
use super::rig::{Kind, Line, Make, RigError, Site, SiteOptions};
use crate::edge::journal;
use floor::FloorError;
use table::{Row, Target};

const DAEMON: &str = "downlinkd";
/// The configuration's own.
const MAX_OUTSTANDING: usize = 3;

#[derive(Debug, Args)]
pub struct PerfArguments {
    /// Fewer of everything: whether it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Where the journals are to lie for the time: on the disk that it is about
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    dir: PathBuf,
    /// A broker that runs already, without TLS and password [default: an embedded one]
    #[arg(long, value_name = "ADDRESS:PORT")]
    broker: Option<SocketAddr>,
    /// The daemon to measure [default: downlinkd beside this program; else the same code, in this one]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum PerfError {
    #[error(transparent)]
    Rig(#[from] RigError),
    #[error(transparent)]
    Floor(#[from] FloorError),
    #[error("failed to fill a journal: {0}")]
    History(#[from] journal::Error),
    #[error("failed to read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("failed to print: {0}")]
    Print(#[source] io::Error),
    #[error("the agent was gone before it was measured")]
    NoAgent,
    #[error("a command ended as {0} instead of SUCCEEDED")]
    Outcome(String),
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// One at a time, against the floor.
    single: usize,
    /// As fast as outcomes come.
    load: usize,
    /// With each of the journals.
    per_history: usize,
    histories: [u64; 3],
    starts: usize,
    /// With and without a stream, alternating.
    stream_rounds: usize,
    stream_span: Duration,
    wire: usize,
    idle: Duration,
}

const FULL: Extent = Extent {
    single: 2000,
    load: 6000,
    per_history: 1000,
    histories: [100, 10_000, 100_000],
    starts: 7,
    stream_rounds: 4,
    stream_span: Duration::from_secs(8),
    wire: 4000,
    idle: Duration::from_secs(3),
};

const QUICK: Extent = Extent {
    single: 50,
    load: 200,
    per_history: 20,
    histories: [100, 500, 2000],
    starts: 2,
    stream_rounds: 1,
    stream_span: Duration::from_secs(2),
    wire: 200,
    idle: Duration::from_millis(200),
};

/// Measures and prints the table. Exit code 130 when interrupted; a target that is missed is no
/// failure.
pub fn main(arguments: &PerfArguments) -> ExitCode {
    measurement::run(run(arguments))
}

async fn run(arguments: &PerfArguments) -> Result<(), PerfError> {
    let json = Output::open_named(arguments.json.as_deref())?;
    let extent = if arguments.quick { QUICK } else { FULL };
    let mut rows = Vec::new();
    let floors;
    {
        let mut site = open(arguments, &arguments.dir, Line::Free, MAX_OUTSTANDING).await?;
        let station = site.add_running_station().await?;
        say("memory when idle");
        let idle = resources::idle_memory(&site, station, extent.idle).await?;
        say("commands one at a time, each between its floors");
        let measured = latency::against_the_floor(&mut site, station, extent.single).await?;
        floors = measured.floors;
        rows.extend(measured.rows);
        say("commands as fast as outcomes come");
        rows.push(resources::processor_under_load(&mut site, station, extent.load).await?);
        say("PX4's onboard stream, on and off");
        let rounds = (extent.stream_rounds, extent.stream_span);
        rows.push(resources::processor_per_frame(&site, station, rounds).await?);
        rows.push(Row::new("memory, idle", "MB", idle, Target::AtMost(8.0)));
    }
    {
        say("journals of three sizes");
        let mut site = open(arguments, &arguments.dir, Line::Free, MAX_OUTSTANDING).await?;
        rows.extend(latency::with_histories(&mut site, &extent).await?);
    }
    say("a line of 921600 baud");
    rows.push(wire::share_of_the_line(arguments, extent.wire).await?);
    rows.push(resources::size_of(&agent_file(arguments)?)?);

    let figures = json!({ "floors": floors.figures(), "rows": table::figures(&rows) });
    let written = measurement::write(json, &figures);
    print(&format!("{floors}\n\n{}\n", table::text(&rows))).map_err(PerfError::Print)?;
    Ok(written?)
}

async fn open(
    arguments: &PerfArguments,
    dir: &Path,
    line: Line,
    max_outstanding: usize,
) -> Result<Site, PerfError> {
    let options = SiteOptions {
        dir,
        broker: arguments.broker,
        make: Make::StandIn(line),
        kinds: Kind::mix(),
        max_outstanding,
        agent: Some(agent_file(arguments)?),
    };
    Ok(Site::open(options).await?)
}

/// What is measured, and how large it is: this program holds the bench, too.
fn agent_file(arguments: &PerfArguments) -> Result<PathBuf, PerfError> {
    if let Some(file) = &arguments.agent {
        return Ok(file.clone());
    }
    let failed = |source| PerfError::File { path: "/proc/self/exe".into(), source };
    let this = std::env::current_exe().map_err(failed)?;
    let beside = this.with_file_name(DAEMON);
    Ok(if beside.is_file() { beside } else { this })
}

/// The process of a station's agent.
fn agent_of(site: &Site, station: usize) -> Result<u32, PerfError> {
    site.stations[station].agent_id().ok_or(PerfError::NoAgent)
}
