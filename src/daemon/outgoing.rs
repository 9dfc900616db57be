//! What the agent tells the world: the broker, systemd and the log.

use log::warn;

use super::{Daemon, local_api};
use crate::catalog;
use crate::code::Code;
use crate::edge::{mqtt, systemd};
use crate::guard::grants::Opener;
use crate::lifecycle::effect::Reply;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::ReplyTo;
use crate::lifecycle::status::{Cause, Status};
use crate::lifecycle::time::Now;
use crate::wire::mavlink::CommandAck;
use crate::wire::outbound::{self, Presence, PresentClock, PresentLink};
use crate::wire::topic::VENDOR;

impl Daemon {
    /// A lifecycle update; its PUBACK comes back as an event.
    pub(super) fn publish_update(&self, id: mqtt::PublishId, record: &Record) {
        self.mqtt.send(mqtt::Command::Publish(mqtt::Publish {
            id: Some(id),
            topic: self.topics.lifecycle(&record.api_id, record.command_id),
            payload: outbound::update(&self.device_id, record),
            retain: false,
            correlation_data: None,
            message_expiry: None,
            user_properties: Vec::new(),
        }));
    }

    pub(super) fn reply(&mut self, reply_to: &ReplyTo, reply: &Reply) {
        match reply {
            Reply::Error(error) => {
                let violation = &error.violations[0];
                self.refusals.count(violation.code);
                if is_played_back(violation.code) && !self.admission.may_answer(self.now().boot) {
                    return;
                }
                // Why a sender is not believed is for the log alone, which has it already.
                if violation.code != Code::AuthFailed {
                    let (api_id, code) = (reply_to.api_id.as_str(), violation.code.as_str());
                    warn!(API_ID = api_id, CODE = code; "refused: {violation}");
                }
            }
            Reply::Grant { answer, .. } => {
                local_api::log_answer(&Opener::Issuer(reply_to.api_id.clone()), answer);
            }
            Reply::Created { .. } | Reply::Found { .. } => {}
        }
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
        let presence = Presence {
            online: true,
            session: self.session,
            vendor: VENDOR,
            device_id: &self.device_id,
            version: env!("CARGO_PKG_VERSION"),
            guard_mode: self.engine.guard().mode().as_str(),
            link: PresentLink {
                state: self.engine.link_state().as_str(),
                endpoint: &self.endpoint,
            },
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
        systemd::status(&format!(
            "{}; link {}; broker {}; {} queued, {} outstanding, {} to publish",
            self.engine.guard().mode().as_str(),
            self.engine.link_state().as_str(),
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
                id: None,
                topic,
                payload,
                retain,
                correlation_data,
                message_expiry: None,
                user_properties: Vec::new(),
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
        COMMAND_ID = record.command_id.to_string().as_str(),
        COMMAND_TYPE = record.command_type.as_str(),
        API_ID = record.api_id.as_str(),
        CODE = code.as_ref();
        "{} {}{}",
        record.command_type,
        record.status.as_str(),
        record.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default()
    );
}

/// A genuine signature that does not count now: whoever recorded it can send it as often as they like.
fn is_played_back(code: Code) -> bool {
    matches!(code, Code::AuthReplay | Code::AuthStale | Code::AuthClockUntrusted)
}
