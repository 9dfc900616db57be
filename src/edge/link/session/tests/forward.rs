//! The line shared with a peer that always has frames for the vehicle.

use super::*;
use crate::edge::link::forward::peer::Peer;
use crate::edge::link::{Direction, ForwardCounts, ForwardOptions};
use crate::wire::mavlink::ForeignCommand;

const GROUND_STATION: Address = Address { system: 255, component: 190 };

struct SharedLine {
    running: Running,
    peer: Peer,
    counters: crate::edge::link::forward::ForwardCounters,
}

impl SharedLine {
    /// With these frames of the peer waiting since before the port was opened.
    async fn start(early: &[u8]) -> Self {
        let mut parts = None;
        let running = Running::start_changed(|link| {
            let options = ForwardOptions {
                endpoint: "udpin:127.0.0.1:14560".parse().unwrap(),
                direction: Direction::Both,
            };
            let ends = link.forwards.add(options);
            let (events, _) = mpsc::channel(1);
            let peer = Peer::new(ends, AGENT, events);
            forward(&peer, early);
            parts = Some((peer, link.forwards.counters()));
        })
        .await;
        let (peer, counters) = parts.unwrap();
        Self { running, peer, counters }
    }

    fn counts(&self) -> ForwardCounts {
        self.counters.counts().remove(0)
    }

    /// Since the first HEARTBEAT.
    fn written(&self) -> Vec<u8> {
        self.running.port.change(|script| script.written[HEARTBEAT_LENGTH..].to_vec())
    }
}

/// The commands of a ground station with these sequence numbers.
fn forward(peer: &Peer, sequences: &[u8]) {
    let mut framer = Framer::new();
    for sequence in sequences {
        framer.push(&foreign_bytes(*sequence));
        assert!(peer.forward(&framer.next().unwrap()));
    }
}

fn foreign_bytes(sequence: u8) -> Vec<u8> {
    mavlink::command(sequence, GROUND_STATION, &COMMAND).as_slice().to_vec()
}

/// Whose frames were written, in order: the component and the sequence number.
fn writers(bytes: &[u8]) -> Vec<(u8, u8)> {
    let mut framer = Framer::new();
    framer.push(bytes);
    let mut writers = Vec::new();
    while let Some(frame) = framer.next() {
        writers.push((frame.source().component, frame.sequence()));
    }
    assert!(!framer.is_holding() && framer.counters().skipped_bytes == 0);
    writers
}

const FLOOD: [u8; 20] = {
    let mut flood = [0; 20];
    let mut at = 0;
    while at < flood.len() {
        flood[at] = at as u8;
        at += 1;
    }
    flood
};

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_the_rest_of_one_forwarded_frame_at_most() {
    let length = foreign_bytes(0).len();
    // Where the flood is when the command comes, in bytes.
    for at in [0, 1, length / 2, length - 1, length, length + 1, 5 * length + 7] {
        let mut line = SharedLine::start(&[]).await;
        forward(&line.peer, &FLOOD);
        line.running.settle().await;
        for _ in 0..at {
            line.running.port.change(|script| script.room = 1);
            line.running.settle().await;
        }
        line.running.send(1);
        line.running.settle().await;
        line.running.port.change(|script| script.room = 10_000);
        line.running.pass(MILLISECOND).await;
        let writers = writers(&line.written());
        let begun = at.div_ceil(length);
        assert_eq!(writers[begun], (AGENT.component, 1), "after {at} bytes: {writers:?}");
        assert_eq!(writers.len(), 1 + FLOOD.len(), "the flood goes on");
        let seen = line.running.seen();
        assert!(seen.contains(&Event::Sent { ticket: 1 }), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_forwarded_frame_is_begun_while_another_frame_is_in_the_kernels_buffer() {
    let line = SharedLine::start(&[]).await;
    line.running.port.change(|script| (script.room, script.undrained) = (10_000, 0));
    forward(&line.peer, &FLOOD[..1]);
    line.running.settle().await;
    line.running.port.change(|script| script.undrained = 40);
    forward(&line.peer, &FLOOD[1..]);
    line.running.pass(20 * MILLISECOND).await;
    assert_eq!(writers(&line.written()), [(190, 0)]);
    // A command does not wait for it, but the flood waits for the command.
    line.running.send(1);
    line.running.pass(20 * MILLISECOND).await;
    assert_eq!(writers(&line.written()), [(190, 0), (191, 1)]);
    line.running.port.change(|script| script.undrained = 0);
    line.running.pass(2 * MILLISECOND).await;
    assert_eq!(writers(&line.written()).len(), 1 + FLOOD.len());
    assert_eq!(line.counts().to_vehicle, FLOOD.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn what_another_commands_is_told_once_the_frame_is_whole() {
    let mut line = SharedLine::start(&[]).await;
    let whole = foreign_bytes(7);
    line.running.port.change(|script| script.room = whole.len() - 1);
    forward(&line.peer, &[7]);
    line.running.pass(MILLISECOND).await;
    assert_eq!(line.running.seen(), []);
    line.running.port.change(|script| {
        script.room = 1;
        script.to_read.push_back(Ok(ack_bytes()));
    });
    line.running.settle().await;
    let told = ForeignCommand { target: AUTOPILOT, command: 2001 };
    assert_eq!(line.running.seen(), [Event::ForeignCommand(told), ack_event()]);
    assert_eq!(line.written(), whole);
    // Our own count goes on as if it had not been.
    line.running.port.change(|script| script.room = 1000);
    line.running.send(1);
    line.running.settle().await;
    assert_eq!(line.written()[whole.len()..], command_bytes(1));
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_frame_that_cannot_be_begun_is_dropped_and_holds_nobody_up() {
    let mut line = SharedLine::start(&[]).await;
    forward(&line.peer, &[1]);
    line.running.pass(999 * MILLISECOND).await;
    assert_eq!(line.counts().to_vehicle_dropped, 0);
    line.running.pass(2 * MILLISECOND).await;
    assert_eq!(line.counts().to_vehicle_dropped, 1);
    line.running.port.change(|script| script.room = 1000);
    line.running.send(1);
    line.running.settle().await;
    assert!(line.running.seen().contains(&Event::Sent { ticket: 1 }));
    assert_eq!(line.counts().to_vehicle, 0);
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_frame_that_stops_half_way_ends_the_session() {
    let mut line = SharedLine::start(&[]).await;
    line.running.port.change(|script| script.room = 10);
    forward(&line.peer, &[1]);
    line.running.pass(WRITE_BOUND + MILLISECOND).await;
    assert_eq!(line.running.seen(), []);
    let end = line.running.session.await.unwrap();
    assert!(matches!(end, End::Failed(Failure::Stalled { .. })));
    assert_eq!(line.counters.counts()[0].to_vehicle, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_closed_port_is_not_sent_to_the_next() {
    let line = SharedLine::start(&FLOOD).await;
    line.running.port.change(|script| script.room = 10_000);
    line.running.pass(20 * MILLISECOND).await;
    assert_eq!(line.written(), [0_u8; 0]);
    assert_eq!(line.counts().to_vehicle_dropped, FLOOD.len() as u64);
}
