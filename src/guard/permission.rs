//! What an issuer may do: nothing that its entry does not name.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Refusal;
use super::rate::Rates;
use crate::catalog::Command;
use crate::code::Code;

/// One issuer's permissions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Permission {
    /// Every command that the policy allows.
    pub all_commands: bool,
    pub commands: BTreeSet<&'static str>,
    /// All commands of these domains of the catalogue.
    pub domains: BTreeSet<String>,
    /// Components that it may address; `None`: those that the policy allows.
    pub target_components: Option<BTreeSet<u8>>,
    /// It may open, approve and revoke grants.
    pub may_grant: bool,
    /// New commands in a minute; `None`: as many as come.
    pub commands_per_minute: Option<u32>,
}

impl Permission {
    /// Takes one command of the issuer's rate. `now`: the boot clock.
    ///
    /// # Errors
    /// `policy.rate_limited`.
    pub fn take(&self, api_id: &str, rates: &mut Rates, now: Duration) -> Result<(), Refusal> {
        if rates.take(api_id, self.commands_per_minute, now) {
            return Ok(());
        }
        let message = format!("issuer {api_id} has used up its rate");
        Err(Refusal::new(Code::PolicyRateLimited, message))
    }

    /// # Errors
    /// `auth.not_permitted`, naming the command or the target.
    pub fn check(&self, api_id: &str, command: &Command, component: u8) -> Result<(), Refusal> {
        let name = command.command_type;
        let named = self.all_commands
            || self.commands.contains(name)
            || self.domains.contains(command.domain);
        if !named {
            return Err(Refusal::new(
                Code::AuthNotPermitted,
                format!("issuer {api_id} may not send {name}, nor commands of {}", command.domain),
            ));
        }
        match &self.target_components {
            Some(components) if !components.contains(&component) => Err(Refusal::new(
                Code::AuthNotPermitted,
                format!("issuer {api_id} may not address component {component}"),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn nothing_is_permitted_that_is_not_named() {
        let stop = catalog::find("image_stop_capture").unwrap();
        let roi = catalog::find("nav_roi").unwrap();
        let (camera, autopilot) = (100, 1);
        let nothing = Permission::default();
        let all = Permission { all_commands: true, ..Permission::default() };
        let one = Permission { commands: ["nav_roi"].into(), ..Permission::default() };
        let domain =
            Permission { domains: [stop.domain.to_owned()].into(), ..Permission::default() };
        let cameras = Permission { target_components: Some([100].into()), ..all.clone() };
        for (permission, command, component, permitted) in [
            (&nothing, stop, camera, false),
            (&all, stop, camera, true),
            (&one, stop, camera, false),
            (&one, roi, autopilot, true),
            (&domain, stop, camera, true),
            (&domain, roi, autopilot, false),
            (&cameras, stop, camera, true),
            (&cameras, stop, autopilot, false),
        ] {
            let outcome = permission.check("cloud", command, component);
            assert_eq!(outcome.is_ok(), permitted, "{permission:?} {}", command.command_type);
            if let Err(refusal) = outcome {
                assert_eq!(refusal.code, Code::AuthNotPermitted);
            }
        }
    }
}
