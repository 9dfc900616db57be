//! The frame that has the line, from its first byte until the kernel's buffer is empty, and the frame of
//! another that waits for its turn.
//!
//! Steps of the session's: they run to their end, and wait for nothing but room for an event.

use std::time::Duration;

use tokio::time::Instant;

use super::super::forward::Forwarded;
use super::super::port::Failure;
use super::super::{Event, NotSent, WRITE_BOUND};
use super::{End, Session};
use crate::wire::mavlink::FrameBytes;

const DRAIN_POLL: Duration = Duration::from_millis(1);

/// The next frame of another. It has the line once its first byte is out; until then ours pass it.
#[derive(Debug)]
pub(super) struct WaitingForward {
    pub(super) frame: Forwarded,
    /// When to look again whether the kernel's buffer is empty. `None`: it is, so that a command that
    /// comes now waits for this one frame at most.
    pub(super) poll_at: Option<Instant>,
}

/// The frame that has the line. While there is one the queue is not looked at.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// `None`: our own HEARTBEAT or a frame of another, which nobody asks about.
    ticket: Option<u64>,
    frame: OutgoingFrame,
    pub(super) stage: Stage,
    /// Why it is not sent if it does not begin.
    unless_begun: NotSent,
}

#[derive(Debug)]
enum OutgoingFrame {
    Own(Box<FrameBytes>),
    Forwarded(Forwarded),
}

#[derive(Debug)]
pub(super) enum Stage {
    Writing { written: usize, by: Instant },
    Draining { poll_at: Instant, by: Instant },
}

impl Session<'_> {
    pub(super) fn begin(
        &mut self,
        ticket: Option<u64>,
        frame: FrameBytes,
        by: Instant,
        unless_begun: NotSent,
    ) {
        let stage = Stage::Writing { written: 0, by };
        let frame = OutgoingFrame::Own(Box::new(frame));
        self.outgoing = Some(Outgoing { ticket, frame, stage, unless_begun });
    }

    /// Drops the frame of another if it is too late for it, or looks whether the line is free.
    pub(super) fn forwarded_due(&mut self) -> Result<(), End> {
        let Some(WaitingForward { frame, poll_at }) = &mut self.forwarded else { return Ok(()) };
        let now = Instant::now();
        if now >= frame.by() || !self.port.has_peer() {
            frame.dropped();
            self.forwarded = None;
        } else {
            *poll_at = (self.port.undrained()? > 0).then(|| now + DRAIN_POLL);
        }
        Ok(())
    }

    pub(super) async fn wrote(&mut self, length: usize) -> Result<(), End> {
        if self.outgoing.is_none()
            && let Some(WaitingForward { frame, .. }) = self.forwarded.take()
        {
            let stage = Stage::Writing { written: 0, by: Instant::now() + WRITE_BOUND };
            let frame = OutgoingFrame::Forwarded(frame);
            let unless_begun = NotSent::Lost;
            self.outgoing = Some(Outgoing { ticket: None, frame, stage, unless_begun });
        }
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        let Stage::Writing { written, by } = &mut outgoing.stage else { return Ok(()) };
        if *written == 0 {
            *by = Instant::now() + WRITE_BOUND;
            if matches!(outgoing.frame, OutgoingFrame::Own(_)) {
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

    pub(super) async fn outgoing_due(&mut self) -> Result<(), End> {
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

    pub(super) async fn sent(&mut self) -> Result<(), End> {
        if let Some(waiting) = &mut self.forwarded {
            waiting.poll_at = Some(Instant::now());
        }
        match self.outgoing.take() {
            Some(Outgoing { ticket: Some(ticket), .. }) => {
                self.link.emit(Event::Sent { ticket }).await?;
            }
            Some(Outgoing { frame: OutgoingFrame::Forwarded(frame), .. }) => {
                // Before anything is read: the answer must not overtake it.
                if let Some(command) = frame.written() {
                    self.link.emit(Event::ForeignCommand(command)).await?;
                }
            }
            Some(Outgoing { frame: OutgoingFrame::Own(_), .. }) | None => {}
        }
        Ok(())
    }
}

impl OutgoingFrame {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(frame) => frame.as_slice(),
            Self::Forwarded(frame) => frame.as_slice(),
        }
    }
}

impl WaitingForward {
    pub(super) fn unwritten(&self) -> Option<&[u8]> {
        self.poll_at.is_none().then(|| self.frame.as_slice())
    }

    pub(super) fn due_at(&self) -> Instant {
        self.poll_at.unwrap_or(self.frame.by())
    }
}

impl Outgoing {
    pub(super) fn unwritten(&self) -> Option<&[u8]> {
        match self.stage {
            Stage::Writing { written, .. } => Some(&self.frame.as_slice()[written..]),
            Stage::Draining { .. } => None,
        }
    }

    pub(super) fn due_at(&self) -> Instant {
        match self.stage {
            Stage::Writing { by, .. } => by,
            Stage::Draining { poll_at, .. } => poll_at,
        }
    }

    /// What is said of it when the port fails. `None`: nobody asks.
    pub(super) fn cut_off_by(self, failure: &Failure) -> Option<Event> {
        let ticket = self.ticket?;
        let reason = failure.to_string();
        Some(match (self.stage, failure) {
            (Stage::Writing { written: 0, .. }, Failure::Write { .. }) => {
                Event::NotSent { ticket, cause: NotSent::WriteFailed(reason) }
            }
            (Stage::Writing { written: 0, .. }, _) => {
                Event::NotSent { ticket, cause: NotSent::Lost }
            }
            _ => Event::Unknown { ticket, reason },
        })
    }
}
