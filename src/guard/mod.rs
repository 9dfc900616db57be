//! PURE. Who may make the vehicle do what, and when. The first refusal ends it.
//!
//! | layer | where | refusals |
//! |---|---|---|
//! | issuer known | [`Guard::admit`] | `auth.failed`, makes no command |
//! | mode | [`Guard::permit`] | `guard.disabled` |
//! | policy | [`policy`] | `policy.command_denied`, `policy.out_of_bounds` |
//! | grant | [`grants`] | `grant.missing`, `grant.expired`, `grant.exhausted` |
//! | transport ready | [`Guard::judge`] | `transport.not_ready` |
//!
//! Signatures, permissions of issuers and vehicle state take their places between these;
//! none of them is enforced yet, so an issuer is as trustworthy as the broker's access control.

pub mod grants;
pub mod policy;
pub mod rate;
pub mod vehicle;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::catalog::Command;
use crate::code::Code;
use crate::wire::mavlink::Address;
use grants::{GrantId, Grants};
use policy::{Policy, Retransmit};
use vehicle::{HEARTBEAT_MAX_AGE, LinkState, Vehicle};

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

/// What a permitted command may do beyond one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clearance {
    pub retransmit: Option<Retransmit>,
    /// The grant that the command uses, if it needs one.
    pub grant: Option<GrantId>,
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

    /// All layers, for a command that arrives.
    ///
    /// # Errors
    /// The first layer that refuses.
    pub fn judge(
        &self,
        command: &Command,
        target: Address,
        api_id: &str,
        vehicle: &Vehicle,
        grants: &Grants,
        now: Duration,
    ) -> Result<Clearance, Refusal> {
        let clearance = self.permit(command, target, api_id, grants, now)?;
        let autopilot = self.policy.autopilot();
        let because = match vehicle.link_state(now) {
            LinkState::Ready if vehicle.hears(target.component, now) => return Ok(clearance),
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

    /// Every layer but the last: for a journaled command that waits for the link after a restart.
    ///
    /// # Errors
    /// The first layer that refuses.
    pub fn permit(
        &self,
        command: &Command,
        target: Address,
        api_id: &str,
        grants: &Grants,
        now: Duration,
    ) -> Result<Clearance, Refusal> {
        if self.mode == Mode::Disabled {
            return Err(Refusal::new(
                Code::GuardDisabled,
                "downlink is disabled on this vehicle ([guard] mode = \"disabled\")",
            ));
        }
        let rule = self.policy.rule(command, target)?;
        let needs_grant = rule.grant.unwrap_or_else(|| grants.limits().required_for(command));
        let grant = needs_grant.then(|| grants.check(now, command, api_id)).transpose()?;
        Ok(Clearance { retransmit: rule.retransmit, grant })
    }
}
