//! `downlinkd catalog`: one line per command.

use std::fmt::Write as _;

use crate::catalog::{Command, Status};

const COLUMNS: usize = 6;

/// The table, at most 100 columns wide.
pub fn text(commands: &[&Command]) -> String {
    let header = ["command_type", "id", "transport", "domain", "risk", "notes"].map(str::to_owned);
    let rows: Vec<[String; COLUMNS]> =
        std::iter::once(header).chain(commands.iter().map(|command| row(command))).collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].len()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                // Numbers stand under each other.
                1 => write!(line, "{cell:>width$} "),
                _ => write!(line, "{cell:<width$} "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(command: &Command) -> [String; COLUMNS] {
    let status = (command.status != Status::Current).then(|| command.status.as_str());
    let advice = (!command.advice.is_empty()).then_some("advice");
    let notes: Vec<&str> = status.into_iter().chain(advice).collect();
    [
        command.command_type.to_owned(),
        command.mavlink_command_id.to_string(),
        command.transport.to_string(),
        command.domain.to_owned(),
        command.risk.to_string(),
        notes.join(", "),
    ]
}
