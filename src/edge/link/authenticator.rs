//! Which of the frames that are read are genuine, how many of each kind there were, and the signatures of
//! those that are written. It outlives the port, and waits for nothing but a lease.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::signing::LeasedSigner;
use super::{Counters, Event, Lease, Options};
use crate::wire::mavlink::{self, Frame, FrameBytes, Rejection};

/// A vehicle without the key would otherwise fill the log.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Authenticator {
    /// The vehicle's system id, if it is known.
    vehicle: watch::Receiver<Option<u8>>,
    signer: Option<LeasedSigner>,
    counters: Counters,
    published: Arc<Mutex<Counters>>,
    /// When each was last told, and how many there were since.
    told: BTreeMap<Rejection, (Instant, u64)>,
    genuine: u64,
}

impl Authenticator {
    /// Leases come in by the sender.
    pub(super) fn new(
        options: &Options,
        vehicle: watch::Receiver<Option<u8>>,
        published: Arc<Mutex<Counters>>,
    ) -> (Self, watch::Sender<(Lease, Instant)>) {
        let first = options.signing.as_ref().map(|it| Lease { now: it.now, until: it.start });
        let (sender, lease) = watch::channel((first.unwrap_or_default(), Instant::now()));
        let signer = options.signing.as_ref().map(|signing| LeasedSigner::new(signing, lease));
        let authenticator = Self {
            vehicle,
            signer,
            counters: Counters::default(),
            published,
            told: BTreeMap::new(),
            genuine: 0,
        };
        (authenticator, sender)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Frames that nobody else can have made, as far as that can be known: with a key, those that are
    /// signed with it, old ones too; without one, all.
    pub(super) fn genuine(&self) -> u64 {
        self.genuine
    }

    /// To be called with every intact frame.
    pub(super) fn count(&mut self, frame: &Frame<'_>) {
        let is_foreign = self.vehicle.borrow().is_some_and(|it| it != frame.source().system);
        self.counters.foreign += u64::from(is_foreign);
        self.genuine += u64::from(self.signer.is_none());
    }

    /// For [`Handle::counters`](super::Handle::counters), with what the framer has counted.
    pub(super) fn publish_counters(&mut self, framed: mavlink::Counters) {
        self.counters.framed = framed;
        *self.published.lock().expect("no holder panics") = self.counters;
    }

    /// Whether a frame that says something may be believed. To be told: [`Event::Rejected`], if it is
    /// time for it.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn verify(&mut self, frame: &Frame<'_>) -> Result<(), Option<Event>> {
        let Some(signer) = &mut self.signer else { return Ok(()) };
        let why = match signer.verify(frame) {
            Ok(()) => {
                self.genuine += 1;
                return Ok(());
            }
            Err(why) => why,
        };
        // Its sender has the key.
        self.genuine += u64::from(why == Rejection::Stale);
        self.counters.count(why);
        let now = Instant::now();
        let since = match self.told.get_mut(&why) {
            Some((told, since)) if now < *told + TELL_AGAIN_AFTER => {
                *since += 1;
                return Err(None);
            }
            Some((_, since)) => *since,
            None => 0,
        };
        self.told.insert(why, (now, 0));
        Err(Some(Event::Rejected { source: frame.source(), why, count: since + 1 }))
    }

    /// The frame as it is to be written. `None`: it must be signed, and no timestamp is durable.
    pub(super) fn sign(&mut self, frame: FrameBytes) -> Option<FrameBytes> {
        match &mut self.signer {
            Some(signer) => signer.sign(&frame),
            None => Some(frame),
        }
    }

    /// When timestamps were leased that no call has taken up yet. Cancel-safe.
    pub(super) async fn leased(&mut self) {
        match &mut self.signer {
            Some(signer) => signer.leased().await,
            None => pending().await,
        }
    }

    /// The lease to ask for, once for each.
    pub(super) fn lease_request(&mut self) -> Option<Event> {
        let until = self.signer.as_mut()?.lease_request()?;
        Some(Event::SigningLease { until })
    }
}
