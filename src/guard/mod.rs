//! PURE. Who may make the vehicle do what, and when. The first refusal ends it.
//!
//! | layer | where | refusals |
//! |---|---|---|
//! | issuer known | [`Guard::admit`] | `auth.failed`, makes no command |
//! | mode | [`Guard::permit`] | `guard.disabled` |
//! | policy | [`policy`] | `policy.command_denied`, `policy.out_of_bounds` |
//! | vehicle state | [`state`] | `state.unknown`, `state.precondition` |
//! | transport ready | [`Guard::judge`] | `transport.not_ready` |
//!
//! Signatures, permissions of issuers and grants take their places between these;
//! none of them is enforced yet, so an issuer is as trustworthy as the broker's access control.

pub mod authentication;
pub mod clock;
pub mod nonces;
pub mod permission;
pub mod policy;
pub mod rate;
pub mod state;
pub mod vehicle;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::catalog::{Command, Encoded};
use crate::code::Code;
use crate::wire::mavlink::Address;
use policy::{Policy, Retransmit, Rule};
use state::HEARTBEAT_MAX_AGE;
use vehicle::{LinkState, Vehicle};

/// Whether anything may be sent at all. There is no open mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Disabled,
    Guarded,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Disabled => "disabled",
            Mode::Guarded => "guarded",
        }
    }
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A command that wants to go, as the numbers that would go on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub command: &'a Command,
    pub content: &'a Encoded,
    pub target: Address,
    /// Seconds, 0 to 300; 0: nobody waits.
    pub timeout_seconds: u32,
}

/// What a permitted command may do beyond one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clearance {
    pub retransmit: Option<Retransmit>,
}

#[derive(Clone, Debug)]
pub struct Guard {
    mode: Mode,
    issuers: BTreeSet<String>,
    policy: Policy,
}

impl Guard {
    pub fn new(mode: Mode, issuers: BTreeSet<String>, policy: Policy) -> Self {
        Self { mode, issuers, policy }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where a command goes, given the component that its request names.
    pub fn target(&self, command: &Command, requested: Option<u8>) -> Address {
        self.policy.target(command, requested)
    }

    /// Whether this sender may speak at all. Skipped only in disabled mode with no issuer
    /// configured.
    ///
    /// # Errors
    /// `auth.failed`; its message is for the log, never for the sender.
    pub fn admit(&self, api_id: &str) -> Result<(), Refusal> {
        if self.mode == Mode::Disabled && self.issuers.is_empty() || self.issuers.contains(api_id) {
            return Ok(());
        }
        Err(Refusal::new(Code::AuthFailed, format!("no issuer {api_id:?} is configured")))
    }

    /// Seconds: a request that names no timeout, or 0, waits so long at most.
    pub fn max_timeout(&self, command: &Command) -> Option<u32> {
        self.policy.rule_of(command.command_type).ok()?.max_timeout
    }

    /// All layers, for a command that arrives. `now`: the boot clock.
    ///
    /// # Errors
    /// The first layer that refuses.
    pub fn judge(
        &self,
        candidate: Candidate<'_>,
        vehicle: &Vehicle,
        now: Duration,
    ) -> Result<Clearance, Refusal> {
        let rule = self.permitting_rule(candidate)?;
        rule.check_state(vehicle, now)?;
        self.transport_ready(candidate.target, vehicle, now)?;
        Ok(Clearance::by(rule))
    }

    /// Every layer that asks nothing of the vehicle: for a journaled command that waits for the link
    /// after a restart. [`Guard::check_state`] follows when it is its turn.
    ///
    /// # Errors
    /// The first layer that refuses.
    pub fn permit(&self, candidate: Candidate<'_>) -> Result<Clearance, Refusal> {
        self.permitting_rule(candidate).map(Clearance::by)
    }

    /// The vehicle's state alone, once more when the frame is about to go: a command may have waited
    /// while the vehicle armed. `now`: the boot clock.
    ///
    /// # Errors
    /// `state.unknown`, `state.precondition`; `policy.command_denied` without a rule.
    pub fn check_state(
        &self,
        command_type: &str,
        vehicle: &Vehicle,
        now: Duration,
    ) -> Result<(), Refusal> {
        self.policy.rule_of(command_type)?.check_state(vehicle, now)
    }

    fn permitting_rule(&self, candidate: Candidate<'_>) -> Result<&Rule, Refusal> {
        if self.mode == Mode::Disabled {
            return Err(Refusal::new(
                Code::GuardDisabled,
                "downlink is disabled on this vehicle ([guard] mode = \"disabled\")",
            ));
        }
        let Candidate { command, content, target, timeout_seconds } = candidate;
        let rule = self.policy.rule(command, target)?;
        rule.check_bounds(command, content, timeout_seconds)?;
        Ok(rule)
    }

    fn transport_ready(
        &self,
        target: Address,
        vehicle: &Vehicle,
        now: Duration,
    ) -> Result<(), Refusal> {
        let autopilot = self.policy.autopilot();
        let because = match vehicle.link_state(now) {
            LinkState::Ready if vehicle.hears(target.component, now) => return Ok(()),
            LinkState::Ready => format!(
                "no heartbeat of component {}/{} has come by this link; behind PX4 it needs MAVLink \
                 forwarding (MAV_x_FORWARD)",
                target.system, target.component
            ),
            LinkState::Closed => "the port is not open".to_owned(),
            LinkState::Open => format!(
                "no heartbeat of autopilot {}/{} within {} s",
                autopilot.system,
                autopilot.component,
                HEARTBEAT_MAX_AGE.as_secs()
            ),
        };
        Err(Refusal::new(
            Code::TransportNotReady,
            format!("the link to the target is not ready: {because}"),
        ))
    }
}

impl Clearance {
    fn by(rule: &Rule) -> Self {
        Self { retransmit: rule.retransmit }
    }
}
