//! `downlink-bench load`: many commands through one agent, and how long each stage of them took.

mod plot;
pub mod stages;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::measurement;
use super::output::{Output, OutputError, print};
use super::rig::{
    Kind, Line, Make, Pace, Plan, RigError, Sample, Site, SiteOptions, processor_time,
    resident_bytes,
};
use plot::PlotError;
use stages::Stages;

#[derive(Debug, Args)]
pub struct LoadArguments {
    /// How many. Nonces take room: over 10 000 in two minutes the agent has none, and the rest waits
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..))]
    commands: u32,
    /// So many in a second, each timed from when it was due; without it, as fast as outcomes come
    #[arg(long, value_name = "PER_SECOND", value_parser = measurement::rate, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Without a rate: so many are under way at a time
    #[arg(long, value_name = "COMMANDS", default_value_t = 32, conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// What to send, such as image_stop_capture; several make a mix [default: a mix of eight]
    #[arg(long = "command", value_name = "COMMAND_TYPE")]
    command_types: Vec<String>,
    /// Who answers
    #[arg(long, value_enum, default_value = "px4")]
    vehicle: VehicleArgument,
    /// How many may wait for their COMMAND_ACK at a time, 1 to 8
    #[arg(long, value_name = "COMMANDS", default_value_t = 3)]
    max_outstanding: usize,
    /// The daemon to run [default: the same code, in this program]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Where the journal is to lie for the time: on the disk that it is about
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    dir: PathBuf,
    /// A broker that runs already, without TLS and password [default: an embedded one]
    #[arg(long, value_name = "ADDRESS:PORT")]
    broker: Option<SocketAddr>,
    /// Draw the distribution of the latencies as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VehicleArgument {
    /// The simulated PX4, whose commander takes commands up every 10 ms
    Px4,
    /// A stand-in that accepts everything at once
    Instant,
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Rig(#[from] RigError),
    #[error(transparent)]
    Plot(#[from] PlotError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("failed to print: {0}")]
    Print(#[from] io::Error),
}

/// Sends the load and prints its report. Exit code 130 when interrupted.
pub fn main(arguments: &LoadArguments) -> ExitCode {
    measurement::run(run(arguments))
}

/// What a load came to.
struct Outcome {
    took: Duration,
    samples: Vec<Sample>,
    processor: Duration,
    /// When the agent was ready, and afterwards.
    resident: (u64, u64),
}

async fn run(arguments: &LoadArguments) -> Result<(), LoadError> {
    let json = Output::open_named(arguments.json.as_deref())?;
    let plot = Output::open_named(arguments.plot.as_deref())?;
    let kinds = match &arguments.command_types[..] {
        [] => Kind::mix(),
        names => names
            .iter()
            .map(|name| Kind::named(name))
            .collect::<Result<_, _>>()
            .map_err(RigError::Kind)?,
    };
    let make = match arguments.vehicle {
        VehicleArgument::Px4 => Make::Px4,
        VehicleArgument::Instant => Make::StandIn(Line::Free),
    };
    let mut site = Site::open(SiteOptions {
        dir: &arguments.dir,
        broker: arguments.broker,
        make,
        kinds,
        max_outstanding: arguments.max_outstanding,
        agent: arguments.agent.clone(),
    })
    .await?;
    let station = site.add_running_station().await?;
    let pace = arguments.rate.map_or(Pace::Window(arguments.window as usize), Pace::Rate);
    let plan = Plan { commands: arguments.commands as usize, stations: vec![station], pace };
    let outcome = send(&mut site, station, &plan).await?;

    let stages = Stages::of(&outcome.samples);
    // Each by itself: none is lost by another.
    let written = measurement::write(json, &figures(&outcome, &stages));
    let mut text = report(arguments, &outcome, &stages);
    let drawn = plot.map_or(Ok(()), |plot| {
        text += &format!("\nplot: {}\n", plot.path().display());
        Ok::<_, LoadError>(plot.write(&plot::draw(&stages)?)?)
    });
    print(&text)?;
    drawn?;
    Ok(written?)
}

async fn send(site: &mut Site, station: usize, plan: &Plan) -> Result<Outcome, RigError> {
    let Some(agent) = site.stations[station].agent_id() else {
        unreachable!("its station has just been started")
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}");
    let bar = ProgressBar::new(plan.commands as u64)
        .with_style(style.expect("the template is one that indicatif takes"));
    let before = (processor_time(agent)?, resident_bytes(agent)?);
    let begun = Instant::now();
    let samples = site.run(plan, |ended| bar.set_position(ended as u64)).await?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    let processor = processor_time(agent)? - before.0;
    Ok(Outcome { took, samples, processor, resident: (before.1, resident_bytes(agent)?) })
}

impl Outcome {
    fn per_second(&self) -> f64 {
        self.samples.len() as f64 / self.took.as_secs_f64()
    }

    fn processor_per_command(&self) -> Duration {
        self.processor.div_f64(self.samples.len().max(1) as f64)
    }

    /// How many ended in which status.
    fn statuses(&self) -> BTreeMap<&str, usize> {
        let mut statuses = BTreeMap::new();
        for (_, status) in self.samples.iter().filter_map(|sample| sample.ended.as_ref()) {
            *statuses.entry(status.as_str()).or_default() += 1;
        }
        statuses
    }

    fn repeated(&self) -> usize {
        self.samples.iter().map(|sample| sample.repeated).sum()
    }
}

fn report(arguments: &LoadArguments, outcome: &Outcome, stages: &Stages) -> String {
    let pace = match arguments.rate {
        Some(rate) => format!("{rate} in a second, timed from when each was due"),
        None => format!("{} at a time", arguments.window),
    };
    let statuses = outcome.statuses();
    let statuses: Vec<_> =
        statuses.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let mut text = format!(
        "{} commands, {pace}, at most {} unanswered\n\n{}\n\
         outcomes                {}\n\
         throughput              {:.1} commands/s over {:.1} s\n\
         the agent's processor   {:.0} µs per command\n\
         the agent's memory      {:.1} MB before, {:.1} MB after\n",
        outcome.samples.len(),
        arguments.max_outstanding,
        stages.table(),
        statuses.join(", "),
        outcome.per_second(),
        outcome.took.as_secs_f64(),
        outcome.processor_per_command().as_secs_f64() * 1e6,
        outcome.resident.0 as f64 / 1e6,
        outcome.resident.1 as f64 / 1e6,
    );
    if outcome.repeated() > 0 {
        text += &format!("published again (busy)  {}\n", outcome.repeated());
    }
    text
}

fn figures(outcome: &Outcome, stages: &Stages) -> serde_json::Value {
    json!({
        "commands": outcome.samples.len(),
        "seconds": outcome.took.as_secs_f64(),
        "commands_per_second": outcome.per_second(),
        "processor_microseconds_per_command": outcome.processor_per_command().as_secs_f64() * 1e6,
        "resident_bytes": { "before": outcome.resident.0, "after": outcome.resident.1 },
        "outcomes": outcome.statuses(),
        "published_again": outcome.repeated(),
        "milliseconds_from_publish": stages.figures(),
    })
}
