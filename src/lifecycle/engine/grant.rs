//! Grants come and go; a command that waits goes with the grant that let it in.

use super::Engine;
use crate::code::Code;
use crate::guard::grants::{Action, Opener};
use crate::guard::vehicle::LinkState;
use crate::guard::{Mode, Refusal};
use crate::lifecycle::effect::{CallId, Effect};
use crate::lifecycle::request::CommandId;
use crate::lifecycle::status::Status;
use crate::lifecycle::time::Now;
use crate::lifecycle::timers::Timer;

impl Engine {
    pub(super) fn on_grant(&mut self, now: &Now, action: Action, opener: Opener, call: CallId) {
        let outcome = match action {
            // Revoking is always possible: it only ever stops something.
            Action::Open(_) | Action::Approve(_) => self.may_grant(now),
            Action::Revoke(_) | Action::RevokeAll => Ok(()),
        };
        let outcome = outcome.and_then(|()| self.grants.act(now.boot, opener, action));
        self.effects.push_back(Effect::GrantReply { call, outcome });
    }

    /// Ends what has run out, tells of every change, and ends the commands that no longer may go.
    pub(super) fn follow_grants(&mut self, now: &Now) {
        self.grants.expire(now.boot);
        match self.grants.next_expiry() {
            Some(at) => self.timers.set(Timer::GrantExpiry, at),
            None => self.timers.cancel(Timer::GrantExpiry),
        }
        if let Some(ended) = self.grants.take_changes() {
            self.effects.push_back(Effect::Grants { ended });
        }
        for (id, refusal) in self.no_longer_granted(now) {
            let message = format!("{}; the command was not sent", refusal.message);
            self.finish(now, id, Status::Failed, refusal.code, message);
        }
    }

    /// Whether another frame of this command may go out.
    pub(super) fn still_granted(&self, now: &Now, id: CommandId) -> bool {
        let grant = self.live.get(&id).and_then(|live| live.grant);
        grant.is_none_or(|grant| self.grants.holds(now.boot, grant).is_ok())
    }

    /// A grant must not outlive the link, so it cannot be older than the link either.
    fn may_grant(&self, now: &Now) -> Result<(), Refusal> {
        if self.guard.mode() == Mode::Disabled {
            return Err(Refusal::new(
                Code::GuardDisabled,
                "downlink is disabled on this vehicle ([guard] mode = \"disabled\")",
            ));
        }
        let link = self.vehicle.link_state(now.boot);
        if link != LinkState::Ready {
            return Err(Refusal::new(
                Code::TransportNotReady,
                format!(
                    "the link to the vehicle is {}, not ready; a grant ends when the link is lost",
                    link.as_str()
                ),
            ));
        }
        Ok(())
    }

    /// Accepted under a grant that does not hold any more, and certainly not sent yet.
    fn no_longer_granted(&self, now: &Now) -> Vec<(CommandId, Refusal)> {
        let unsent = self.in_flight.values().filter(|id| !self.live[id].may_be_out);
        let refusal = |id: &CommandId| {
            let refusal = self.grants.holds(now.boot, self.live[id].grant?).err()?;
            Some((*id, refusal))
        };
        self.queue.iter().chain(unsent).filter_map(refusal).collect()
    }
}
