//! `downlinkd check`: whether everything around the agent is as it must be, and what to do if not.
//!
//! Each item is a file: `gather` looks at the machine and is bounded in time, `judge` is pure. Nothing
//! is taken from an agent that runs: its port and journal are told by itself, and the broker is visited
//! with a client id of its own.

mod agent;
mod broker;
mod clock;
mod components;
mod configuration;
mod console;
mod file_system;
mod finding;
mod journal;
mod keys;
mod line;
mod modem_manager;
mod port;
mod program;
mod signing;
mod vehicle;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, json};
use tokio::time::timeout;

use super::{CONFIGURATION, DEFAULT_CONFIG, Output, block_on, manual, print};
use crate::catalog;
use crate::config::{Config, Extra, secrets};
use crate::edge::link::Endpoint;
use crate::edge::link::probe::{Heard, Question};
use crate::guard::autopilot::Autopilot;
use crate::guard::extra_link::ExtraLink;
use crate::wire::mavlink::Body;
use agent::Agent;
use finding::{Finding, Level};

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
        match block_on(surroundings(config, arguments)) {
            Ok(found) => findings.extend(found),
            Err(code) => return code,
        }
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
    let (lines, broker, clock, disk) = tokio::join!(
        lines(config, arguments.ask, &agent),
        broker::gather(config, &agent),
        bounded(clock::gather),
        disk(config, arguments, &agent),
    );
    let mut findings = vec![agent::judge(&config.api.socket, &agent)];
    findings.extend(lines);
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

/// The ports, who else talks on them, and what is behind them.
async fn lines(config: &Config, ask: bool, agent: &Agent) -> Vec<Finding> {
    let agent_runs = matches!(agent, Agent::Runs(_));
    let not_in_use = config.link.extra.iter().filter(|_| !agent_runs);
    let extra: Vec<_> = not_in_use
        .map(|it| extra_line(it.endpoint.clone(), it.link.clone(), config.link.target.system))
        .map(tokio::spawn)
        .collect();
    let mut findings = main_line(config, ask, agent).await;
    for line in extra {
        findings.extend(line.await.expect("looking at a link does not panic"));
    }
    for Extra { endpoint, link, .. } in &config.link.extra {
        let around = line::look_around(endpoint).await;
        findings.extend(around.into_iter().map(|it| it.of_link(&link.name)));
    }
    findings
}

async fn main_line(config: &Config, ask: bool, agent: &Agent) -> Vec<Finding> {
    let endpoint = &config.link.endpoint;
    let around = line::look_around(endpoint).await;
    let (mut findings, heard) = match agent {
        Agent::Runs(status) => {
            let links =
                status.links.iter().map(|it| components::judge_status(it).of_link(&it.name));
            let findings = std::iter::once(vehicle::judge_status(&status.link)).chain(links);
            (findings.collect(), None)
        }
        Agent::Absent | Agent::Unknown(_) => {
            line::listen(endpoint, config.link.target, question(config, ask)).await
        }
    };
    findings.extend(around);
    if let Some(heard) = heard {
        findings.extend(heard_from(config, &heard, ask));
    }
    findings
}

async fn extra_line(endpoint: Endpoint, link: ExtraLink, system: Option<u8>) -> Vec<Finding> {
    let ExtraLink { name, components } = link;
    let target = Autopilot { system, component: components.first().copied().unwrap_or_default() };
    let (mut findings, heard) = line::listen(&endpoint, target, None).await;
    findings.extend(heard.map(|it| components::judge(&endpoint, &it, system, &components)));
    findings.into_iter().map(|it| it.of_link(&name)).collect()
}

fn heard_from(config: &Config, heard: &Heard, ask: bool) -> Vec<Finding> {
    let target = config.link.target;
    let mut findings = vec![vehicle::judge(heard, &config.link.endpoint, target)];
    // Of an autopilot that is not there nothing else can be said.
    if vehicle::target(heard, target).is_some() {
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
        command: command.mavlink_command_id,
        body: Body::Long(content.long()),
    })
}

/// Off the thread that serves the other items; `None` when it takes too long.
async fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = timeout(PATIENCE, tokio::task::spawn_blocking(work)).await.ok()?;
    Some(done.expect("looking at the machine does not panic"))
}
