//! A message arrives: a request becomes a command, a duplicate finds its own, a query reads.

use std::time::Duration;

use super::{Engine, Live};
use crate::code::{Code, Violation};
use crate::guard::authentication::Freshness;
use crate::guard::{Candidate, Mode, Refusal};
use crate::lifecycle::effect::{DeliveryId, Effect, ErrorReply, Reply};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::{CommandRequest, Query, ReplyTo};
use crate::lifecycle::status::Status;
use crate::lifecycle::time::{Now, Stamp};
use crate::lifecycle::timers::Timer;
use crate::wire::mavlink::Address;

impl Engine {
    pub(super) fn on_request(
        &mut self,
        now: &Now,
        request: CommandRequest,
        stored: Option<Box<Record>>,
        reply_to: ReplyTo,
        delivery: DeliveryId,
    ) {
        // An acknowledgement before the commit is impossible: effects run after `Persist`.
        self.effects.push_back(Effect::Acknowledge(delivery));
        let target = self.guard.target(request.command, request.target_component);
        let id = request.command_id;
        let known = self.live.get(&id).map(|live| Box::new(live.record.clone())).or(stored);
        let reply = if let Err(refusal) = self.check_nonce(&request, known.as_deref()) {
            refused(request, refusal)
        } else if let Some(record) = known {
            if record.command_type == request.command.command_type
                && record.target == target
                && record.content.same_content(&request.content)
            {
                Reply::Created { record, duplicate: true }
            } else {
                conflict(request, &record)
            }
        } else if self.queue.len() >= self.settings.max_queue {
            let message = format!(
                "{} commands wait already; this one was not accepted, try again",
                self.settings.max_queue
            );
            refused(request, Refusal::new(Code::BusyQueueFull, message))
        } else if let Err(refusal) = self.use_nonce(&request) {
            refused(request, refusal)
        } else {
            self.accept(now, request, target)
        };
        self.effects.push_back(Effect::Reply { reply_to, reply });
    }

    pub(super) fn on_query(
        &mut self,
        query: Query,
        stored: Option<Box<Record>>,
        reply_to: ReplyTo,
        delivery: DeliveryId,
    ) {
        let id = query.command_id;
        let record = self
            .live
            .get(&id)
            .map(|live| Box::new(live.record.clone()))
            .or(stored)
            .filter(|record| record.api_id == query.api_id);
        let reply = match record {
            Some(record) => Reply::Found { record, request_id: query.request_id },
            None => Reply::Error(ErrorReply {
                violations: vec![Violation::whole(
                    Code::QueryNotFound,
                    format!("issuer {} has no command {id}", query.api_id),
                )],
                idempotency_key: None,
                command_id: Some(id),
                request_id: query.request_id,
                request_sha256: query.request_sha256,
            }),
        };
        self.effects.push_back(Effect::Acknowledge(delivery));
        self.effects.push_back(Effect::Reply { reply_to, reply });
    }

    pub(super) fn on_refused(
        &mut self,
        error: Option<ErrorReply>,
        reply_to: ReplyTo,
        delivery: DeliveryId,
    ) {
        self.effects.push_back(Effect::Acknowledge(delivery));
        if let Some(error) = error {
            self.effects.push_back(Effect::Reply { reply_to, reply: Reply::Error(error) });
        }
    }

    /// What was recorded and is played back may only find its own command, whatever its age.
    fn check_nonce(&self, request: &CommandRequest, known: Option<&Record>) -> Result<(), Refusal> {
        if known.is_none() && self.guard.mode() == Mode::Guarded {
            let nonce = request.authenticated.as_ref().map(|it| &it.nonce);
            self.aftermath.check(nonce)?;
        }
        let Some(authenticated) = &request.authenticated else { return Ok(()) };
        if known.is_some_and(|record| record.request_sha256 == request.request_sha256) {
            return Ok(());
        }
        if self.nonces.seen(&authenticated.nonce.key) {
            return Err(Refusal::new(Code::AuthReplay, "the nonce was used before"));
        }
        match &authenticated.freshness {
            Freshness::Fresh => Ok(()),
            Freshness::Stale(refusal) => Err(refusal.clone()),
        }
    }

    /// The nonce becomes durable in the same commit as the command.
    fn use_nonce(&mut self, request: &CommandRequest) -> Result<(), Refusal> {
        let Some(authenticated) = &request.authenticated else { return Ok(()) };
        let nonce = &authenticated.nonce;
        self.nonces.remember(nonce)?;
        if nonce.durable {
            self.batch.nonces.insert(nonce.key, nonce.expires);
        }
        Ok(())
    }

    /// Journals the command as ACCEPTED; the guard then lets it into the queue or ends it.
    fn accept(&mut self, now: &Now, request: CommandRequest, target: Address) -> Reply {
        let id = request.command_id;
        let longest = self.guard.max_timeout(request.command).unwrap_or(u32::MAX);
        let default = self.settings.default_timeout_seconds.min(longest);
        let waits = match request.timeout_seconds {
            // Nobody waits for the outcome, but the command still must not go out late.
            Some(0) | None => default,
            Some(seconds) => seconds,
        };
        let mut wait = Duration::from_secs(waits.into());
        if let Some(expiry) = request.message_expiry {
            wait = wait.min(expiry);
        }
        let stamp = Stamp::of(now);
        self.last_number += 1;
        let record = Record {
            command_id: id,
            number: self.last_number,
            api_id: request.api_id,
            idempotency_key: request.idempotency_key,
            request_sha256: request.request_sha256,
            nonce: request.authenticated.map(|it| it.nonce.key),
            command_type: request.command.command_type.to_owned(),
            content: request.content,
            target,
            timeout_seconds: request.timeout_seconds.unwrap_or(default),
            accepted: stamp,
            deadline_ms: wait.as_millis() as u64,
            status: Status::Accepted,
            seq: 0,
            updated: stamp,
            cause: None,
            message: Some("the command is journaled".to_owned()),
            dispatch: None,
            ack: None,
            stray: None,
            closed: false,
        };
        let candidate = Candidate {
            api_id: &record.api_id,
            command: request.command,
            content: &record.content,
            target,
            timeout_seconds: record.timeout_seconds,
        };
        let decision = self.guard.judge(candidate, &mut self.rates, &self.vehicle, now.boot);
        let mut live = Live::new(record, now.boot + wait);
        if let Ok(clearance) = &decision {
            live.retransmit = clearance.retransmit;
        }
        self.live.insert(id, live);
        self.announce(now, id);
        self.urgent = true;
        let accepted = Box::new(self.live[&id].record.clone());
        match decision {
            Ok(_) => {
                self.queue.push_back(id);
                self.timers.set(Timer::Deadline(id), now.boot + wait);
            }
            Err(refusal) => self.finish(now, id, Status::Failed, refusal.code, refusal.message),
        }
        Reply::Created { record: accepted, duplicate: false }
    }
}

fn conflict(request: CommandRequest, record: &Record) -> Reply {
    Reply::Error(ErrorReply {
        violations: vec![Violation::new(
            Code::IdempotencyConflict,
            "idempotency_key",
            format!(
                "idempotency_key {:?} belongs to command {} ({}) with other content; \
                 a new command needs a new key",
                request.idempotency_key, record.command_id, record.command_type
            ),
        )],
        idempotency_key: Some(request.idempotency_key),
        command_id: Some(record.command_id),
        request_id: None,
        request_sha256: request.request_sha256,
    })
}

fn refused(request: CommandRequest, refusal: Refusal) -> Reply {
    Reply::Error(ErrorReply {
        violations: vec![Violation::whole(refusal.code, refusal.message)],
        idempotency_key: Some(request.idempotency_key),
        command_id: None,
        request_id: None,
        request_sha256: request.request_sha256,
    })
}
