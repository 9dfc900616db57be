//! One grant, and the words for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::catalog::{Command, Risk, shorten};
use crate::code::Code;
use crate::guard::Refusal;

/// What a grant covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Commands of this risk and of lower ones.
    Risk(Risk),
    /// Commands of this domain of the catalogue, whatever their risk.
    Domain(String),
    /// One command_type.
    Command(&'static str),
}

impl Scope {
    pub fn covers(&self, command: &Command) -> bool {
        match self {
            Scope::Risk(risk) => command.risk <= *risk,
            Scope::Domain(domain) => command.domain == domain,
            Scope::Command(command_type) => command.command_type == *command_type,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Risk(risk) => write!(f, "risk {risk}"),
            Scope::Domain(domain) => write!(f, "domain {domain}"),
            Scope::Command(command_type) => write!(f, "command {command_type}"),
        }
    }
}

/// Who opens or approves a grant. Two are two persons when they are not equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opener {
    /// Somebody at the vehicle, by the user id of the process that asked.
    Operator { uid: u32 },
    /// An issuer, by its signed message.
    Issuer(String),
}

impl fmt::Display for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opener::Operator { uid } => write!(f, "operator {uid}"),
            Opener::Issuer(api_id) => write!(f, "issuer {api_id}"),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    /// At least one; a command that any of them covers is covered.
    pub scopes: Vec<Scope>,
    pub duration: Duration,
    /// Commands.
    pub count: u32,
    /// Only for commands of this issuer; `None`: of any.
    pub issuer: Option<String>,
    /// For people.
    pub reason: Option<String>,
}

/// Names a grant, over restarts too: `7f3a9c21-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId {
    pub(super) session: u32,
    pub(super) number: u32,
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.session, self.number)
    }
}

/// The text is not the id of a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a grant, such as 7f3a9c21-1")]
pub struct ParseGrantIdError(String);

impl FromStr for GrantId {
    type Err = ParseGrantIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('-')
            .and_then(|(session, number)| {
                let session = u32::from_str_radix(session, 16).ok()?;
                Some(GrantId { session, number: number.parse().ok()? })
            })
            // Only as it is written: no sign, no other number of digits.
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| ParseGrantIdError(shorten(text).into_owned()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// Waits for the second person.
    Pending,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Pending => "pending",
        }
    }
}

/// How a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Expired,
    Exhausted,
    Revoked,
    LinkLost,
    Reconfigured,
}

impl Ending {
    /// What became of the grant.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ending::Expired => "has expired",
            Ending::Exhausted => "is used up",
            Ending::Revoked => "was revoked",
            Ending::LinkLost => "ended when the link was lost",
            Ending::Reconfigured => "ended when the guard's mode or limits changed",
        }
    }

    const fn code(self) -> Code {
        match self {
            Ending::Expired => Code::GrantExpired,
            Ending::Exhausted => Code::GrantExhausted,
            Ending::Revoked | Ending::LinkLost | Ending::Reconfigured => Code::GrantMissing,
        }
    }
}

/// A grant as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantView {
    pub id: GrantId,
    pub state: State,
    pub scopes: Vec<Scope>,
    pub issuer: Option<String>,
    pub reason: Option<String>,
    pub opened_by: Opener,
    pub approved_by: Option<Opener>,
    pub time_left: Duration,
    /// Commands.
    pub count_left: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub id: GrantId,
    pub scopes: Vec<Scope>,
    pub issuer: Option<String>,
    pub reason: Option<String>,
    pub opened_by: Opener,
    pub approved_by: Option<Opener>,
    pub needs_two: bool,
    pub expires_at: Duration,
    pub left: u32,
}

impl Grant {
    pub fn state(&self) -> State {
        if self.needs_two && self.approved_by.is_none() { State::Pending } else { State::Open }
    }

    pub fn is_over(&self, now: Duration) -> bool {
        now >= self.expires_at
    }

    pub fn covers(&self, command: &Command, api_id: &str) -> bool {
        self.issuer.as_deref().is_none_or(|issuer| issuer == api_id)
            && self.scopes.iter().any(|scope| scope.covers(command))
    }

    pub fn refusal(&self, ending: Ending) -> Refusal {
        Refusal::new(ending.code(), format!("grant {} {}", self.id, ending.as_str()))
    }

    pub fn view(&self, now: Duration) -> GrantView {
        GrantView {
            id: self.id,
            state: self.state(),
            scopes: self.scopes.clone(),
            issuer: self.issuer.clone(),
            reason: self.reason.clone(),
            opened_by: self.opened_by.clone(),
            approved_by: self.approved_by.clone(),
            time_left: self.expires_at.saturating_sub(now),
            count_left: self.left,
        }
    }
}
