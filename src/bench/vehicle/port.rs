//! The vehicle's UART: a line or none, at the speed of memory or of a baud rate.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::line::Line;

/// Start bit, eight bits, stop bit.
const BITS_PER_BYTE: u32 = 10;
/// Bytes go out in lumps of this many, as from a UART's FIFO.
const FIFO: u32 = 16;
/// A thread that comes late makes up for so much, or for a lump.
const LATENESS: Duration = Duration::from_millis(20);
/// PX4 leaves a message of its streams out when its buffer has no room for it.
const TRANSMIT_BUFFER: usize = 1200;

pub struct Port {
    line: Option<Box<dyn Line>>,
    speed: Option<Speed>,
}

/// Either direction, of a line with a baud rate.
struct Speed {
    baud: u32,
    incoming: Pace,
    outgoing: Pace,
    waiting: VecDeque<u8>,
}

/// When how many bytes have passed.
struct Pace {
    byte: Duration,
    /// All that has passed has passed by now.
    busy_until: Instant,
}

impl Port {
    /// One that carries as much as there is.
    pub fn new(line: Box<dyn Line>) -> Self {
        Self { line: Some(line), speed: None }
    }

    /// One that carries `baud` bits per second in each direction.
    pub fn paced(line: Box<dyn Line>, baud: u32, now: Instant) -> Self {
        Self { line: Some(line), speed: Some(Speed::new(baud, now)) }
    }

    /// The same port with another line, or none.
    pub fn at(&self, line: Option<Box<dyn Line>>, now: Instant) -> Self {
        Self { line, speed: self.speed.as_ref().map(|speed| Speed::new(speed.baud, now)) }
    }

    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(|line| line.descriptor())
    }

    /// Whether another byte can have arrived, at this speed.
    pub fn may_read(&self, now: Instant) -> bool {
        self.speed.as_ref().is_none_or(|speed| speed.incoming.due(FIFO) <= now)
    }

    /// When there is something to do by itself; `None`: only what comes matters.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let speed = self.speed.as_ref()?;
        let waiting = u32::try_from(speed.waiting.len()).unwrap_or(FIFO).min(FIFO);
        let outgoing = (waiting > 0).then(|| speed.outgoing.due(waiting));
        let holds_more = self.line.as_ref().is_some_and(|line| line.holds_more());
        let incoming = Some(speed.incoming.due(FIFO)).filter(|due| *due > now || holds_more);
        [outgoing, incoming].into_iter().flatten().min()
    }

    /// Sends a frame. One that is no answer is left out when the line is behind.
    pub fn send(&mut self, now: Instant, frame: &[u8], is_answer: bool) -> io::Result<()> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let Some(speed) = &mut self.speed else { return line.send(frame) };
        if is_answer || speed.waiting.len() + frame.len() <= TRANSMIT_BUFFER {
            speed.waiting.extend(frame);
        }
        self.flush(now)
    }

    /// Sends what has had its time.
    pub fn flush(&mut self, now: Instant) -> io::Result<()> {
        let (Some(line), Some(speed)) = (&mut self.line, &mut self.speed) else { return Ok(()) };
        let count = speed.outgoing.passed(now).min(speed.waiting.len());
        let least = (FIFO as usize).min(speed.waiting.len());
        if count < least || count == 0 {
            return Ok(());
        }
        speed.outgoing.take(now, count);
        let bytes: Vec<u8> = speed.waiting.drain(..count).collect();
        line.send(&bytes)
    }
}

/// [`io::ErrorKind::WouldBlock`] when nothing has come, or not yet at this speed.
impl io::Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(line) = &mut self.line else { return Err(io::ErrorKind::WouldBlock.into()) };
        let Some(speed) = &mut self.speed else { return line.receive(buffer) };
        let now = Instant::now();
        let passed = speed.incoming.passed(now).min(buffer.len());
        if passed < FIFO as usize {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = line.receive(&mut buffer[..passed])?;
        speed.incoming.take(now, count);
        Ok(count)
    }
}

impl Speed {
    fn new(baud: u32, now: Instant) -> Self {
        let pace =
            || Pace { byte: Duration::from_secs(BITS_PER_BYTE.into()) / baud, busy_until: now };
        Self { baud, incoming: pace(), outgoing: pace(), waiting: VecDeque::new() }
    }
}

impl Pace {
    /// How many more bytes can have passed until now.
    fn passed(&self, now: Instant) -> usize {
        let idle = now.saturating_duration_since(self.busy_until).min(self.lateness());
        (idle.as_nanos() / self.byte.as_nanos()) as usize
    }

    /// When that are so many.
    fn due(&self, bytes: u32) -> Instant {
        self.busy_until + self.byte * bytes
    }

    fn take(&mut self, now: Instant, bytes: usize) {
        let earliest = now.checked_sub(self.lateness()).unwrap_or(now);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.busy_until = self.busy_until.max(earliest) + self.byte * bytes;
    }

    /// Else nothing would ever pass at rates at which a lump takes longer.
    fn lateness(&self) -> Duration {
        LATENESS.max(self.byte * FIFO)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The near end of a pair.
    struct Near(UnixStream);

    impl Line for Near {
        fn descriptor(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            io::Write::write_all(&mut self.0, bytes)
        }
    }

    fn paced(baud: u32, now: Instant) -> (Port, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        (Port::paced(Box::new(Near(near)), baud, now), far)
    }

    fn arrived(mut far: &UnixStream) -> usize {
        far.read(&mut [0; 100_000]).unwrap_or(0)
    }

    #[test]
    fn a_second_carries_a_tenth_of_the_baud_rate() {
        for baud in [1200, 57_600, 115_200, 921_600] {
            let start = Instant::now();
            let (mut port, far) = paced(baud, start);
            let mut bytes = 0;
            for millisecond in 0..1000 {
                let now = start + Duration::from_millis(millisecond);
                port.send(now, &[0x55; 200], false).unwrap();
                bytes += arrived(&far);
            }
            let due = baud as usize / 10;
            // The last lump may still be under way.
            let least = (due * 95 / 100).min(due - FIFO as usize);
            assert!((least..=due).contains(&bytes), "{bytes} bytes at {baud} baud");
        }
    }

    #[test]
    fn a_line_that_is_behind_leaves_the_stream_out_and_no_answer() {
        let start = Instant::now();
        let (mut port, far) = paced(57_600, start);
        for _ in 0..100 {
            port.send(start, &[0x55; 100], false).unwrap();
        }
        port.send(start, &[0xaa; 20], true).unwrap();
        let mut bytes = 0;
        for millisecond in 0..2000 {
            port.flush(start + Duration::from_millis(millisecond)).unwrap();
            bytes += arrived(&far);
        }
        assert_eq!(bytes, TRANSMIT_BUFFER + 20);
        assert_eq!(port.next_due(start + Duration::from_secs(3)), None);
    }

    #[test]
    fn without_a_line_everything_is_lost_and_nothing_comes() {
        let (port, _far) = paced(57_600, Instant::now());
        let mut port = port.at(None, Instant::now());
        port.send(Instant::now(), b"lost", true).unwrap();
        let error = port.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(port.descriptor().is_none());
    }
}
