//! What comes in: an event becomes the engine's input. Runs in the loop; nothing waits here.

use log::{error, info, warn};

use super::admission::{Admitted, Denied};
use super::{Daemon, Error, outgoing, signing};
use crate::code::Code;
use crate::config::Config;
use crate::edge::{link, mqtt};
use crate::guard::extra_link::LinkId;
use crate::lifecycle::effect::{Input, Ticket};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::{CommandId, Origin};

impl Daemon {
    /// The first event, if it has been taken already, then all else that the links have told, and only
    /// then what follows from it: an old HEARTBEAT means little when a fresh one waits behind it.
    pub(super) fn hear_links(&mut self, first: Option<(LinkId, link::Event)>) {
        if let Some((link, event)) = first {
            self.on_link(link, event);
        }
        for _ in 0..self.links.waiting_events() {
            let Some((link, event)) = self.links.waiting_event() else { break };
            self.on_link(link, event);
        }
        self.handle(Input::Tick);
    }

    fn on_link(&mut self, link: LinkId, event: link::Event) {
        let input = match event {
            link::Event::SigningLease { until } => return self.leases.ask(until),
            link::Event::Rejected { source, why, count } => {
                return signing::log_rejected(source, why, count);
            }
            link::Event::Opened => {
                info!("the link {} is open", self.links.describe(link));
                Input::LinkOpened(link)
            }
            link::Event::Closed { reason } => {
                warn!("the link {} is closed: {reason}", self.links.describe(link));
                Input::LinkClosed(link)
            }
            link::Event::Heartbeat { heartbeat, at } => {
                self.hear(Input::Heartbeat(link, heartbeat, at.elapsed()));
                // By now it may be the target.
                self.autopilots.hear(&heartbeat, self.engine.autopilot());
                return;
            }
            // The autopilot's alone counts, and it is behind the main link.
            link::Event::Telemetry { .. } if link != LinkId::MAIN => return,
            link::Event::Telemetry { telemetry, at } => Input::Telemetry(telemetry, at.elapsed()),
            link::Event::CommandAck(ack) => Input::CommandAck(link, ack),
            link::Event::ForeignCommand(command) => Input::ForeignCommand(command),
            link::Event::ForwardOpened { endpoint } => {
                info!("the vehicle's stream is forwarded at {endpoint}");
                return;
            }
            link::Event::ForwardFailed { endpoint, reason } => {
                warn!("the vehicle's stream is not forwarded at {endpoint}: {reason}");
                return;
            }
            link::Event::Sent { ticket } => Input::Sent { ticket: Ticket(ticket) },
            link::Event::NotSent { ticket, cause } => {
                let (code, message) = match cause {
                    link::NotSent::Lost => (
                        Code::TransportLost,
                        "the link closed before the frame could be written".to_owned(),
                    ),
                    link::NotSent::TooLate => (Code::TimeoutQueue, outgoing::TOO_LATE.to_owned()),
                    failed @ (link::NotSent::NoRoom | link::NotSent::WriteFailed(_)) => (
                        Code::TransportWriteFailed,
                        format!("the frame could not be written: {failed}"),
                    ),
                };
                Input::NotSent { ticket: Ticket(ticket), code, message }
            }
            link::Event::Unknown { ticket, reason } => {
                warn!("perhaps a frame did not leave whole, its COMMAND_ACK will tell: {reason}");
                Input::SendUnknown { ticket: Ticket(ticket) }
            }
        };
        self.hear(input);
    }

    pub(super) fn on_mqtt(&mut self, event: mqtt::Event) -> Result<(), Error> {
        match event {
            mqtt::Event::Connected { session_present, broker, .. } => {
                let session = if session_present { "resumed" } else { "new" };
                info!("connected to {broker}, {session} session");
                self.broker = Some(broker.to_string());
                self.metrics.broker_connected();
                self.handle(Input::BrokerConnected);
                self.publish_presence();
                self.tell_systemd();
            }
            mqtt::Event::Disconnected { reason } => {
                warn!("not connected to the broker: {reason}");
                self.broker = None;
                self.handle(Input::BrokerDisconnected);
                self.tell_systemd();
            }
            mqtt::Event::Message(message) => self.on_message(message)?,
            mqtt::Event::Published { id, outcome } => {
                if let Err(reason) = &outcome {
                    warn!("the broker refused a lifecycle update: {reason}");
                }
                self.handle(Input::Published { number: id.0, accepted: outcome.is_ok() });
            }
        }
        Ok(())
    }

    pub(super) fn on_message(&mut self, message: mqtt::Message) -> Result<(), Error> {
        let now = self.now();
        let (admitted, reply_to) = self.admission.read(self.engine.guard(), &message, &now);
        let delivery = self.deliveries.add(message.acknowledgement);
        let input = match admitted {
            Admitted::Request(request) => {
                let stored = self.stored(request.command_id)?;
                Input::Request { request, stored, origin: Origin::Mqtt { reply_to, delivery } }
            }
            Admitted::Query(query) => {
                let stored = self.stored(query.command_id)?;
                Input::Query { query, stored, origin: Origin::Mqtt { reply_to, delivery } }
            }
            Admitted::Grant(message) => Input::GrantMessage { message, reply_to, delivery },
            Admitted::Refused(Denied { code, reply }) => {
                if reply.is_none() {
                    self.metrics.refused(code);
                }
                Input::Refused { error: reply.map(|reply| *reply), reply_to, delivery }
            }
        };
        self.engine.handle(&now, input);
        Ok(())
    }

    pub(super) fn stored(&self, id: CommandId) -> Result<Option<Box<Record>>, Error> {
        Ok(self.journal.get(id)?.map(Box::new))
    }

    /// Takes up a new `[guard]`, keys included; commands and connections stay as they are. With a
    /// mistake in the configuration the old one goes on.
    pub(super) fn reload(&mut self) {
        match Config::load(&self.config_path) {
            Ok(config) => {
                self.engine.replace_guard(&self.now(), config.guard);
                info!("the guard's configuration was read again");
                self.publish_presence();
                self.tell_systemd();
            }
            Err(error) => error!("the guard's configuration stays as it was: {error}"),
        }
    }
}
