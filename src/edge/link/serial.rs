//! A serial port: 8N1, with RTS/CTS or no flow control, opened exclusively.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_serial::{ClearBuffer, DataBits, ErrorKind, FlowControl, Parity, SerialStream, StopBits};
use tokio_serial::{SerialPort as _, SerialPortBuilderExt as _};

use super::port::Stream;

/// Start bit, eight data bits, stop bit.
const BITS_PER_BYTE: u64 = 10;
const IN_USE: &str = "another process has it open (a second downlinkd, ModemManager, a login console); \
                      stop that one";

pub(super) struct Serial {
    stream: SerialStream,
    baud: u32,
}

impl Serial {
    pub(super) fn open(path: &str, baud: u32, rtscts: bool) -> io::Result<Self> {
        let flow_control = if rtscts { FlowControl::Hardware } else { FlowControl::None };
        let stream = tokio_serial::new(path, baud)
            .data_bits(DataBits::Eight)
            .parity(Parity::None)
            .stop_bits(StopBits::One)
            .flow_control(flow_control)
            .exclusive(true)
            .open_native_async()
            .map_err(|error| match error.kind {
                // What the crate makes of EBUSY (TIOCEXCL) and of a flock(2) that is held.
                ErrorKind::NoDevice => io::Error::new(io::ErrorKind::ResourceBusy, IN_USE),
                _ => error.into(),
            })?;
        Ok(Self { stream, baud })
    }
}

// By polls, since the crate's readable() and writable() never clear the readiness and would spin;
// without flush(), since that is a blocking tcdrain(3).
impl Stream for Serial {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn undrained(&self) -> io::Result<u32> {
        Ok(self.stream.bytes_to_write()?)
    }

    fn wire_time(&self, bytes: u32) -> Duration {
        let bits = u64::from(bytes) * BITS_PER_BYTE;
        Duration::from_micros(bits * 1_000_000 / u64::from(self.baud))
    }

    /// Else closing would block the runtime: it waits for up to 30 s until the buffer is empty.
    fn discard_undrained(&self) {
        // Fails when the device is gone, and then there is nothing to discard.
        let _ = self.stream.clear(ClearBuffer::Output);
    }
}
