//! A signer that uses only timestamps that were leased to it, and says when it needs more. It never waits.

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Lease, Signing};
use crate::wire::mavlink::{Frame, FrameBytes, Rejection, Signer, SigningTime};

#[derive(Debug)]
pub(super) struct LeasedSigner {
    signer: Signer,
    /// The last one granted, and when.
    lease: watch::Receiver<(Lease, Instant)>,
    /// Until when one was asked for and not granted yet.
    asked: Option<SigningTime>,
}

impl LeasedSigner {
    pub(super) fn new(signing: &Signing, lease: watch::Receiver<(Lease, Instant)>) -> Self {
        let signer = Signer::new(signing.key.clone(), signing.link_id, signing.start);
        Self { signer, lease, asked: None }
    }

    /// See [`Signer::verify`].
    pub(super) fn verify(&mut self, frame: &Frame<'_>) -> Result<(), Rejection> {
        let now = self.follow();
        self.signer.verify(frame, now)
    }

    /// See [`Signer::sign`].
    pub(super) fn sign(&mut self, frame: &FrameBytes) -> Option<FrameBytes> {
        let now = self.follow();
        self.signer.sign(frame, now)
    }

    /// Until when timestamps are to be leased next; told once for each lease.
    pub(super) fn lease_request(&mut self) -> Option<SigningTime> {
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
