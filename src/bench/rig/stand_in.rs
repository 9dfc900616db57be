//! A light stand-in for an autopilot: it accepts every command the moment its frame is there, so what
//! is measured is the agent. It streams as PX4 does, if told to, and the line can be as slow as a
//! real one.
//!
//! One thread, which waits for the line or the next thing that is due.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mavlink::MessageData as _;
use mavlink::dialects::development::{
    COMMAND_ACK_DATA, COMMAND_INT_DATA, COMMAND_LONG_DATA, GPS_RAW_INT_DATA, HEARTBEAT_DATA,
    SYSTEM_TIME_DATA,
};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::craft::Seen;
use super::stream::{self, Due};
use crate::bench::clock::unix_time;
use crate::bench::pty::Pty;
use crate::wire::mavlink::{Frame, Framer};

/// custom_mode 0, MAV_TYPE_QUADROTOR, MAV_AUTOPILOT_PX4, MAV_MODE_FLAG_CUSTOM_MODE_ENABLED, MAV_STATE_STANDBY,
/// MAVLink's minor version.
const HEARTBEAT: [u8; 9] = [0, 0, 0, 0, 2, 12, 1, 3, 3];
/// Start bit, eight bits, stop bit.
const BITS_PER_BYTE: u32 = 10;

/// What lies between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// As fast as the pty.
    Free,
    /// Each byte takes its time at this rate, in either direction.
    Baud(u32),
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    streaming: AtomicBool,
    frames_streamed: AtomicU64,
}

/// Dropping it switches it off.
pub struct StandIn {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Closing it is the thread's sign to end.
    stop: Option<UnixStream>,
}

impl StandIn {
    /// Starts at the master's end of `pty`. `on_event` runs on the stand-in's thread.
    pub fn start(
        pty: Arc<Pty>,
        line: Line,
        on_event: impl FnMut(Instant, Seen) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let shared = Arc::<Shared>::default();
        let autopilot = Autopilot {
            pty,
            line,
            shared: shared.clone(),
            on_event,
            framer: Framer::new(),
            arriving: VecDeque::new(),
            in_free_at: Instant::now(),
            leaving: VecDeque::new(),
            out_free_at: Instant::now(),
            sequence: 0,
            heartbeat_at: Instant::now(),
            stream: None,
        };
        let thread = std::thread::Builder::new().name("stand-in".into());
        let thread = thread.spawn(move || autopilot.live(&stopped))?;
        Ok(Self { shared, thread: Some(thread), stop: Some(stop) })
    }

    /// Begins or ends PX4's onboard stream; the heartbeat goes on. Takes up to a second to begin.
    pub fn stream(&self, on: bool) {
        self.shared.streaming.store(on, Ordering::Relaxed);
    }

    /// Frames of the stream that were sent since the start.
    pub fn frames_streamed(&self) -> u64 {
        self.shared.frames_streamed.load(Ordering::Relaxed)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            // A line that broke was seen by the agent, too.
            let _ = thread.join();
        }
    }
}

struct Autopilot<F> {
    pty: Arc<Pty>,
    line: Line,
    shared: Arc<Shared>,
    on_event: F,
    framer: Framer,
    /// Commands, and when their last byte has come over the line.
    arriving: VecDeque<(Instant, Command)>,
    in_free_at: Instant,
    /// Answers, and when they have gone over the line.
    leaving: VecDeque<(Instant, Vec<u8>)>,
    out_free_at: Instant,
    sequence: u8,
    heartbeat_at: Instant,
    stream: Option<Stream>,
}

/// A COMMAND_LONG or COMMAND_INT that has arrived.
#[derive(Clone, Copy)]
struct Command {
    number: u16,
    source: (u8, u8),
    bytes: usize,
}

/// Where in its second the stream is.
struct Stream {
    second: Vec<Due>,
    begun: Instant,
    next: usize,
}

impl<F: FnMut(Instant, Seen)> Autopilot<F> {
    fn live(mut self, stopped: &UnixStream) -> io::Result<()> {
        loop {
            self.act()?;
            let wait = self.next_due().saturating_duration_since(Instant::now());
            let mut descriptors = [
                PollFd::from_borrowed_fd(self.pty.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
            ];
            let timeout = Timespec::try_from(wait).ok();
            match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !descriptors[1].revents().is_empty() {
                return Ok(());
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = match (&*self.pty).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            self.framer.push(&buffer[..length]);
            while let Some(frame) = self.framer.next() {
                let bytes = frame.as_slice().len();
                // Nothing can be on the line before it was written.
                self.in_free_at = self.in_free_at.max(now) + self.line.time(bytes);
                if let Some(command) = command(&frame) {
                    self.arriving.push_back((self.in_free_at, command));
                }
            }
        }
    }

    /// Does all that is due.
    fn act(&mut self) -> io::Result<()> {
        while let Some((at, command)) = self.arriving.front().copied()
            && at <= Instant::now()
        {
            self.arriving.pop_front();
            let now = Instant::now();
            let Command { number, bytes, .. } = command;
            (self.on_event)(now, Seen::Frame { command: number, bytes });
            let ack = accepted(command);
            let ack = self.frame(COMMAND_ACK_DATA::ID, &ack);
            self.out_free_at = self.out_free_at.max(now) + self.line.time(ack.len());
            if self.line == Line::Free {
                self.answer(number, &ack)?;
            } else {
                self.leaving.push_back((self.out_free_at, ack));
                (self.on_event)(now, Seen::Answered { command: number });
            }
        }
        while let Some((at, ack)) = self.leaving.front()
            && *at <= Instant::now()
        {
            self.pty.send(ack)?;
            self.leaving.pop_front();
        }
        if self.heartbeat_at <= Instant::now() {
            self.heartbeat_at += Duration::from_secs(1);
            self.say_every_second()?;
        }
        self.say_stream()
    }

    fn answer(&mut self, command: u16, ack: &[u8]) -> io::Result<()> {
        // Told first: the agent may read it before this thread goes on.
        (self.on_event)(Instant::now(), Seen::Answered { command });
        self.pty.send(ack)
    }

    /// Our HEARTBEAT, and a time that can be trusted: SYSTEM_TIME under a 3D fix.
    fn say_every_second(&mut self) -> io::Result<()> {
        let heartbeat = self.frame(HEARTBEAT_DATA::ID, &HEARTBEAT);
        self.pty.send(&heartbeat)?;
        let mut gps = [0; 30];
        gps[28] = 3;
        let gps = self.frame(GPS_RAW_INT_DATA::ID, &gps);
        self.pty.send(&gps)?;
        let since_epoch = unix_time();
        let mut time = [1; 12];
        time[..8].copy_from_slice(&(since_epoch.as_micros() as u64).to_le_bytes());
        let time = self.frame(SYSTEM_TIME_DATA::ID, &time);
        self.pty.send(&time)
    }

    fn say_stream(&mut self) -> io::Result<()> {
        if !self.shared.streaming.load(Ordering::Relaxed) {
            self.stream = None;
            return Ok(());
        }
        let fresh = || Stream { second: stream::second(), begun: Instant::now(), next: 0 };
        let mut stream = self.stream.take().unwrap_or_else(fresh);
        while stream.due_at() <= Instant::now() {
            let frame = stream.second[stream.next].frame(self.next_sequence());
            self.pty.send(&frame)?;
            self.shared.frames_streamed.fetch_add(1, Ordering::Relaxed);
            stream.next += 1;
            if stream.next == stream.second.len() {
                stream.next = 0;
                stream.begun += Duration::from_secs(1);
            }
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn next_due(&self) -> Instant {
        let arriving = self.arriving.front().map(|(at, _)| *at);
        let leaving = self.leaving.front().map(|(at, _)| *at);
        let stream = self.stream.as_ref().map(Stream::due_at);
        let due = [arriving, leaving, stream].into_iter().flatten().min();
        due.map_or(self.heartbeat_at, |at| at.min(self.heartbeat_at))
    }

    fn frame(&mut self, message_id: u32, payload: &[u8]) -> Vec<u8> {
        stream::frame(self.next_sequence(), message_id, payload)
    }

    fn next_sequence(&mut self) -> u8 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

impl Stream {
    fn due_at(&self) -> Instant {
        self.begun + self.second[self.next].at
    }
}

impl Line {
    /// How long so many bytes take.
    pub fn time(self, bytes: usize) -> Duration {
        match self {
            Self::Free => Duration::ZERO,
            Self::Baud(rate) => Duration::from_secs(1) * (bytes as u32 * BITS_PER_BYTE) / rate,
        }
    }
}

/// The MAV_CMD's number stands at 28 in both messages; MAVLink 2 cuts zeros off, but it is not 0.
fn command(frame: &Frame<'_>) -> Option<Command> {
    if ![COMMAND_LONG_DATA::ID, COMMAND_INT_DATA::ID].contains(&frame.message_id()) {
        return None;
    }
    let low = *frame.payload().get(28)?;
    let high = frame.payload().get(29).copied().unwrap_or_default();
    let source = frame.source();
    Some(Command {
        number: u16::from_le_bytes([low, high]),
        source: (source.system, source.component),
        bytes: frame.as_slice().len(),
    })
}

/// COMMAND_ACK's payload: command, MAV_RESULT_ACCEPTED, progress, result_param2, the target.
fn accepted(command: Command) -> [u8; 10] {
    let [low, high] = command.number.to_le_bytes();
    let (system, component) = command.source;
    [low, high, 0, 0, 0, 0, 0, 0, system, component]
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::mpsc;

    use super::*;
    use crate::catalog::LongParams;
    use crate::wire::mavlink::{self as wire, Address, Body, CommandFrame, Received};

    const US: Address = Address { system: 1, component: 191 };

    struct World {
        port: File,
        framer: Framer,
        events: mpsc::Receiver<(Instant, Seen)>,
        stand_in: StandIn,
    }

    impl World {
        fn new(line: Line) -> Self {
            let pty = Arc::new(Pty::open().unwrap());
            let port = OpenOptions::new().read(true).write(true).open(pty.path()).unwrap();
            let (sender, events) = mpsc::channel();
            let stand_in = StandIn::start(pty, line, move |at, seen| {
                // The test may have ended.
                let _ = sender.send((at, seen));
            });
            Self { port, framer: Framer::new(), events, stand_in: stand_in.unwrap() }
        }

        fn write(&mut self, number: u16) -> usize {
            let target = Address { system: 1, component: 1 };
            let body = Body::Long(LongParams([1.5; 7]));
            let frame = CommandFrame { target, command: number, confirmation: 0, body };
            let frame = wire::command(0, US, &frame);
            self.port.write_all(frame.as_slice()).unwrap();
            frame.as_slice().len()
        }

        fn ack(&mut self) -> wire::CommandAck {
            loop {
                while let Some(frame) = self.framer.next() {
                    if let Some(Received::CommandAck(ack)) = wire::decode(&frame) {
                        return ack;
                    }
                }
                let mut buffer = [0; 512];
                let length = self.port.read(&mut buffer).unwrap();
                self.framer.push(&buffer[..length]);
            }
        }

        fn event(&self) -> (Instant, Seen) {
            self.events.recv_timeout(Duration::from_secs(10)).unwrap()
        }
    }

    #[test]
    fn accepts_a_command_and_tells_when() {
        let mut world = World::new(Line::Free);
        let before = Instant::now();
        let bytes = world.write(2001);
        let ack = world.ack();
        assert_eq!((ack.command, ack.result), (2001, 0));
        assert_eq!((ack.target_system, ack.target_component), (US.system, US.component));
        let (framed, frame) = world.event();
        let (answered, answer) = world.event();
        assert_eq!(frame, Seen::Frame { command: 2001, bytes });
        assert_eq!(answer, Seen::Answered { command: 2001 });
        assert!(before <= framed && framed <= answered);
    }

    #[test]
    fn a_slow_line_takes_its_time_for_every_byte() {
        let mut world = World::new(Line::Baud(9600));
        let before = Instant::now();
        let bytes = world.write(203) + world.write(203);
        world.ack();
        world.ack();
        let least = Duration::from_secs(1) * (bytes as u32 + 22) * 10 / 9600;
        assert!(before.elapsed() >= least, "{:?} < {least:?}", before.elapsed());
    }

    #[test]
    fn streams_while_it_is_told_to() {
        let mut world = World::new(Line::Free);
        assert_eq!(world.stand_in.frames_streamed(), 0);
        world.stand_in.stream(true);
        // More than the heartbeats of any time that a test may take.
        while world.framer.counters().frames < 500 {
            let mut buffer = [0; 512];
            let length = world.port.read(&mut buffer).unwrap();
            world.framer.push(&buffer[..length]);
            while world.framer.next().is_some() {}
        }
        assert!(world.stand_in.frames_streamed() >= 480);
        assert_eq!(world.framer.counters().skipped_bytes, 0);
    }
}
