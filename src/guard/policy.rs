//! Which commands this vehicle takes at all, and within which bounds: deny by default.

mod bounds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use bounds::{FieldBounds, Values};

use super::Refusal;
use super::state::Requirements;
use super::vehicle::Vehicle;
use crate::catalog::{Command, Encoded};
use crate::code::Code;

/// What the operator allows for one command type.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The component that this command goes to by default, in place of its domain's.
    pub target_component: Option<u8>,
    /// Components beside the default that a request may name.
    pub target_components: BTreeSet<u8>,
    /// Whether the command needs a grant; `None`: as its risk asks for.
    pub grant: Option<bool>,
    /// Only for commands that the catalogue marks repeatable.
    pub retransmit: Option<Retransmit>,
    /// Seconds: the longest `timeout_seconds` that a request may name. A request that names none, or
    /// 0, waits this long at most.
    pub max_timeout: Option<u32>,
    /// The MAV_FRAMEs that a location may be in, by number; empty: those of the catalogue.
    pub frames: BTreeSet<u8>,
    pub fields: Vec<FieldBounds>,
    pub require: Requirements,
}

impl Rule {
    /// Whether what would go on the wire lies within the rule's bounds.
    ///
    /// # Errors
    /// `policy.out_of_bounds`, which names field, value and bound.
    pub fn check_bounds(
        &self,
        command: &Command,
        content: &Encoded,
        timeout_seconds: u32,
    ) -> Result<(), Refusal> {
        let name = command.command_type;
        if let Some(maximum) = self.max_timeout.filter(|maximum| timeout_seconds > *maximum) {
            return Err(out_of_bounds(format!(
                "timeout_seconds {timeout_seconds} is not allowed for {name}; at most {maximum}"
            )));
        }
        if !self.frames.is_empty() && !self.frames.contains(&content.frame) {
            return Err(out_of_bounds(format!(
                "MAV_FRAME {} is not allowed for {name}; allowed: {}",
                content.frame,
                list(&self.frames)
            )));
        }
        self.fields.iter().try_for_each(|bounds| bounds.check(content))
    }

    /// Whether the vehicle is in the state that the rule asks for. `now`: the boot clock.
    ///
    /// # Errors
    /// `state.unknown`, `state.precondition`.
    pub fn check_state(&self, vehicle: &Vehicle, now: Duration) -> Result<(), Refusal> {
        self.require.check(vehicle.state(), now)
    }
}

/// Write an unanswered command again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    pub times: u8,
    pub interval: Duration,
}

/// The allowed commands, by command_type, and to which component they go by default.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: BTreeMap<&'static str, Rule>,
    /// By the catalogue's domain: cameras are 100-105, gimbals 154 and so on (MAV_COMPONENT).
    domain_components: BTreeMap<String, u8>,
    /// The autopilot's component.
    autopilot: u8,
}

impl Policy {
    /// `autopilot`: its component.
    pub fn new(
        autopilot: u8,
        domain_components: BTreeMap<String, u8>,
        rules: impl IntoIterator<Item = (&'static str, Rule)>,
    ) -> Self {
        Self { rules: rules.into_iter().collect(), domain_components, autopilot }
    }

    /// The same rules, with what `other` has of the vehicle's components.
    pub fn with_components_of(self, other: &Self) -> Self {
        let domain_components = other.domain_components.clone();
        Self { domain_components, autopilot: other.autopilot, ..self }
    }

    /// Where the command goes: to the component that the request names, else by rule, by domain,
    /// to the autopilot.
    pub fn component(&self, command: &Command, requested: Option<u8>) -> u8 {
        requested.unwrap_or_else(|| self.default_component(command))
    }

    /// # Errors
    /// `policy.command_denied` without a rule, `policy.out_of_bounds` for a component that the rule
    /// does not name.
    pub fn rule(&self, command: &Command, component: u8) -> Result<&Rule, Refusal> {
        let name = command.command_type;
        let rule = self.rule_of(name)?;
        if component == 0 {
            // Two components may answer a broadcast with opposite results.
            return Err(out_of_bounds(
                "target_component 0 is a broadcast, whose answers cannot be told apart".to_owned(),
            ));
        }
        let default = self.default_component(command);
        if component != default && !rule.target_components.contains(&component) {
            let mut allowed = rule.target_components.clone();
            allowed.insert(default);
            return Err(out_of_bounds(format!(
                "target_component {component} is not allowed for {name}; allowed: {}",
                list(&allowed)
            )));
        }
        Ok(rule)
    }

    /// The rule of a command type.
    ///
    /// # Errors
    /// `policy.command_denied` without one.
    pub fn rule_of(&self, command_type: &str) -> Result<&Rule, Refusal> {
        self.rules.get(command_type).ok_or_else(|| {
            Refusal::new(Code::PolicyCommandDenied, format!("no policy rule allows {command_type}"))
        })
    }

    fn default_component(&self, command: &Command) -> u8 {
        self.rules
            .get(command.command_type)
            .and_then(|rule| rule.target_component)
            .or_else(|| self.domain_components.get(command.domain).copied())
            .unwrap_or(self.autopilot)
    }
}

fn out_of_bounds(message: String) -> Refusal {
    Refusal::new(Code::PolicyOutOfBounds, message)
}

fn list(numbers: &BTreeSet<u8>) -> String {
    let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
    numbers.join(", ")
}
