//! `[guard]`: who may speak, and what may be sent.

mod rule;

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Link, Mistake, check_level, value};
use crate::guard::policy::Policy;
use crate::guard::{Guard, Mode};
use rule::RawRule;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGuard {
    mode: RawMode,
    issuer: Vec<RawIssuer>,
    command: Vec<RawRule>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawMode {
    #[default]
    Disabled,
    Guarded,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    id: String,
}

impl RawGuard {
    pub(super) fn check(self, link: &Link) -> Result<Guard, Mistake> {
        let mode = match self.mode {
            RawMode::Disabled => Mode::Disabled,
            RawMode::Guarded => Mode::Guarded,
        };
        let mut issuers = BTreeSet::new();
        for issuer in self.issuer {
            check_level("guard.issuer", "id", &issuer.id)?;
            if !issuers.insert(issuer.id.clone()) {
                return Err(value("guard.issuer", "id", format!("{:?} stands twice", issuer.id)));
            }
        }
        if mode == Mode::Guarded && issuers.is_empty() {
            let message = "guarded mode needs at least one [[guard.issuer]]".to_owned();
            return Err(value("guard", "mode", message));
        }
        let mut named = BTreeSet::new();
        let mut rules = Vec::new();
        for rule in self.command {
            let (command_type, rule) = rule.check()?;
            if !named.insert(command_type) {
                let message = format!("{command_type:?} stands twice");
                return Err(value("guard.command", "type", message));
            }
            rules.push((command_type, rule));
        }
        let policy = Policy::new(link.target, link.component_by_domain.clone(), rules);
        Ok(Guard::new(mode, issuers, policy))
    }
}
