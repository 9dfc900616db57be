//! One opened port, until it fails: frames out, one at a time, and frames in.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::port::{Activity, Failure, Port};
use super::task::{Link, Stopped};
use super::{Event, NotSent, Queued, WRITE_BOUND};
use crate::wire::mavlink::{self, FrameBytes, Framer, Received};

const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
const DRAIN_POLL: Duration = Duration::from_millis(1);

/// Senders do not pause so long inside of a frame; a full one takes 49 ms at 57600 baud.
const STREAM_PAUSE: Duration = Duration::from_millis(50);

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
    heartbeat: Interval,
    heartbeat_is_due: bool,
    outgoing: Option<Outgoing>,
}

/// The frame that has the line. While there is one the queue is not looked at.
#[derive(Debug)]
struct Outgoing {
    /// `None`: our own HEARTBEAT, which nobody asks about.
    ticket: Option<u64>,
    frame: FrameBytes,
    stage: Stage,
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
    StreamPaused,
    Port(Result<Activity, Failure>),
}

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a mut Link, port: Port) -> Self {
        let framed = link.gate.counters().framed;
        let mut heartbeat = interval(HEARTBEAT_PERIOD);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            link,
            port,
            buffer: vec![0; READ_BUFFER],
            framer: Framer::counting_from(framed),
            frames_before: framed.frames,
            pause_at: None,
            heartbeat,
            heartbeat_is_due: false,
            outgoing: None,
        }
    }

    pub(super) async fn run(&mut self) -> End {
        loop {
            if self.heartbeat_is_due && self.outgoing.is_none() && self.port.has_peer() {
                let frame = mavlink::heartbeat(self.link.sequence, self.link.options.source);
                if let Some(frame) = self.link.gate.seal(frame) {
                    self.heartbeat_is_due = false;
                    self.begin(None, frame, Instant::now() + WRITE_BOUND);
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
        tokio::select! {
            biased;
            _ = self.heartbeat.tick() => Wake::HeartbeatDue,
            () = until(outgoing.map(Outgoing::due_at)) => Wake::OutgoingDue,
            queued = self.link.queue.recv(), if outgoing.is_none() => Wake::Queued(queued),
            activity = self.port.activity(outgoing.and_then(Outgoing::unwritten), &mut self.buffer) => {
                Wake::Port(activity)
            }
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
            Wake::Queued(queued) => self.take(queued.ok_or(End::Stopped)?).await,
            Wake::Port(Ok(Activity::Read(length))) => self.read(length).await,
            Wake::Port(Ok(Activity::Wrote(length))) => self.wrote(length).await,
            Wake::Port(Err(failure)) => Err(failure.into()),
        }
    }

    async fn take(&mut self, Queued { send, by }: Queued) -> Result<(), End> {
        let ticket = send.ticket;
        if !self.port.has_peer() {
            self.link.emit(Event::NotSent { ticket, cause: NotSent::Lost }).await?;
        } else if Instant::now() >= by {
            self.link.emit(not_begun(ticket)).await?;
        } else {
            let frame = mavlink::command(self.link.sequence, self.link.options.source, &send.frame);
            match self.link.gate.seal(frame) {
                Some(frame) => self.begin(Some(ticket), frame, by),
                None => self.link.emit(not_signed(ticket)).await?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, ticket: Option<u64>, frame: FrameBytes, by: Instant) {
        self.outgoing = Some(Outgoing { ticket, frame, stage: Stage::Writing { written: 0, by } });
    }

    async fn wrote(&mut self, length: usize) -> Result<(), End> {
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        let Stage::Writing { written, .. } = &mut outgoing.stage else { return Ok(()) };
        if *written == 0 {
            // A frame that was dropped before its first byte has not used its number.
            self.link.sequence = self.link.sequence.wrapping_add(1);
        }
        *written += length;
        if *written < outgoing.frame.as_slice().len() {
            return Ok(());
        }
        if outgoing.ticket.is_none() {
            return self.sent().await;
        }
        let by = Instant::now() + self.port.drain_bound(self.port.undrained()?);
        self.drain(by).await
    }

    async fn outgoing_due(&mut self) -> Result<(), End> {
        match self.outgoing {
            Some(Outgoing { ticket, stage: Stage::Writing { written: 0, .. }, .. }) => {
                self.outgoing = None;
                if let Some(ticket) = ticket {
                    self.link.emit(not_begun(ticket)).await?;
                }
                Ok(())
            }
            // The rest must not follow later: only a new opening gets the line out of the frame.
            Some(Outgoing { stage: Stage::Writing { .. }, .. }) => Err(self.port.stalled().into()),
            Some(Outgoing { stage: Stage::Draining { by, .. }, .. }) => self.drain(by).await,
            None => Ok(()),
        }
    }

    async fn drain(&mut self, by: Instant) -> Result<(), End> {
        let undrained = self.port.undrained()?;
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
        if let Some(Outgoing { ticket: Some(ticket), .. }) = self.outgoing.take() {
            self.link.emit(Event::Sent { ticket }).await?;
        }
        Ok(())
    }

    /// Answers the frame that has the line, if there is one.
    async fn end(&mut self, end: End) -> End {
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
        self.pause_at = self.framer.is_holding().then(|| Instant::now() + STREAM_PAUSE);
        Ok(())
    }

    async fn pass_on(&mut self) -> Result<(), End> {
        while let Some(frame) = self.framer.next() {
            self.link.gate.count(&frame);
            let event = match mavlink::decode(&frame) {
                Some(Received::Heartbeat(heartbeat)) => Event::Heartbeat(heartbeat),
                Some(Received::CommandAck(ack)) => Event::CommandAck(ack),
                Some(Received::Telemetry(telemetry)) => Event::Telemetry(telemetry),
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

fn not_begun(ticket: u64) -> Event {
    let reason = "failed to begin the frame: no room for it within 2 s".to_owned();
    Event::NotSent { ticket, cause: NotSent::WriteFailed(reason) }
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
