//! PURE. Layer 6: who has opened the vehicle for commands that move it, for how long, for how many.
//!
//! A grant is explicit, time-boxed and counted. It lives in this memory only: a restart, the loss of
//! the link and a change of the guard's mode end it. Where two persons are asked for, it is pending
//! until another opener than the first approves it, and a pending grant lets nothing through.
//!
//! All times are of the boot clock. [`Grants::take_changes`] tells afterwards what became different.

mod grant;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use grant::{
    Ending, GrantId, GrantRequest, GrantView, Opener, ParseGrantIdError, Scope, State,
};
pub use limits::{Limits, TwoPerson};

use super::Refusal;
use crate::catalog::Command;
use crate::code::Code;
use grant::Grant;

/// Open and pending grants at a time.
const MAX_OPEN: usize = 8;
/// Grants that have ended are remembered so that a refusal can say why: at most this many, beside those
/// that are used up and whose time is not over.
const REMEMBERED: usize = 32;
/// How long an ended grant still explains a refusal.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// What somebody wants of the grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Open(GrantRequest),
    Approve(GrantId),
    Revoke(GrantId),
    RevokeAll,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Grant(GrantView),
    /// Possibly none, when all were to be revoked.
    Revoked(Vec<GrantId>),
}

/// The open and pending grants of this process.
#[derive(Clone, Debug)]
pub struct Grants {
    limits: Limits,
    /// Part of every id: an id of an earlier process must not name a grant of this one.
    session: u32,
    last: u32,
    held: Vec<Grant>,
    ended: VecDeque<Ended>,
    changed: bool,
    /// Since the last [`Grants::take_changes`].
    newly_ended: Vec<(GrantId, Ending)>,
}

#[derive(Clone, Debug)]
struct Ended {
    grant: Grant,
    ending: Ending,
    at: Duration,
}

impl Grants {
    /// No grants. `session`: a number that no earlier process has had.
    pub fn new(limits: Limits, session: u32) -> Self {
        Self {
            limits,
            session,
            last: 0,
            held: Vec::new(),
            ended: VecDeque::new(),
            changed: false,
            newly_ended: Vec::new(),
        }
    }

    /// The guard's configuration was read again: what was granted under another mode or other limits
    /// has ended.
    pub fn reconfigure(&mut self, now: Duration, limits: &Limits, mode_changed: bool) {
        if mode_changed || self.limits != *limits {
            self.limits.clone_from(limits);
            self.end(now, Ending::Reconfigured, |_| true);
        }
    }

    /// Carries out what `opener` wants.
    ///
    /// # Errors
    /// As [`Grants::open`] and [`Grants::approve`]; `grant.missing` for a revocation of a grant that
    /// is not there.
    pub fn act(
        &mut self,
        now: Duration,
        opener: Opener,
        action: Action,
    ) -> Result<Answer, Refusal> {
        match action {
            Action::Open(request) => self.open(now, opener, request).map(Answer::Grant),
            Action::Approve(id) => self.approve(now, opener, id).map(Answer::Grant),
            Action::Revoke(id) => match self.revoke(now, Some(id)) {
                revoked if revoked.is_empty() => Err(self.not_held(id)),
                revoked => Ok(Answer::Revoked(revoked)),
            },
            Action::RevokeAll => Ok(Answer::Revoked(self.revoke(now, None))),
        }
    }

    /// Opens a grant, or makes it pending where two persons are needed. Its time runs from now on,
    /// also while it is pending.
    ///
    /// # Errors
    /// `request.out_of_range` for no scope, time or count; `policy.out_of_bounds` beyond a limit.
    pub fn open(
        &mut self,
        now: Duration,
        opener: Opener,
        request: GrantRequest,
    ) -> Result<GrantView, Refusal> {
        self.limits.check(&request)?;
        if self.held.iter().filter(|grant| !grant.is_over(now)).count() >= MAX_OPEN {
            return Err(Refusal::new(
                Code::PolicyOutOfBounds,
                format!("{MAX_OPEN} grants are open or pending already; revoke one first"),
            ));
        }
        self.last += 1;
        let grant = Grant {
            id: GrantId { session: self.session, number: self.last },
            needs_two: self.limits.needs_two(&request.scopes),
            scopes: request.scopes,
            issuer: request.issuer,
            reason: request.reason,
            opened_by: opener,
            approved_by: None,
            expires_at: now.saturating_add(request.duration),
            left: request.count,
        };
        let view = grant.view(now);
        self.held.push(grant);
        self.changed = true;
        Ok(view)
    }

    /// The second person's yes, within the grant's time. A repetition by the same person changes
    /// nothing.
    ///
    /// # Errors
    /// `auth.not_permitted` for the opener of the grant; `request.invalid` where nothing waits for
    /// approval; `grant.missing` or `grant.expired` where there is no such grant (any more).
    pub fn approve(
        &mut self,
        now: Duration,
        opener: Opener,
        id: GrantId,
    ) -> Result<GrantView, Refusal> {
        let Some(grant) = self.held.iter_mut().find(|grant| grant.id == id) else {
            return Err(self.not_held(id));
        };
        if grant.is_over(now) {
            return Err(grant.refusal(Ending::Expired));
        }
        if grant.approved_by.as_ref() == Some(&opener) {
            return Ok(grant.view(now));
        }
        if grant.state() == State::Open {
            return Err(Refusal::new(
                Code::RequestInvalid,
                format!("grant {id} is open; it waits for nobody's approval"),
            ));
        }
        if grant.opened_by == opener {
            return Err(Refusal::new(
                Code::AuthNotPermitted,
                format!("grant {id} was asked for by {opener}; another person must approve it"),
            ));
        }
        grant.approved_by = Some(opener);
        self.changed = true;
        Ok(grant.view(now))
    }

    /// Ends one grant, or all of them; tells which.
    pub fn revoke(&mut self, now: Duration, id: Option<GrantId>) -> Vec<GrantId> {
        self.end(now, Ending::Revoked, |grant| id.is_none_or(|id| grant.id == id))
    }

    /// The vehicle is out of sight: what was granted for it may not fit what comes back.
    pub fn link_lost(&mut self, now: Duration) -> Vec<GrantId> {
        self.end(now, Ending::LinkLost, |_| true)
    }

    /// The grant under which a command of `api_id` may go: of several the one that ends first.
    ///
    /// # Errors
    /// `grant.expired` or `grant.exhausted` where one ended lately so, else `grant.missing`.
    pub fn check(
        &self,
        now: Duration,
        command: &Command,
        api_id: &str,
    ) -> Result<GrantId, Refusal> {
        let covers = |grant: &&Grant| grant.covers(command, api_id);
        let open = self
            .held
            .iter()
            .filter(covers)
            .filter(|grant| grant.state() == State::Open && !grant.is_over(now))
            .min_by_key(|grant| (grant.expires_at, grant.id.number));
        match open {
            Some(grant) => Ok(grant.id),
            None => Err(self.explain(now, command, api_id)),
        }
    }

    /// A command was accepted under the grant.
    pub fn consume(&mut self, now: Duration, id: GrantId) {
        let Some(grant) = self.held.iter_mut().find(|grant| grant.id == id) else { return };
        grant.left = grant.left.saturating_sub(1);
        self.changed = true;
        if grant.left == 0 {
            self.end(now, Ending::Exhausted, |grant| grant.id == id);
        }
    }

    /// Whether a command that was accepted under the grant may still be sent: not once the grant's
    /// time is over or somebody ended it. That later commands have used it up is no matter.
    ///
    /// # Errors
    /// `grant.expired`, or `grant.missing` for every other end.
    pub fn holds(&self, now: Duration, id: GrantId) -> Result<(), Refusal> {
        let (grant, ending) = match self.held.iter().find(|grant| grant.id == id) {
            Some(grant) => (grant, None),
            None => match self.ended.iter().find(|ended| ended.grant.id == id) {
                Some(ended) => (&ended.grant, Some(ended.ending)),
                None => return Err(self.not_held(id)),
            },
        };
        match ending {
            Some(ending) if ending != Ending::Exhausted => Err(grant.refusal(ending)),
            _ if grant.is_over(now) => Err(grant.refusal(Ending::Expired)),
            _ => Ok(()),
        }
    }

    /// When [`Grants::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Duration> {
        self.held.iter().map(|grant| grant.expires_at).min()
    }

    /// Ends what has run out of time; tells which.
    pub fn expire(&mut self, now: Duration) -> Vec<GrantId> {
        self.end(now, Ending::Expired, |grant| grant.is_over(now))
    }

    /// Open and pending grants, oldest first.
    pub fn views(&self, now: Duration) -> Vec<GrantView> {
        self.held.iter().filter(|grant| !grant.is_over(now)).map(|grant| grant.view(now)).collect()
    }

    /// The grants that have ended since the last call; `None` when nothing at all is different.
    pub fn take_changes(&mut self) -> Option<Vec<(GrantId, Ending)>> {
        std::mem::take(&mut self.changed).then(|| std::mem::take(&mut self.newly_ended))
    }

    fn end(
        &mut self,
        now: Duration,
        ending: Ending,
        which: impl Fn(&Grant) -> bool,
    ) -> Vec<GrantId> {
        let mut ids = Vec::new();
        if !matches!(ending, Ending::Exhausted | Ending::Expired) {
            // What it was used up by may still wait. That it has ended is told already.
            let used_up = self.ended.iter_mut().filter(|it| it.ending == Ending::Exhausted);
            for ended in used_up.filter(|it| !it.grant.is_over(now) && which(&it.grant)) {
                (ended.ending, ended.at) = (ending, now);
                ids.push(ended.grant.id);
            }
        }
        for grant in self.held.extract_if(.., |grant| which(grant)) {
            ids.push(grant.id);
            self.changed = true;
            self.newly_ended.push((grant.id, ending));
            // What is used up may still hold for commands that wait.
            let is_history = |it: &Ended| it.ending != Ending::Exhausted || it.grant.is_over(now);
            if self.ended.iter().filter(|it| is_history(it)).count() >= REMEMBERED
                && let Some(oldest) = self.ended.iter().position(is_history)
            {
                self.ended.remove(oldest);
            }
            self.ended.push_back(Ended { grant, ending, at: now });
        }
        ids
    }

    /// Why no grant covers the command, as helpfully as is known.
    fn explain(&self, now: Duration, command: &Command, api_id: &str) -> Refusal {
        let name = command.command_type;
        let held = self.held.iter().filter(|grant| grant.covers(command, api_id));
        let (over, pending): (Vec<_>, Vec<_>) = held.partition(|grant| grant.is_over(now));
        if let Some(grant) = pending.last() {
            return Refusal::new(
                Code::GrantMissing,
                format!("{name} needs an open grant; {} waits for a second person", grant.id),
            );
        }
        if let Some(grant) = over.last() {
            return grant.refusal(Ending::Expired);
        }
        let recent = self
            .ended
            .iter()
            .rev()
            .filter(|ended| now < ended.at.saturating_add(RECENT))
            .find(|ended| ended.grant.covers(command, api_id));
        if let Some(ended) = recent {
            return ended.grant.refusal(ended.ending);
        }
        Refusal::new(
            Code::GrantMissing,
            format!(
                "{name} needs an open grant (risk {}, domain {})",
                command.risk, command.domain
            ),
        )
    }

    fn not_held(&self, id: GrantId) -> Refusal {
        match self.ended.iter().find(|ended| ended.grant.id == id) {
            Some(ended) => ended.grant.refusal(ended.ending),
            None => Refusal::new(Code::GrantMissing, format!("there is no grant {id}")),
        }
    }
}
