//! PURE. What every layer would say to a command: for people who ask why it does not go.

use std::time::Duration;

use super::grants::Grants;
use super::rate::Rates;
use super::vehicle::Vehicle;
use super::{Candidate, Guard, Refusal};

/// A layer of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Authentication,
    Mode,
    Permission,
    Policy,
    State,
    Grant,
    Transport,
}

impl Layer {
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::Authentication => "authentication",
            Layer::Mode => "mode",
            Layer::Permission => "permission",
            Layer::Policy => "policy",
            Layer::State => "state",
            Layer::Grant => "grant",
            Layer::Transport => "transport",
        }
    }
}

/// What a layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passes,
    Refuses(Refusal),
    /// Without a rule for the command there is nothing to ask.
    NotAsked,
}

impl From<Result<(), Refusal>> for Verdict {
    fn from(result: Result<(), Refusal>) -> Self {
        match result {
            Ok(()) => Verdict::Passes,
            Err(refusal) => Verdict::Refuses(refusal),
        }
    }
}

impl Guard {
    /// Every layer behind authentication in its order, whatever the ones before it say. Counts
    /// nothing and uses nothing up. `now`: the boot clock.
    pub fn explain(
        &self,
        candidate: Candidate<'_>,
        rates: &Rates,
        vehicle: &Vehicle,
        grants: &Grants,
        now: Duration,
    ) -> Vec<(Layer, Verdict)> {
        let mut rates = rates.clone();
        let permission = self
            .permission(candidate)
            .and_then(|permission| permission.take(candidate.api_id, &mut rates, now));
        let rule = self.rule(candidate);
        let (state, grant) = match &rule {
            Ok(rule) => (
                rule.check_state(vehicle, now).into(),
                self.grant(candidate, rule, grants, None, now).map(|_| ()).into(),
            ),
            Err(_) => (Verdict::NotAsked, Verdict::NotAsked),
        };
        vec![
            (Layer::Mode, self.check_mode().into()),
            (Layer::Permission, permission.into()),
            (Layer::Policy, rule.map(|_| ()).into()),
            (Layer::State, state),
            (Layer::Grant, grant),
            (Layer::Transport, self.transport_ready(candidate.component, vehicle, now).into()),
        ]
    }
}
