//! The links come and go; a command that waits for one that was lost ends.

use std::time::Duration;

use super::Engine;
use crate::code::Code;
use crate::guard::extra_link::LinkId;
use crate::guard::vehicle::LinkState;
use crate::lifecycle::effect::Effect;
use crate::lifecycle::status::Status;
use crate::lifecycle::time::Now;
use crate::lifecycle::timers::Timer;
use crate::wire::mavlink::Heartbeat;

impl Engine {
    pub(super) fn on_link_closed(&mut self, now: &Now, link: LinkId) {
        self.vehicle.closed(link);
        self.follow_loss(now);
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: &Now,
        link: LinkId,
        heartbeat: &Heartbeat,
        heard: Duration,
    ) {
        let was_ready = self.link_states[&link] == LinkState::Ready;
        if was_ready && self.vehicle.link_state(link, heard) != LinkState::Ready {
            // The silence that this one ends was long enough.
            self.follow_loss(now);
        }
        let was_known = self.vehicle.autopilot().system.is_some();
        self.vehicle.heartbeat(link, heartbeat, heard);
        if let Some(autopilot) = self.vehicle.autopilot().address().filter(|_| !was_known) {
            self.effects.push_back(Effect::Learned(autopilot));
        }
    }

    /// Reports changes of the links' states; commands that wait for a link that is gone end.
    pub(super) fn follow_links(&mut self, now: &Now) {
        if let Some(stale_at) = self.vehicle.stale_at(now.boot) {
            self.timers.set(Timer::LinkStale, stale_at);
        }
        for link in self.vehicle.links() {
            let state = self.vehicle.link_state(link, now.boot);
            let before = self.link_states.insert(link, state);
            if before == Some(state) {
                continue;
            }
            self.effects.push_back(Effect::Link(link, state));
            if link == LinkId::MAIN && before == Some(LinkState::Ready) {
                self.grants.link_lost(now.boot);
            }
        }
        self.end_unreachable(now);
    }

    /// Ends what waits for a link that was lost, or for another vehicle than this one.
    fn end_unreachable(&mut self, now: &Now) {
        let mut lost = Vec::new();
        for id in &self.queue {
            let Some(live) = self.live.get_mut(id) else { continue };
            let target = live.record.target;
            if self.vehicle.ready_for(target, now.boot) {
                live.waits_for_link = false;
            } else if let Some(system) =
                self.vehicle.autopilot().system.filter(|it| *it != target.system)
            {
                // Accepted before a restart.
                let message = format!(
                    "the command was accepted for system {}, and the vehicle is system {system}; it was not sent",
                    target.system
                );
                lost.push((*id, message));
            } else if !live.waits_for_link {
                // It was ready when the guard let the command in, or since.
                let link = self.vehicle.link_of(target.component);
                let link = self.vehicle.link_name(link).unwrap_or("to the vehicle");
                let message =
                    format!("the link {link} was lost while the command waited for its turn");
                lost.push((*id, message));
            }
        }
        for (id, message) in lost {
            self.finish(now, id, Status::Failed, Code::TransportLost, message);
        }
    }

    /// What was lost is lost, also if it is back in what waits to be heard.
    fn follow_loss(&mut self, now: &Now) {
        self.follow_links(now);
        self.withdraw(now);
    }
}
