//! The pause between two readings, by a timer of the kernel's. One of the runtime's wakes the thread
//! two or three times: when it is set, when it moves down its wheel, and when it is due.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct Rest {
    timer: AsyncFd<OwnedFd>,
    is_on: bool,
}

impl Rest {
    /// Over already.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "for an OwnedFd it is sound; what follows it is `unsafe`")]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer, is_on: false })
    }

    /// From now on for `duration`.
    pub(super) fn begin(&mut self, duration: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: duration.try_into().map_err(io::Error::other)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.is_on = true;
        Ok(())
    }

    pub(super) fn end(&mut self) {
        self.is_on = false;
    }

    /// Ready when it is over, which it is early once after an [`Rest::end`]. Cancel-safe.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_on {
            // The timer is not read: setting it again takes the readiness away, too.
            ready!(self.timer.poll_read_ready(context))?.clear_ready();
            self.is_on = false;
        }
        Poll::Ready(Ok(()))
    }
}
