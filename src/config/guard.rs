//! `[guard]`: who may speak, and what may be sent.

mod grant;
mod issuer;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::{Link, Mistake, value};
use crate::guard::authentication::Keys;
use crate::guard::policy::Policy;
use crate::guard::{Guard, Mode};
use grant::RawGrant;
use issuer::RawIssuer;
use rule::RawRule;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGuard {
    mode: Option<String>,
    issuer: Vec<RawIssuer>,
    command: Vec<RawRule>,
    grant: RawGrant,
}

impl RawGuard {
    /// Issuer, kid and file of every secret.
    pub(super) fn hmac_key_files(&self) -> impl Iterator<Item = (&str, &str, &Path)> {
        self.issuer.iter().flat_map(RawIssuer::hmac_key_files)
    }

    pub(super) fn check(self, link: &Link) -> Result<Guard, Mistake> {
        let mode = self.mode.map_or(Ok(Mode::Disabled), |name| mode(&name))?;
        let mut issuers = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for issuer in self.issuer {
            let (id, permission, its_keys) = issuer.check()?;
            keys.insert(id.clone(), its_keys);
            if issuers.insert(id.clone(), permission).is_some() {
                return Err(value("guard.issuer", "id", format!("{id:?} stands twice")));
            }
        }
        let keys =
            Keys::new(keys).map_err(|error| value("guard.issuer", "key", error.to_string()))?;
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
        let policy = Policy::new(link.target.component, link.component_by_domain.clone(), rules);
        Ok(Guard::new(mode, issuers, keys, policy, self.grant.check()?))
    }
}

fn mode(name: &str) -> Result<Mode, Mistake> {
    let known = [Mode::Disabled, Mode::Guarded].into_iter().find(|mode| mode.as_str() == name);
    known.ok_or_else(|| {
        let message = format!("{name:?} is not known; it must be \"disabled\" or \"guarded\"");
        value("guard", "mode", message)
    })
}
