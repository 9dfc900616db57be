//! What the configuration allows a grant to be.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{GrantRequest, Scope};
use crate::catalog::{self, Command, Risk};
use crate::code::Code;
use crate::guard::Refusal;

/// The configuration of the grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_duration: Duration,
    /// Commands per grant.
    pub max_count: u32,
    /// Commands of these risks need a grant, unless the policy's rule says otherwise.
    pub required_for: BTreeSet<Risk>,
    pub two_person: TwoPerson,
}

/// What only two persons together can open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TwoPerson {
    pub risks: BTreeSet<Risk>,
    /// By command_type.
    pub commands: BTreeSet<&'static str>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_duration: Duration::from_secs(15 * 60),
            max_count: 20,
            required_for: [Risk::Flight, Risk::Critical].into(),
            two_person: TwoPerson::default(),
        }
    }
}

impl Limits {
    /// Whether the command's risk asks for a grant.
    pub fn required_for(&self, command: &Command) -> bool {
        self.required_for.contains(&command.risk)
    }

    /// Whether the scopes reach anything that one person alone may not open.
    pub(super) fn needs_two(&self, scopes: &[Scope]) -> bool {
        let two_person = |command: &Command| {
            self.two_person.risks.contains(&command.risk)
                || self.two_person.commands.contains(command.command_type)
        };
        let covered = |command: &Command| scopes.iter().any(|scope| scope.covers(command));
        catalog::all().iter().any(|command| two_person(command) && covered(command))
    }

    pub(super) fn check(&self, request: &GrantRequest) -> Result<(), Refusal> {
        if request.scopes.is_empty() || request.duration.is_zero() || request.count == 0 {
            return Err(Refusal::new(
                Code::RequestOutOfRange,
                "a grant needs a scope, a time and a count, none of them nothing",
            ));
        }
        if request.duration > self.max_duration {
            return Err(Refusal::new(
                Code::PolicyOutOfBounds,
                format!(
                    "{} s is too long for a grant; at most {} s",
                    request.duration.as_secs(),
                    self.max_duration.as_secs()
                ),
            ));
        }
        if request.count > self.max_count {
            return Err(Refusal::new(
                Code::PolicyOutOfBounds,
                format!(
                    "{} commands are too many for a grant; at most {}",
                    request.count, self.max_count
                ),
            ));
        }
        Ok(())
    }
}
