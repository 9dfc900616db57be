//! `downlinkd catalog`: what the vehicle can be told, for people and for machines.

mod json;
mod page;
mod request;
mod schema;
pub(super) mod suggest;
mod table;

use std::process::ExitCode;

use super::{USAGE, print};
use crate::catalog::{self, Command, Risk};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show one command, such as nav_roi, with its fields and an example
    #[arg(conflicts_with_all = ["domain", "risk", "search"])]
    command: Option<String>,
    /// Only commands of this domain, such as camera-media
    #[arg(long)]
    domain: Option<String>,
    /// Only commands of this risk
    #[arg(long, value_parser = ["query", "payload", "flight", "critical"])]
    risk: Option<String>,
    /// Only commands that say this text in name, number, description, fields or advice
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// For machines: the commands as a JSON array
    #[arg(long)]
    json: bool,
    /// The JSON Schema (2020-12) of requests
    #[arg(long, conflicts_with = "json")]
    schema: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    match text(arguments) {
        Ok(text) => print(text.as_bytes()),
        Err(message) => {
            eprintln!("downlinkd: {message}");
            ExitCode::from(USAGE)
        }
    }
}

/// All that is printed, or how the arguments are wrong.
fn text(arguments: &Arguments) -> Result<String, String> {
    let Some(name) = &arguments.command else {
        let commands = selected(arguments)?;
        return Ok(match (arguments.json, arguments.schema) {
            (true, _) => json::text(&commands),
            (_, true) => schema::of_any(&commands),
            _ => table::text(&commands),
        });
    };
    let command = catalog::find(name).ok_or_else(|| suggest::unknown_command(name))?;
    Ok(match (arguments.json, arguments.schema) {
        (true, _) => json::text(&[command]),
        (_, true) => schema::of_one(command),
        _ => page::text(command),
    })
}

fn selected(arguments: &Arguments) -> Result<Vec<&'static Command>, String> {
    if let Some(domain) = &arguments.domain
        && !catalog::is_domain(domain)
    {
        return Err(suggest::unknown_domain(domain));
    }
    let domain =
        |command: &Command| arguments.domain.as_ref().is_none_or(|it| command.domain == it);
    let risk = |risk: Risk| arguments.risk.as_ref().is_none_or(|it| risk.as_str() == it);
    let search = arguments.search.as_ref().map(|text| text.to_lowercase());
    let text = |command: &Command| search.as_ref().is_none_or(|text| says(command, text));
    Ok(catalog::all()
        .iter()
        .filter(|command| domain(command) && risk(command.risk) && text(command))
        .collect())
}

/// `text` is in lower case.
fn says(command: &Command, text: &str) -> bool {
    let about = [command.command_type, command.mavlink_command, command.description];
    let fields = command.fields.iter().flat_map(|field| [field.name, field.description]);
    command.mavlink_command_id.to_string() == text
        || about
            .into_iter()
            .chain(fields)
            .chain(command.advice.iter().copied())
            .any(|said| said.to_lowercase().contains(text))
}
