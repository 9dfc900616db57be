//! The line shared with others: the vehicle's frames go to a ground station or another process as they
//! came, and their frames go to the vehicle.
//!
//! Each endpoint is served by one task of its own (`peer`), which alone touches its socket and checks
//! what comes from it. Between it and the link's task stand two bounded channels, and nobody ever
//! waits for room in them: what finds none is dropped and counted. So a peer that is slow, dead or
//! noisy costs the link nothing.
//!
//! Cancel-safe: [`Forwards::next`] only receives.

mod conversation;
mod endpoint;
pub(super) mod peer;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Event;
use crate::wire::mavlink::{Address, ForeignCommand, Frame};
use peer::Peer;

pub use endpoint::{ForwardEndpoint, ForwardEndpointError};

/// Batches that a peer may be behind: about half a second of PX4's onboard stream.
const TO_PEER: usize = 256;
/// Frames that a peer may be ahead of the line.
const TO_VEHICLE: usize = 32;
/// What is sent to a peer at once fits into one datagram on any network.
const BATCH_BYTES: usize = 1200;
/// A frame that could not be begun by then is old news.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardOptions {
    pub endpoint: ForwardEndpoint,
    pub direction: Direction,
}

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the vehicle only.
    Out,
    /// And from the peer to the vehicle, past the guard.
    Both,
}

impl Direction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::Both => "both",
        }
    }
}

/// What one endpoint has passed on since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardCounts {
    pub options: ForwardOptions,
    /// Somebody listens there, or is believed to.
    pub has_peer: bool,
    /// Frames of the vehicle that the peer's socket took.
    pub to_peer: u64,
    /// Frames of the vehicle that the peer was too slow for.
    pub to_peer_dropped: u64,
    /// Frames of the peer that were written to the vehicle.
    pub to_vehicle: u64,
    /// Frames of the peer that the line had no time for.
    pub to_vehicle_dropped: u64,
    /// Frames of the peer that bear our own address, or that `direction` keeps out.
    pub refused: u64,
    /// Bytes of the peer that were no frame.
    pub garbage_bytes: u64,
}

/// [`ForwardCounts`] while they change: a peer's task and the link's task have them in common.
#[derive(Debug)]
struct SharedCounts {
    options: ForwardOptions,
    has_peer: AtomicBool,
    to_peer: AtomicU64,
    to_peer_dropped: AtomicU64,
    to_vehicle: AtomicU64,
    to_vehicle_dropped: AtomicU64,
    refused: AtomicU64,
    garbage_bytes: AtomicU64,
}

impl SharedCounts {
    fn new(options: ForwardOptions) -> Self {
        Self {
            options,
            has_peer: AtomicBool::new(false),
            to_peer: AtomicU64::new(0),
            to_peer_dropped: AtomicU64::new(0),
            to_vehicle: AtomicU64::new(0),
            to_vehicle_dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            garbage_bytes: AtomicU64::new(0),
        }
    }

    fn counts(&self) -> ForwardCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ForwardCounts {
            options: self.options.clone(),
            has_peer: self.has_peer.load(Ordering::Relaxed),
            to_peer: read(&self.to_peer),
            to_peer_dropped: read(&self.to_peer_dropped),
            to_vehicle: read(&self.to_vehicle),
            to_vehicle_dropped: read(&self.to_vehicle_dropped),
            refused: read(&self.refused),
            garbage_bytes: read(&self.garbage_bytes),
        }
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// Whole frames of the vehicle, one behind the other.
#[derive(Clone, Debug)]
struct Batch {
    bytes: Arc<[u8]>,
    frames: u64,
}

/// One whole frame of a peer.
#[derive(Debug)]
pub(super) struct Forwarded {
    bytes: Box<[u8]>,
    command: Option<ForeignCommand>,
    /// It is begun by then, or never.
    by: Instant,
    shared: Arc<SharedCounts>,
}

impl Forwarded {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn by(&self) -> Instant {
        self.by
    }

    /// All of it has been written. Returns what it asks of the vehicle.
    pub(super) fn written(&self) -> Option<ForeignCommand> {
        add(&self.shared.to_vehicle, 1);
        self.command
    }

    /// Nothing of it was written, and nothing will be.
    pub(super) fn dropped(&self) {
        add(&self.shared.to_vehicle_dropped, 1);
    }
}

/// What all endpoints have passed on, for other tasks to read.
#[derive(Clone, Debug)]
pub(super) struct ForwardCounters(Vec<Arc<SharedCounts>>);

impl ForwardCounters {
    pub(super) fn counts(&self) -> Vec<ForwardCounts> {
        self.0.iter().map(|shared| shared.counts()).collect()
    }
}

/// The link's side of all endpoints.
#[derive(Debug)]
pub(super) struct Forwards {
    peers: Vec<LinkEnds>,
    /// Frames of the vehicle, one behind the other, and how many.
    batch: Vec<u8>,
    frames: u64,
    /// Who is asked first for a frame: everybody in turn.
    first: usize,
}

/// The link's ends of the channels to one peer's task. Dropping them ends the task.
#[derive(Debug)]
struct LinkEnds {
    to_peer: mpsc::Sender<Batch>,
    to_vehicle: mpsc::Receiver<Forwarded>,
    shared: Arc<SharedCounts>,
}

/// The peer's ends.
#[derive(Debug)]
pub(super) struct PeerEnds {
    to_peer: mpsc::Receiver<Batch>,
    to_vehicle: mpsc::Sender<Forwarded>,
    shared: Arc<SharedCounts>,
}

impl Forwards {
    /// Starts a task for each. `source`: our own address, which nobody else may use.
    pub(super) fn start(
        all: &[ForwardOptions],
        source: Address,
        events: &mpsc::Sender<Event>,
    ) -> Self {
        let mut it = Self::none();
        for options in all {
            let ends = it.add(options.clone());
            tokio::spawn(Peer::new(ends, source, events.clone()).run());
        }
        it
    }

    fn none() -> Self {
        Self { peers: Vec::new(), batch: Vec::new(), frames: 0, first: 0 }
    }

    pub(super) fn add(&mut self, options: ForwardOptions) -> PeerEnds {
        let shared = Arc::new(SharedCounts::new(options));
        let (to_peer, batches) = mpsc::channel(TO_PEER);
        let (frames, to_vehicle) = mpsc::channel(TO_VEHICLE);
        self.peers.push(LinkEnds { to_peer, to_vehicle, shared: Arc::clone(&shared) });
        PeerEnds { to_peer: batches, to_vehicle: frames, shared }
    }

    pub(super) fn counters(&self) -> ForwardCounters {
        ForwardCounters(self.peers.iter().map(|ends| Arc::clone(&ends.shared)).collect())
    }

    /// Whether anybody listens.
    pub(super) fn has_peer(&self) -> bool {
        self.peers.iter().any(LinkEnds::has_peer)
    }

    /// Takes in a frame of the vehicle; [`Forwards::flush`] sends it.
    pub(super) fn vehicle_said(&mut self, frame: &Frame<'_>) {
        if !self.has_peer() {
            return;
        }
        if self.batch.len() + frame.as_slice().len() > BATCH_BYTES {
            self.flush();
        }
        self.batch.extend_from_slice(frame.as_slice());
        self.frames += 1;
    }

    /// Sends what was taken in.
    pub(super) fn flush(&mut self) {
        if self.frames == 0 {
            return;
        }
        let batch = Batch { bytes: self.batch.as_slice().into(), frames: self.frames };
        for ends in self.peers.iter().filter(|ends| ends.has_peer()) {
            if ends.to_peer.try_send(batch.clone()).is_err() {
                add(&ends.shared.to_peer_dropped, batch.frames);
            }
        }
        self.batch.clear();
        self.frames = 0;
    }

    /// The next frame for the vehicle. Cancel-safe.
    pub(super) async fn next(&mut self) -> Forwarded {
        poll_fn(|context| {
            let count = self.peers.len();
            for at in (0..count).map(|at| (self.first + at) % count) {
                if let Poll::Ready(Some(frame)) = self.peers[at].to_vehicle.poll_recv(context) {
                    self.first = at + 1;
                    return Poll::Ready(frame);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// What waits for the vehicle was meant for one that is gone.
    pub(super) fn discard(&mut self) {
        for ends in &mut self.peers {
            while let Ok(frame) = ends.to_vehicle.try_recv() {
                frame.dropped();
            }
        }
    }
}

impl LinkEnds {
    fn has_peer(&self) -> bool {
        self.shared.has_peer.load(Ordering::Relaxed)
    }
}
