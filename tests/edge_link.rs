//! The link against ptys and plain sockets, with the test as the vehicle at the other end.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use downlinkd::catalog::{IntParams, LongParams};
use downlinkd::edge::link::{
    self, Direction, Endpoint, Event, ForwardCounts, ForwardOptions, Handle, Lease, NotSent,
    Options, Send, Signing,
};
use downlinkd::wire::mavlink::{
    Address, Body, CommandAck, CommandFrame, Framer, Key, Rejection, Signer, SigningTime, heartbeat,
};
use mavlink::dialects::development::{
    COMMAND_ACK_DATA, COMMAND_LONG_DATA, MavCmd, MavMessage, MavResult,
};
use mavlink::{MAVLinkV2MessageRaw, MavHeader, MavlinkReader, MavlinkVersion, MessageData};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, tcgetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

const AGENT: Address = Address { system: 1, component: 191 };
const AUTOPILOT: Address = Address { system: 1, component: 1 };

const POLL: Duration = Duration::from_millis(1);

/// For whatever takes milliseconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"))
}

/// The agent's side: the handle and what it reported.
struct Agent {
    handle: Handle,
    events: mpsc::Receiver<Event>,
}

impl Agent {
    fn start(endpoint: Endpoint) -> Self {
        Self::with_capacity(endpoint, 10_000)
    }

    fn with_capacity(endpoint: Endpoint, capacity: usize) -> Self {
        Self::with(endpoint, capacity, None, Vec::new())
    }

    fn with(
        endpoint: Endpoint,
        capacity: usize,
        signing: Option<Signing>,
        forwards: Vec<ForwardOptions>,
    ) -> Self {
        let (sender, events) = mpsc::channel(capacity);
        let options =
            Options { endpoint, source: AGENT, vehicle: Some(AUTOPILOT.system), signing, forwards };
        Self { handle: link::spawn(options, sender), events }
    }

    async fn event(&mut self) -> Event {
        soon("event", self.events.recv()).await.expect("the task has ended")
    }

    async fn expect(&mut self, expected: Event) {
        assert_eq!(self.event().await, expected);
    }

    async fn expect_closed(&mut self) -> String {
        match self.event().await {
            Event::Closed { reason } => reason,
            event => panic!("{event:?} instead of Closed"),
        }
    }

    fn send(&self, ticket: u64) {
        self.handle.send(Send {
            ticket,
            frame: image_stop_capture(ticket),
            within: Duration::from_secs(30),
        });
    }
}

/// Its first parameter tells it from others on the wire.
fn image_stop_capture(ticket: u64) -> CommandFrame {
    let mut params = [0.0; 7];
    params[0] = ticket as f32;
    // Without trailing zeros: as long as COMMAND_LONG can be.
    let body = Body::Long(LongParams(params));
    CommandFrame { target: AUTOPILOT, command: 2001, confirmation: 1, body }
}

fn ticket_of(message: &MavMessage) -> u64 {
    match message {
        MavMessage::COMMAND_LONG(data) => data.param1 as u64,
        message => panic!("{message:?} instead of COMMAND_LONG"),
    }
}

fn lost(ticket: u64) -> Event {
    Event::NotSent { ticket, cause: NotSent::Lost }
}

fn ack_bytes(sequence: u8) -> Vec<u8> {
    let mut raw = MAVLinkV2MessageRaw::new();
    raw.serialize_message_data(
        MavHeader { system_id: 1, component_id: 1, sequence },
        &COMMAND_ACK_DATA {
            command: MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE,
            result: MavResult::MAV_RESULT_ACCEPTED,
            progress: 0,
            result_param2: sequence.into(),
            target_system: 1,
            target_component: 191,
        },
    );
    raw.raw_bytes().to_vec()
}

fn ack_event(sequence: u8) -> Event {
    Event::CommandAck(CommandAck {
        source: AUTOPILOT,
        command: 2001,
        result: 0,
        progress: 0,
        result_param2: sequence.into(),
        target_system: 1,
        target_component: 191,
    })
}

/// Any heartbeat will do.
fn heartbeat_bytes() -> Vec<u8> {
    heartbeat(0, AUTOPILOT).as_slice().to_vec()
}

/// The first whole frame in `bytes`, read by the mavlink crate. Panics if they start with anything
/// else: what the agent writes has no noise in it.
fn take_frame(bytes: &mut Vec<u8>) -> Option<(MavHeader, MavMessage)> {
    let length = 12 + usize::from(*bytes.get(1)?);
    if bytes.len() < length {
        return None;
    }
    let frame: Vec<u8> = bytes.drain(..length).collect();
    assert_eq!(frame[0], 0xFD, "no frame: {frame:02x?}");
    Some(MavlinkReader::new(&frame[..]).read_message(MavlinkVersion::V2).unwrap())
}

/// The vehicle's end of a serial line.
struct Vehicle {
    master: OwnedFd,
    unread: Vec<u8>,
}

impl Vehicle {
    fn new() -> (Self, PathBuf) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap().into();
        (Self { master, unread: Vec::new() }, path)
    }

    async fn write(&self, bytes: &[u8]) {
        let written = soon("room in the pty", self.poll(|fd| rustix::io::write(fd, bytes))).await;
        assert_eq!(written, bytes.len());
    }

    /// Whatever is there.
    async fn read(&mut self) {
        let mut buffer = [0; 4096];
        let length =
            soon("bytes from the agent", self.poll(|fd| rustix::io::read(fd, &mut buffer))).await;
        self.unread.extend_from_slice(&buffer[..length]);
    }

    /// By trying again: once the other end was closed, readiness tells nothing any more.
    async fn poll(&self, mut operation: impl FnMut(&OwnedFd) -> Result<usize, Errno>) -> usize {
        loop {
            match operation(&self.master) {
                Ok(length) => return length,
                // EIO: nobody has the other end open at this moment.
                Err(Errno::AGAIN | Errno::IO) => tokio::time::sleep(POLL).await,
                Err(error) => panic!("failed to use the pty: {error}"),
            }
        }
    }

    async fn frame(&mut self) -> (MavHeader, MavMessage) {
        loop {
            if let Some(frame) = take_frame(&mut self.unread) {
                return frame;
            }
            self.read().await;
        }
    }

    /// The next frame that is no heartbeat.
    async fn command(&mut self) -> (MavHeader, MavMessage) {
        loop {
            let frame = self.frame().await;
            if !matches!(frame.1, MavMessage::HEARTBEAT(_)) {
                return frame;
            }
        }
    }
}

fn serial(path: &Path) -> Endpoint {
    Endpoint::Serial { path: path.to_str().unwrap().to_owned(), baud: 921_600, rtscts: false }
}

#[tokio::test]
async fn serial_is_set_to_its_rate_and_flow_control() {
    for (text, speed, controlled) in [
        ("115200", 115_200, false),
        ("921600:rtscts", 921_600, true),
        // None of the rates that have a name.
        ("2777777", 2_777_777, false),
        ("3000000:rtscts", 3_000_000, true),
    ] {
        let (vehicle, path) = Vehicle::new();
        let endpoint = format!("serial:{}:{text}", path.display());
        let mut agent = Agent::start(endpoint.parse().unwrap());
        agent.expect(Event::Opened).await;
        // The two ends of a pty share their settings.
        let settings = tcgetattr(&vehicle.master).unwrap();
        assert_eq!((settings.output_speed(), settings.input_speed()), (speed, speed), "{text}");
        assert_eq!(settings.control_modes.contains(ControlModes::CRTSCTS), controlled, "{text}");
    }
}

#[tokio::test]
async fn serial_sends_heartbeats_once_in_a_second() {
    let (mut vehicle, path) = Vehicle::new();
    let mut agent = Agent::start(serial(&path));
    agent.expect(Event::Opened).await;
    let started = Instant::now();
    for sequence in 0..3 {
        let (header, message) = vehicle.frame().await;
        assert_eq!(header, MavHeader { system_id: 1, component_id: 191, sequence });
        let MavMessage::HEARTBEAT(data) = message else { panic!("{message:?}") };
        assert_eq!(data.mavtype as u8, 18);
    }
    // Two periods, had the first one not been half over already on a busy machine.
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn serial_carries_commands_out_and_acks_in() {
    let (mut vehicle, path) = Vehicle::new();
    let mut agent = Agent::start(serial(&path));
    agent.expect(Event::Opened).await;

    agent.send(7);
    agent.expect(Event::Sent { ticket: 7 }).await;
    let (first, message) = vehicle.command().await;
    assert_eq!((first.system_id, first.component_id), (1, 191));
    let expected = COMMAND_LONG_DATA {
        param1: 7.0,
        command: MavCmd::MAV_CMD_IMAGE_STOP_CAPTURE,
        target_system: 1,
        target_component: 1,
        confirmation: 1,
        ..COMMAND_LONG_DATA::DEFAULT
    };
    assert_eq!(message, MavMessage::COMMAND_LONG(expected));

    let params = IntParams {
        param1: 0.0,
        param2: 0.0,
        param3: 0.0,
        param4: 0.0,
        x: 473_977_418,
        y: 85_455_939,
        z: 488.0,
    };
    let body = Body::Int { frame: 0, params };
    let frame = CommandFrame { target: AUTOPILOT, command: 195, confirmation: 0, body };
    agent.handle.send(Send { ticket: 8, frame, within: Duration::from_secs(30) });
    agent.expect(Event::Sent { ticket: 8 }).await;
    let (second, message) = vehicle.command().await;
    let MavMessage::COMMAND_INT(data) = message else { panic!("{message:?}") };
    assert_eq!((data.x, data.y, data.z), (473_977_418, 85_455_939, 488.0));
    // One count for all frames; heartbeats may stand in between.
    assert!(second.sequence > first.sequence);

    // Noise that looks like a long frame, then silence behind the ACK.
    vehicle.write(&ack_bytes(1)).await;
    agent.expect(ack_event(1)).await;
    vehicle.write(&[0xFD, 0xFF, 0, 0, 0, 1, 1, 1, 0, 0]).await;
    vehicle.write(&ack_bytes(2)).await;
    agent.expect(ack_event(2)).await;
    vehicle.write(&heartbeat_bytes()).await;
    match agent.event().await {
        Event::Heartbeat { heartbeat, .. } => assert_eq!(heartbeat.source, AUTOPILOT),
        event => panic!("{event:?} instead of Heartbeat"),
    }
}

#[tokio::test]
async fn serial_comes_back_under_the_same_name_after_an_unplug() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("usb-autopilot:1.0");
    let (vehicle, path) = Vehicle::new();
    symlink(path, &name).unwrap();
    let mut agent = Agent::start(serial(&name));
    agent.expect(Event::Opened).await;

    drop(vehicle);
    std::fs::remove_file(&name).unwrap();
    let reason = agent.expect_closed().await;
    assert!(reason.contains(name.to_str().unwrap()), "{reason}");
    // Long enough for some attempts to reopen: each frame is answered at once, and there is not one
    // more Closed.
    let unplugged = Instant::now();
    let mut ticket = 0;
    while unplugged.elapsed() < Duration::from_secs(1) {
        agent.send(ticket);
        agent.expect(lost(ticket)).await;
        ticket += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let (mut vehicle, path) = Vehicle::new();
    symlink(path, &name).unwrap();
    agent.expect(Event::Opened).await;
    agent.send(1_000_000);
    agent.expect(Event::Sent { ticket: 1_000_000 }).await;
    // Nothing was kept from the outage.
    assert_eq!(ticket_of(&vehicle.command().await.1), 1_000_000);
}

/// In virtual time, which stands still while the port is opened: what is left are the task's own waits.
#[tokio::test(start_paused = true)]
async fn serial_that_returns_is_open_within_a_second_however_long_it_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("usb-autopilot");
    let mut agent = Agent::start(serial(&name));
    agent.expect_closed().await;
    for away in [0, 50, 900, 10_000, 3_600_000].map(Duration::from_millis) {
        tokio::time::sleep(away).await;
        let (vehicle, path) = Vehicle::new();
        let returned = tokio::time::Instant::now();
        symlink(path, &name).unwrap();
        let opened = agent.events.recv().await;
        assert_eq!(opened, Some(Event::Opened), "after {away:?}");
        let taken = returned.elapsed();
        assert!(taken <= Duration::from_secs(1), "{taken:?} after {away:?}");
        // Also a port that said nothing before it was lost again.
        std::fs::remove_file(&name).unwrap();
        drop(vehicle);
        let closed = agent.events.recv().await;
        assert!(matches!(closed, Some(Event::Closed { .. })), "{closed:?}");
    }
}

#[tokio::test]
async fn serial_that_is_not_there_at_the_start_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("ttyACM0");
    let mut agent = Agent::start(serial(&name));
    let reason = agent.expect_closed().await;
    let expected = format!("failed to open serial:{}:921600: ", name.display());
    assert!(reason.starts_with(&expected), "{reason}");
    agent.send(1);
    agent.expect(lost(1)).await;
    let (vehicle, path) = Vehicle::new();
    symlink(path, &name).unwrap();
    agent.expect(Event::Opened).await;
    drop(vehicle);
    agent.expect_closed().await;
}

/// Nobody reads: some frames fit into the pty, the next one cannot be finished or begun.
#[tokio::test]
async fn a_blocked_port_sends_nothing_late() {
    const FRAMES: u64 = 5000;
    let (mut vehicle, path) = Vehicle::new();
    let mut agent = Agent::start(serial(&path));
    agent.expect(Event::Opened).await;
    for ticket in 0..FRAMES {
        agent.send(ticket);
    }
    let mut sent = BTreeSet::new();
    let mut answered = 0;
    while answered < FRAMES {
        match agent.event().await {
            // After a half frame only.
            Event::Closed { .. } | Event::Opened => continue,
            Event::Sent { ticket } => {
                assert_eq!(ticket, answered);
                sent.insert(ticket);
            }
            Event::NotSent { ticket, .. } | Event::Unknown { ticket, .. } => {
                assert_eq!(ticket, answered);
            }
            event => panic!("{event:?}"),
        }
        answered += 1;
    }
    assert!(!sent.is_empty() && (sent.len() as u64) < FRAMES, "{} sent", sent.len());

    // The vehicle reads again. What was not sent never comes, and the next frame is whole.
    let fresh = FRAMES + 1;
    let mut framer = Framer::new();
    let mut arrived = Vec::new();
    agent.send(fresh);
    while arrived.last() != Some(&fresh) {
        vehicle.read().await;
        framer.push(&std::mem::take(&mut vehicle.unread));
        while let Some(frame) = framer.next() {
            if frame.message_id() == COMMAND_LONG_DATA::ID {
                let message = MavlinkReader::new(frame.as_slice()).read_message(MavlinkVersion::V2);
                arrived.push(ticket_of(&message.unwrap().1));
            }
        }
        // It may find the port closed: whoever waits for it asks again.
        while let Ok(event) = agent.events.try_recv() {
            if event == lost(fresh) {
                agent.send(fresh);
            }
        }
    }
    arrived.pop();
    assert!(arrived.iter().all(|ticket| sent.contains(ticket)), "{arrived:?}");
}

/// A message of no dialect, as some vendor's component might send it.
fn vendor_bytes(sequence: u8) -> Vec<u8> {
    let mut frame = vec![0xFD, 4, 0, 0, sequence, 1, 1, 0x39, 0x30, 0xAB, 1, 2, 3, sequence];
    let checksum = mavlink::calculate_crc(&frame[1..], 77);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

#[tokio::test]
async fn a_ground_station_shares_the_serial_line() {
    let (mut vehicle, path) = Vehicle::new();
    let address = loopback_socket().await.local_addr().unwrap();
    let forward = ForwardOptions {
        endpoint: format!("udpin:{address}").parse().unwrap(),
        direction: Direction::Both,
    };
    let mut agent = Agent::with(serial(&path), 10_000, None, vec![forward]);
    let mut opened = [agent.event().await, agent.event().await];
    opened.sort_by_key(|event| *event != Event::Opened);
    assert!(matches!(opened, [Event::Opened, Event::ForwardOpened { .. }]), "{opened:?}");

    // Its heartbeat reaches the vehicle as it is, by its own count.
    let station = loopback_socket().await;
    let own = Address { system: 255, component: 190 };
    let said = heartbeat(99, own).as_slice().to_vec();
    station.send_to(&said, address).await.unwrap();
    while !vehicle.unread.windows(said.len()).any(|window| window == said) {
        vehicle.read().await;
    }

    // What the vehicle says reaches both.
    let stream = [vendor_bytes(0), vendor_bytes(1), ack_bytes(2), vendor_bytes(3)].concat();
    vehicle.write(&stream).await;
    agent.expect(ack_event(2)).await;
    let mut seen = Vec::new();
    let mut buffer = [0; 2048];
    while seen.len() < stream.len() - vendor_bytes(0).len() {
        let length = soon("datagram", station.recv(&mut buffer)).await.unwrap();
        seen.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(seen, stream[vendor_bytes(0).len()..]);
    let [counts] = &agent.handle.forwards()[..] else { panic!("one forward") };
    let ForwardCounts { to_vehicle, to_vehicle_dropped, refused, garbage_bytes, .. } = counts;
    assert_eq!((*to_vehicle, *to_vehicle_dropped, *refused, *garbage_bytes), (1, 0, 0, 0));
}

/// The port goes away under frames that are written, half written and waiting.
#[tokio::test]
async fn an_unplug_answers_every_frame() {
    const FRAMES: u64 = 2000;
    let (vehicle, path) = Vehicle::new();
    let mut agent = Agent::start(serial(&path));
    agent.expect(Event::Opened).await;
    for ticket in 0..FRAMES {
        agent.send(ticket);
    }
    agent.expect(Event::Sent { ticket: 0 }).await;
    drop(vehicle);
    let mut closed = 0;
    let mut answered = 1;
    while answered < FRAMES {
        match agent.event().await {
            Event::Closed { .. } => closed += 1,
            Event::Sent { ticket } | Event::Unknown { ticket, .. } => {
                assert_eq!(ticket, answered);
                assert_eq!(closed, 0);
                answered += 1;
            }
            Event::NotSent { ticket, .. } => {
                assert_eq!(ticket, answered);
                answered += 1;
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(closed, 1);
}

#[tokio::test]
async fn a_dropped_handle_ends_the_task_once_all_is_answered() {
    let (mut vehicle, path) = Vehicle::new();
    let mut agent = Agent::start(serial(&path));
    agent.expect(Event::Opened).await;
    for ticket in 0..3 {
        agent.send(ticket);
    }
    agent.handle.close();
    for ticket in 0..3 {
        assert_eq!(soon("event", agent.events.recv()).await, Some(Event::Sent { ticket }));
        assert_eq!(ticket_of(&vehicle.command().await.1), ticket);
    }
    assert_eq!(soon("end", agent.events.recv()).await, None);

    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(serial(&folder.path().join("missing")));
    agent.expect_closed().await;
    agent.send(4);
    agent.handle.close();
    assert_eq!(soon("event", agent.events.recv()).await, Some(lost(4)));
    assert_eq!(soon("end", agent.events.recv()).await, None);
}

#[tokio::test]
async fn a_full_event_channel_makes_the_task_wait_and_loses_nothing() {
    let (mut vehicle, path) = Vehicle::new();
    let mut agent = Agent::with_capacity(serial(&path), 1);
    agent.expect(Event::Opened).await;
    let acks: Vec<u8> = (0..50).flat_map(ack_bytes).collect();
    vehicle.write(&acks).await;
    agent.send(1);
    let mut next = 0;
    let mut sent = false;
    while next < 50 || !sent {
        match agent.event().await {
            Event::Sent { ticket: 1 } => sent = true,
            event => {
                assert_eq!(event, ack_event(next));
                next += 1;
            }
        }
    }
    assert_eq!(ticket_of(&vehicle.command().await.1), 1);
}

async fn loopback_socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// The next frame that is no heartbeat; each datagram is one frame.
async fn command_from(socket: &UdpSocket) -> MavMessage {
    let mut buffer = [0; 1024];
    loop {
        let (length, _) = soon("datagram", socket.recv_from(&mut buffer)).await.unwrap();
        let mut datagram = buffer[..length].to_vec();
        let (_, message) = take_frame(&mut datagram).expect("a whole frame");
        assert!(datagram.is_empty(), "more than a frame");
        if !matches!(message, MavMessage::HEARTBEAT(_)) {
            return message;
        }
    }
}

async fn heartbeat_from(socket: &UdpSocket) {
    let mut buffer = [0; 1024];
    let (length, _) = soon("datagram", socket.recv_from(&mut buffer)).await.unwrap();
    let (_, message) = take_frame(&mut buffer[..length].to_vec()).expect("a whole frame");
    assert!(matches!(message, MavMessage::HEARTBEAT(_)), "{message:?}");
}

#[tokio::test]
async fn udpin_answers_whoever_sent_the_last_frame() {
    // A port that was free a moment ago.
    let bind = loopback_socket().await.local_addr().unwrap();
    let mut agent = Agent::start(Endpoint::UdpIn { bind });
    agent.expect(Event::Opened).await;
    agent.send(1);
    agent.expect(lost(1)).await;

    let first = loopback_socket().await;
    first.send_to(&ack_bytes(1), bind).await.unwrap();
    agent.expect(ack_event(1)).await;
    heartbeat_from(&first).await;
    agent.send(2);
    agent.expect(Event::Sent { ticket: 2 }).await;
    assert_eq!(ticket_of(&command_from(&first).await), 2);

    // Datagrams without a frame, also empty ones, change nothing.
    let stranger = loopback_socket().await;
    for datagram in [&b"GET / HTTP/1.0"[..], b"", &[0xFD, 0xFF, 0, 0, 0, 1, 1, 1, 0, 0]] {
        stranger.send_to(datagram, bind).await.unwrap();
    }
    heartbeat_from(&first).await;
    heartbeat_from(&first).await;

    let second = loopback_socket().await;
    second.send_to(&[ack_bytes(3), ack_bytes(4)].concat(), bind).await.unwrap();
    agent.expect(ack_event(3)).await;
    agent.expect(ack_event(4)).await;
    agent.send(5);
    agent.expect(Event::Sent { ticket: 5 }).await;
    assert_eq!(ticket_of(&command_from(&second).await), 5);
}

async fn accept(listener: &TcpListener) -> TcpStream {
    soon("connection", listener.accept()).await.unwrap().0
}

/// The next frame that is no heartbeat.
async fn command_over(stream: &mut TcpStream) -> MavMessage {
    let mut unread = Vec::new();
    loop {
        while let Some((_, message)) = take_frame(&mut unread) {
            if !matches!(message, MavMessage::HEARTBEAT(_)) {
                return message;
            }
        }
        assert_ne!(soon("bytes", stream.read_buf(&mut unread)).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn tcpout_connects_again_when_the_connection_is_lost() {
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut agent =
        Agent::start(Endpoint::TcpOut { host: address.ip().to_string(), port: address.port() });
    for round in 0..2 {
        let mut vehicle = accept(&listener).await;
        agent.expect(Event::Opened).await;
        let ack = ack_bytes(round);
        let (head, tail) = ack.split_at(5);
        vehicle.write_all(head).await.unwrap();
        vehicle.write_all(tail).await.unwrap();
        agent.expect(ack_event(round)).await;
        let ticket = u64::from(round) + 1;
        agent.send(ticket);
        agent.expect(Event::Sent { ticket }).await;
        assert_eq!(ticket_of(&command_over(&mut vehicle).await), ticket);
        vehicle.write_all(b"noise").await.unwrap();
        drop(vehicle);
        let reason = agent.expect_closed().await;
        assert!(reason.contains(&format!("tcpout:{address}")), "{reason}");
        // Over all connections, and told by now.
        let heard = agent.handle.counters().framed;
        let rounds = u64::from(round) + 1;
        assert_eq!((heard.frames, heard.skipped_bytes), (rounds, 5 * rounds));
    }
}

#[tokio::test]
async fn over_tcp_the_kernel_sends_nothing_after_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut agent =
        Agent::start(Endpoint::TcpOut { host: address.ip().to_string(), port: address.port() });
    let mut vehicle = accept(&listener).await;
    agent.expect(Event::Opened).await;
    drop(agent);
    let mut heard = Vec::new();
    let end = vehicle.read_to_end(&mut heard).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn tcpout_without_a_listener_waits_for_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut agent =
        Agent::start(Endpoint::TcpOut { host: "localhost".to_owned(), port: address.port() });
    agent.expect_closed().await;
    agent.send(1);
    agent.expect(lost(1)).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let _vehicle = accept(&listener).await;
    agent.expect(Event::Opened).await;
}

#[tokio::test]
async fn udpin_with_a_key_answers_only_who_has_it() {
    let bind = loopback_socket().await.local_addr().unwrap();
    let key = Key::read(&[7; 32]).unwrap();
    let start = SigningTime::from_ticks(1_000_000_000);
    let signing = Signing { key: key.clone(), link_id: 0, start, now: start };
    let mut agent = Agent::with(Endpoint::UdpIn { bind }, 100, Some(signing), Vec::new());
    agent.expect(Event::Opened).await;
    let Event::SigningLease { until } = agent.event().await else { panic!("no lease wanted") };
    agent.handle.grant(Lease { now: start, until });

    let stranger = loopback_socket().await;
    let why = Rejection::Unsigned;
    stranger.send_to(&ack_bytes(1), bind).await.unwrap();
    agent.expect(Event::Rejected { source: AUTOPILOT, why, count: 1 }).await;
    agent.send(1);
    agent.expect(lost(1)).await;

    // It is years behind, but has the key: from our HEARTBEAT it learns the time.
    let vehicle = loopback_socket().await;
    let mut signer = Signer::new(key, 0, SigningTime::default());
    signer.grant(SigningTime::from_ticks(u64::MAX));
    let late = signer.sign(&heartbeat(0, AUTOPILOT), SigningTime::from_ticks(1)).unwrap();
    vehicle.send_to(late.as_slice(), bind).await.unwrap();
    let why = Rejection::Stale;
    agent.expect(Event::Rejected { source: AUTOPILOT, why, count: 1 }).await;
    let mut buffer = [0; 300];
    let heard = soon("our heartbeat", vehicle.recv_from(&mut buffer)).await.unwrap().0;
    let mut framer = Framer::new();
    framer.push(&buffer[..heard]);
    let frame = framer.next().unwrap();
    assert_eq!((frame.message_id(), signer.verify(&frame, start)), (0, Ok(())));
    let answer = signer.sign(&heartbeat(1, AUTOPILOT), SigningTime::default()).unwrap();
    vehicle.send_to(answer.as_slice(), bind).await.unwrap();
    assert!(matches!(agent.event().await, Event::Heartbeat { .. }));
    assert_eq!(agent.handle.counters().stale, 1);
}
