//! What carries bytes between the vehicle and an agent: a pty, UDP or TCP.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use crate::bench::pty::Pty;

/// The vehicle's end. Nothing here waits.
pub trait Line: Send {
    /// Readable when something has come.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// How many bytes were read, at least one.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when none have come; else the line is of no use any more.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether there is more to receive, of which the descriptor says nothing.
    fn holds_more(&self) -> bool {
        false
    }

    /// Sends to whoever listens; what nobody takes is lost.
    ///
    /// # Errors
    /// The line is of no use any more.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Line for Arc<Pty> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut &**self, buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        Pty::send(self, bytes)
    }
}
