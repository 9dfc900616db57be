//! `downlinkd query`

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::Deserialize;
use uuid::Uuid;

use super::api::{Agent, segment};
use crate::edge::api::MAX_LISTED;
use crate::edge::api::client::Method;
use crate::lifecycle::request::command_id;
use crate::lifecycle::status::Status;
use crate::wire::status::AgentStatus;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this command, with all that is known of it
    #[arg(value_name = "COMMAND_ID", conflicts_with_all = ["limit", "status", "command_type"])]
    command_id: Option<Uuid>,
    /// Only the command of this key; needs --issuer
    #[arg(
        long,
        value_name = "KEY",
        requires = "issuer",
        conflicts_with_all = ["command_id", "limit", "status", "command_type"]
    )]
    idempotency_key: Option<String>,
    /// Only commands of this issuer
    #[arg(long, value_name = "NAME", conflicts_with = "command_id")]
    issuer: Option<String>,
    /// At most so many, the newest ones, 1 to 500; by default 20
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_LISTED as i64))]
    limit: Option<u16>,
    /// Only commands that stand so
    #[arg(long, value_name = "STATUS", ignore_case = true, value_parser = statuses())]
    status: Option<String>,
    /// Only commands of this type
    #[arg(long, value_name = "TYPE")]
    command_type: Option<String>,
    #[command(flatten)]
    agent: Agent,
}

/// Of the agent's answer, what is shown.
#[derive(Debug, Deserialize)]
struct Shown {
    command_id: Uuid,
    api_id: String,
    idempotency_key: String,
    command_type: String,
    status: String,
    response_code: Option<String>,
    response_message: Option<String>,
    seq: u64,
    terminal: bool,
    accepted_at: String,
    updated_at: String,
    progress: Option<u8>,
    vendor_response: VendorResponse,
}

#[derive(Debug, Deserialize)]
struct VendorResponse {
    mavlink_command: Option<String>,
    transport: String,
    frame_sent: Option<bool>,
    sent_at: Option<String>,
    acked_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Commands {
    commands: Vec<Shown>,
    complete: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let agent = &arguments.agent;
    let id = match (arguments.command_id, &arguments.idempotency_key, &arguments.issuer) {
        (Some(id), ..) => id,
        (None, Some(key), Some(issuer)) => {
            let status = agent.call(Method::GET, "status", None);
            match agent.read::<AgentStatus>(status) {
                Ok((status, _)) => command_id(&status.device_id, issuer, key),
                Err(code) => return code,
            }
        }
        _ => {
            let commands =
                agent.call(Method::GET, &format!("commands?{}", selection(arguments)), None);
            return agent.show(commands, |commands: Commands| table(&commands));
        }
    };
    let command = agent.call(Method::GET, &format!("commands/{id}"), None);
    agent.show(command, |command: Shown| page(&command))
}

/// As the query of a URL.
fn selection(arguments: &Arguments) -> String {
    let Arguments { issuer, limit, status, command_type, .. } = arguments;
    let limit = limit.map(|limit| limit.to_string());
    let status = &status.as_ref().map(|status| status.to_uppercase());
    [("limit", &limit), ("status", status), ("api_id", issuer), ("command_type", command_type)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))))
        .collect::<Vec<_>>()
        .join("&")
}

fn statuses() -> PossibleValuesParser {
    PossibleValuesParser::new(Status::ALL.map(Status::as_str))
}

/// One line per command, the newest first.
fn table(found: &Commands) -> String {
    let heading = ["ACCEPTED", "STATUS", "CODE", "COMMAND_ID", "ISSUER", "COMMAND", "KEY"];
    let mut table = match found.commands.is_empty() {
        true => "no such command\n".to_owned(),
        false => line(heading),
    };
    for command in &found.commands {
        table += &line([
            &command.accepted_at,
            &command.status,
            command.response_code.as_deref().unwrap_or("-"),
            &command.command_id.to_string(),
            &command.api_id,
            &command.command_type,
            &format!("{:?}", command.idempotency_key),
        ]);
    }
    if !found.complete {
        table += "older commands were not looked at; --limit shows more\n";
    }
    table
}

fn line([accepted, status, code, id, issuer, command, key]: [&str; 7]) -> String {
    format!("{accepted:24}  {status:18}  {code:27}  {id:36}  {issuer} {command} {key}\n")
}

/// One line for each thing that is known.
fn page(command: &Shown) -> String {
    let vendor = &command.vendor_response;
    let frame = match vendor.frame_sent {
        Some(true) => "sent",
        Some(false) => "not sent",
        None => "perhaps sent",
    };
    let frame = format!(
        "{frame}, {} as {}",
        vendor.mavlink_command.as_deref().unwrap_or("unknown"),
        vendor.transport
    );
    let code = command.response_code.as_deref().unwrap_or("-");
    let number = if command.terminal { "the last" } else { "more may come" };
    let mut page = String::new();
    for (name, value) in [
        ("command_id", Some(command.command_id.to_string())),
        ("command_type", Some(command.command_type.clone())),
        ("issuer", Some(command.api_id.clone())),
        ("idempotency_key", Some(command.idempotency_key.clone())),
        ("status", Some(command.status.clone())),
        ("code", Some(code.to_owned())),
        ("message", command.response_message.clone()),
        ("progress", command.progress.map(|percent| format!("{percent} %"))),
        ("frame", Some(frame)),
        ("accepted_at", Some(command.accepted_at.clone())),
        ("sent_at", vendor.sent_at.clone()),
        ("acked_at", vendor.acked_at.clone()),
        ("updated_at", Some(command.updated_at.clone())),
        ("update", Some(format!("{}, {number}", command.seq))),
    ] {
        if let Some(value) = value {
            let _ = writeln!(page, "{name:<16} {value}");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::record::Record;
    use crate::wire::outbound;

    #[test]
    fn what_the_agent_tells_is_shown() {
        let record = Record { idempotency_key: "a \n b".to_owned(), ..Record::example() };
        let answer = outbound::commands("px4-real-1", std::slice::from_ref(&record), false);
        let commands = serde_json::from_slice(&answer).unwrap();
        let id = record.command_id;
        assert_eq!(
            table(&commands),
            format!(
                "\
ACCEPTED                  STATUS              CODE                         COMMAND_ID                            ISSUER COMMAND KEY
2026-06-15T00:00:00.000Z  ACCEPTED            -                            {id}  cloud nav_roi \"a \\n b\"
older commands were not looked at; --limit shows more
"
            )
        );
        let none = Commands { commands: Vec::new(), complete: true };
        assert_eq!(table(&none), "no such command\n");

        let answer = outbound::command("px4-real-1", &Record::example());
        assert_eq!(
            page(&serde_json::from_slice(&answer).unwrap()),
            format!(
                "\
command_id       {id}
command_type     nav_roi
issuer           cloud
idempotency_key  a
status           ACCEPTED
code             -
frame            not sent, MAV_CMD_NAV_ROI as COMMAND_INT
accepted_at      2026-06-15T00:00:00.000Z
updated_at       2026-06-15T00:00:00.000Z
update           1, more may come
"
            )
        );
    }
}
