//! What somebody may have meant.

use std::collections::BTreeSet;

use crate::catalog;

const MAX_SUGGESTIONS: usize = 5;
/// Of strsim's similarity, from 0 to 1.
const NEAR: f64 = 0.75;

/// The message for a command that the catalogue does not have.
pub fn unknown_command(name: &str) -> String {
    let names = catalog::all().iter().map(|command| command.command_type);
    let wanted = name.to_lowercase();
    let wanted = wanted.strip_prefix("mav_cmd_").unwrap_or(&wanted);
    let by_number = wanted.parse().ok().and_then(catalog::find_by_id);
    let near = match by_number {
        Some(command) => vec![command.command_type],
        None => near(wanted, names),
    };
    let hint = match near.is_empty() {
        true => "downlinkd catalog lists all".to_owned(),
        false => format!("did you mean {}?", near.join(", ")),
    };
    format!("unknown command {name:?}; {hint}")
}

/// The message for a domain that no command has.
pub fn unknown_domain(name: &str) -> String {
    let domains: BTreeSet<&str> = catalog::all().iter().map(|command| command.domain).collect();
    let domains: Vec<&str> = domains.into_iter().collect();
    format!("unknown domain {name:?}; the domains are {}", domains.join(", "))
}

/// The nearest first; a name that holds what is wanted is near.
fn near(wanted: &str, names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let similarity = |name: &str| {
        let whole = strsim::normalized_damerau_levenshtein(wanted, name);
        let part = wanted.len() > 2 && name.contains(wanted);
        if part { 1.0 + whole } else { whole.max(strsim::jaro(wanted, name) - 0.1) }
    };
    let mut near: Vec<(f64, &str)> =
        names.map(|name| (similarity(name), name)).filter(|(it, _)| *it >= NEAR).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name).collect()
}
