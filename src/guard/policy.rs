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
    /// Components beside the configured default that a request may name.
    pub target_components: BTreeSet<u8>,
    /// Only for commands that the catalogue marks repeatable.
    pub retransmit: Option<Retransmit>,
}

/// Write an unanswered command again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    pub times: u8,
    pub interval: Duration,
}

/// The allowed commands, by command_type.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: BTreeMap<&'static str, Rule>,
}

impl Policy {
    pub fn new(rules: impl IntoIterator<Item = (&'static str, Rule)>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    /// # Errors
    /// `policy.command_denied` without a rule, `policy.out_of_bounds` for a component that the rule
    /// does not name.
    pub fn rule(
        &self,
        command: &Command,
        target: Address,
        default_component: u8,
    ) -> Result<&Rule, Refusal> {
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
        if component != default_component && !rule.target_components.contains(&component) {
            return Err(Refusal::new(
                Code::PolicyOutOfBounds,
                format!("the policy rule of {name} does not allow target_component {component}"),
            ));
        }
        Ok(rule)
    }
}
