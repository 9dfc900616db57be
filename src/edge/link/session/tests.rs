//! Sessions over a scripted port, in virtual time.

mod forward;
mod rest;
mod signing;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, advance, sleep};

use super::*;
use crate::catalog::LongParams;
use crate::edge::link::authenticator::Authenticator;
use crate::edge::link::port::Stream;
use crate::edge::link::{Counters, Endpoint, Lease, MARGIN, Options, Signing};
use crate::wire::mavlink::{Address, Body, CommandAck, CommandFrame, Frame};

const AGENT: Address = Address { system: 1, component: 191 };
const AUTOPILOT: Address = Address { system: 1, component: 1 };

/// What the kernel and the device would do.
#[derive(Default)]
struct Script {
    /// So many bytes fit into the kernel's buffer.
    room: usize,
    /// So many of those that were written are still in it.
    undrained: u32,
    written: Vec<u8>,
    to_read: VecDeque<io::Result<Vec<u8>>>,
    fail_writes: bool,
    discarded: bool,
    rest: Option<Duration>,
    resting: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn change<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        let mut script = self.0.lock().unwrap();
        if let Some(waker) = script.waker.take() {
            waker.wake();
        }
        change(&mut script)
    }
}

impl Stream for Scripted {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut script = self.0.lock().unwrap();
        if script.fail_writes {
            return Poll::Ready(Err(io::Error::other("I/O error")));
        }
        let length = bytes.len().min(script.room);
        if length == 0 {
            script.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        script.room -= length;
        script.written.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut script = self.0.lock().unwrap();
        if let Some(resting) = &mut script.resting {
            ready!(resting.as_mut().poll(context));
            script.resting = None;
        }
        let Some(bytes) = script.to_read.pop_front() else {
            script.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let bytes = bytes?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn begin_rest(&mut self, _now: Instant, longest: Duration) -> io::Result<Duration> {
        let mut script = self.0.lock().unwrap();
        let rest = script.rest.map(|rest| rest.min(longest));
        script.resting = rest.map(|rest| Box::pin(sleep(rest)));
        Ok(rest.unwrap_or_default())
    }

    fn end_rest(&mut self) {
        self.0.lock().unwrap().resting = None;
    }

    fn undrained(&self) -> io::Result<u32> {
        Ok(self.0.lock().unwrap().undrained)
    }

    fn wire_time(&self, bytes: u32) -> Duration {
        Duration::from_millis(bytes.into())
    }

    fn discard_undrained(&self) {
        self.0.lock().unwrap().discarded = true;
    }
}

/// A running session. After [`Running::start`] its first HEARTBEAT is written already.
struct Running {
    port: Scripted,
    queue: mpsc::UnboundedSender<Queued>,
    events: mpsc::Receiver<Event>,
    session: JoinHandle<End>,
    lease: watch::Sender<(Lease, Instant)>,
    counters: Arc<Mutex<Counters>>,
}

impl Running {
    async fn start() -> Self {
        Self::start_changed(|_| {}).await
    }

    async fn start_changed(change: impl FnOnce(&mut Link)) -> Self {
        let running = Self::start_with(None, change);
        running.port.change(|script| script.room = HEARTBEAT_LENGTH);
        running.settle().await;
        assert_eq!(running.port.change(|script| script.written.len()), HEARTBEAT_LENGTH);
        running
    }

    fn start_with(signing: Option<Signing>, change: impl FnOnce(&mut Link)) -> Self {
        let port = Scripted::default();
        let (queue, queued) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(100);
        let endpoint =
            Endpoint::Serial { path: "/dev/scripted".to_owned(), baud: 57_600, rtscts: false };
        let opened = Port::new(endpoint.clone(), Box::new(port.clone()));
        let options =
            Options { endpoint, source: AGENT, vehicle: Some(1), signing, forwards: Vec::new() };
        let counters = Arc::default();
        let (_, known_vehicle) = watch::channel(options.vehicle);
        let (authenticator, lease) =
            Authenticator::new(&options, known_vehicle, Arc::clone(&counters));
        let mut link = Link::new(options, authenticator, queued, sender);
        change(&mut link);
        let session = tokio::spawn(async move { Session::new(&mut link, opened).run().await });
        Self { port, queue, events, session, lease, counters }
    }

    /// Until the session waits for something that only the test can bring about.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self, duration: Duration) {
        self.settle().await;
        advance(duration).await;
        self.settle().await;
    }

    fn send(&self, ticket: u64) {
        self.send_within(ticket, Duration::from_secs(30));
    }

    fn send_within(&self, ticket: u64, within: Duration) {
        let send = Send { ticket, frame: COMMAND, within };
        self.queue.send(Queued { send, at: Instant::now() }).unwrap();
    }

    /// What was reported since the last look.
    fn seen(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

const HEARTBEAT_LENGTH: usize = 21;

const COMMAND: CommandFrame = CommandFrame {
    target: AUTOPILOT,
    command: 2001,
    confirmation: 1,
    body: Body::Long(LongParams([0.0; 7])),
};

const MILLISECOND: Duration = Duration::from_millis(1);

fn command_bytes(sequence: u8) -> Vec<u8> {
    mavlink::command(sequence, AGENT, &COMMAND).as_slice().to_vec()
}

fn not_begun(ticket: u64) -> Event {
    Event::NotSent { ticket, cause: NotSent::NoRoom }
}

/// COMMAND_ACK of MAVLink 1: 2001, accepted.
fn ack_bytes() -> Vec<u8> {
    let mut frame = vec![0xFE, 3, 0, 1, 1, 77, 0xD1, 0x07, 0];
    let checksum = ::mavlink::calculate_crc(&frame[1..], 143);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

fn ack_event() -> Event {
    Event::CommandAck(CommandAck {
        source: AUTOPILOT,
        command: 2001,
        result: 0,
        progress: 0,
        result_param2: 0,
        target_system: 0,
        target_component: 0,
    })
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_sent_once_the_kernel_has_none_of_it_left() {
    let mut running = Running::start().await;
    running.port.change(|script| (script.room, script.undrained) = (1000, 40));
    running.send(1);
    running.send(2);
    for _ in 0..20 {
        running.pass(MILLISECOND).await;
        assert_eq!(running.seen(), []);
    }
    // One after the other.
    let written = running.port.change(|script| script.written.split_off(HEARTBEAT_LENGTH));
    assert_eq!(written, command_bytes(1));
    running.port.change(|script| script.undrained = 0);
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }, Event::Sent { ticket: 2 }]);
    let written = running.port.change(|script| script.written.split_off(HEARTBEAT_LENGTH));
    assert_eq!(written, command_bytes(2));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_drains_is_unknown_and_discarded() {
    let mut running = Running::start().await;
    running.port.change(|script| (script.room, script.undrained) = (1000, 40));
    running.send(1);
    running.send(2);
    running.settle().await;
    // 40 bytes take 40 ms in the script.
    let bound = 2 * Duration::from_millis(40) + Duration::from_millis(500);
    running.pass(bound - 2 * MILLISECOND).await;
    assert_eq!(running.seen(), []);
    running.pass(4 * MILLISECOND).await;
    let [Event::Unknown { ticket: 1, reason }] = &running.seen()[..] else { panic!("not Unknown") };
    assert!(reason.contains("40 bytes"), "{reason}");
    assert!(running.port.change(|script| script.discarded));
    assert!(matches!(running.session.await.unwrap(), End::Failed(Failure::Undrained { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_ack_does_not_overtake_sent() {
    let mut running = Running::start().await;
    running.port.change(|script| (script.room, script.undrained) = (1000, 40));
    running.send(1);
    running.settle().await;
    running.port.change(|script| {
        script.undrained = 0;
        script.to_read.push_back(Ok(ack_bytes()));
    });
    running.settle().await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }, ack_event()]);
}

#[tokio::test(start_paused = true)]
async fn a_frame_goes_on_where_it_was_cut_while_reading_goes_on() {
    let mut running = Running::start().await;
    running.send(1);
    for _ in 1..command_bytes(1).len() {
        running.port.change(|script| {
            script.room = 1;
            script.to_read.push_back(Ok(ack_bytes()));
        });
        running.settle().await;
        assert_eq!(running.seen(), [ack_event()]);
    }
    running.port.change(|script| script.room = 1);
    running.settle().await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }]);
    let written = running.port.change(|script| script.written.split_off(HEARTBEAT_LENGTH));
    assert_eq!(written, command_bytes(1));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_cannot_be_begun_is_dropped_and_the_port_stays_open() {
    let mut running = Running::start().await;
    running.send(1);
    running.pass(WRITE_BOUND - MILLISECOND).await;
    assert_eq!(running.seen(), []);
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [not_begun(1)]);
    assert!(!running.session.is_finished());
    // It is not sent later, and has not used up a sequence number.
    running.port.change(|script| script.room = 1000);
    running.settle().await;
    let written = running.port.change(|script| script.written.split_off(HEARTBEAT_LENGTH));
    assert_eq!(written, mavlink::heartbeat(1, AGENT).as_slice());
}

#[tokio::test(start_paused = true)]
async fn a_frame_does_not_begin_when_its_time_is_over() {
    let mut running = Running::start().await;
    let within = Duration::from_secs(1);
    running.send_within(1, within);
    running.pass(within - MARGIN - MILLISECOND).await;
    assert_eq!(running.seen(), []);
    running.pass(2 * MILLISECOND).await;
    let too_late = |ticket| Event::NotSent { ticket, cause: NotSent::TooLate };
    assert_eq!(running.seen(), [too_late(1)]);
    running.send_within(2, MARGIN);
    running.settle().await;
    assert_eq!(running.seen(), [too_late(2)]);
    // Once begun it has the time that every frame has.
    running.port.change(|script| script.room = HEARTBEAT_LENGTH + 10);
    running.send_within(3, within);
    running.pass(within).await;
    running.port.change(|script| script.room = 1000);
    running.settle().await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 3 }]);
}

#[tokio::test(start_paused = true)]
async fn a_rest_ends_before_the_time_for_an_answer_does() {
    let rest = Duration::from_millis(100);
    let mut running = Running::start().await;
    running.port.change(|script| (script.room, script.rest) = (1000, Some(rest)));
    running.send_within(1, Duration::from_secs(2));
    // Past the time in which nothing rests.
    running.pass(Duration::from_millis(1930)).await;
    running.port.change(|script| script.to_read.push_back(Ok(vec![0])));
    running.settle().await;
    running.seen();
    running.port.change(|script| script.to_read.push_back(Ok(ack_bytes())));
    running.pass(Duration::from_millis(49)).await;
    assert_eq!(running.seen(), []);
    running.pass(2 * MILLISECOND).await;
    assert!(matches!(running.seen()[..], [Event::CommandAck(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_waited_too_long_for_another_is_dropped() {
    let mut running = Running::start().await;
    running.port.change(|script| (script.room, script.undrained) = (1000, 2000));
    running.send(1);
    running.send(2);
    running.pass(3 * Duration::from_secs(1)).await;
    running.port.change(|script| script.undrained = 0);
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [Event::Sent { ticket: 1 }, not_begun(2)]);
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_is_unknown_and_ends_the_session() {
    let mut running = Running::start().await;
    running.port.change(|script| script.room = 10);
    running.send(1);
    running.pass(WRITE_BOUND + MILLISECOND).await;
    assert!(matches!(running.seen()[..], [Event::Unknown { ticket: 1, .. }]));
    assert!(running.port.change(|script| script.discarded));
    assert!(matches!(running.session.await.unwrap(), End::Failed(Failure::Stalled { .. })));
}

#[tokio::test(start_paused = true)]
async fn half_a_heartbeat_ends_the_session_without_an_answer() {
    let mut running = Running::start().await;
    running.port.change(|script| script.room = 10);
    running.pass(HEARTBEAT_PERIOD).await;
    running.pass(WRITE_BOUND + MILLISECOND).await;
    assert_eq!(running.seen(), []);
    assert!(matches!(running.session.await.unwrap(), End::Failed(Failure::Stalled { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_heartbeats_left_in_the_buffer_does_not_hold_up_the_end() {
    let running = Running::start().await;
    running.port.change(|script| {
        script.undrained = 21;
        script.to_read.push_back(Ok(Vec::new()));
    });
    assert!(matches!(running.session.await.unwrap(), End::Failed(Failure::Ended { .. })));
    assert!(running.port.change(|script| script.discarded));
}

#[tokio::test(start_paused = true)]
async fn what_a_failing_port_does_to_the_frame_that_has_the_line() {
    type Case = (usize, fn(&mut Script), fn(&Event) -> bool);
    let unplugged = |script: &mut Script| script.to_read.push_back(Ok(Vec::new()));
    let broken = |script: &mut Script| script.fail_writes = true;
    let reset = |script: &mut Script| {
        script.to_read.push_back(Err(io::ErrorKind::ConnectionReset.into()));
    };
    let cases: [Case; 6] = [
        (0, unplugged, |event| *event == Event::NotSent { ticket: 1, cause: NotSent::Lost }),
        (0, broken, |event| {
            matches!(event, Event::NotSent { ticket: 1, cause: NotSent::WriteFailed(_) })
        }),
        (10, unplugged, |event| matches!(event, Event::Unknown { ticket: 1, .. })),
        (10, broken, |event| matches!(event, Event::Unknown { ticket: 1, .. })),
        // The whole frame is in the kernel's buffer.
        (1000, unplugged, |event| matches!(event, Event::Unknown { ticket: 1, .. })),
        (1000, reset, |event| matches!(event, Event::Unknown { ticket: 1, .. })),
    ];
    for (room, fail, expected) in cases {
        let mut running = Running::start().await;
        running.port.change(|script| (script.room, script.undrained) = (room, 40));
        running.send(1);
        running.settle().await;
        running.port.change(fail);
        running.settle().await;
        let seen = running.seen();
        assert!(matches!(&seen[..], [event] if expected(event)), "{seen:?}");
        assert!(matches!(running.session.await.unwrap(), End::Failed(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_gives_up_what_only_looked_like_a_frame() {
    let mut running = Running::start().await;
    running.port.change(|script| {
        script.to_read.push_back(Ok(vec![0xFD, 0xFF, 0, 0, 0, 1, 1, 1, 0, 0]));
        script.to_read.push_back(Ok(ack_bytes()));
    });
    running.pass(STREAM_PAUSE - MILLISECOND).await;
    assert_eq!(running.seen(), []);
    running.pass(2 * MILLISECOND).await;
    assert_eq!(running.seen(), [ack_event()]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_once_in_a_second_with_one_count_for_all_frames() {
    let mut running = Running::start().await;
    running.port.change(|script| script.room = 10_000);
    for ticket in 0..300 {
        running.pass(HEARTBEAT_PERIOD).await;
        running.send(ticket);
        running.settle().await;
        assert_eq!(running.seen(), [Event::Sent { ticket }]);
        running.port.change(|script| script.room = 10_000);
    }
    let mut framer = Framer::new();
    framer.push(&running.port.change(|script| std::mem::take(&mut script.written)));
    for count in 0..=600_u32 {
        let frame: Frame<'_> = framer.next().unwrap();
        assert_eq!(u32::from(frame.sequence()), count % 256);
        let is_command = count > 0 && count % 2 == 0;
        assert_eq!(frame.message_id(), if is_command { 76 } else { 0 });
    }
    assert_eq!(framer.next(), None);
}
