//! What the engine asks for is done: a commit first, then its frames, then the rest.
//!
//! Runs in the loop. Not cancel-safe, and never cancelled: a commit waits for its thread, and what is
//! said about frames for one turn of the other tasks.

use std::time::Instant;

use log::info;

use super::{Daemon, Error, local_api, outgoing, signing};
use crate::code::Code;
use crate::edge::{journal, link, mqtt};
use crate::guard::extra_link::LinkId;
use crate::lifecycle::effect::{Batch, Effect, Input};

/// Effects since a commit that are neither commits nor frames; kept for its memory.
#[derive(Default)]
pub struct Others {
    effects: Vec<Effect>,
    /// There were frames, too.
    after_frames: bool,
}

impl Daemon {
    /// Drains the engine up to its second commit: what came during the first shares that one. After a
    /// commit its frames, then the rest. What an effect leads to at once is handled when the drain is
    /// over; what the link told during the commit, right after it: it can still stop a frame.
    pub(super) async fn carry_out(&mut self) -> Result<(), Error> {
        let mut committed = false;
        loop {
            let mut late = Vec::new();
            let mut others = std::mem::take(&mut self.others);
            while !(committed && self.engine.is_commit_next())
                && let Some(effect) = self.engine.poll_effect()
            {
                match effect {
                    Effect::Persist(_) => {
                        committed = true;
                        self.carry_out_others(&mut others, &mut late).await?;
                        self.carry_out_one(effect, &mut late).await?;
                        // It may have taken long: what held before it need not hold for its frames.
                        self.hear_links(None);
                    }
                    Effect::Send { .. } => {
                        self.carry_out_one(effect, &mut late).await?;
                        others.after_frames = true;
                    }
                    other => others.effects.push(other),
                }
            }
            self.carry_out_others(&mut others, &mut late).await?;
            self.others = others;
            if late.is_empty() {
                break;
            }
            for input in late {
                self.handle(input);
            }
        }
        if self.leases.wanted().is_some() && !self.engine.is_commit_next() {
            // No commit comes along that could take it.
            self.commit(Batch::default()).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, batch: Batch) -> Result<(), Error> {
        let now = self.now();
        let lease = self.leases.wanted();
        let context = journal::CommitContext {
            last_number: self.engine.last_number(),
            clock_floor: self.clock.floor(),
            trusted_now: now.wall_trusted.then_some(now.wall),
            set_aside: self.engine.set_aside(),
            signing_bound: lease.unwrap_or_default(),
        };
        let since = Instant::now();
        self.journal.commit(batch, context).await?;
        self.metrics.committed(since.elapsed());
        if let Some(until) = lease {
            self.leases.granted(until);
            self.links.grant(link::Lease { now: signing::time(&self.clock, &now), until });
        }
        Ok(())
    }

    /// The link's task writes frames of the same commit first: the vehicle need not wait for what is
    /// said about a command.
    async fn carry_out_others(
        &mut self,
        others: &mut Others,
        late: &mut Vec<Input>,
    ) -> Result<(), Error> {
        if std::mem::take(&mut others.after_frames) {
            tokio::task::yield_now().await;
        }
        for effect in others.effects.drain(..) {
            self.carry_out_one(effect, late).await?;
        }
        Ok(())
    }

    async fn carry_out_one(&mut self, effect: Effect, late: &mut Vec<Input>) -> Result<(), Error> {
        match effect {
            Effect::Persist(batch) => self.commit(batch).await?,
            Effect::Acknowledge(delivery) => {
                if let Some(acknowledgement) = self.deliveries.take(delivery) {
                    self.mqtt.send(mqtt::Command::Acknowledge(acknowledgement));
                }
            }
            Effect::Reply { origin, reply } => self.reply(origin, reply),
            Effect::Step(record) => {
                self.metrics.step(&record);
                outgoing::log_step(&record);
            }
            Effect::Publish { number, record } => {
                self.publish_update(mqtt::PublishId(number), &record);
            }
            Effect::Send { link, ticket, frame, not_after } => {
                // The commit took its time; a frame must never go out late.
                let within = not_after.saturating_sub(self.now().boot);
                if within.is_zero() {
                    let message = outgoing::TOO_LATE.to_owned();
                    late.push(Input::NotSent { ticket, code: Code::TimeoutQueue, message });
                } else {
                    self.links.send(link, link::Send { ticket: ticket.0, frame, within });
                }
            }
            Effect::Unmatched(ack) => {
                self.metrics.unmatched();
                self.publish_unmatched(&ack);
            }
            Effect::Learned(autopilot) => {
                info!("the vehicle is system {}, learned from its HEARTBEAT", autopilot.system);
                self.links.tell_vehicle(autopilot.system);
            }
            Effect::Link(link, state) => {
                if link == LinkId::MAIN {
                    self.metrics.link_changed(state);
                }
                let name = self.links.name(link).map(|it| format!(" {it}")).unwrap_or_default();
                info!("the link{name} is {}", state.as_str());
                self.publish_presence();
                self.tell_systemd();
            }
            Effect::GrantReply { call, outcome } => self.calls.answer(call, outcome),
            Effect::Grants { ended } => {
                for (id, ending) in ended {
                    local_api::log_ended(id, ending);
                }
                self.publish_presence();
            }
        }
        Ok(())
    }
}
