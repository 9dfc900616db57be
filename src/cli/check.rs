//! `downlinkd check`: whether everything around the agent is as it must be, and what to do if not.
//!
//! Each item is a file: `gather` looks at the machine and is bounded in time, `judge` is pure. Nothing
//! is taken from an agent that runs: its port and journal are told by itself, and the broker is visited
//! with a client id of its own.

mod agent;
mod broker;
mod clock;
mod configuration;
mod console;
mod file_system;
mod finding;
mod journal;
mod keys;
mod modem_manager;
mod port;
mod program;
mod signing;
mod vehicle;
mod version;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, json};
use tokio::time::timeout;

use super::{CONFIGURATION, DEFAULT_CONFIG, Output, manual, print};
use crate::catalog;
use crate::config::{Config, secrets};
use crate::edge::link::Endpoint;
use crate::edge::link::probe::{self, Heard, Question};
use crate::wire::mavlink::{Body, CommandFrame};
use agent::Agent;
use finding::{Finding, Level};

/// Three heartbeats.
const LISTEN: Duration = Duration::from_secs(3);
/// For the machine itself; what takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(5);
/// AUTOPILOT_VERSION
const VERSION_MESSAGE: u32 = 148;

pub const EXIT_STATUS: &[(u8, &str)] =
    &[(0, "no failure; there may be warnings"), (1, "at least one failure")];

#[derive(Debug, clap::Args)]
#[command(after_help = manual::help("check"))]
pub struct Arguments {
    /// The agent's configuration; conf.d/*.toml beside it are read too
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Ask the autopilot for its version: the one thing that is ever written to it
    #[arg(long)]
    ask: bool,
    /// For people or for machines
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let loaded = Config::load(&arguments.config);
    let mut findings = vec![configuration::judge(&arguments.config, &loaded)];
    // Everything else depends on it.
    if let Ok(config) = &loaded {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("downlinkd: failed to start the runtime: {error}");
                return ExitCode::FAILURE;
            }
        };
        findings.extend(runtime.block_on(surroundings(config, arguments)));
        // What still blocks elsewhere is not waited for.
        runtime.shutdown_background();
    }
    let text = match arguments.output {
        Output::Text => finding::text(&findings),
        Output::Json => finding::json(&findings),
    };
    let printed = print(text.as_bytes());
    let has_failed = findings.iter().any(|finding| finding.level == Level::Failure);
    match (&loaded, has_failed) {
        (Err(_), _) => ExitCode::from(CONFIGURATION),
        (Ok(_), true) => ExitCode::FAILURE,
        (Ok(_), false) => printed,
    }
}

/// All but the configuration itself, the slow ones at the same time.
async fn surroundings(config: &Config, arguments: &Arguments) -> Vec<Finding> {
    let socket = config.api.socket.clone();
    let agent = bounded(move || agent::gather(&socket)).await;
    let agent = agent.unwrap_or_else(|| Agent::Unknown("the agent does not answer".to_owned()));
    let (line, broker, clock, disk) = tokio::join!(
        line(config, arguments.ask, &agent),
        broker::gather(config, &agent),
        bounded(clock::gather),
        disk(config, arguments, &agent),
    );
    let mut findings = vec![agent::judge(&config.api.socket, &agent)];
    findings.extend(line);
    findings.push(broker::judge(&broker));
    findings.extend(broker::judge_presence(&broker));
    findings.push(clock::judge(clock));
    findings.extend(disk);
    findings
}

/// The journal, what it lies on, and the secrets.
async fn disk(config: &Config, arguments: &Arguments, agent: &Agent) -> Vec<Finding> {
    let agent_runs = matches!(agent, Agent::Runs(_));
    let (dir, path) = (config.journal.dir.clone(), arguments.config.clone());
    let looked = bounded(move || {
        let secrets = secrets::secret_files(&path).unwrap_or_default();
        vec![
            journal::judge(&journal::gather(&dir, agent_runs)),
            file_system::judge(file_system::gather(&dir).as_ref()),
            keys::judge(&keys::gather(secrets)),
        ]
    });
    looked.await.unwrap_or_else(|| {
        let found = format!("{} does not answer", config.journal.dir.display());
        vec![Finding::failure("disk", found, "is a disk broken, or a network file system away?")]
    })
}

/// The port, who else talks on it, and what is behind it.
async fn line(config: &Config, ask: bool, agent: &Agent) -> Vec<Finding> {
    let endpoint = &config.link.endpoint;
    let path = match endpoint {
        Endpoint::Serial { path, .. } => Some(PathBuf::from(path)),
        Endpoint::UdpIn { .. } | Endpoint::TcpOut { .. } => None,
    };
    let mut findings = Vec::new();
    if let Some(path) = path.clone().filter(|path| path.exists()) {
        findings.extend(bounded(move || others_on(&path)).await.unwrap_or_default());
    }
    if let Agent::Runs(status) = agent {
        findings.insert(0, vehicle::judge_status(&status.link));
        return findings;
    }
    let mut port = match path {
        Some(path) => bounded(move || port::gather(&path)).await,
        None => None,
    };
    let mut heard = Err(String::new());
    if port.as_ref().is_none_or(port::Facts::is_promising) {
        heard = probe::listen(endpoint, config.link.target, LISTEN, question(config, ask)).await;
    }
    match (&mut port, &heard) {
        (Some(port), Err(trouble)) if !trouble.is_empty() => port.trouble = Some(trouble.clone()),
        // Without a port of its own to blame.
        (None, Err(trouble)) => findings.push(Finding::failure(
            "link",
            trouble.clone(),
            "look at [link] endpoint, and who else uses it",
        )),
        _ => {}
    }
    if let Some(port) = &port {
        findings.insert(0, port::judge(port));
    }
    if let Ok(heard) = heard {
        findings.extend(heard_from(config, &heard, ask));
    }
    findings
}

fn others_on(path: &Path) -> Vec<Finding> {
    let modem_manager = modem_manager::gather(path).map(modem_manager::judge);
    std::iter::once(console::judge(&console::gather(path))).chain(modem_manager).collect()
}

fn heard_from(config: &Config, heard: &Heard, ask: bool) -> Vec<Finding> {
    let target = config.link.target;
    let mut findings = vec![vehicle::judge(heard, &config.link.endpoint, target)];
    // Of an autopilot that is not there nothing else can be said.
    if heard.heartbeats.iter().any(|it| it.source == target) {
        findings.push(version::judge(heard.version, question(config, ask).is_some()));
        findings.push(signing::judge(heard.signed_frames, config.link.signing.is_some()));
    }
    findings
}

/// MAV_CMD_REQUEST_MESSAGE for AUTOPILOT_VERSION.
fn question(config: &Config, ask: bool) -> Option<Question> {
    // With a key the autopilot obeys signed commands only, and signing needs the agent's leases.
    if !ask || config.link.signing.is_some() {
        return None;
    }
    let command = catalog::find("request_message")?;
    let payload = Map::from_iter([("message_id".to_owned(), json!(VERSION_MESSAGE))]);
    let content = command.encode(&payload, None).ok()?;
    Some(Question {
        source: config.link.source,
        frame: CommandFrame {
            target: config.link.target,
            command: command.mavlink_command_id,
            confirmation: 0,
            body: Body::Long(content.long()),
        },
    })
}

/// Off the thread that serves the other items; `None` when it takes too long.
async fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = timeout(PATIENCE, tokio::task::spawn_blocking(work)).await.ok()?;
    Some(done.expect("looking at the machine does not panic"))
}
