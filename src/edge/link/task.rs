//! The life of the link: open, serve until it fails, wait, open again.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::authenticator::Authenticator;
use super::forward::Forwards;
use super::port::{Failure, Port};
use super::session::{End, Session};
use super::{Event, NotSent, Options, Queued};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// What outlives a single opening of the port.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) options: Options,
    pub(super) authenticator: Authenticator,
    pub(super) queue: mpsc::UnboundedReceiver<Queued>,
    pub(super) forwards: Forwards,
    events: mpsc::Sender<Event>,
    /// MAVLink's: counts every frame of ours.
    pub(super) sequence: u8,
}

/// Nobody sends, or nobody listens, any more.
#[derive(Debug)]
pub(super) struct Stopped;

impl Link {
    pub(super) fn new(
        options: Options,
        authenticator: Authenticator,
        queue: mpsc::UnboundedReceiver<Queued>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let forwards = Forwards::start(&options.forwards, options.source, &events);
        Self { options, authenticator, queue, forwards, events, sequence: 0 }
    }

    /// Ends when the handle or the receiver of the events is dropped.
    pub(super) async fn run(mut self) {
        let Err(Stopped) = self.keep_open().await;
    }

    /// Waits while the channel is full.
    pub(super) async fn emit(&self, event: Event) -> Result<(), Stopped> {
        self.events.send(event).await.map_err(|_| Stopped)
    }

    async fn keep_open(&mut self) -> Result<Infallible, Stopped> {
        let mut delay = Duration::ZERO;
        let mut told = false;
        loop {
            let failure = match self.open(delay).await? {
                Ok(port) => {
                    self.emit(Event::Opened).await?;
                    told = false;
                    let mut session = Session::new(self, port);
                    let end = session.run().await;
                    // A port that opens and fails again without a word stays in the backoff.
                    if session.has_heard_frames() {
                        delay = Duration::ZERO;
                    }
                    match end {
                        End::Failed(failure) => failure,
                        End::Stopped => return Err(Stopped),
                    }
                }
                Err(failure) => failure,
            };
            if !told {
                self.emit(Event::Closed { reason: failure.to_string() }).await?;
                told = true;
            }
            delay = (2 * delay).clamp(FIRST_DELAY, LONGEST_DELAY);
        }
    }

    /// Opens the port after `delay`. Whatever is to be sent meanwhile is refused at once.
    async fn open(&mut self, delay: Duration) -> Result<Result<Port, Failure>, Stopped> {
        let endpoint = self.options.endpoint.clone();
        let opening = async {
            sleep(delay).await;
            Port::open(&endpoint).await
        };
        tokio::pin!(opening);
        loop {
            tokio::select! {
                biased;
                queued = self.queue.recv() => {
                    let ticket = queued.ok_or(Stopped)?.send.ticket;
                    self.emit(Event::NotSent { ticket, cause: NotSent::Lost }).await?;
                }
                opened = &mut opening => return Ok(opened),
            }
        }
    }
}
