//! `downlink-bench run`: scenarios between a publisher, the real agent and a vehicle, simulated or real.
//!
//! One current-thread runtime plays several of them at a time: each has an agent, a vehicle and topics
//! of its own, and they share the broker.

mod config;
mod embedded;
mod file;
mod play;
mod report;
mod simulated;
mod stage;
mod step;
mod value;
mod world;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::bench::INTERRUPTED;
use crate::bench::broker::{self, BrokerError};
use crate::bench::issuer::{Issuer, IssuerError, KID};
use crate::bench::measurement::say;
use crate::bench::output::{Output, OutputError};
use crate::bench::signals::Signals;
use crate::catalog::{self, Command, Risk};
use crate::edge::link::Endpoint;
use crate::guard::authentication::signer::{Signer, SignerError};
use file::{FileError, Scenario};
use report::{Outcome, Played, Report};

/// The vehicle's name, as in the reference's requests.
const DEVICE_ID: &str = "px4-real-1";
/// The issuer.
const API_ID: &str = "bench";
/// The agent's own MAVLink address.
const AGENT: (u8, u8) = (1, 191);
/// The broker carries 64 connections; a scenario has two, and some are still about to end.
const MOST_JOBS: i64 = 24;
/// EX_USAGE of sysexits.h.
const USAGE: u8 = 64;

#[derive(Args)]
pub struct Options {
    /// Files, directories of files, or names of --list; all of --list without any
    #[arg(value_name = "FILE|DIR|NAME")]
    scenarios: Vec<String>,
    /// Lists the scenarios and plays none
    #[arg(long)]
    list: bool,
    /// A real vehicle in place of the simulated one: serial:DEVICE:BAUD, udpin:ADDRESS:PORT or
    /// tcpout:HOST:PORT
    #[arg(long)]
    endpoint: Option<Endpoint>,
    /// Commands of risk flight or critical that may go to the real vehicle, with commas between
    #[arg(long, value_name = "COMMAND_TYPE", value_delimiter = ',', value_parser = command)]
    #[arg(requires = "endpoint")]
    allow: Vec<&'static Command>,
    /// How long an agent may take until it hears the vehicle; with a real one, none is played after
    /// one that did not
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    ready_within: u64,
    /// How many are played at a time; with a real vehicle always one
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=MOST_JOBS))]
    jobs: u16,
    /// Writes the report as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report in JUnit's format, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Leaves configurations, logs and journals where they are
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("failed to make the temporary folder: {0}")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("keygen's lines cannot be read: {0}")]
    Issuer(String),
    #[error("keygen's key cannot be used: {0}")]
    Key(#[from] SignerError),
    #[error(transparent)]
    Keygen(#[from] IssuerError),
    #[error("failed to handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error("failed to start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("failed to print: {0}")]
    Print(#[from] io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// What all scenarios of a run share.
struct Bench {
    folder: TempDir,
    broker: SocketAddr,
    /// The lines of the agents' configurations, as keygen printed them.
    issuer: toml::Table,
    signer: Signer,
    /// Signs with another key than the issuer's.
    forger: Signer,
    /// Of the real vehicle; `None`: each scenario has a simulated one.
    endpoint: Option<Endpoint>,
    allowed: Vec<&'static Command>,
    /// A debug build opens its journal and connects; an autopilot's heartbeat comes once a second.
    ready_limit: Duration,
    /// The scenario whose agent did not hear the real vehicle: those of the others would not either.
    deaf: OnceLock<String>,
}

/// Plays scenarios. Exit code 0 only when at least one has passed and none has failed.
pub fn main(options: &Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(RunError::Runtime)
        .and_then(|runtime| runtime.block_on(LocalSet::new().run_until(run(options))));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&error);
            match error {
                RunError::File(_) => ExitCode::from(USAGE),
                RunError::Interrupted => ExitCode::from(INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(options: &Options) -> Result<bool, RunError> {
    let scenarios = file::select(&options.scenarios)?;
    if options.list {
        report::list(&scenarios)?;
        return Ok(true);
    }
    let json = Output::open_named(options.json.as_deref())?;
    let junit = Output::open_named(options.junit.as_deref())?;
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let mut bench = Bench::new(options)?;
    if options.keep {
        bench.folder.disable_cleanup(true);
    }
    let bench = Arc::new(bench);
    let mut report = Report::new(bench.endpoint.as_ref(), &scenarios);
    let all = tokio::select! {
        all = play_all(&bench, scenarios, options.jobs, &mut report) => all,
        () = signals.recv() => Err(RunError::Interrupted),
    };
    // Also what was played before an interrupt; and each by itself, so that none is lost by another.
    let written = [(json, report.json()), (junit, report.junit())]
        .map(|(output, text)| output.map_or(Ok(()), |output| output.write(&text)));
    report.summarize()?;
    if options.keep {
        report::say(&format!(
            "Configurations, logs and journals: {}",
            bench.folder.path().display()
        ))?;
    }
    all?;
    for written in written {
        written?;
    }
    Ok(report.is_success())
}

/// Several at a time, told as they end.
async fn play_all(
    bench: &Arc<Bench>,
    scenarios: Vec<Scenario>,
    jobs: u16,
    report: &mut Report,
) -> Result<(), RunError> {
    let jobs = if bench.endpoint.is_some() { 1 } else { jobs };
    let places = Arc::new(Semaphore::new(jobs.into()));
    report::heading()?;
    let mut tasks = tokio::task::JoinSet::new();
    for scenario in scenarios {
        let (bench, places) = (bench.clone(), places.clone());
        tasks.spawn_local(async move {
            let Ok(_place) = places.acquire().await else {
                unreachable!("nobody closes the semaphore")
            };
            let started = Instant::now();
            let outcome = match bench.reason_to_skip(&scenario) {
                Some(reason) => Outcome::Skipped(reason),
                None => match play::play(&bench, &scenario).await {
                    Ok(()) => Outcome::Passed,
                    Err(failure) => {
                        if failure.is_deaf {
                            // Another one that was first is as good.
                            let _ = bench.deaf.set(scenario.name.clone());
                        }
                        Outcome::Failed(failure)
                    }
                },
            };
            let Scenario { name, description, .. } = scenario;
            Played { name, description, outcome, time: started.elapsed() }
        });
    }
    while let Some(played) = tasks.join_next().await {
        match played {
            Ok(played) => report.add(played)?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(())
}

impl Bench {
    fn new(options: &Options) -> Result<Self, RunError> {
        let folder = tempfile::Builder::new()
            .prefix("downlink-bench-")
            .tempdir()
            .map_err(RunError::Folder)?;
        let made = Issuer::make(API_ID, folder.path())?;
        Ok(Self {
            broker: broker::start()?,
            issuer: issuer(&made.lines)?,
            signer: made.signer,
            forger: Signer::from_text(API_ID, Some(KID), &format!("hex:{}", "5a".repeat(32)))?,
            endpoint: options.endpoint.clone(),
            allowed: options.allow.clone(),
            ready_limit: Duration::from_secs(options.ready_within),
            deaf: OnceLock::new(),
            folder,
        })
    }

    /// Whether a command may go to a real vehicle.
    fn allows(&self, command: &Command) -> bool {
        let is_harmless = matches!(command.risk, Risk::Query | Risk::Payload);
        is_harmless || self.allowed.iter().any(|it| it.command_type == command.command_type)
    }

    /// Why a scenario cannot be played with a real vehicle, or must not be.
    fn reason_to_skip(&self, scenario: &Scenario) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        if let Some(first) = self.deaf.get() {
            return Some(format!("no vehicle was heard at {endpoint} ({first})"));
        }
        let denied: BTreeMap<&str, Risk> = scenario
            .published()
            .filter(|command| !self.allows(command))
            .map(|command| (command.command_type, command.risk))
            .collect();
        scenario.needs_simulator().or_else(|| {
            let highest = denied.values().max()?;
            let names: Vec<&str> = denied.keys().copied().collect();
            Some(format!("sends commands of risk {highest}: --allow {}", names.join(",")))
        })
    }
}

/// What stands in keygen's one `[[guard.issuer]]`.
fn issuer(lines: &str) -> Result<toml::Table, RunError> {
    let table: toml::Table =
        lines.parse().map_err(|error: toml::de::Error| RunError::Issuer(error.to_string()))?;
    let issuer = table.get("guard").and_then(|guard| guard.get("issuer")?.get(0)?.as_table());
    issuer.cloned().ok_or_else(|| RunError::Issuer(lines.to_owned()))
}

fn command(name: &str) -> Result<&'static Command, String> {
    catalog::find(name).ok_or_else(|| format!("the catalogue has no command {name:?}"))
}
