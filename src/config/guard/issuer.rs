//! `[[guard.issuer]]`: who may speak, by which keys, and what they may send.

use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::catalog;
use crate::config::{Mistake, check_level, secret, value};
use crate::guard::authentication::Key;
use crate::guard::permission::Permission;
use crate::lifecycle::time::Timestamp;
use crate::wire::signature::is_kid;

const SECTION: &str = "guard.issuer";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    id: String,
    #[serde(default)]
    key: Vec<RawKey>,
    /// `"*"`: every command that the policy allows.
    #[serde(default)]
    commands: BTreeSet<String>,
    #[serde(default)]
    domains: BTreeSet<String>,
    target_components: Option<BTreeSet<NonZeroU8>>,
    commands_per_minute: Option<NonZeroU32>,
    #[serde(default)]
    may_grant: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    kid: String,
    hmac_key_file: Option<PathBuf>,
    ed25519_public_key: Option<String>,
    not_after: Option<Timestamp>,
}

impl RawIssuer {
    pub(super) fn hmac_key_files(&self) -> impl Iterator<Item = (&str, &str, &Path)> {
        let keys = self.key.iter();
        keys.filter_map(|key| Some((&*self.id, &*key.kid, key.hmac_key_file.as_deref()?)))
    }

    pub(super) fn check(self) -> Result<(String, Permission, Vec<Key>), Mistake> {
        check_level(SECTION, "id", &self.id)?;
        let id = &self.id;
        if self.commands.is_empty() && self.domains.is_empty() && !self.may_grant {
            let message = format!(
                "issuer {id:?} may do nothing; name commands (\"*\" for all that the policy allows), \
                 domains, or may_grant"
            );
            return Err(value(SECTION, "commands", message));
        }
        let mut permission = Permission {
            domains: self.domains,
            target_components: self
                .target_components
                .map(|components| components.into_iter().map(NonZeroU8::get).collect()),
            commands_per_minute: self.commands_per_minute.map(NonZeroU32::get),
            may_grant: self.may_grant,
            ..Permission::default()
        };
        for name in &self.commands {
            match catalog::find(name) {
                Some(command) => {
                    permission.commands.insert(command.command_type);
                }
                None if name == "*" => permission.all_commands = true,
                None => {
                    let message = format!("{name:?} is not a command of the catalogue");
                    return Err(value(SECTION, "commands", message));
                }
            }
        }
        for domain in &permission.domains {
            if !catalog::is_domain(domain) {
                let message = format!("{domain:?} is not a domain of the catalogue");
                return Err(value(SECTION, "domains", message));
            }
        }
        let keys = self.key.into_iter().map(RawKey::check).collect::<Result<_, _>>()?;
        Ok((self.id, permission, keys))
    }
}

impl RawKey {
    fn check(self) -> Result<Key, Mistake> {
        let kid = &self.kid;
        let mistake = |message| value(SECTION, "key", format!("key {kid:?}: {message}"));
        if !is_kid(kid) {
            return Err(mistake("a kid has 1 to 64 printable ASCII characters".to_owned()));
        }
        let key = match (&self.hmac_key_file, &self.ed25519_public_key) {
            (Some(file), None) => {
                Key::hmac_from_text(kid, &secret(SECTION, "key", file)?, self.not_after)
            }
            (None, Some(public)) => Key::ed25519_from_text(kid, public, self.not_after),
            _ => {
                let message = "needs either hmac_key_file or ed25519_public_key";
                return Err(mistake(message.to_owned()));
            }
        };
        key.map_err(|error| mistake(error.to_string()))
    }
}
