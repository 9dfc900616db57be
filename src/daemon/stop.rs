//! The end of the agent.

use std::time::Duration;

use log::{error, info, warn};
use tokio::time::{Instant, timeout};

use super::{Daemon, Error, Signals, Woken};
use crate::edge::{api, mqtt, systemd};
use crate::lifecycle::effect::Input;

/// How long the last responses by HTTP may take.
const GOODBYE: Duration = Duration::from_secs(2);

impl Daemon {
    /// Takes in no more commands, sends none, and waits for what the vehicle says to those that are
    /// out: until they and their updates are done, for `stop_timeout`, or until the next signal.
    /// Whatever is left is in the journal, for the next start.
    pub(super) async fn stop(mut self, signals: &mut Signals) -> Result<(), Error> {
        info!("stopping");
        systemd::stopping();
        let apis = self.refuse_callers();
        self.hear_links(None);
        self.handle(Input::Stop);
        self.carry_out().await?;
        let due = Instant::now() + self.stop_timeout;
        while self.is_unfinished() && Instant::now() < due {
            match self.wait(Some(due - Instant::now()), signals).await? {
                Woken::Link(link, event) => self.hear_links(Some((link, event))),
                // Its PUBACK is withheld, so the broker brings it again after the next start.
                Woken::Mqtt(mqtt::Event::Message(_)) => {}
                Woken::Mqtt(event) => self.on_mqtt(event)?,
                Woken::Time => self.handle(Input::Tick),
                Woken::Api(_) | Woken::Reload => {}
                Woken::Stop => break,
            }
            self.carry_out().await?;
        }
        // Nobody waits any longer; what is known already is for the next start to find.
        while self.engine.is_commit_next() {
            self.carry_out().await?;
        }
        let (outstanding, queued) = (self.engine.outstanding(), self.engine.queued());
        if outstanding + queued > 0 {
            warn!(
                "left for the next start: {outstanding} commands without an answer, {queued} not sent"
            );
        }
        self.publish_absence();
        // Who waits for an answer still is told that none will come.
        drop((self.calls, self.listings));
        let closed = async {
            for api in apis {
                api.close().await;
            }
        };
        let (gone, closed) =
            tokio::join!(self.mqtt.leave(&mut self.mqtt_events), timeout(GOODBYE, closed));
        if !gone {
            error!("the broker did not take the goodbye in time");
        }
        if closed.is_err() {
            info!("some callers of the local API did not take their responses in time");
        }
        Ok(())
    }

    /// Who asks from now on, or waits for his turn, hears that the agent is stopping. Returns what
    /// tells them.
    fn refuse_callers(&mut self) -> Vec<api::Handle> {
        self.api_events.close();
        while self.api_events.try_recv().is_ok() {}
        std::mem::take(&mut self.apis)
    }

    fn is_unfinished(&self) -> bool {
        self.engine.outstanding() > 0 || (self.broker.is_some() && self.engine.unpublished() > 0)
    }
}
