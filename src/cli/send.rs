//! `downlinkd send`: what a cloud client does, from a shell.

mod assignment;
mod ending;
mod exchange;
mod follow;
mod render;
mod request;
mod screen;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::catalog::suggest;
use super::{CONFIGURATION, DEFAULT_CONFIG, Output, USAGE, block_on, manual, values};
use crate::catalog::{self, Command};
use crate::config;
use crate::config::publisher::{Given, Publisher};
use crate::edge::mqtt;
use crate::guard::authentication::signer::Signer;
use crate::wire::inbound::MAX_TIMEOUT_SECONDS;
use crate::wire::topic::Topics;
pub use ending::Ending;
use exchange::Plan;
use request::{Request, Wish};
use screen::Screen;

#[derive(Debug, clap::Args)]
#[command(after_help = manual::help("send"))]
pub struct Arguments {
    /// The command_type, such as do_digicam_control; `downlinkd catalog` lists them
    #[arg(value_parser = command)]
    command: &'static Command,
    /// The payload: a number, null (unset), or an entry's name; `downlinkd catalog COMMAND` shows the
    /// fields
    #[arg(value_name = "FIELD=VALUE", value_parser = assignment::read)]
    payload: Vec<(String, Value)>,
    /// Follow the command to its end; this is the default
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// End when the vehicle has taken the command, or refused it
    #[arg(long)]
    no_wait: bool,
    /// Who publishes, as the vehicle's [[guard.issuer]] names it
    #[arg(long, value_name = "NAME", value_parser = values::level)]
    issuer: String,
    /// The issuer's secret, HMAC or Ed25519, as `downlinkd keygen` wrote it
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Which of the issuer's keys it is; without it the vehicle tries all
    #[arg(long, value_parser = values::kid)]
    kid: Option<String>,
    /// How long the vehicle may take, from 0 to 300 s; 0: nobody waits for its answer. Without it, as
    /// the vehicle is configured, at most 60 s
    #[arg(long, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_TIMEOUT_SECONDS)))]
    timeout: Option<u32>,
    /// Names the command for ever: with the same key it is sent once, however often it is asked for.
    /// Without it, a new one
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The MAVLink component to address, if not the configured one
    #[arg(long, value_name = "ID")]
    target_component: Option<u8>,
    /// The MAV_FRAME of a location, such as MAV_FRAME_GLOBAL_RELATIVE_ALT
    #[arg(long)]
    frame: Option<String>,
    /// The agent's configuration, for broker, prefix and device; by default it is read if it can be
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker, mqtts://HOST[:PORT] or mqtt://HOST[:PORT]
    #[arg(long)]
    url: Option<String>,
    /// The vehicle, as its topics name it
    #[arg(long, value_name = "ID", value_parser = values::level)]
    device: Option<String>,
    /// What the topics begin with
    #[arg(long, value_parser = values::prefix)]
    prefix: Option<String>,
    /// At the broker
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Holds the password for the broker
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// PEM: the authorities of the broker's certificate
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// PEM: our own certificate, for a broker that asks for one
    #[arg(long, value_name = "FILE", requires = "cert_key_file")]
    cert_file: Option<PathBuf>,
    /// PEM: the private key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    cert_key_file: Option<PathBuf>,
    /// For people, or the vehicle's own JSON as it comes, one object a line
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Why nothing was sent.
enum Mistake {
    Usage(Vec<String>),
    Configuration(String),
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(Mistake::Usage(messages)) => {
            for message in messages {
                eprintln!("downlinkd: {message}");
            }
            return ExitCode::from(USAGE);
        }
        Err(Mistake::Configuration(message)) => {
            eprintln!("downlinkd: {message}");
            return ExitCode::from(CONFIGURATION);
        }
    };
    let mut screen = Screen::new(arguments.output);
    match block_on(exchange::run(plan, &mut screen)) {
        Ok(ending) => ExitCode::from(ending.code()),
        Err(code) => code,
    }
}

fn plan(arguments: &Arguments) -> Result<Plan, Mistake> {
    let Publisher { device_id, mqtt } = publisher(arguments)?;
    let signer = signer(arguments).map_err(Mistake::Configuration)?;
    let key = arguments.idempotency_key.clone();
    let key = key.unwrap_or_else(|| Uuid::new_v4().to_string());
    let wish = Wish {
        device_id: &device_id,
        api_id: &arguments.issuer,
        command: arguments.command,
        payload: &arguments.payload,
        idempotency_key: &key,
        timeout: arguments.timeout,
        frame: arguments.frame.as_deref(),
        target_component: arguments.target_component,
    };
    let request = request::build(&wish).map_err(Mistake::Usage)?;
    let Request { command_id, .. } = &request;
    eprintln!(
        "{} to {device_id}, command_id {command_id}, idempotency key {key}",
        arguments.command.command_type
    );
    Ok(Plan {
        topics: Topics::new(&mqtt.prefix, &device_id),
        options: mqtt::Options {
            client_id: format!("downlinkd-send-{}", Uuid::new_v4().simple()),
            ..mqtt.options()
        },
        api_id: arguments.issuer.clone(),
        signer,
        request,
        timeout: arguments.timeout,
        to_the_end: !arguments.no_wait,
    })
}

fn publisher(arguments: &Arguments) -> Result<Publisher, Mistake> {
    check_url(arguments).map_err(|message| Mistake::Usage(vec![message]))?;
    let given = Given {
        device_id: arguments.device.clone(),
        url: arguments.url.clone(),
        prefix: arguments.prefix.clone(),
        username: arguments.username.clone(),
        password_file: arguments.password_file.clone(),
        ca_file: arguments.ca_file.clone(),
        cert_file: arguments.cert_file.clone(),
        cert_key_file: arguments.cert_key_file.clone(),
    };
    let path = match &arguments.config {
        Some(path) => Some(path.as_path()),
        // A publisher need not be able to read the agent's configuration.
        None => Some(Path::new(DEFAULT_CONFIG)).filter(|path| std::fs::File::open(path).is_ok()),
    };
    if path.is_none() && (given.device_id.is_none() || given.url.is_none()) {
        let message = format!("--device and --url are needed: {DEFAULT_CONFIG} cannot be read");
        return Err(Mistake::Usage(vec![message]));
    }
    Publisher::load(path, given).map_err(|error| Mistake::Configuration(error.to_string()))
}

/// Not by clap, which would show a password that stands in the URL.
fn check_url(arguments: &Arguments) -> Result<(), String> {
    let Some(url) = &arguments.url else { return Ok(()) };
    let broker = config::broker(url).map_err(|message| format!("--url: {message}"))?;
    let of_tls = [
        ("--ca-file", &arguments.ca_file),
        ("--cert-file", &arguments.cert_file),
        ("--cert-key-file", &arguments.cert_key_file),
    ];
    match of_tls.into_iter().find(|(_, file)| file.is_some()) {
        Some((option, _)) if !broker.tls => {
            Err(format!("{option} has no use, since --url is not mqtts://"))
        }
        _ => Ok(()),
    }
}

fn signer(arguments: &Arguments) -> Result<Signer, String> {
    let file = &arguments.key_file;
    let text = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| format!("failed to read {}: {error}", file.display()))?;
    Signer::from_text(&arguments.issuer, arguments.kid.as_deref(), &text)
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn command(name: &str) -> Result<&'static Command, String> {
    catalog::find(name).ok_or_else(|| suggest::unknown_command(name))
}
