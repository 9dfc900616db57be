//! What is read: bytes become frames, frames become events; and how long the port rests after that.
//!
//! Steps of the session's: they run to their end, and wait for nothing but room for an event.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Event;
use super::outgoing::{Outgoing, Stage};
use super::{End, STREAM_PAUSE, Session};
use crate::wire::mavlink::{self, Received};

impl Session<'_> {
    pub(super) async fn read(&mut self, length: usize) -> Result<(), End> {
        let draining =
            matches!(self.outgoing, Some(Outgoing { stage: Stage::Draining { .. }, .. }));
        // The answer to a frame must not overtake its `Sent`.
        if draining && self.port.undrained()? == 0 {
            self.sent().await?;
        }
        let before = self.link.authenticator.genuine();
        self.framer.push(&self.buffer[..length]);
        self.report_frames().await?;
        if self.port.is_datagram() {
            self.report_frames_behind_noise().await?;
        }
        // Not for any datagram: a port scan must not turn our commands to itself.
        if self.link.authenticator.genuine() > before {
            self.port.answer_sender();
        }
        let now = Instant::now();
        let may_rest = now >= self.no_rest_until && !self.link.forwards.has_peer();
        let rest = if may_rest {
            let longest = self.longest_rest(now);
            self.port.begin_rest(now, longest)?
        } else {
            Duration::ZERO
        };
        self.pause_at = self.framer.is_holding().then(|| now + rest + STREAM_PAUSE);
        Ok(())
    }

    /// What comes in time must not be read too late.
    fn longest_rest(&mut self, now: Instant) -> Duration {
        self.forget_answers_of_before(now);
        self.answers_by.first().map_or(Duration::MAX, |by| *by - now)
    }

    pub(super) fn forget_answers_of_before(&mut self, now: Instant) {
        while self.answers_by.first().is_some_and(|by| *by <= now) {
            self.answers_by.pop_first();
        }
    }

    async fn report_frames(&mut self) -> Result<(), End> {
        while let Some(frame) = self.framer.next() {
            self.link.forwards.vehicle_said(&frame);
            self.link.authenticator.count(&frame);
            let event = match mavlink::decode(&frame) {
                Some(Received::Heartbeat(heartbeat)) => {
                    Event::Heartbeat { heartbeat, at: Instant::now() }
                }
                Some(Received::CommandAck(ack)) => Event::CommandAck(ack),
                Some(Received::Telemetry(telemetry)) => {
                    Event::Telemetry { telemetry, at: Instant::now() }
                }
                None => continue,
            };
            match self.link.authenticator.verify(&frame) {
                Ok(()) => {}
                Err(Some(told)) => {
                    self.link.emit(told).await?;
                    continue;
                }
                Err(None) => continue,
            }
            self.ask_for_lease().await?;
            self.link.emit(event).await?;
        }
        self.link.forwards.flush();
        self.link.authenticator.publish_counters(self.framer.counters());
        Ok(())
    }

    pub(super) async fn report_frames_behind_noise(&mut self) -> Result<(), End> {
        while self.framer.resynchronize() {
            self.report_frames().await?;
        }
        Ok(())
    }
}
