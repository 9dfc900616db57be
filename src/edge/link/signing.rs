//! A signer that uses only timestamps that were leased to it, and says when it needs more. It waits for
//! nothing but these.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Lease, Signing};
use crate::wire::mavlink::{Frame, FrameBytes, Rejection, Signer, SigningTime};

/// While a lease is made durable time goes on, and the vehicle's may be far ahead: when the next one would
/// end so much later it is asked for at once, since little or nothing of this one would be left.
const OUTRUN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct LeasedSigner {
    signer: Signer,
    /// The last one granted, and when.
    lease: watch::Receiver<(Lease, Instant)>,
    /// Until when one was asked for last and not granted yet.
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
        let until = self.signer.wanted(now)?;
        if self.asked.is_some_and(|asked| until <= asked.saturating_add(OUTRUN)) {
            return None;
        }
        self.asked = Some(until);
        Some(until)
    }

    /// When timestamps were leased that no call has taken up yet. Cancel-safe.
    pub(super) async fn leased(&mut self) {
        if self.lease.changed().await.is_err() {
            // Nobody is left who could lease any.
            pending().await
        }
    }

    /// Takes up what was granted. Tells what time it is.
    fn follow(&mut self) -> SigningTime {
        let (lease, at) = *self.lease.borrow_and_update();
        self.signer.grant(lease.until);
        self.asked = self.asked.filter(|asked| *asked > lease.until);
        lease.now.saturating_add(at.elapsed())
    }
}
