//! One opened port, until it fails: frames out, one at a time, and frames in.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::forward::Forwarded;
use super::port::{Activity, Failure, Port};
use super::task::{Link, Stopped};
use super::{Event, NotSent, Queued, Send, WRITE_BOUND};
use crate::wire::mavlink::{self, FrameBytes, Framer, Received};

const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
const DRAIN_POLL: Duration = Duration::from_millis(1);
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
    /// The port rests after each reading but until then: a wake-up for every frame of a stream costs
    /// more than its reading.
    attentive_until: Instant,
    /// When answers must have been read, of the frames that have begun.
    answers_by: BTreeSet<Instant>,
    heartbeat: Interval,
    heartbeat_is_due: bool,
    outgoing: Option<Outgoing>,
    forwarded: Option<Waiting>,
}

/// The next frame of another. It has the line once its first byte is out; until then ours pass it.
#[derive(Debug)]
struct Waiting {
    frame: Forwarded,
    /// When to look again whether the kernel's buffer is empty. `None`: it is, so that a command that
    /// comes now waits for this one frame at most.
    poll_at: Option<Instant>,
}

/// The frame that has the line. While there is one the queue is not looked at.
#[derive(Debug)]
struct Outgoing {
    /// `None`: our own HEARTBEAT or a frame of another, which nobody asks about.
    ticket: Option<u64>,
    frame: Frame,
    stage: Stage,
    /// Why it is not sent if it does not begin.
    unless_begun: NotSent,
}

#[derive(Debug)]
enum Frame {
    Own(Box<FrameBytes>),
    Forwarded(Forwarded),
}

#[derive(Debug)]
enum Stage {
    Writing { written: usize, by: Instant },
    Draining { poll_at: Instant, by: Instant },
}

enum Wake {
    HeartbeatDue,
    OutgoingDue,
    Queued(Option<Queued>),
    Forwarded(Forwarded),
    ForwardedDue,
    StreamPaused,
    Port(Result<Activity, Failure>),
}

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a mut Link, port: Port) -> Self {
        let framed = link.gate.counters().framed;
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
            attentive_until: Instant::now(),
            answers_by: BTreeSet::new(),
            heartbeat,
            heartbeat_is_due: false,
            outgoing: None,
            forwarded: None,
        }
    }

    pub(super) async fn run(&mut self) -> End {
        loop {
            if self.heartbeat_is_due && self.outgoing.is_none() && self.port.has_peer() {
                let frame = mavlink::heartbeat(self.link.sequence, self.link.options.source);
                if let Some(frame) = self.link.gate.seal(frame) {
                    self.heartbeat_is_due = false;
                    self.begin(None, frame, Instant::now() + WRITE_BOUND, NotSent::Lost);
                }
            }
            let wake = self.wait().await;
            if let Err(end) = self.handle(wake).await {
                return self.end(end).await;
            }
        }
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
            None => forwarded.and_then(Waiting::unwritten),
        };
        tokio::select! {
            biased;
            _ = self.heartbeat.tick() => Wake::HeartbeatDue,
            () = until(outgoing.map(Outgoing::due_at)) => Wake::OutgoingDue,
            queued = self.link.queue.recv(), if outgoing.is_none() => Wake::Queued(queued),
            () = until(forwarded.map(Waiting::due_at)) => Wake::ForwardedDue,
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
            Wake::StreamPaused => {
                self.pause_at = None;
                self.pass_on_behind_noise().await
            }
            Wake::Forwarded(frame) => {
                self.forwarded = Some(Waiting { frame, poll_at: None });
                self.forwarded_due()
            }
            Wake::ForwardedDue => self.forwarded_due(),
            Wake::Queued(queued) => self.take(queued.ok_or(End::Stopped)?).await,
            Wake::Port(Ok(Activity::Read(length))) => self.read(length).await,
            Wake::Port(Ok(Activity::Wrote(length))) => self.wrote(length).await,
            Wake::Port(Err(failure)) => Err(failure.into()),
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
            match self.link.gate.seal(frame) {
                Some(frame) => {
                    let now = Instant::now();
                    self.port.attend();
                    self.attentive_until = now + ANSWER_TIME;
                    self.forget_answers_of_before(now);
                    self.answers_by.insert(queued.answer_by());
                    self.begin(Some(ticket), frame, by, unless_begun);
                }
                None => self.link.emit(not_signed(ticket)).await?,
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        ticket: Option<u64>,
        frame: FrameBytes,
        by: Instant,
        unless_begun: NotSent,
    ) {
        let stage = Stage::Writing { written: 0, by };
        let frame = Frame::Own(Box::new(frame));
        self.outgoing = Some(Outgoing { ticket, frame, stage, unless_begun });
    }

    /// Drops the frame of another if it is too late for it, or looks whether the line is free.
    fn forwarded_due(&mut self) -> Result<(), End> {
        let Some(Waiting { frame, poll_at }) = &mut self.forwarded else { return Ok(()) };
        let now = Instant::now();
        if now >= frame.by() || !self.port.has_peer() {
            frame.dropped();
            self.forwarded = None;
        } else {
            *poll_at = (self.port.undrained()? > 0).then(|| now + DRAIN_POLL);
        }
        Ok(())
    }

    async fn wrote(&mut self, length: usize) -> Result<(), End> {
        if self.outgoing.is_none()
            && let Some(Waiting { frame, .. }) = self.forwarded.take()
        {
            let stage = Stage::Writing { written: 0, by: Instant::now() + WRITE_BOUND };
            let frame = Frame::Forwarded(frame);
            let unless_begun = NotSent::Lost;
            self.outgoing = Some(Outgoing { ticket: None, frame, stage, unless_begun });
        }
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        let Stage::Writing { written, by } = &mut outgoing.stage else { return Ok(()) };
        if *written == 0 {
            *by = Instant::now() + WRITE_BOUND;
            if matches!(outgoing.frame, Frame::Own(_)) {
                // A frame that was dropped before its first byte has not used its number.
                self.link.sequence = self.link.sequence.wrapping_add(1);
            }
        }
        *written += length;
        if *written < outgoing.frame.as_slice().len() {
            return Ok(());
        }
        if outgoing.ticket.is_none() {
            return self.sent().await;
        }
        let undrained = self.port.undrained()?;
        let by = Instant::now() + self.port.drain_bound(undrained);
        self.drain(undrained, by).await
    }

    async fn outgoing_due(&mut self) -> Result<(), End> {
        match self.outgoing {
            Some(Outgoing { stage: Stage::Writing { written: 0, .. }, .. }) => {
                if let Some(Outgoing { ticket: Some(ticket), unless_begun: cause, .. }) =
                    self.outgoing.take()
                {
                    self.link.emit(Event::NotSent { ticket, cause }).await?;
                }
                Ok(())
            }
            // The rest must not follow later: only a new opening gets the line out of the frame.
            Some(Outgoing { stage: Stage::Writing { .. }, .. }) => Err(self.port.stalled().into()),
            Some(Outgoing { stage: Stage::Draining { by, .. }, .. }) => {
                self.drain(self.port.undrained()?, by).await
            }
            None => Ok(()),
        }
    }

    async fn drain(&mut self, undrained: u32, by: Instant) -> Result<(), End> {
        let now = Instant::now();
        if undrained > 0 && now >= by {
            return Err(self.port.never_drained(undrained).into());
        }
        if undrained == 0 {
            return self.sent().await;
        }
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.stage = Stage::Draining { poll_at: now + DRAIN_POLL, by };
        }
        Ok(())
    }

    async fn sent(&mut self) -> Result<(), End> {
        if let Some(waiting) = &mut self.forwarded {
            waiting.poll_at = Some(Instant::now());
        }
        match self.outgoing.take() {
            Some(Outgoing { ticket: Some(ticket), .. }) => {
                self.link.emit(Event::Sent { ticket }).await?;
            }
            Some(Outgoing { frame: Frame::Forwarded(frame), .. }) => {
                // Before anything is read: the answer must not overtake it.
                if let Some(command) = frame.written() {
                    self.link.emit(Event::ForeignCommand(command)).await?;
                }
            }
            Some(Outgoing { frame: Frame::Own(_), .. }) | None => {}
        }
        Ok(())
    }

    /// Answers the frame that has the line, if there is one.
    async fn end(&mut self, end: End) -> End {
        if let Some(Waiting { frame, .. }) = self.forwarded.take() {
            frame.dropped();
        }
        // Before anything is waited for. HEARTBEATs that the port does not take may be in it, too.
        if self.outgoing.is_some() || self.port.undrained().is_ok_and(|undrained| undrained > 0) {
            self.port.discard_undrained();
        }
        let Some(Outgoing { ticket, stage, .. }) = self.outgoing.take() else { return end };
        let (End::Failed(failure), Some(ticket)) = (&end, ticket) else { return end };
        let reason = failure.to_string();
        let event = match (stage, failure) {
            (Stage::Writing { written: 0, .. }, Failure::Write { .. }) => {
                Event::NotSent { ticket, cause: NotSent::WriteFailed(reason) }
            }
            (Stage::Writing { written: 0, .. }, _) => {
                Event::NotSent { ticket, cause: NotSent::Lost }
            }
            _ => Event::Unknown { ticket, reason },
        };
        match self.link.emit(event).await {
            Ok(()) => end,
            Err(Stopped) => End::Stopped,
        }
    }

    async fn read(&mut self, length: usize) -> Result<(), End> {
        let draining =
            matches!(self.outgoing, Some(Outgoing { stage: Stage::Draining { .. }, .. }));
        // The answer to a frame must not overtake its `Sent`.
        if draining && self.port.undrained()? == 0 {
            self.sent().await?;
        }
        let before = self.link.gate.genuine();
        self.framer.push(&self.buffer[..length]);
        self.pass_on().await?;
        if self.port.is_datagram() {
            self.pass_on_behind_noise().await?;
        }
        // Not for any datagram: a port scan must not turn our commands to itself.
        if self.link.gate.genuine() > before {
            self.port.answer_sender();
        }
        let now = Instant::now();
        let may_rest = now >= self.attentive_until && !self.link.forwards.has_peer();
        let rest = if may_rest {
            let longest = self.longest_rest(now);
            self.port.rest(now, longest)?
        } else {
            Duration::ZERO
        };
        self.pause_at = self.framer.is_holding().then(|| now + rest + STREAM_PAUSE);
        Ok(())
    }

    /// What comes in time must not be read too late.
    fn longest_rest(&mut self, now: Instant) -> Duration {
        self.forget_answers_of_before(now);
        self.answers_by.first().map_or(Duration::MAX, |by| *by - now)
    }

    fn forget_answers_of_before(&mut self, now: Instant) {
        while self.answers_by.first().is_some_and(|by| *by <= now) {
            self.answers_by.pop_first();
        }
    }

    async fn pass_on(&mut self) -> Result<(), End> {
        while let Some(frame) = self.framer.next() {
            self.link.forwards.vehicle_said(&frame);
            self.link.gate.count(&frame);
            let event = match mavlink::decode(&frame) {
                Some(Received::Heartbeat(heartbeat)) => {
                    Event::Heartbeat { heartbeat, at: Instant::now() }
                }
                Some(Received::CommandAck(ack)) => Event::CommandAck(ack),
                Some(Received::Telemetry(telemetry)) => {
                    Event::Telemetry { telemetry, at: Instant::now() }
                }
                None => continue,
            };
            match self.link.gate.admit(&frame) {
                Ok(()) => {}
                Err(Some(told)) => {
                    self.link.emit(told).await?;
                    continue;
                }
                Err(None) => continue,
            }
            self.ask_for_lease().await?;
            self.link.emit(event).await?;
        }
        self.link.forwards.flush();
        self.link.gate.show(self.framer.counters());
        Ok(())
    }

    async fn ask_for_lease(&mut self) -> Result<(), End> {
        if let Some(wanted) = self.link.gate.wanted() {
            self.link.emit(wanted).await?;
        }
        Ok(())
    }

    async fn pass_on_behind_noise(&mut self) -> Result<(), End> {
        while self.framer.resynchronize() {
            self.pass_on().await?;
        }
        Ok(())
    }
}

impl Frame {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(frame) => frame.as_slice(),
            Self::Forwarded(frame) => frame.as_slice(),
        }
    }
}

impl Waiting {
    fn unwritten(&self) -> Option<&[u8]> {
        self.poll_at.is_none().then(|| self.frame.as_slice())
    }

    fn due_at(&self) -> Instant {
        self.poll_at.unwrap_or(self.frame.by())
    }
}

impl Outgoing {
    fn unwritten(&self) -> Option<&[u8]> {
        match self.stage {
            Stage::Writing { written, .. } => Some(&self.frame.as_slice()[written..]),
            Stage::Draining { .. } => None,
        }
    }

    fn due_at(&self) -> Instant {
        match self.stage {
            Stage::Writing { by, .. } => by,
            Stage::Draining { poll_at, .. } => poll_at,
        }
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

fn not_signed(ticket: u64) -> Event {
    let reason =
        "failed to sign the frame: no timestamp is durable that is not used yet".to_owned();
    Event::NotSent { ticket, cause: NotSent::WriteFailed(reason) }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
