//! One opened port, until it fails: what is waited for, and who takes it up. `outgoing` has the frame on
//! its way out, `incoming` what is read.
//!
//! Runs in the link's task. Its only `select!` is in `Session::wait`, of what is cancel-safe; whatever
//! that wakes for is handled to its end before the next wait.

mod incoming;
mod outgoing;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::forward::Forwarded;
use super::port::{Activity, Failure, Port};
use super::task::{Link, Stopped};
use super::until::until;
use super::{Event, NotSent, Queued, Send, WRITE_BOUND};
use crate::wire::mavlink::{self, Framer};
use outgoing::{Outgoing, WaitingForward};

const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
/// While an answer may come, what is received is read at once. Most vehicles answer within it.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Senders do not pause so long inside of a frame; a full one takes 49 ms at 57600 baud.
pub(super) const STREAM_PAUSE: Duration = Duration::from_millis(50);

/// A datagram is at most this long.
const READ_BUFFER: usize = 64 * 1024;

/// How a session ends.
#[derive(Debug)]
pub(super) enum End {
    Failed(Failure),
    Stopped,
}

pub(super) struct Session<'a> {
    link: &'a mut Link,
    port: Port,
    buffer: Vec<u8>,
    framer: Framer,
    /// Frames that came by earlier openings of the port.
    frames_before: u64,
    /// When a candidate that is still incomplete is no frame, most likely.
    pause_at: Option<Instant>,
    /// From then on the port rests after each reading: a wake-up for every frame of a stream costs more
    /// than its reading.
    no_rest_until: Instant,
    /// When answers must have been read, of the frames that have begun.
    answers_by: BTreeSet<Instant>,
    heartbeat: Interval,
    heartbeat_is_due: bool,
    /// Taken from the queue, and waits for a timestamp to be signed with. Its sequence number is that of
    /// when it begins.
    unsigned: Option<Queued>,
    outgoing: Option<Outgoing>,
    forwarded: Option<WaitingForward>,
}

enum Wake {
    HeartbeatDue,
    OutgoingDue,
    /// Timestamps were leased for the frame that waits for one, or its time is over.
    UnsignedDue,
    Queued(Option<Queued>),
    Forwarded(Forwarded),
    ForwardedDue,
    StreamPaused,
    Port(Result<Activity, Failure>),
}

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a mut Link, port: Port) -> Self {
        let framed = link.authenticator.counters().framed;
        let mut heartbeat = interval(HEARTBEAT_PERIOD);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        link.forwards.discard();
        Self {
            link,
            port,
            buffer: vec![0; READ_BUFFER],
            framer: Framer::counting_from(framed),
            frames_before: framed.frames,
            pause_at: None,
            no_rest_until: Instant::now(),
            answers_by: BTreeSet::new(),
            heartbeat,
            heartbeat_is_due: false,
            unsigned: None,
            outgoing: None,
            forwarded: None,
        }
    }

    pub(super) async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return self.end(end).await;
            }
        }
    }

    async fn step(&mut self) -> Result<(), End> {
        // Whatever woke us may have taken up a lease.
        self.begin_heartbeat_if_due();
        self.take_unsigned().await?;
        let wake = self.wait().await;
        self.handle(wake).await
    }

    /// Whether the vehicle, or anybody, has been heard on this port.
    pub(super) fn has_heard_frames(&self) -> bool {
        self.framer.counters().frames > self.frames_before
    }

    /// Cancel-safe. Timers first, so that input cannot hold them up.
    async fn wait(&mut self) -> Wake {
        let outgoing = self.outgoing.as_ref();
        let forwarded = self.forwarded.as_ref();
        let unwritten = match outgoing {
            Some(outgoing) => outgoing.unwritten(),
            None => forwarded.and_then(WaitingForward::unwritten),
        };
        let unsigned_by = self.unsigned.as_ref().map(|queued| queued.begin_by().0);
        let may_take = outgoing.is_none() && unsigned_by.is_none();
        tokio::select! {
            biased;
            _ = self.heartbeat.tick() => Wake::HeartbeatDue,
            () = until(outgoing.map(Outgoing::due_at)) => Wake::OutgoingDue,
            () = until(unsigned_by) => Wake::UnsignedDue,
            () = self.link.authenticator.leased(), if unsigned_by.is_some() => Wake::UnsignedDue,
            queued = self.link.queue.recv(), if may_take => Wake::Queued(queued),
            () = until(forwarded.map(WaitingForward::due_at)) => Wake::ForwardedDue,
            frame = self.link.forwards.next(), if forwarded.is_none() => Wake::Forwarded(frame),
            activity = self.port.activity(unwritten, &mut self.buffer) => Wake::Port(activity),
            // Last: bytes that waited while the task did are no pause.
            () = until(self.pause_at) => Wake::StreamPaused,
        }
    }

    async fn handle(&mut self, wake: Wake) -> Result<(), End> {
        match wake {
            Wake::HeartbeatDue => {
                self.heartbeat_is_due = true;
                self.ask_for_lease().await
            }
            Wake::OutgoingDue => self.outgoing_due().await,
            // Each step begins with it.
            Wake::UnsignedDue => Ok(()),
            Wake::StreamPaused => {
                self.pause_at = None;
                self.report_frames_behind_noise().await
            }
            Wake::Forwarded(frame) => {
                self.forwarded = Some(WaitingForward { frame, poll_at: None });
                self.forwarded_due()
            }
            Wake::ForwardedDue => self.forwarded_due(),
            Wake::Queued(queued) => self.take(queued.ok_or(End::Stopped)?).await,
            Wake::Port(Ok(Activity::Read(length))) => self.read(length).await,
            Wake::Port(Ok(Activity::Wrote(length))) => self.wrote(length).await,
            Wake::Port(Err(failure)) => Err(failure.into()),
        }
    }

    fn begin_heartbeat_if_due(&mut self) {
        if self.heartbeat_is_due && self.outgoing.is_none() && self.port.has_peer() {
            let frame = mavlink::heartbeat(self.link.sequence, self.link.options.source);
            if let Some(frame) = self.link.authenticator.sign(frame) {
                self.heartbeat_is_due = false;
                self.begin(None, frame, Instant::now() + WRITE_BOUND, NotSent::Lost);
            }
        }
    }

    /// Once the line is free, or it is too late for it in any case.
    async fn take_unsigned(&mut self) -> Result<(), End> {
        let is_free = self.outgoing.is_none();
        let now = Instant::now();
        match self.unsigned.take_if(|queued| is_free || now >= queued.begin_by().0) {
            Some(queued) => self.take(queued).await,
            None => Ok(()),
        }
    }

    async fn take(&mut self, queued: Queued) -> Result<(), End> {
        let Send { ticket, frame, .. } = queued.send;
        let (by, unless_begun) = queued.begin_by();
        if !self.port.has_peer() {
            self.link.emit(Event::NotSent { ticket, cause: NotSent::Lost }).await?;
        } else if Instant::now() >= by {
            self.link.emit(Event::NotSent { ticket, cause: unless_begun }).await?;
        } else {
            let frame = mavlink::command(self.link.sequence, self.link.options.source, &frame);
            match self.link.authenticator.sign(frame) {
                Some(frame) => {
                    let now = Instant::now();
                    self.port.end_rest();
                    self.no_rest_until = now + ANSWER_TIME;
                    self.forget_answers_of_before(now);
                    self.answers_by.insert(queued.answer_by());
                    self.begin(Some(ticket), frame, by, unless_begun);
                }
                None => {
                    self.unsigned = Some(queued);
                    self.ask_for_lease().await?;
                }
            }
        }
        Ok(())
    }

    /// Answers the frame that has the line, and the one that waits for a timestamp, if there are any.
    async fn end(&mut self, end: End) -> End {
        if let Some(WaitingForward { frame, .. }) = self.forwarded.take() {
            frame.dropped();
        }
        // Before anything is waited for. HEARTBEATs that the port does not take may be in it, too.
        if self.outgoing.is_some() || self.port.undrained().is_ok_and(|undrained| undrained > 0) {
            self.port.discard_undrained();
        }
        let End::Failed(failure) = &end else { return end };
        let outgoing = self.outgoing.take().and_then(|outgoing| outgoing.cut_off_by(failure));
        // As those that are in the queue yet.
        let unsigned = self.unsigned.take().map(|Queued { send: Send { ticket, .. }, .. }| {
            Event::NotSent { ticket, cause: NotSent::Lost }
        });
        for event in outgoing.into_iter().chain(unsigned) {
            if let Err(Stopped) = self.link.emit(event).await {
                return End::Stopped;
            }
        }
        end
    }

    async fn ask_for_lease(&mut self) -> Result<(), End> {
        if let Some(request) = self.link.authenticator.lease_request() {
            self.link.emit(request).await?;
        }
        Ok(())
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

#[cfg(test)]
mod tests;
