//! `downlinkd grant`

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgGroup;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::Agent;
use crate::edge::api::client::Method;
use crate::guard::grants::GrantId;
use crate::wire::grant::{Grant, GrantOpener, GrantScope};

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("scope").multiple(true).conflicts_with("approve"))]
#[command(group = ArgGroup::new("what").multiple(true).required(true))]
pub struct Arguments {
    /// Commands of this risk and of lower ones: flight or critical
    #[arg(long, groups = ["scope", "what"])]
    risk: Option<String>,
    /// Commands of this domain of the catalogue, whatever their risk
    #[arg(long, groups = ["scope", "what"])]
    domain: Vec<String>,
    /// This command_type; can be given several times
    #[arg(long, groups = ["scope", "what"])]
    command: Vec<String>,
    /// How long, such as 10min
    #[arg(long = "for", value_name = "TIME", value_parser = whole_seconds, requires = "scope")]
    #[arg(required_unless_present = "approve")]
    duration: Option<Duration>,
    /// For how many commands
    #[arg(long, default_value_t = 1, requires = "scope")]
    count: u32,
    /// Only for commands of this issuer
    #[arg(long, requires = "scope")]
    issuer: Option<String>,
    /// Why; everybody who sees the presence can read it
    #[arg(long, requires = "scope")]
    reason: Option<String>,
    /// Approve the grant that another person has asked for
    #[arg(long, value_name = "ID", group = "what")]
    approve: Option<GrantId>,
    #[command(flatten)]
    agent: Agent,
}

#[derive(Deserialize)]
struct Granted {
    grant: Grant,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let agent = &arguments.agent;
    let granted = match &arguments.approve {
        Some(id) => agent.call(Method::POST, &format!("grants/{id}/approve"), None),
        None => agent.call(Method::POST, "grants", Some(&request(arguments))),
    };
    agent.show(granted, |Granted { grant }| {
        let mut text = format!("{}\n", describe(&grant));
        if grant.state == "pending" {
            text.push_str(&format!(
                "another person must approve it: downlinkd grant --approve {}\n",
                grant.grant_id
            ));
        }
        text
    })
}

fn request(arguments: &Arguments) -> Value {
    let risk = arguments.risk.iter().map(|risk| json!({ "risk": risk }));
    let domains = arguments.domain.iter().map(|domain| json!({ "domain": domain }));
    let commands = arguments.command.iter().map(|command| json!({ "command": command }));
    let mut request = json!({
        "scope": risk.chain(domains).chain(commands).collect::<Vec<_>>(),
        "duration_seconds": arguments.duration.unwrap_or_default().as_secs(),
        "count": arguments.count,
    });
    for (key, text) in [("issuer", &arguments.issuer), ("reason", &arguments.reason)] {
        if let Some(text) = text {
            request[key] = text.as_str().into();
        }
    }
    request
}

/// `7f3a9c21-1 open: risk flight; 5 commands, 9m 12s left; by operator 1000`
pub(super) fn describe(grant: &Grant) -> String {
    let scope: Vec<String> = grant
        .scope
        .iter()
        .map(|scope| match scope {
            GrantScope::Risk(risk) => format!("risk {risk}"),
            GrantScope::Domain(domain) => format!("domain {domain}"),
            GrantScope::Command(command) => command.clone(),
        })
        .collect();
    let issuer = grant.issuer.as_ref().map(|it| format!(" of {it}")).unwrap_or_default();
    let approved =
        grant.approved_by.as_ref().map(|it| format!(" and {}", person(it))).unwrap_or_default();
    let reason = grant.reason.as_ref().map(|it| format!("; {it}")).unwrap_or_default();
    format!(
        "{} {}: {}; {} commands{issuer}, {} left; by {}{approved}{reason}",
        grant.grant_id,
        grant.state,
        scope.join(", "),
        grant.count_left,
        humantime::format_duration(Duration::from_secs(grant.seconds_left)),
        person(&grant.opened_by),
    )
}

fn person(opener: &GrantOpener) -> String {
    match opener {
        GrantOpener::Operator { uid } => format!("operator {uid}"),
        GrantOpener::Issuer(api_id) => format!("issuer {api_id}"),
    }
}

fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration.subsec_nanos() != 0 {
        return Err("it must be whole seconds, such as 90s or 10min".to_owned());
    }
    Ok(duration)
}
