//! The journal for people.

use std::fmt::Write as _;

use crate::edge::journal::Report;
use crate::lifecycle::record::Record;
use crate::lifecycle::status::Cause;

pub const HEADING: &str = "ACCEPTED                  STATUS              CODE                    \
                           COMMAND_ID                            ISSUER COMMAND KEY";

pub fn line(record: &Record) -> String {
    format!(
        "{}  {:18}  {:22}  {}  {} {} {:?}",
        record.accepted.wall,
        record.status.as_str(),
        code(record),
        record.command_id,
        record.api_id,
        record.command_type,
        record.idempotency_key
    )
}

pub fn page(record: &Record) -> String {
    let frame = match record.frame_sent() {
        Some(true) => "sent",
        Some(false) => "not sent",
        None => "perhaps sent",
    };
    let target = format!("{}/{}", record.target.system, record.target.component);
    let mut text = String::new();
    for (name, value) in [
        ("command_id", record.command_id.to_string()),
        ("command_type", record.command_type.clone()),
        ("issuer", record.api_id.clone()),
        ("idempotency_key", record.idempotency_key.clone()),
        ("target", target),
        ("params", format!("{:?}", record.content.params)),
        ("accepted_at", record.accepted.wall.to_string()),
        ("updated_at", record.updated.wall.to_string()),
        ("status", record.status.as_str().to_owned()),
        ("code", code(record)),
        ("message", record.message.clone().unwrap_or_default()),
        ("frame", frame.to_owned()),
        ("updates", record.seq.to_string()),
        ("closed", record.closed.to_string()),
    ] {
        let _ = writeln!(text, "{name:16} {value}");
    }
    text
}

pub fn report(report: &Report) -> String {
    let mut text = format!(
        "{} commits; {} commands accepted, {} removed since, {} there ({} archived, {} open); {} \
         updates to publish, {} nonces\n",
        report.commits,
        report.accepted,
        report.removed,
        report.commands,
        report.archived,
        report.open,
        report.outbox,
        report.nonces
    );
    for problem in &report.problems {
        let _ = writeln!(text, "damaged: {problem}");
    }
    if report.problems.is_empty() {
        text += "nothing is missing or damaged\n";
    }
    text
}

fn code(record: &Record) -> String {
    record.cause.map_or_else(|| "-".to_owned(), |cause: Cause| cause.response_code().into_owned())
}
