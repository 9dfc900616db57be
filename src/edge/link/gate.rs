//! What counts of what is read, and the signatures of what is written. It outlives the port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Counters, Event, Lease, Options};
use crate::wire::mavlink::{self, Frame, FrameBytes, Rejection, Signer, SigningTime};

/// A vehicle without the key would otherwise fill the log.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Gate {
    /// The vehicle's system id.
    vehicle: u8,
    signing: Option<Signing>,
    counters: Counters,
    shared: Arc<Mutex<Counters>>,
    /// When each was last told, and how many there were since.
    told: BTreeMap<Rejection, (Instant, u64)>,
    genuine: u64,
}

#[derive(Debug)]
struct Signing {
    signer: Signer,
    /// The last one granted, and when.
    lease: watch::Receiver<(Lease, Instant)>,
    /// Until when one was asked for and not granted yet.
    asked: Option<SigningTime>,
}

impl Gate {
    /// Leases come in by the sender.
    pub(super) fn new(
        options: &Options,
        shared: Arc<Mutex<Counters>>,
    ) -> (Self, watch::Sender<(Lease, Instant)>) {
        let first = options.signing.as_ref().map(|it| Lease { now: it.now, until: it.start });
        let (sender, lease) = watch::channel((first.unwrap_or_default(), Instant::now()));
        let signing = options.signing.as_ref().map(|signing| Signing {
            signer: Signer::new(signing.key.clone(), signing.link_id, signing.start),
            lease,
            asked: None,
        });
        let gate = Self {
            vehicle: options.vehicle,
            signing,
            counters: Counters::default(),
            shared,
            told: BTreeMap::new(),
            genuine: 0,
        };
        (gate, sender)
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
        self.counters.foreign += u64::from(frame.source().system != self.vehicle);
        self.genuine += u64::from(self.signing.is_none());
    }

    /// What the framer has counted is shown from now on.
    pub(super) fn show(&mut self, framed: mavlink::Counters) {
        self.counters.framed = framed;
        *self.shared.lock().expect("no holder panics") = self.counters;
    }

    /// Whether a frame that says something may be believed. To be told: [`Event::Rejected`], if it is
    /// time for it.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn admit(&mut self, frame: &Frame<'_>) -> Result<(), Option<Event>> {
        let Some(signing) = &mut self.signing else { return Ok(()) };
        let why = match signing.verify(frame) {
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
    pub(super) fn seal(&mut self, frame: FrameBytes) -> Option<FrameBytes> {
        match &mut self.signing {
            Some(signing) => signing.sign(&frame),
            None => Some(frame),
        }
    }

    /// The lease to ask for, once for each.
    pub(super) fn wanted(&mut self) -> Option<Event> {
        let until = self.signing.as_mut()?.wanted()?;
        Some(Event::SigningLease { until })
    }
}

impl Signing {
    fn verify(&mut self, frame: &Frame<'_>) -> Result<(), Rejection> {
        let now = self.follow();
        self.signer.verify(frame, now)
    }

    fn sign(&mut self, frame: &FrameBytes) -> Option<FrameBytes> {
        let now = self.follow();
        self.signer.sign(frame, now)
    }

    fn wanted(&mut self) -> Option<SigningTime> {
        let now = self.follow();
        let until = self.signer.wanted(now).filter(|_| self.asked.is_none())?;
        self.asked = Some(until);
        Some(until)
    }

    /// Takes up what was granted. Tells what time it is.
    fn follow(&mut self) -> SigningTime {
        let (lease, at) = *self.lease.borrow_and_update();
        self.signer.grant(lease.until);
        self.asked = self.asked.filter(|asked| *asked > lease.until);
        lease.now.saturating_add(at.elapsed())
    }
}
