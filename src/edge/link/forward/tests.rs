//! Forwards between plain sockets, with the test as the vehicle and as the peer.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::*;
use crate::wire::mavlink::{Framer, heartbeat};

const AGENT: Address = Address { system: 1, component: 191 };
const AUTOPILOT: Address = Address { system: 1, component: 1 };
const GROUND_STATION: Address = Address { system: 255, component: 190 };

/// For whatever takes milliseconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"))
}

struct Rig {
    /// Of the link's task.
    framer: Framer,
    forwards: Forwards,
    counters: ForwardCounters,
    events: mpsc::Receiver<Event>,
}

impl Rig {
    async fn start(endpoint: &str, direction: Direction) -> Self {
        let mut it = Self::begin(endpoint, direction);
        match soon("event", it.events.recv()).await {
            Some(Event::ForwardOpened { endpoint: opened }) => {
                assert_eq!(opened.to_string(), endpoint);
            }
            event => panic!("{event:?}"),
        }
        it
    }

    fn begin(endpoint: &str, direction: Direction) -> Self {
        let (sender, events) = mpsc::channel(100);
        let options = ForwardOptions { endpoint: endpoint.parse().unwrap(), direction };
        let forwards = Forwards::start(&[options], AGENT, &sender);
        let counters = forwards.counters();
        Self { framer: Framer::new(), forwards, counters, events }
    }

    fn counts(&self) -> ForwardCounts {
        self.counters.counts().remove(0)
    }

    async fn wait(&self, what: &str, condition: impl Fn(&ForwardCounts) -> bool) {
        let reached = async {
            while !condition(&self.counts()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(DEADLINE, reached).await.is_err() {
            panic!("no {what}: {:?}", self.counts());
        }
    }

    fn says(&mut self, bytes: &[u8]) {
        self.framer.push(bytes);
        while let Some(frame) = self.framer.next() {
            self.forwards.vehicle_said(&frame);
        }
        self.forwards.flush();
    }

    async fn for_vehicle(&mut self) -> Vec<u8> {
        soon("frame", self.forwards.next()).await.as_slice().to_vec()
    }
}

/// A port that was free a moment ago.
async fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn frame(source: Address, sequence: u8) -> Vec<u8> {
    heartbeat(sequence, source).as_slice().to_vec()
}

fn frames(source: Address, sequences: std::ops::Range<u8>) -> Vec<u8> {
    sequences.flat_map(|sequence| frame(source, sequence)).collect()
}

#[tokio::test]
async fn udpin_learns_its_peer_by_a_frame_and_passes_both_ways() {
    let address = free_address().await;
    let mut rig = Rig::start(&format!("udpin:{address}"), Direction::Both).await;
    // Nobody to send to yet: this is gone, and no loss.
    rig.says(&frames(AUTOPILOT, 0..9));
    let station = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    station.send_to(b"GET / HTTP/1.0", address).await.unwrap();
    rig.wait("garbage", |counts| counts.garbage_bytes == 14).await;
    assert!(!rig.counts().has_peer);
    station.send_to(&frame(GROUND_STATION, 3), address).await.unwrap();
    assert_eq!(rig.for_vehicle().await, frame(GROUND_STATION, 3));
    rig.wait("peer", |counts| counts.has_peer).await;

    // Cut anywhere, with noise in between: whole frames come out, as they were.
    let mut stream = frames(AUTOPILOT, 10..12);
    stream.extend_from_slice(b"noise");
    stream.extend(frames(AUTOPILOT, 12..90));
    for piece in stream.chunks(7) {
        rig.says(piece);
    }
    let mut seen = Vec::new();
    let mut buffer = [0; 2048];
    while seen.len() < stream.len() - 5 {
        let length = soon("datagram", station.recv(&mut buffer)).await.unwrap();
        assert!(length <= BATCH_BYTES);
        seen.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(seen, frames(AUTOPILOT, 10..90));
    rig.wait("count", |counts| counts.to_peer == 80).await;
    assert_eq!(rig.counts().to_peer_dropped, 0);
}

#[tokio::test]
async fn frames_in_our_name_and_garbage_never_come_through() {
    let address = free_address().await;
    let mut rig = Rig::start(&format!("udpin:{address}"), Direction::Both).await;
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut broken = frame(GROUND_STATION, 1);
    broken[15] ^= 1;
    let cut = frame(GROUND_STATION, 2);
    for datagram in [&broken[..], &cut[..20], &frame(AGENT, 3), &[0xFE; 1000], &[0xFD; 1000]] {
        peer.send_to(datagram, address).await.unwrap();
    }
    let mixed = [broken, frame(AGENT, 4), frame(GROUND_STATION, 5)];
    peer.send_to(&mixed.concat(), address).await.unwrap();
    assert_eq!(rig.for_vehicle().await, frame(GROUND_STATION, 5));
    assert_eq!(rig.counts().refused, 2);
    assert!(rig.counts().garbage_bytes > 1000);
}

#[tokio::test]
async fn out_is_read_only() {
    let address = free_address().await;
    let mut rig = Rig::start(&format!("udpin:{address}"), Direction::Out).await;
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    peer.send_to(&frame(GROUND_STATION, 0), address).await.unwrap();
    rig.wait("refusal", |counts| counts.refused == 1 && counts.has_peer).await;
    assert!(timeout(Duration::ZERO, rig.forwards.next()).await.is_err());
    rig.says(&frame(AUTOPILOT, 1));
    let mut buffer = [0; 100];
    let length = soon("datagram", peer.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], frame(AUTOPILOT, 1));
}

#[tokio::test]
async fn a_flood_is_bounded_and_counted() {
    let address = free_address().await;
    let mut rig = Rig::start(&format!("tcpin:{address}"), Direction::Both).await;
    let mut peer = TcpStream::connect(address).await.unwrap();
    let sent = 200;
    peer.write_all(&frames(GROUND_STATION, 0..sent)).await.unwrap();
    let kept = TO_VEHICLE as u64;
    rig.wait("drops", |counts| counts.to_vehicle_dropped == u64::from(sent) - kept).await;
    for sequence in 0..TO_VEHICLE as u8 {
        assert_eq!(rig.for_vehicle().await, frame(GROUND_STATION, sequence));
    }
    assert!(timeout(Duration::ZERO, rig.forwards.next()).await.is_err());
}

#[tokio::test]
async fn peers_take_turns() {
    let (sender, _events) = mpsc::channel(100);
    let mut forwards = Forwards::none();
    let peers: Vec<Peer> = (0..3)
        .map(|port| {
            let endpoint = format!("udpin:127.0.0.1:{}", port + 1).parse().unwrap();
            let options = ForwardOptions { endpoint, direction: Direction::Both };
            Peer::new(forwards.add(options), AGENT, sender.clone())
        })
        .collect();
    let mut framer = Framer::new();
    for (peer, count) in peers.iter().zip([30, 2, 2]) {
        for _ in 0..count {
            let source = Address { system: count, component: 1 };
            framer.push(&frame(source, 0));
            assert!(peer.forward(&framer.next().unwrap()));
        }
    }
    let mut order = Vec::new();
    for _ in 0..8 {
        order.push(soon("frame", forwards.next()).await.as_slice()[5]);
    }
    assert_eq!(order, [30, 2, 2, 30, 2, 2, 30, 30]);
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_only_itself() {
    let address = free_address().await;
    let mut rig = Rig::start(&format!("tcpin:{address}"), Direction::Out).await;
    let peer = TcpStream::connect(address).await.unwrap();
    rig.wait("peer", |counts| counts.has_peer).await;
    let burst = frames(AUTOPILOT, 0..250);
    // Nothing here waits for the peer; its socket's buffers are of some MB.
    while rig.counts().to_peer_dropped < 1000 {
        for _ in 0..100 {
            rig.says(&burst);
        }
        tokio::task::yield_now().await;
    }
    drop(peer);
    // The next one gets what comes now, from a frame's start.
    rig.wait("end", |counts| !counts.has_peer).await;
    let mut next = TcpStream::connect(address).await.unwrap();
    rig.wait("peer", |counts| counts.has_peer).await;
    rig.says(&frame(AUTOPILOT, 77));
    let mut first = vec![0; frame(AUTOPILOT, 77).len()];
    soon("bytes", next.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, frame(AUTOPILOT, 77));
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_one_that_may_be_dead() {
    let address = free_address().await;
    let mut rig = Rig::start(&format!("tcpin:{address}"), Direction::Both).await;
    let mut old = TcpStream::connect(address).await.unwrap();
    old.write_all(&frame(GROUND_STATION, 1)).await.unwrap();
    assert_eq!(rig.for_vehicle().await, frame(GROUND_STATION, 1));
    // Half a frame, which the new connection must not complete.
    old.write_all(&frame(GROUND_STATION, 2)[..9]).await.unwrap();
    let mut new = TcpStream::connect(address).await.unwrap();
    let mut nothing = [0; 1];
    assert_eq!(soon("end", old.read(&mut nothing)).await.unwrap_or(0), 0);
    new.write_all(&frame(GROUND_STATION, 3)).await.unwrap();
    assert_eq!(rig.for_vehicle().await, frame(GROUND_STATION, 3));
}

#[tokio::test]
async fn udpout_needs_nobody_there_and_listens_to_nobody_else() {
    let address = free_address().await;
    let mut rig = Rig::start(&format!("udpout:{address}"), Direction::Both).await;
    rig.wait("peer", |counts| counts.has_peer).await;
    for sequence in 0..50 {
        // The kernel answers each with ECONNREFUSED.
        rig.says(&frame(AUTOPILOT, sequence));
        tokio::task::yield_now().await;
    }
    let station = UdpSocket::bind(address).await.unwrap();
    let mut buffer = [0; 2048];
    let sender = soon("datagram", async {
        loop {
            rig.says(&frame(AUTOPILOT, 99));
            let received = station.recv_from(&mut buffer);
            if let Ok(received) = timeout(Duration::from_millis(20), received).await {
                return received.unwrap().1;
            }
        }
    })
    .await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(&frame(GROUND_STATION, 1), sender).await.unwrap();
    station.send_to(&frame(GROUND_STATION, 2), sender).await.unwrap();
    assert_eq!(rig.for_vehicle().await, frame(GROUND_STATION, 2));
}

#[tokio::test]
async fn a_socket_that_cannot_be_opened_is_told_once_and_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut rig = Rig::begin(&format!("tcpin:{address}"), Direction::Out);
    let told = soon("event", rig.events.recv()).await;
    assert!(matches!(told, Some(Event::ForwardFailed { .. })), "{told:?}");
    drop(taken);
    let told = soon("event", rig.events.recv()).await;
    assert!(matches!(told, Some(Event::ForwardOpened { .. })), "{told:?}");
    // And the task ends with the link's.
    drop(rig.forwards);
    assert_eq!(soon("end", rig.events.recv()).await, None);
}
