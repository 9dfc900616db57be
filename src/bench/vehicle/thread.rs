//! The vehicle's thread: waits for the line, an order or the next deadline, whichever comes first.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mavlink::MavlinkReader;
use mavlink::dialects::development::MavMessage;
use mavlink::error::MessageReadError;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::line::Line;
use super::noise::Noise;
use super::port::Port;
use super::px4::{Event, Px4};

/// The kernel hands a pty's bytes over by a work queue, so the last ones may be on their way.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// A [`Px4`] that lives on a line. Dropping it switches it off.
pub struct Vehicle {
    thread: Option<JoinHandle<io::Result<()>>>,
    orders: mpsc::Sender<Order>,
    /// A byte: there are orders. Closing it is the thread's sign to end.
    wake: Option<UnixStream>,
}

type DoToPx4 = dyn FnOnce(&mut Px4, Instant) + Send;

enum Order {
    Px4(Box<DoToPx4>),
    Plug(Box<dyn Line>),
    /// Dropping the sender tells that it is done.
    Unplug(mpsc::Sender<()>),
    Noise(bool),
}

impl Vehicle {
    /// Starts the vehicle at its end of `line`. `on_event` runs on the vehicle's thread.
    pub fn start(
        line: impl Line + 'static,
        px4: Px4,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_at_speed(line, None, px4, on_event)
    }

    /// The same on a line that carries `baud` bits per second in each direction, ten for a byte; as much
    /// as there is, without a rate.
    pub fn start_at_speed(
        line: impl Line + 'static,
        baud: Option<u32>,
        px4: Px4,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> io::Result<Self> {
        let line = Box::new(line);
        let port = match baud {
            Some(baud) => Port::paced(line, baud, Instant::now()),
            None => Port::new(line),
        };
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let (orders, ordered) = mpsc::channel();
        let mut life = Life { port: MavlinkReader::new(port), px4, noise: None, on_event };
        let thread = std::thread::Builder::new()
            .name("px4".into())
            .spawn(move || life.live(&woken, &ordered))?;
        Ok(Self { thread: Some(thread), orders, wake: Some(wake) })
    }

    /// Does something to the autopilot, before it reads anything that is sent to it from now on.
    pub fn order(&self, order: impl FnOnce(&mut Px4, Instant) + Send + 'static) {
        self.give(Order::Px4(Box::new(order)));
    }

    /// Goes on at another line.
    pub fn plug(&self, line: impl Line + 'static) {
        self.give(Order::Plug(Box::new(line)));
    }

    /// Closes the line before it returns. The vehicle lives on without one.
    pub fn unplug(&self) {
        let (done, is_done) = mpsc::channel();
        self.give(Order::Unplug(done));
        let _ = is_done.recv();
    }

    /// Whether there is noise on the line from now on: bytes between the frames, and frames of which
    /// only a half arrives; answers come through.
    pub fn set_noise(&self, noise: bool) {
        self.give(Order::Noise(noise));
    }

    /// Switches the vehicle off once it has read everything that has been written to it.
    ///
    /// # Errors
    /// What the line failed with, if that ended the vehicle before.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    /// One whose thread has ended takes no orders; [`Vehicle::stop`] tells why.
    fn give(&self, order: Order) {
        if self.orders.send(order).is_ok()
            && let Some(mut wake) = self.wake.as_ref()
        {
            let _ = wake.write_all(&[0]);
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.wake = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Vehicle {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.end();
        }
    }
}

struct Life<F> {
    port: MavlinkReader<Port>,
    px4: Px4,
    noise: Option<Noise>,
    on_event: F,
}

impl<F: FnMut(Event)> Life<F> {
    fn live(&mut self, woken: &UnixStream, orders: &mpsc::Receiver<Order>) -> io::Result<()> {
        loop {
            self.send()?;
            let stop = self.wait(woken)?;
            // What was ordered before a frame was sent here applies to that frame.
            for order in orders.try_iter() {
                self.obey(order);
            }
            self.receive()?;
            if stop {
                break;
            }
        }
        while let Some(descriptor) = self.port.get_ref().descriptor() {
            let mut descriptors = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
            if poll(&mut descriptors, Some(LAST_BYTES))? == 0 {
                break;
            }
            self.receive()?;
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Px4(order) => order(&mut self.px4, Instant::now()),
            Order::Plug(line) => self.replug(Some(line)),
            Order::Unplug(_done) => self.replug(None),
            Order::Noise(noise) => self.noise = noise.then(Noise::default),
        }
    }

    /// Of a frame that came by halves the first is forgotten.
    fn replug(&mut self, line: Option<Box<dyn Line>>) {
        let port = self.port.get_ref().at(line, Instant::now());
        self.port = MavlinkReader::new(port);
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some(outgoing) = self.px4.poll(Instant::now()) {
            let is_answer = outgoing.event.is_some();
            outgoing.event.map(&mut self.on_event);
            let bytes = match &mut self.noise {
                Some(noise) => noise.disturb(outgoing.bytes, is_answer),
                None => outgoing.bytes,
            };
            self.port.get_mut().send(Instant::now(), &bytes, is_answer)?;
        }
        self.port.get_mut().flush(Instant::now())
    }

    /// True: this is the end.
    fn wait(&self, woken: &UnixStream) -> io::Result<bool> {
        let now = Instant::now();
        let port = self.port.get_ref();
        let due = [self.px4.next_due(), port.next_due(now)].into_iter().flatten().min();
        let wait = due.map(|due| due.saturating_duration_since(now));
        let listened = port.descriptor().filter(|_| port.may_read(now));
        let readable = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
        let mut descriptors: Vec<PollFd<'_>> =
            [Some(woken.as_fd()), listened].into_iter().flatten().map(readable).collect();
        poll(&mut descriptors, wait)?;
        match (&*woken).read(&mut [0; 64]) {
            Ok(0) => Ok(true),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(false),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            match self.port.read_any_raw_message::<MavMessage>() {
                Ok(raw) => {
                    self.px4.receive(Instant::now(), &raw).map(&mut self.on_event);
                }
                Err(MessageReadError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(MessageReadError::Io(error)) => return Err(error),
                // Only a decoding reader reports these.
                Err(MessageReadError::Parse(error)) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// Waits until a descriptor is ready; how many are is 0 after `wait`, and when interrupted.
fn poll(descriptors: &mut [PollFd<'_>], wait: Option<Duration>) -> io::Result<usize> {
    let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
    match rustix::event::poll(descriptors, timeout.as_ref()) {
        Err(rustix::io::Errno::INTR) => Ok(0),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::sync::{Arc, mpsc};

    use mavlink::dialects::development::{
        COMMAND_ACK_DATA, COMMAND_LONG_DATA, HEARTBEAT_DATA, MavCmd, MavResult,
    };
    use mavlink::{MAVLinkV2MessageRaw, MavHeader, MavlinkVersion};

    use super::super::{Behaviour, Behaviours, Reply};
    use super::*;
    use crate::bench::pty::Pty;

    #[test]
    fn answers_a_command_over_the_line() {
        let line = Arc::new(Pty::open().unwrap());
        let (sender, events) = mpsc::channel();
        let px4 = Px4::new(Instant::now(), Behaviours::px4());
        let vehicle =
            Vehicle::start(line.clone(), px4, move |event| sender.send(event).unwrap()).unwrap();
        let mut port = OpenOptions::new().read(true).write(true).open(line.path()).unwrap();

        let command = MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE;
        // Line noise with a start marker in it, then the frame in two halves.
        let frame = command_frame(command);
        port.write_all(&[0x00, 0xfd, 0x03, 0xff]).unwrap();
        port.write_all(&frame[..7]).unwrap();
        port.write_all(&frame[7..]).unwrap();

        let mut reader = MavlinkReader::new(port);
        let ack = loop {
            match reader.read_message(MavlinkVersion::V2).unwrap() {
                (_, MavMessage::COMMAND_ACK(ack)) => break ack,
                _ => continue,
            }
        };
        let expected = COMMAND_ACK_DATA {
            command,
            result: MavResult::MAV_RESULT_UNSUPPORTED,
            target_system: 1,
            target_component: 191,
            ..COMMAND_ACK_DATA::DEFAULT
        };
        assert_eq!(ack, expected);

        vehicle.stop().unwrap();
        let events: Vec<Event> = events.iter().collect();
        assert!(matches!(&events[0], Event::Command(seen) if seen.bytes == frame));
        assert!(matches!(events[1], Event::Answered { .. }));
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn has_read_all_that_was_written_before_it_stopped() {
        let line = Arc::new(Pty::open().unwrap());
        let (sender, events) = mpsc::channel();
        let px4 = Px4::new(Instant::now(), Behaviours::px4());
        let vehicle =
            Vehicle::start(line.clone(), px4, move |event| sender.send(event).unwrap()).unwrap();
        let mut port = OpenOptions::new().read(true).write(true).open(line.path()).unwrap();
        let frame = command_frame(MavCmd::MAV_CMD_DO_DIGICAM_CONTROL);
        for _ in 0..10 {
            port.write_all(&frame).unwrap();
        }
        vehicle.stop().unwrap();
        let frames = events.iter().filter(|event| matches!(event, Event::Command(_))).count();
        assert_eq!(frames, 10);
    }

    #[test]
    fn a_baud_rate_takes_its_time() {
        let line = Arc::new(Pty::open().unwrap());
        let mut px4 = Px4::new(Instant::now(), Behaviours::px4());
        px4.set_streaming(Instant::now(), false);
        let _vehicle = Vehicle::start_at_speed(line.clone(), Some(9600), px4, |_| {}).unwrap();
        let mut port = OpenOptions::new().read(true).write(true).open(line.path()).unwrap();
        let started = Instant::now();
        let frame = command_frame(MavCmd::MAV_CMD_DO_DIGICAM_CONTROL);
        port.write_all(&frame).unwrap();
        let mut reader = MavlinkReader::new(port);
        let (_, answer) = reader.read_message::<MavMessage>(MavlinkVersion::V2).unwrap();
        assert!(matches!(answer, MavMessage::COMMAND_ACK(_)));
        // 42 bytes there and 22 back, a millisecond each; some of the way may be caught up with.
        assert!(started.elapsed() > Duration::from_millis(40), "{:?}", started.elapsed());
    }

    #[test]
    fn what_was_ordered_applies_to_what_comes_after_it() {
        let line = Arc::new(Pty::open().unwrap());
        let px4 = Px4::new(Instant::now(), Behaviours::px4());
        let vehicle = Vehicle::start(line.clone(), px4, |_| {}).unwrap();
        vehicle.unplug();
        let line = Arc::new(Pty::open().unwrap());
        vehicle.plug(line.clone());
        let command = MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE;
        vehicle.order(move |px4, _| {
            let denied = Reply::new(MavResult::MAV_RESULT_DENIED);
            px4.set_behaviour(command as u32, Behaviour::Answers(vec![denied]));
        });
        let mut port = OpenOptions::new().read(true).write(true).open(line.path()).unwrap();
        port.write_all(&command_frame(command)).unwrap();
        let mut reader = MavlinkReader::new(port);
        let ack = loop {
            match reader.read_message(MavlinkVersion::V2).unwrap() {
                (_, MavMessage::COMMAND_ACK(ack)) => break ack,
                _ => continue,
            }
        };
        assert_eq!(ack.result, MavResult::MAV_RESULT_DENIED);
    }

    #[test]
    fn ends_while_it_waits_for_the_next_message_of_its_stream() {
        let line = Arc::new(Pty::open().unwrap());
        let px4 = Px4::new(Instant::now(), Behaviours::px4());
        let (sender, events) = mpsc::channel();
        let vehicle =
            Vehicle::start(line.clone(), px4, move |event| sender.send(event).unwrap()).unwrap();
        let mut port = OpenOptions::new().write(true).open(line.path()).unwrap();
        port.write_all(&heartbeat()).unwrap();
        let event = events.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(event, Event::Heartbeat { source: (1, 191) });
        drop(vehicle);
        assert_eq!(events.recv(), Err(mpsc::RecvError));
    }

    fn command_frame(command: MavCmd) -> Vec<u8> {
        let long = COMMAND_LONG_DATA {
            command,
            target_system: 1,
            target_component: 1,
            ..COMMAND_LONG_DATA::DEFAULT
        };
        encode(&MavMessage::COMMAND_LONG(long))
    }

    fn heartbeat() -> Vec<u8> {
        encode(&MavMessage::HEARTBEAT(HEARTBEAT_DATA::DEFAULT))
    }

    fn encode(message: &MavMessage) -> Vec<u8> {
        let header = MavHeader { system_id: 1, component_id: 191, sequence: 0 };
        let mut raw = MAVLinkV2MessageRaw::new();
        raw.serialize_message(header, message);
        raw.raw_bytes().to_vec()
    }
}
