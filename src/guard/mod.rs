//! PURE. Who may make the vehicle do what, and when. The first refusal ends it.
//!
//! | layer | where | refusals |
//! |---|---|---|
//! | authentication | [`authentication`], [`nonces`] | `auth.*`, makes no command |
//! | mode | [`Guard::permit`] | `guard.disabled` |
//! | permission | [`permission`], [`rate`] | `auth.not_permitted`, `policy.rate_limited` |
//! | policy | [`policy`] | `policy.command_denied`, `policy.out_of_bounds` |
//! | vehicle state | [`state`] | `state.unknown`, `state.precondition` |
//! | grant | [`grants`] | `grant.missing`, `grant.expired`, `grant.exhausted` |
//! | transport ready | [`Guard::judge`] | `transport.not_ready` |

pub mod authentication;
pub mod autopilot;
pub mod clock;
pub mod explain;
pub mod extra_link;
pub mod grants;
pub mod nonces;
pub mod permission;
pub mod policy;
pub mod rate;
pub mod set_aside;
pub mod state;
pub mod vehicle;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::catalog::{Command, Encoded};
use crate::code::Code;
use crate::wire::mavlink::Address;
use crate::wire::request_body::RequestBody;
use crate::wire::signature::Credentials;
use authentication::{Authenticated, Clock, Keys};
use grants::{GrantId, Grants, Limits};
use permission::Permission;
use policy::{Policy, Retransmit, Rule};
use rate::Rates;
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
    /// Who sent it.
    pub api_id: &'a str,
    pub command: &'a Command,
    pub content: &'a Encoded,
    /// Whom it is for, of the vehicle's components.
    pub component: u8,
    /// Seconds, 0 to 300; 0: nobody waits.
    pub timeout_seconds: u32,
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
    issuers: BTreeMap<String, Permission>,
    keys: Keys,
    policy: Policy,
    grant_limits: Limits,
}

impl Guard {
    /// `keys`: of the same issuers; one without a key cannot send anything.
    pub fn new(
        mode: Mode,
        issuers: BTreeMap<String, Permission>,
        keys: Keys,
        policy: Policy,
        grant_limits: Limits,
    ) -> Self {
        Self { mode, issuers, keys, policy, grant_limits }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn grant_limits(&self) -> &Limits {
        &self.grant_limits
    }

    /// The same guard, with what `other` has of the vehicle's components.
    pub fn with_components_of(self, other: &Self) -> Self {
        Self { policy: self.policy.with_components_of(&other.policy), ..self }
    }

    /// Where a command goes, given the component that its request names.
    pub fn component(&self, command: &Command, requested: Option<u8>) -> u8 {
        self.policy.component(command, requested)
    }

    /// Whether a query of this name is answered: it only reads what is the issuer's own, so it needs
    /// no signature.
    ///
    /// # Errors
    /// `auth.failed`, as [`Guard::authenticate`].
    pub fn knows(&self, api_id: &str) -> Result<(), Refusal> {
        if self.asks_nobody() || self.issuers.contains_key(api_id) {
            return Ok(());
        }
        Err(Refusal::new(Code::AuthFailed, format!("no issuer {api_id:?} is configured")))
    }

    /// Whether a message that came by `method` and `path` is of the issuer that it names; see
    /// [`Keys::verify`]. `None`: nobody is asked, because nothing is sent anyway and no issuer is
    /// configured.
    ///
    /// # Errors
    /// `auth.failed`; its message is for the log, never for the sender.
    pub fn authenticate(
        &self,
        api_id: &str,
        method: &str,
        path: &str,
        body: &RequestBody<'_>,
        credentials: Option<&Credentials>,
        clock: &Clock<'_>,
    ) -> Result<Option<Authenticated>, Refusal> {
        if self.asks_nobody() {
            return Ok(None);
        }
        self.keys.verify(api_id, method, path, body, credentials, clock).map(Some)
    }

    fn asks_nobody(&self) -> bool {
        self.mode == Mode::Disabled && self.issuers.is_empty()
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
        rates: &mut Rates,
        vehicle: &Vehicle,
        grants: &Grants,
        now: Duration,
    ) -> Result<Clearance, Refusal> {
        self.check_mode()?;
        self.permission(candidate)?.take(candidate.api_id, rates, now)?;
        let rule = self.rule(candidate)?;
        rule.check_state(vehicle, now)?;
        let grant = self.grant(candidate, rule, grants, None, now)?;
        self.transport_ready(candidate.component, vehicle, now)?;
        Ok(Clearance { retransmit: rule.retransmit, grant })
    }

    /// Every layer that asks nothing of the vehicle: for a journaled command that waits, under another
    /// configuration or after a restart. [`Guard::check_state`] follows when it is its turn.
    /// `held`: the grant that it was accepted under.
    ///
    /// # Errors
    /// The first layer that refuses.
    pub fn permit(
        &self,
        candidate: Candidate<'_>,
        grants: &Grants,
        held: Option<GrantId>,
        now: Duration,
    ) -> Result<Clearance, Refusal> {
        self.check_mode()?;
        self.permission(candidate)?;
        let rule = self.rule(candidate)?;
        let grant = self.grant(candidate, rule, grants, held, now)?;
        Ok(Clearance { retransmit: rule.retransmit, grant })
    }

    /// The vehicle's state alone, once more when the frame is about to go: a command may have waited
    /// while the vehicle armed. `now`: the boot clock.
    ///
    /// # Errors
    /// `state.unknown`, `state.precondition`; `guard.disabled` and `policy.command_denied` where the
    /// configuration has changed since.
    pub fn check_state(
        &self,
        command_type: &str,
        vehicle: &Vehicle,
        now: Duration,
    ) -> Result<(), Refusal> {
        self.check_mode()?;
        self.policy.rule_of(command_type)?.check_state(vehicle, now)
    }

    /// Whether an issuer may have its way with grants.
    ///
    /// # Errors
    /// `guard.disabled`, `auth.not_permitted`.
    pub fn may_grant(&self, api_id: &str) -> Result<(), Refusal> {
        self.check_mode()?;
        if self.issuers.get(api_id).is_some_and(|permission| permission.may_grant) {
            return Ok(());
        }
        let message = format!("issuer {api_id} may not open, approve or revoke grants (may_grant)");
        Err(Refusal::new(Code::AuthNotPermitted, message))
    }

    /// # Errors
    /// `guard.disabled`.
    pub fn check_mode(&self) -> Result<(), Refusal> {
        match self.mode {
            Mode::Guarded => Ok(()),
            Mode::Disabled => Err(Refusal::new(
                Code::GuardDisabled,
                "downlink is disabled on this vehicle ([guard] mode = \"disabled\")",
            )),
        }
    }

    /// The layer of permission.
    fn permission(&self, candidate: Candidate<'_>) -> Result<&Permission, Refusal> {
        let Candidate { api_id, command, component, .. } = candidate;
        let permission = self.issuers.get(api_id).ok_or_else(|| {
            let message = format!("{api_id} is no longer an issuer of this vehicle");
            Refusal::new(Code::AuthNotPermitted, message)
        })?;
        permission.check(api_id, command, component)?;
        Ok(permission)
    }

    /// The layer of policy.
    fn rule(&self, candidate: Candidate<'_>) -> Result<&Rule, Refusal> {
        let Candidate { command, content, component, timeout_seconds, .. } = candidate;
        let rule = self.policy.rule(command, component)?;
        rule.check_bounds(command, content, timeout_seconds)?;
        Ok(rule)
    }

    /// The layer of grants. `held`: the one that counted this command already.
    fn grant(
        &self,
        candidate: Candidate<'_>,
        rule: &Rule,
        grants: &Grants,
        held: Option<GrantId>,
        now: Duration,
    ) -> Result<Option<GrantId>, Refusal> {
        let Candidate { api_id, command, .. } = candidate;
        if !rule.grant.unwrap_or_else(|| self.grant_limits.required_for(command)) {
            return Ok(None);
        }
        match held {
            Some(grant) => grants.holds(now, grant).map(|()| Some(grant)),
            None => grants.check(now, command, api_id).map(Some),
        }
    }

    fn transport_ready(
        &self,
        component: u8,
        vehicle: &Vehicle,
        now: Duration,
    ) -> Result<(), Refusal> {
        let link = vehicle.link_of(component);
        let (state, name) = (vehicle.link_state(link, now), vehicle.link_name(link));
        let not_ready = |because: &str| {
            let name = name.unwrap_or("to the target");
            let message = format!("the link {name} is not ready: {because}");
            Err(Refusal::new(Code::TransportNotReady, message))
        };
        if state == LinkState::Closed {
            return not_ready("its port is not open");
        }
        let Some(autopilot) = vehicle.autopilot().address() else {
            return not_ready(
                "no heartbeat of an autopilot yet, and [link] target_system is \"auto\"",
            );
        };
        let target = Address { component, ..autopilot };
        let is_heard = name.is_some() || vehicle.hears(component, now);
        let max_age = HEARTBEAT_MAX_AGE.as_secs();
        not_ready(&match (name, state) {
            _ if is_heard && vehicle.ready_for(target, now) => return Ok(()),
            (Some(_), _) => {
                format!("no heartbeat of component {target} has come by it within {max_age} s")
            }
            (None, LinkState::Ready) => format!(
                "no heartbeat of component {target} has come by this link; behind PX4 it needs \
                 MAVLink forwarding (MAV_x_FORWARD)"
            ),
            (None, _) => format!("no heartbeat of autopilot {autopilot} within {max_age} s"),
        })
    }
}

#[cfg(test)]
impl Guard {
    /// With one issuer, `cloud`, that may do all that the policy allows; no key fits.
    pub fn example(mode: Mode, policy: Policy) -> Self {
        let permission =
            Permission { all_commands: true, may_grant: true, ..Permission::default() };
        let keys = Keys::new(BTreeMap::new()).expect("no keys are valid keys");
        Self::new(mode, [("cloud".to_owned(), permission)].into(), keys, policy, Limits::default())
    }
}
