//! What the agent tells the world: the broker, systemd and the log.

use log::warn;

use super::{Daemon, local_api};
use crate::catalog;
use crate::code::{Code, Violation};
use crate::edge::{api, mqtt, systemd};
use crate::guard::extra_link::LinkId;
use crate::guard::grants::Opener;
use crate::lifecycle::effect::Reply;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::{Origin, ReplyTo};
use crate::lifecycle::status::{Cause, Status};
use crate::lifecycle::time::Now;
use crate::wire::mavlink::CommandAck;
use crate::wire::outbound::{self, Presence, PresentClock, PresentExtraLink, PresentLink};
use crate::wire::topic::VENDOR;

/// Why a command is TIMED_OUT that was not sent.
pub(super) const TOO_LATE: &str = "the deadline passed before the frame could be written";

impl Daemon {
    /// A lifecycle update; its PUBACK comes back as an event.
    pub(super) fn publish_update(&self, id: mqtt::PublishId, record: &Record) {
        self.mqtt.send(mqtt::Command::Publish(mqtt::Publish {
            id: Some(id),
            topic: self.topics.lifecycle(&record.api_id, record.command_id),
            payload: outbound::update(&self.device_id, record),
            ..mqtt::Publish::default()
        }));
    }

    /// The answer to a message, the way that it came.
    pub(super) fn reply(&mut self, origin: Origin, reply: Reply) {
        self.count(&origin, &reply);
        match origin {
            Origin::Mqtt { reply_to, .. } => {
                if self.may_be_told(Some(&reply_to.api_id), &reply) {
                    self.publish_reply(&reply_to, &reply);
                }
            }
            Origin::Http(call) => {
                let Some((caller, response)) = self.calls.take(call) else { return };
                let told = self.may_be_told(caller.as_deref(), &reply);
                let reply = if told { reply } else { local_api::too_many() };
                // Who has hung up does not want to know.
                let _ = response.send(api::Response::Reply(reply));
            }
        }
    }

    fn count(&self, origin: &Origin, reply: &Reply) {
        match reply {
            Reply::Created { duplicate: false, .. } => self.metrics.accepted(origin),
            Reply::Created { duplicate: true, .. } => self.metrics.duplicate(origin),
            Reply::Error(error) => self.metrics.refused(error.violations[0].code),
            Reply::Found { .. } | Reply::Grant { .. } => {}
        }
    }

    /// Logs what is of interest; false: whoever caused it has caused too much already.
    fn may_be_told(&mut self, api_id: Option<&str>, reply: &Reply) -> bool {
        match (reply, api_id) {
            (Reply::Error(error), _) => {
                let violation = &error.violations[0];
                if is_played_back(violation.code) && !self.admission.may_answer(self.now().boot) {
                    return false;
                }
                log_refusal(api_id, violation);
            }
            (Reply::Grant { answer, .. }, Some(api_id)) => {
                local_api::log_answer(&Opener::Issuer(api_id.to_owned()), answer);
            }
            (Reply::Grant { .. } | Reply::Created { .. } | Reply::Found { .. }, _) => {}
        }
        true
    }

    fn publish_reply(&self, reply_to: &ReplyTo, reply: &Reply) {
        let own = self.topics.replies(&reply_to.api_id);
        let payload = outbound::reply(&self.device_id, reply);
        if let Some(topic) = reply_to.response_topic.clone().filter(|topic| *topic != own) {
            self.publish(topic, payload.clone(), reply_to.correlation_data.clone());
        }
        self.publish(own, payload, reply_to.correlation_data.clone());
    }

    pub(super) fn publish_presence(&mut self) {
        let Now { wall, wall_trusted, .. } = self.now();
        self.clock_trusted = wall_trusted;
        let Some(broker) = &self.broker else { return };
        let extra_links = self.links.extra().map(|it| PresentExtraLink {
            name: it.name,
            state: self.engine.link_state(it.id).as_str(),
            endpoint: it.endpoint,
        });
        let presence = Presence {
            online: true,
            session: self.session,
            vendor: VENDOR,
            device_id: &self.device_id,
            version: env!("CARGO_PKG_VERSION"),
            guard_mode: self.engine.guard().mode().as_str(),
            link: PresentLink {
                state: self.engine.link_state(LinkId::MAIN).as_str(),
                endpoint: &self.links.endpoint(),
            },
            links: extra_links.collect(),
            broker,
            clock: PresentClock { trusted: wall_trusted, time: wall },
            challenge: self.admission.challenge(),
            grants: self.grants(),
            catalog_hash: catalog::HASH,
        };
        self.publish_maybe_retained(self.topics.presence(), presence.json(), None, true);
    }

    pub(super) fn publish_absence(&self) {
        let absence = outbound::absence(self.session, &self.device_id);
        self.publish_maybe_retained(self.topics.presence(), absence, None, true);
    }

    /// Presence tells whether the clock is trusted.
    pub(super) fn follow_clock(&mut self) {
        if self.now().wall_trusted != self.clock_trusted {
            self.publish_presence();
        }
    }

    pub(super) fn publish_unmatched(&self, ack: &CommandAck) {
        let (system, component) = (ack.source.system, ack.source.component);
        warn!(
            "a COMMAND_ACK of {system}/{component} for MAV_CMD {} belongs to no command",
            ack.command
        );
        let payload = outbound::unmatched(&self.device_id, ack, self.now().wall);
        self.publish(self.topics.unmatched(), payload, None);
    }

    pub(super) fn tell_systemd(&self) {
        let extra_links: String = self
            .links
            .extra()
            .map(|it| format!("; link {} {}", it.name, self.engine.link_state(it.id).as_str()))
            .collect();
        systemd::status(&format!(
            "{}; link {}{extra_links}; broker {}; {} queued, {} outstanding, {} to publish",
            self.engine.guard().mode().as_str(),
            self.engine.link_state(LinkId::MAIN).as_str(),
            self.broker.as_deref().unwrap_or("not connected"),
            self.engine.queued(),
            self.engine.outstanding(),
            self.engine.unpublished(),
        ));
    }

    /// Once, while connected; what must not be lost goes through the outbox instead.
    fn publish(&self, topic: String, payload: Vec<u8>, correlation_data: Option<Vec<u8>>) {
        self.publish_maybe_retained(topic, payload, correlation_data, false);
    }

    fn publish_maybe_retained(
        &self,
        topic: String,
        payload: Vec<u8>,
        correlation_data: Option<Vec<u8>>,
        retain: bool,
    ) {
        if self.broker.is_some() {
            self.mqtt.send(mqtt::Command::Publish(mqtt::Publish {
                topic,
                payload,
                retain,
                correlation_data,
                ..mqtt::Publish::default()
            }));
        }
    }
}

/// One line per step of a command.
pub(super) fn log_step(record: &Record) {
    let code = record.cause.map_or("none".into(), Cause::response_code);
    let level = match record.status {
        Status::TimedOut | Status::UnmatchedResponse | Status::Failed => log::Level::Warn,
        Status::Accepted | Status::Delivered | Status::Succeeded => log::Level::Info,
    };
    log::log!(
        level,
        COMMAND_ID:% = record.command_id,
        COMMAND_TYPE = record.command_type.as_str(),
        API_ID = record.api_id.as_str(),
        CODE = code.as_ref();
        "{} {}{}",
        record.command_type,
        record.status.as_str(),
        record.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default()
    );
}

/// `api_id`: who asked, if that is known.
pub(super) fn log_refusal(api_id: Option<&str>, violation: &Violation) {
    match (violation.code, api_id) {
        // Why a sender is not believed is for the log alone, which has it already; and that anybody
        // asks for what is not there is no event.
        (Code::AuthFailed, _) | (Code::QueryNotFound, None) => {}
        (code, api_id) => {
            let api_id = api_id.unwrap_or_default();
            warn!(API_ID = api_id, CODE = code.as_str(); "refused: {violation}");
        }
    }
}

/// A genuine signature that does not count now: whoever recorded it can send it as often as they like.
fn is_played_back(code: Code) -> bool {
    matches!(code, Code::AuthReplay | Code::AuthStale | Code::AuthClockUntrusted)
}
