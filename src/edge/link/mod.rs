//! The link to the autopilot: MAVLink over a serial port, UDP or TCP.
//!
//! One task, started by [`spawn`], owns the port: it opens it and reopens it for ever, writes one
//! frame after the other, sends our own HEARTBEAT once in a second, and passes on what
//! `wire/mavlink` reads: each HEARTBEAT, each COMMAND_ACK, and the telemetry that the guard asks for.
//! With a signing key, only what is signed counts, and all of ours is. It logs nothing; the events say
//! what happened.
//!
//! Every [`Send`] is answered by exactly one of [`Event::Sent`], [`Event::NotSent`] and
//! [`Event::Unknown`], within some seconds. Nothing is kept to be sent later: a frame that finds the
//! port closed, or that cannot be begun within 2 s, is never written.
//!
//! Others may share the line (`forward`): their frames are passed on between ours, which go first.
//!
//! When the event channel is full the task waits, and then neither reads nor writes.
//!
//! Cancel-safe: the task waits in one `select!` of timers, the queue, and polls of the port that
//! have taken effect only if they are ready; a write goes on where the last one ended. The task must
//! not be aborted, since a frame could be left half written: drop the [`Handle`].
//!
//! Reading order: `endpoint` (where the vehicle is), `port` (what serial, UDP and TCP have in common),
//! `serial` with `rest`, `udp`, `tcp`, `task` (open, serve, open again), `session` (one opening: `outgoing`
//! and `incoming`), `authenticator` with `signing` (what counts, and our signatures), `counters`, `forward`
//! (who shares the line: `peer` is the task of one, `conversation` one socket of it); apart from all that
//! `probe` (for `downlinkd check`).

mod authenticator;
mod counters;
mod endpoint;
mod forward;
mod port;
pub mod probe;
mod rest;
mod serial;
mod session;
mod signing;
mod task;
mod tcp;
mod udp;
mod until;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::wire::mavlink::{
    Address, CommandAck, CommandFrame, ForeignCommand, Heartbeat, Key, Rejection, SigningTime,
    Telemetry,
};
use authenticator::Authenticator;
use forward::ForwardCounters;

pub use counters::Counters;
pub use endpoint::{Endpoint, EndpointError};
pub use forward::{
    Direction, ForwardCounts, ForwardEndpoint, ForwardEndpointError, ForwardOptions,
};

/// From [`Handle::send`] until the frame must have begun, if it may go so late, and from then on until its
/// last byte must be in the kernel's buffer.
const WRITE_BOUND: Duration = Duration::from_secs(2);
/// Before the end of the time for a frame and its answer: what is known by then is told in time.
const MARGIN: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct Options {
    pub endpoint: Endpoint,
    /// Who we are in every frame that we write.
    pub source: Address,
    /// The vehicle's system id, if it is known by now.
    pub vehicle: Option<u8>,
    /// `None`: nothing is signed, and everything that is intact counts.
    pub signing: Option<Signing>,
    /// Who shares the line.
    pub forwards: Vec<ForwardOptions>,
}

/// With it, every frame that we write is signed, and only what is signed counts.
#[derive(Clone, Debug)]
pub struct Signing {
    pub key: Key,
    pub link_id: u8,
    /// Timestamps before this one may have been used by an earlier process.
    pub start: SigningTime,
    /// What time it is at least.
    pub now: SigningTime,
}

/// Timestamps that may be used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lease {
    /// What time it is at least. The task goes on from there.
    pub now: SigningTime,
    /// Timestamps before this one. It must be durable, so that a later process begins there.
    pub until: SigningTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The port is open. With `udpin` nothing can be sent until the first frame has come.
    Opened,
    /// The port was lost, or could not be opened when the task started. Told once per outage; the
    /// attempts to reopen are silent until [`Event::Opened`].
    Closed {
        reason: String,
    },
    /// `at`: when it came.
    Heartbeat {
        heartbeat: Heartbeat,
        at: Instant,
    },
    CommandAck(CommandAck),
    Telemetry {
        telemetry: Telemetry,
        at: Instant,
    },
    /// A whole frame of another, with a command in it, was written to the vehicle.
    ForeignCommand(ForeignCommand),
    /// The socket of a forward is open.
    ForwardOpened {
        endpoint: ForwardEndpoint,
    },
    /// Or it is not; told once per outage.
    ForwardFailed {
        endpoint: ForwardEndpoint,
        reason: String,
    },
    /// Of these there were so many since the last time, which was at least 30 s ago; `source` is the
    /// last one's.
    Rejected {
        source: Address,
        why: Rejection,
        count: u64,
    },
    /// Timestamps are running out: a [`Lease`] until then is needed within a minute. Comes before what
    /// made it necessary.
    SigningLease {
        until: SigningTime,
    },
    /// Every byte of the frame left the kernel's buffer; with UDP and TCP: is in it.
    Sent {
        ticket: u64,
    },
    /// No complete frame can have gone out.
    NotSent {
        ticket: u64,
        cause: NotSent,
    },
    /// All or part of the frame may have gone out.
    Unknown {
        ticket: u64,
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Or, with `udpin`, no peer is known yet.
    #[error("the port was closed before any byte was written")]
    Lost,
    /// Its time was over.
    #[error("the port took no byte in time")]
    TooLate,
    #[error(
        "failed to begin the frame: no room for it, or no timestamp to sign it with, within 2 s"
    )]
    NoRoom,
    #[error("{0}")]
    WriteFailed(String),
}

/// One frame to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Send {
    /// Names the frame in the event that answers it.
    pub ticket: u64,
    pub frame: CommandFrame,
    /// So much time is left for it and its answer.
    pub within: Duration,
}

/// The way to the task. Dropping it ends the task once the frames that were sent before are
/// answered; the event channel closes then.
#[derive(Debug)]
pub struct Handle {
    queue: mpsc::UnboundedSender<Queued>,
    lease: watch::Sender<(Lease, Instant)>,
    vehicle: watch::Sender<Option<u8>>,
    counters: Arc<Mutex<Counters>>,
    forwards: ForwardCounters,
}

impl Handle {
    /// What was passed on, by endpoint.
    pub fn forwards(&self) -> Vec<ForwardCounts> {
        self.forwards.counts()
    }

    /// Never blocks. Does nothing once the task has ended, which it does when nobody receives its
    /// events any more.
    pub fn send(&self, send: Send) {
        let _ = self.queue.send(Queued { send, at: Instant::now() });
    }

    /// From now on these timestamps may be used, too.
    pub fn grant(&self, lease: Lease) {
        self.lease.send_replace((lease, Instant::now()));
    }

    /// The vehicle's system id is known now: from here on others are counted as foreign.
    pub fn tell_vehicle(&self, system: u8) {
        self.vehicle.send_replace(Some(system));
    }

    /// What has been read since the start, over all openings of the port; as of the last read.
    pub fn counters(&self) -> Counters {
        *self.counters.lock().expect("no holder panics")
    }

    /// What dropping does, by name.
    pub fn close(self) {}
}

/// A frame that waits for its turn.
#[derive(Debug)]
struct Queued {
    send: Send,
    at: Instant,
}

impl Queued {
    /// When its first byte must be in the kernel's buffer, and why it is not sent otherwise.
    fn begin_by(&self) -> (Instant, NotSent) {
        let (bound, end) = (self.at + WRITE_BOUND, self.answer_by());
        if end <= bound { (end, NotSent::TooLate) } else { (bound, NotSent::NoRoom) }
    }

    /// When an answer must have been read.
    fn answer_by(&self) -> Instant {
        self.at + self.send.within.saturating_sub(MARGIN)
    }
}

/// Starts the task on the current tokio runtime.
pub fn spawn(options: Options, events: mpsc::Sender<Event>) -> Handle {
    let (queue, queued) = mpsc::unbounded_channel();
    let counters = Arc::default();
    let (vehicle, known_vehicle) = watch::channel(options.vehicle);
    let (authenticator, lease) = Authenticator::new(&options, known_vehicle, Arc::clone(&counters));
    let link = task::Link::new(options, authenticator, queued, events);
    let forwards = link.forwards.counters();
    tokio::spawn(link.run());
    Handle { queue, lease, vehicle, counters, forwards }
}
