//! `downlinkd revoke`

use std::process::ExitCode;

use serde::Deserialize;

use super::api::Agent;
use crate::edge::api::client::Method;
use crate::guard::grants::GrantId;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The grant, as `downlinkd status` shows it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<GrantId>,
    /// Every grant, open or pending
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    agent: Agent,
}

#[derive(Deserialize)]
struct Revoked {
    revoked: Vec<String>,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let path = match &arguments.id {
        Some(id) => format!("grants/{id}"),
        None => "grants".to_owned(),
    };
    let revoked = arguments.agent.call(Method::DELETE, &path, None);
    arguments.agent.show(revoked, |Revoked { revoked }| match revoked.as_slice() {
        [] => "there was no grant\n".to_owned(),
        ids => format!("revoked {}\n", ids.join(", ")),
    })
}
