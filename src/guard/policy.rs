//! Which commands this vehicle takes at all: deny by default.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Refusal;
use crate::catalog::Command;
use crate::code::Code;
use crate::wire::mavlink::Address;

/// What the operator allows for one command type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The component that this command goes to by default, in place of its domain's.
    pub target_component: Option<u8>,
    /// Components beside the default that a request may name.
    pub target_components: BTreeSet<u8>,
    /// Whether the command needs a grant; `None`: as its risk asks for.
    pub grant: Option<bool>,
    /// Only for commands that the catalogue marks repeatable.
    pub retransmit: Option<Retransmit>,
}

/// Write an unanswered command again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    pub times: u8,
    pub interval: Duration,
}

/// The allowed commands, by command_type, and where commands go by default.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: BTreeMap<&'static str, Rule>,
    /// By the catalogue's domain: cameras are 100-105, gimbals 154 and so on (MAV_COMPONENT).
    domain_components: BTreeMap<String, u8>,
    autopilot: Address,
}

impl Policy {
    pub fn new(
        autopilot: Address,
        domain_components: BTreeMap<String, u8>,
        rules: impl IntoIterator<Item = (&'static str, Rule)>,
    ) -> Self {
        Self { rules: rules.into_iter().collect(), domain_components, autopilot }
    }

    pub fn autopilot(&self) -> Address {
        self.autopilot
    }

    /// Where the command goes: to the component that the request names, else by rule, by domain,
    /// to the autopilot.
    pub fn target(&self, command: &Command, requested: Option<u8>) -> Address {
        let component = requested.unwrap_or_else(|| self.default_component(command));
        Address { component, ..self.autopilot }
    }

    /// # Errors
    /// `policy.command_denied` without a rule, `policy.out_of_bounds` for a component that the rule
    /// does not name.
    pub fn rule(&self, command: &Command, target: Address) -> Result<&Rule, Refusal> {
        let name = command.command_type;
        let rule = self.rules.get(name).ok_or_else(|| {
            Refusal::new(Code::PolicyCommandDenied, format!("no policy rule allows {name}"))
        })?;
        let component = target.component;
        if component == 0 {
            // Two components may answer a broadcast with opposite results.
            return Err(Refusal::new(
                Code::PolicyOutOfBounds,
                "target_component 0 is a broadcast, whose answers cannot be told apart",
            ));
        }
        let default = self.default_component(command);
        if component != default && !rule.target_components.contains(&component) {
            let mut allowed = rule.target_components.clone();
            allowed.insert(default);
            let allowed: Vec<String> = allowed.iter().map(u8::to_string).collect();
            return Err(Refusal::new(
                Code::PolicyOutOfBounds,
                format!(
                    "target_component {component} is not allowed for {name}; allowed: {}",
                    allowed.join(", ")
                ),
            ));
        }
        Ok(rule)
    }

    fn default_component(&self, command: &Command) -> u8 {
        self.rules
            .get(command.command_type)
            .and_then(|rule| rule.target_component)
            .or_else(|| self.domain_components.get(command.domain).copied())
            .unwrap_or(self.autopilot.component)
    }
}
