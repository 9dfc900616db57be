//! Grants come and go; a command that waits goes with the grant that let it in.

use super::Engine;
use crate::code::{Code, Violation};
use crate::guard::Refusal;
use crate::guard::extra_link::LinkId;
use crate::guard::grants::{Action, Answer, Opener};
use crate::guard::nonces::Nonce;
use crate::guard::vehicle::LinkState;
use crate::lifecycle::effect::{CallId, DeliveryId, Effect, ErrorReply, Reply};
use crate::lifecycle::request::{CommandId, GrantMessage, Origin, ReplyTo};
use crate::lifecycle::status::Status;
use crate::lifecycle::time::Now;
use crate::lifecycle::timers::Timer;

impl Engine {
    /// An operator at the vehicle.
    pub(super) fn on_grant(&mut self, now: &Now, action: Action, opener: Opener, call: CallId) {
        let outcome = self.act(now, action, opener);
        self.effects.push_back(Effect::GrantReply { call, outcome });
    }

    /// An issuer, by its signed message.
    pub(super) fn on_grant_message(
        &mut self,
        now: &Now,
        message: GrantMessage,
        reply_to: ReplyTo,
        delivery: DeliveryId,
    ) {
        // After the commit that makes the nonce durable.
        self.effects.push_back(Effect::Acknowledge(delivery));
        let reply = match self.carry_out(now, &message, &reply_to.api_id) {
            Ok(answer) => Reply::Grant { answer, request_id: message.request_id },
            Err(refusal) => Reply::Error(ErrorReply {
                violations: vec![Violation::whole(refusal.code, refusal.message)],
                request_id: message.request_id,
                request_sha256: message.request_sha256,
                ..ErrorReply::default()
            }),
        };
        let origin = Origin::Mqtt { reply_to, delivery };
        self.effects.push_back(Effect::Reply { origin, reply });
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
        let no_longer_granted: Vec<(CommandId, Refusal)> = self
            .queue
            .iter()
            .filter_map(|id| Some((*id, self.grants.holds(now.boot, self.live[id].grant?).err()?)))
            .collect();
        for (id, refusal) in no_longer_granted {
            let message = format!("{}; the command was not sent", refusal.message);
            self.finish(now, id, Status::Failed, refusal.code, message);
        }
    }

    fn carry_out(
        &mut self,
        now: &Now,
        message: &GrantMessage,
        api_id: &str,
    ) -> Result<Answer, Refusal> {
        self.check_nonce(message.authenticated.as_ref())?;
        self.guard.may_grant(api_id)?;
        self.use_nonce(message.authenticated.as_ref())?;
        if let Some(authenticated) = &message.authenticated {
            self.journal_nonce(&authenticated.nonce);
        }
        self.urgent = !self.batch.is_empty();
        self.act(now, message.action.clone(), Opener::Issuer(api_id.to_owned()))
    }

    /// No record will hold it, so it gets an entry of its own.
    fn journal_nonce(&mut self, nonce: &Nonce) {
        if nonce.durable {
            self.batch.nonces.insert(nonce.key, nonce.expires);
            self.nonce_entries.insert(nonce.key);
        }
    }

    fn act(&mut self, now: &Now, action: Action, opener: Opener) -> Result<Answer, Refusal> {
        match action {
            Action::Open(_) | Action::Approve(_) => {
                self.guard.check_mode()?;
                self.link_is_ready(now)?;
            }
            // It only ever stops something.
            Action::Revoke(_) | Action::RevokeAll => {}
        }
        self.grants.act(now.boot, opener, action)
    }

    /// A grant must not outlive the link, so it cannot be older than the link either.
    fn link_is_ready(&self, now: &Now) -> Result<(), Refusal> {
        let link = self.vehicle.link_state(LinkId::MAIN, now.boot);
        if link == LinkState::Ready {
            return Ok(());
        }
        let message = format!(
            "the link to the vehicle is {}, not ready; a grant ends when the link is lost",
            link.as_str()
        );
        Err(Refusal::new(Code::TransportNotReady, message))
    }
}
