//! `downlink-bench fleet`: more and more vehicles, each with its real agent, on one broker: what each
//! of them costs.
//!
//! All of it is on one machine, so the agents have the processors and the disk in common, as vehicles
//! do not; the broker is what they have in common there, too.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::load::stages::{histogram, milliseconds};
use super::measurement;
use super::output::{Output, OutputError, print};
use super::rig::{
    Kind, Line, Make, Pace, Plan, RigError, Site, SiteOptions, processor_time, resident_bytes,
};

const MAX_OUTSTANDING: usize = 3;
/// The embedded broker takes 64 connections, the publisher's among them.
const MOST: u16 = 60;
/// EX_USAGE of sysexits.h.
const USAGE: u8 = 64;

#[derive(Debug, Args)]
pub struct FleetArguments {
    /// How many in the end, with the embedded broker at most 60; before that 1, 2, 4 and so on
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..))]
    vehicles: u16,
    /// Commands in a second, for each vehicle
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5.0,
          value_parser = measurement::rate, allow_negative_numbers = true)]
    rate: f64,
    /// Seconds for each number of vehicles
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Every vehicle sends PX4's onboard stream, too
    #[arg(long)]
    stream: bool,
    /// The daemon to run [default: the same code, in this program]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Where the journals are to lie for the time: on the disk that it is about
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    dir: PathBuf,
    /// A broker that runs already, without TLS and password [default: an embedded one]
    #[arg(long, value_name = "ADDRESS:PORT")]
    broker: Option<SocketAddr>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum FleetError {
    #[error(transparent)]
    Rig(#[from] RigError),
    #[error("failed to print: {0}")]
    Print(#[from] io::Error),
}

/// Measures and prints a line for each number of vehicles. Exit code 130 when interrupted.
pub fn main(arguments: &FleetArguments) -> ExitCode {
    if arguments.vehicles > MOST && arguments.broker.is_none() {
        measurement::say(format_args!("--vehicles: over {MOST} need a --broker"));
        return ExitCode::from(USAGE);
    }
    let json = match Output::open_named(arguments.json.as_deref()) {
        Ok(json) => json,
        Err(error) => return measurement::failed(error),
    };
    let levels = RefCell::new(Vec::new());
    let code = measurement::run(run(arguments, &levels));
    // What has been measured before an interrupt is as good.
    match measurement::write(json, &levels.into_inner().into()) {
        Ok(()) => code,
        Err::<_, OutputError>(error) => measurement::failed(error),
    }
}

/// What one number of vehicles came to.
struct Level {
    vehicles: usize,
    commands: usize,
    succeeded: usize,
    /// Of all agents.
    processor: Duration,
    took: Duration,
    /// Of all agents, bytes.
    resident: u64,
    /// From publish to the terminal update, milliseconds.
    p50: f64,
    p99: f64,
    /// The median of the vehicle with the highest one.
    slowest_p50: f64,
}

/// Measures until nobody reads any more.
async fn run(arguments: &FleetArguments, levels: &RefCell<Vec<Value>>) -> Result<(), FleetError> {
    let mut site = Site::open(SiteOptions {
        dir: &arguments.dir,
        broker: arguments.broker,
        make: Make::StandIn(Line::Free),
        kinds: Kind::mix(),
        max_outstanding: MAX_OUTSTANDING,
        agent: arguments.agent.clone(),
    })
    .await?;
    let heads = format!(
        "{:>8}{:>10}{:>11}{:>16}{:>16}{:>14}{:>10}{:>10}{:>14}\n",
        "vehicles",
        "commands",
        "succeeded",
        "µs per command",
        "ms/s per agent",
        "MB per agent",
        "p50 ms",
        "p99 ms",
        "slowest's p50"
    );
    let mut is_read = print(&heads)?;
    for vehicles in levels_up_to(arguments.vehicles.into()) {
        if !is_read {
            break;
        }
        while site.stations.len() < vehicles {
            let station = site.add_running_station().await?;
            if let Some(stand_in) = site.stations[station].craft.stand_in() {
                stand_in.stream(arguments.stream);
            }
        }
        let level = measure(&mut site, arguments).await?;
        levels.borrow_mut().push(level.figures());
        is_read = print(&level.line())?;
    }
    Ok(())
}

async fn measure(site: &mut Site, arguments: &FleetArguments) -> Result<Level, RigError> {
    let vehicles = site.stations.len();
    let rate = arguments.rate * vehicles as f64;
    let commands = (rate * f64::from(arguments.seconds)).ceil() as usize;
    let stations: Vec<usize> = (0..vehicles).collect();
    let plan = Plan { commands, stations, pace: Pace::Rate(rate) };
    let (before, begun) = (processor_of_all(site)?, Instant::now());
    let samples = site.run(&plan, |_| {}).await?;
    let (processor, took) = (processor_of_all(site)? - before, begun.elapsed());
    let mut resident = 0;
    for agent in agents(site) {
        resident += resident_bytes(agent)?;
    }
    let ended = samples.iter().filter_map(|it| Some((it, it.ended.as_ref()?)));
    let latencies: Vec<(usize, Duration)> = ended
        .clone()
        .map(|(it, (at, _))| (it.station, at.saturating_duration_since(it.due)))
        .collect();
    let of = |station: usize| {
        let latencies = latencies.iter().filter(|it| it.0 == station).map(|it| it.1);
        milliseconds(&histogram(latencies), 50.0)
    };
    let all = histogram(latencies.iter().map(|it| it.1));
    Ok(Level {
        vehicles,
        commands,
        succeeded: ended.filter(|(_, (_, status))| status == "SUCCEEDED").count(),
        processor,
        took,
        resident,
        p50: milliseconds(&all, 50.0),
        p99: milliseconds(&all, 99.0),
        slowest_p50: (0..vehicles).map(of).fold(0.0, f64::max),
    })
}

fn agents(site: &Site) -> impl Iterator<Item = u32> {
    site.stations.iter().filter_map(|station| station.agent_id())
}

fn processor_of_all(site: &Site) -> Result<Duration, RigError> {
    agents(site).map(|agent| Ok(processor_time(agent)?)).sum()
}

impl Level {
    fn processor_per_command(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.commands.max(1) as f64
    }

    /// Milliseconds in a second.
    fn processor_per_agent(&self) -> f64 {
        self.processor.as_secs_f64() * 1e3 / self.took.as_secs_f64() / self.vehicles as f64
    }

    fn resident_per_agent(&self) -> f64 {
        self.resident as f64 / 1e6 / self.vehicles as f64
    }

    fn line(&self) -> String {
        format!(
            "{:8}{:10}{:11}{:16.0}{:16.2}{:14.1}{:10.2}{:10.2}{:14.2}\n",
            self.vehicles,
            self.commands,
            self.succeeded,
            self.processor_per_command(),
            self.processor_per_agent(),
            self.resident_per_agent(),
            self.p50,
            self.p99,
            self.slowest_p50
        )
    }

    fn figures(&self) -> Value {
        json!({
            "vehicles": self.vehicles,
            "commands": self.commands,
            "succeeded": self.succeeded,
            "processor_microseconds_per_command": self.processor_per_command(),
            "processor_milliseconds_per_second_and_agent": self.processor_per_agent(),
            "resident_megabytes_per_agent": self.resident_per_agent(),
            "milliseconds_to_the_outcome": {
                "p50": self.p50, "p99": self.p99, "p50_of_the_slowest_vehicle": self.slowest_p50
            },
        })
    }
}

/// Doubling, and the last one itself.
fn levels_up_to(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |vehicles| Some(vehicles * 2))
        .take_while(move |&vehicles| vehicles < most)
        .chain([most])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_vehicles_double_up_to_the_last() {
        let levels = |most| levels_up_to(most).collect::<Vec<_>>();
        assert_eq!(levels(1), [1]);
        assert_eq!(levels(8), [1, 2, 4, 8]);
        assert_eq!(levels(11), [1, 2, 4, 8, 11]);
    }
}
