//! A message arrives: a request becomes a command, a duplicate finds its own, a query reads.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::live::Live;
use crate::catalog::Command;
use crate::code::{Code, Violation};
use crate::guard::authentication::{Authenticated, Freshness};
use crate::guard::explain::{Layer, Verdict};
use crate::guard::{Candidate, Refusal};
use crate::lifecycle::effect::{Effect, ErrorReply, Reply};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::{CommandRequest, Origin, Query};
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
        origin: Origin,
    ) {
        self.acknowledge(&origin);
        let component = self.guard.component(request.command, request.target_component);
        let id = request.command_id;
        let live = self.live.get(&id).map(|live| live.record.clone());
        let known = live.or(stored.map(|record| *record));
        // What was recorded and is played back may only find its own command, whatever its age.
        let is_repetition =
            known.as_ref().is_some_and(|record| record.request_sha256 == request.request_sha256);
        let checked = match is_repetition {
            true => Ok(()),
            false => self.check_nonce(request.authenticated.as_ref()),
        };
        let reply = if let Err(refusal) = checked {
            refused(request, refusal)
        } else if let Some(record) = known {
            // What the publisher leaves open may be another thing today than when it was sent first.
            if is_repetition
                || record.command_type == request.command.command_type
                // The publisher names no system: which one it was makes no other content.
                && record.target.component == component
                && record.content.same_content(&request.content)
            {
                Reply::Created { record: Arc::new(record), duplicate: true }
            } else {
                conflict(request, &record)
            }
        } else if self.queue.len() >= self.settings.max_queue {
            let message = format!(
                "{} commands wait already; this one was not accepted, try again",
                self.settings.max_queue
            );
            refused(request, Refusal::new(Code::BusyQueueFull, message))
        } else if !self.outbox.has_room(self.live.keys().copied()) {
            let message = "too many outcomes wait for the broker to take them already; \
                           this command was not accepted, try again";
            refused(request, Refusal::new(Code::BusyJournalFull, message))
        } else if let Err(refusal) = self.use_nonce(request.authenticated.as_ref()) {
            refused(request, refusal)
        } else {
            self.accept(now, request, component)
        };
        self.effects.push_back(Effect::Reply { origin, reply });
    }

    pub(super) fn on_query(&mut self, query: Query, stored: Option<Box<Record>>, origin: Origin) {
        self.acknowledge(&origin);
        let id = query.command_id;
        let record =
            self.live.get(&id).map(|live| Box::new(live.record.clone())).or(stored).filter(
                |record| query.api_id.as_ref().is_none_or(|api_id| *api_id == record.api_id),
            );
        let reply = match record {
            Some(record) => Reply::Found { record, request_id: query.request_id },
            None => Reply::Error(ErrorReply {
                violations: vec![Violation::whole(
                    Code::QueryNotFound,
                    match &query.api_id {
                        Some(api_id) => format!("issuer {api_id} has no command {id}"),
                        None => format!("there is no command {id}"),
                    },
                )],
                idempotency_key: query.idempotency_key,
                command_id: Some(id),
                request_id: query.request_id,
                request_sha256: query.request_sha256,
            }),
        };
        self.effects.push_back(Effect::Reply { origin, reply });
    }

    pub(super) fn on_refused(&mut self, error: Option<ErrorReply>, origin: Origin) {
        self.acknowledge(&origin);
        if let Some(error) = error {
            self.effects.push_back(Effect::Reply { origin, reply: Reply::Error(error) });
        }
    }

    /// Before the commit it is impossible: effects run after `Persist`.
    pub(super) fn acknowledge(&mut self, origin: &Origin) {
        if let Origin::Mqtt { delivery, .. } = origin {
            self.effects.push_back(Effect::Acknowledge(*delivery));
        }
    }

    /// What the guard would say to a request at this moment. Nothing comes of it.
    pub fn explain(&self, now: &Now, request: &CommandRequest) -> Vec<(Layer, Verdict)> {
        let component = self.guard.component(request.command, request.target_component);
        let candidate = Candidate {
            api_id: &request.api_id,
            command: request.command,
            content: &request.content,
            component,
            timeout_seconds: self.timeout_seconds(request),
        };
        let nonce = self.check_nonce(request.authenticated.as_ref());
        let mut layers = vec![(Layer::Authentication, nonce.into())];
        let Self { guard, rates, vehicle, grants, .. } = self;
        layers.extend(guard.explain(candidate, rates, vehicle, grants, now.boot));
        layers
    }

    /// As requested, or by default.
    fn timeout_seconds(&self, request: &CommandRequest) -> u32 {
        request.timeout_seconds.unwrap_or_else(|| self.default_timeout(request.command))
    }

    fn default_timeout(&self, command: &Command) -> u32 {
        let longest = self.guard.max_timeout(command).unwrap_or(u32::MAX);
        self.settings.default_timeout_seconds.min(longest)
    }

    /// Whether something new may come of a genuine message.
    pub(super) fn check_nonce(&self, authenticated: Option<&Authenticated>) -> Result<(), Refusal> {
        let Some(authenticated) = authenticated else { return Ok(()) };
        if let Some(set_aside) = self.set_aside {
            set_aside.check(&authenticated.nonce)?;
        }
        if self.nonces.seen(&authenticated.nonce.key) {
            return Err(Refusal::new(Code::AuthReplay, "the nonce was used before"));
        }
        match &authenticated.freshness {
            Freshness::Fresh => Ok(()),
            Freshness::Stale(refusal) => Err(refusal.clone()),
        }
    }

    /// The nonce becomes durable in the commit of what comes of the message.
    pub(super) fn use_nonce(
        &mut self,
        authenticated: Option<&Authenticated>,
    ) -> Result<(), Refusal> {
        authenticated.map_or(Ok(()), |it| self.nonces.remember(&it.nonce))
    }

    /// Journals the command as ACCEPTED; the guard then lets it into the queue or ends it.
    fn accept(&mut self, now: &Now, request: CommandRequest, component: u8) -> Reply {
        let id = request.command_id;
        let timeout_seconds = self.timeout_seconds(&request);
        let waits = match timeout_seconds {
            // Nobody waits for the outcome, but the command still must not go out late.
            0 => self.default_timeout(request.command),
            seconds => seconds,
        };
        let mut wait = Duration::from_secs(waits.into());
        if let Some(expiry) = request.message_expiry {
            wait = wait.min(expiry);
        }
        let stamp = Stamp::of(now);
        // Nothing goes to 0: the guard has refused it then.
        let system = self.vehicle.autopilot().system.unwrap_or(0);
        let nonce = request.authenticated.map(|it| it.nonce);
        self.last_number += 1;
        let record = Record {
            command_id: id,
            number: self.last_number,
            api_id: request.api_id,
            idempotency_key: request.idempotency_key,
            request_sha256: request.request_sha256,
            nonce: nonce.map(|it| it.key),
            nonce_expires: nonce.filter(|it| it.durable).map(|it| it.expires),
            command_type: request.command.command_type.to_owned(),
            content: request.content,
            target: Address { system, component },
            timeout_seconds,
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
            component,
            timeout_seconds: record.timeout_seconds,
        };
        let decision =
            self.guard.judge(candidate, &mut self.rates, &self.vehicle, &self.grants, now.boot);
        self.live.insert(id, Live::new(record, now.boot + wait));
        self.announce(now, id);
        self.urgent = true;
        let accepted = self.batch.records[&id].clone();
        match decision {
            Ok(clearance) => {
                self.clear(now, id, clearance);
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
        request_sha256: request.request_sha256,
        ..ErrorReply::default()
    })
}
