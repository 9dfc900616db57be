//! `[guard.grant]`: what a grant may be.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::catalog::{self, Risk};
use crate::config::seconds::Seconds;
use crate::config::{Mistake, value};
use crate::guard::grants::{Limits, TwoPerson};

const SECTION: &str = "guard.grant";
/// Commands of one grant.
const MAX_COUNT: u32 = 1000;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGrant {
    required_for: Option<Vec<String>>,
    max_duration: Seconds<1, 86_400>,
    max_count: u32,
    /// Risks and command types.
    two_person: Vec<String>,
}

impl Default for RawGrant {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            required_for: None,
            max_duration: Seconds(limits.max_duration.as_secs()),
            max_count: limits.max_count,
            two_person: Vec::new(),
        }
    }
}

impl RawGrant {
    pub(super) fn check(self) -> Result<Limits, Mistake> {
        if !(1..=MAX_COUNT).contains(&self.max_count) {
            let message =
                format!("{} is out of range; it must be 1 to {MAX_COUNT}", self.max_count);
            return Err(value(SECTION, "max_count", message));
        }
        let mut two_person = TwoPerson::default();
        for name in &self.two_person {
            if let Some(risk) = risk(name) {
                two_person.risks.insert(risk);
            } else if let Some(command) = catalog::find(name) {
                two_person.commands.insert(command.command_type);
            } else {
                let message = format!(
                    "{name:?} is neither a risk ({}) nor a command of the catalogue",
                    risks().join(", ")
                );
                return Err(value(SECTION, "two_person", message));
            }
        }
        let limits = Limits::default();
        Ok(Limits {
            max_duration: self.max_duration.duration(),
            max_count: self.max_count,
            required_for: self
                .required_for
                .map_or(Ok(limits.required_for), |names| required_for(&names))?,
            two_person,
        })
    }
}

fn required_for(names: &[String]) -> Result<BTreeSet<Risk>, Mistake> {
    let known = |name: &String| {
        risk(name).ok_or_else(|| {
            let message = format!("{name:?} is no risk; it must be of {}", risks().join(", "));
            value(SECTION, "required_for", message)
        })
    };
    names.iter().map(known).collect()
}

fn risk(name: &str) -> Option<Risk> {
    Risk::ALL.into_iter().find(|risk| risk.as_str() == name)
}

fn risks() -> [&'static str; 4] {
    Risk::ALL.map(Risk::as_str)
}
