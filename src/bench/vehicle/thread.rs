//! The vehicle's thread: waits for the line or the next deadline, whichever comes first.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mavlink::MavlinkReader;
use mavlink::dialects::development::MavMessage;
use mavlink::error::MessageReadError;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::px4::{Event, Px4};
use crate::bench::pty::Pty;

/// The kernel hands a pty's bytes over by a work queue, so the last ones may be on their way.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// A [`Px4`] that lives on a serial line. Dropping it switches it off.
pub struct Vehicle {
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Closing it is the thread's sign to end.
    stop: Option<UnixStream>,
}

impl Vehicle {
    /// Starts the vehicle at the master's end of `line`. `on_event` runs on the vehicle's thread.
    pub fn start(
        line: Arc<Pty>,
        px4: Px4,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let thread = std::thread::Builder::new()
            .name("px4".into())
            .spawn(move || live(&line, px4, on_event, &stopped))?;
        Ok(Self { thread: Some(thread), stop: Some(stop) })
    }

    /// Switches the vehicle off once it has read everything that has been written to it.
    ///
    /// # Errors
    /// What the serial line failed with, if that ended the vehicle before.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.stop = None;
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

fn live(
    line: &Pty,
    mut px4: Px4,
    mut on_event: impl FnMut(Event),
    stopped: &UnixStream,
) -> io::Result<()> {
    let mut reader = MavlinkReader::new(line);
    loop {
        while let Some(outgoing) = px4.poll(Instant::now()) {
            outgoing.event.map(&mut on_event);
            line.send(&outgoing.bytes)?;
        }
        let wait = px4.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        let mut descriptors = [
            PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
        ];
        poll(&mut descriptors, wait)?;
        let stop = !descriptors[1].revents().is_empty();
        receive_all(&mut reader, &mut px4, &mut on_event)?;
        if stop {
            break;
        }
    }
    let mut descriptors = [PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN)];
    while poll(&mut descriptors, Some(LAST_BYTES))? > 0 {
        receive_all(&mut reader, &mut px4, &mut on_event)?;
    }
    Ok(())
}

fn receive_all(
    reader: &mut MavlinkReader<&Pty>,
    px4: &mut Px4,
    on_event: &mut impl FnMut(Event),
) -> io::Result<()> {
    loop {
        match reader.read_any_raw_message::<MavMessage>() {
            Ok(raw) => {
                px4.receive(Instant::now(), &raw).map(&mut *on_event);
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
    use std::sync::mpsc;

    use mavlink::dialects::development::{
        COMMAND_ACK_DATA, COMMAND_LONG_DATA, HEARTBEAT_DATA, MavCmd, MavResult,
    };
    use mavlink::{MAVLinkV2MessageRaw, MavHeader, MavlinkVersion};

    use super::super::Behaviours;
    use super::*;

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
