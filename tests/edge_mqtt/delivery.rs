//! Messages to the agent: nothing unacknowledged is lost, nothing acknowledged comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use downlinkd::edge::mqtt::{Command, Event};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use crate::agent::{Agent, COMMANDS, REPLIES, options};
use crate::broker::Broker;
use crate::fake::{CONNACK, FakeBroker, SUBACK, fake_connection};
use crate::peer::Peer;
use crate::proxy::Proxy;
use crate::{format_all_logs, soon, within};

#[tokio::test]
async fn a_message_arrives_with_all_that_was_sent_with_it() {
    let broker = Broker::start().await;
    let (mut agent, session_present) = Agent::connect(options(broker.port)).await;
    assert!(!session_present);
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    let properties = PublishProperties {
        response_topic: Some("base/replies/api/mine".into()),
        correlation_data: Some(vec![0, 0xFF].into()),
        message_expiry_interval: Some(60),
        user_properties: vec![("X-Api-Id".into(), "api".into()), ("X-Api-Id".into(), "b".into())],
        ..PublishProperties::default()
    };
    peer.publish_with(COMMANDS, QoS::AtLeastOnce, false, "{\"a\":1}", properties).await;
    let message = agent.message().await;
    assert_eq!(message.topic, COMMANDS);
    assert_eq!(message.payload, b"{\"a\":1}");
    assert!(!message.retain && !message.duplicate);
    assert_eq!(message.response_topic.as_deref(), Some("base/replies/api/mine"));
    assert_eq!(message.correlation_data.as_deref(), Some(&[0, 0xFF][..]));
    let expiry = message.message_expiry.unwrap();
    assert!((Duration::from_secs(1)..=Duration::from_secs(60)).contains(&expiry), "{expiry:?}");
    assert_eq!(
        message.user_properties,
        [("X-Api-Id".to_owned(), "api".to_owned()), ("X-Api-Id".to_owned(), "b".to_owned())]
    );
}

#[tokio::test]
async fn a_retained_command_shows_it_also_when_it_is_delivered_live() {
    let broker = Broker::start().await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    peer.publish_with(COMMANDS, QoS::AtLeastOnce, true, "{}", PublishProperties::default()).await;
    assert!(agent.message().await.retain);
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_after_a_cut_and_after_a_restart() {
    format_all_logs();
    let broker = Broker::start().await;
    let proxy = Proxy::start(broker.port, Duration::ZERO).await;
    let (mut agent, _) = Agent::connect(options(proxy.port)).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    for payload in ["0", "1", "2", "3", "4"] {
        peer.publish(COMMANDS, payload).await;
    }
    let mut withheld = Vec::new();
    for number in 0..5 {
        let message = agent.message().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        if number < 2 { agent.acknowledge(message) } else { withheld.push(message) }
    }
    agent.settle().await;

    proxy.cut();
    agent.disconnected().await;
    assert_eq!(agent.connected().await, (2, true));
    let mut again = Vec::new();
    for number in 2..5 {
        let message = agent.message().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        assert!(message.duplicate);
        again.push(message);
    }
    // Of the old connection: it must not count for the new one.
    withheld.into_iter().for_each(|message| agent.acknowledge(message));
    agent.acknowledge(again.remove(0));
    agent.settle().await;

    drop(agent);
    let (mut agent, session_present) = Agent::connect(options(broker.port)).await;
    assert!(session_present);
    for number in 3..5 {
        let message = agent.message().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        agent.acknowledge(message);
    }
    agent.settle().await;

    drop(agent);
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    peer.publish(COMMANDS, "last").await;
    assert_eq!(agent.message().await.payload, b"last");
}

#[tokio::test]
async fn a_broker_that_restarts_brings_back_exactly_what_was_not_acknowledged() {
    let mut broker = Broker::start().await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    for number in 0..20 {
        peer.publish(COMMANDS, &number.to_string()).await;
    }
    let mut expected = Vec::new();
    for number in 0..20 {
        let message = agent.message().await;
        if number < 10 {
            agent.acknowledge(message);
        } else {
            expected.push(message.payload);
        }
    }
    agent.settle().await;

    broker.stop().await;
    agent.disconnected().await;
    broker.start_again().await;
    assert!(agent.connected().await.1, "the broker kept the session");
    for payload in expected {
        let message = agent.message().await;
        assert_eq!(message.payload, payload);
        agent.acknowledge(message);
    }
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    peer.publish(COMMANDS, "last").await;
    assert_eq!(agent.message().await.payload, b"last");
}

/// The broker sends what it holds for the session right after its CONNACK, before it has even read
/// our SUBSCRIBE.
#[tokio::test]
async fn messages_that_waited_for_the_session_come_after_connected() {
    let broker = Broker::start().await;
    let (agent, _) = Agent::connect(options(broker.port)).await;
    drop(agent);
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    for number in 0..50 {
        peer.publish(COMMANDS, &number.to_string()).await;
    }
    let mut agent = Agent::start(options(broker.port));
    let first = agent.next().await;
    assert!(
        matches!(first, Event::Connected { generation: 1, session_present: true, .. }),
        "{first:?}"
    );
    for number in 0..50 {
        let message = agent.message().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        agent.acknowledge(message);
    }
}

/// Packet ids start again with a new session, so an old acknowledgement would hit a new message.
#[tokio::test]
async fn a_stale_acknowledgement_does_not_lose_the_message_that_has_its_packet_id_now() {
    let mut broker = Broker::start().await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    peer.publish(COMMANDS, "old").await;
    let old = agent.message().await;

    broker.stop().await;
    broker.lose_sessions();
    broker.start_again().await;
    agent.disconnected().await;
    assert_eq!(agent.connected().await, (2, false));
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    peer.publish(COMMANDS, "new").await;
    let new = agent.message().await;
    assert_eq!(new.payload, b"new");
    for message in [&old, &new] {
        let shown = format!("{:?}", message.acknowledgement);
        assert!(shown.contains("packet_id: 1,"), "the trap is not set: {shown}");
    }
    agent.acknowledge(old);
    agent.settle().await;

    drop(agent);
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    let again = agent.message().await;
    assert_eq!(again.payload, b"new");
    assert!(again.duplicate);
}

/// Longer than the broker waits for a sign of life, with a channel that is full at once.
#[tokio::test]
async fn a_caller_that_is_busy_for_long_loses_neither_events_nor_the_connection() {
    let broker = Broker::start().await;
    let mut options = options(broker.port);
    options.keep_alive = Duration::from_secs(5);
    let mut agent = Agent::start_with_capacity(options, 1);
    assert_eq!(agent.connected().await, (1, false));
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    for number in 0..20 {
        peer.publish(COMMANDS, &number.to_string()).await;
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    for number in 0..20 {
        let message = agent.message().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        agent.acknowledge(message);
    }
    agent.settle().await;
}

/// QoS 0 has no flow control: the flood fills the queue, and the rest waits with the broker.
#[tokio::test]
async fn a_flood_that_is_not_taken_is_not_read_and_not_lost() {
    const FLOOD: u32 = 16_000;
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start_with_capacity(options(broker.port), 1);
    let mut connection = broker.accept().await;
    connection.send(CONNACK).await;
    connection.send(SUBACK).await;
    agent.connected().await;
    let sent = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&sent);
    let flood = tokio::spawn(async move {
        for number in 0..FLOOD {
            // 4000 bytes: topic "t", no properties, the number, filling.
            let mut packet = vec![0x30, 0xA0, 0x1F, 0, 1, b't', 0];
            packet.extend(number.to_be_bytes());
            packet.resize(3 + 4000, b'x');
            connection.send(&packet).await;
            counter.store(number + 1, Ordering::Relaxed);
        }
        connection
    });
    let mut before = 0;
    within(crate::SOON, async || {
        // Blocked, or done, when a while brings no progress.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = sent.load(Ordering::Relaxed);
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    let unread = FLOOD - sent.load(Ordering::Relaxed);
    println!("{unread} of {FLOOD} messages were held back");
    assert!(unread > FLOOD / 4);
    for number in 0..FLOOD {
        let message = agent.message().await;
        assert_eq!(message.payload[..4], number.to_be_bytes());
        // There is nothing to acknowledge, and it must not disturb those that count.
        agent.acknowledge(message);
    }
    let mut connection = soon(flood).await.unwrap();
    connection.send(&[0x32, 7, 0, 1, b't', 0, 9, 0, b'x']).await;
    let message = agent.message().await;
    agent.acknowledge(message);
    assert_eq!(connection.read().await[0], 0x82, "SUBSCRIBE");
    assert_eq!(connection.read().await, [0x40, 2, 0, 9], "PUBACK");
}

#[tokio::test]
async fn a_round_trip_does_not_wait_for_nagle() {
    // This is about what we send.
    let broker = Broker::start_with("allow_anonymous true\nset_tcp_nodelay true", |_| ()).await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    let mut times = Vec::new();
    for number in 0..50_u64 {
        let begin = std::time::Instant::now();
        let payload = number.to_string();
        let echo = async {
            let message = agent.message().await;
            // As the daemon does it: PUBACK and reply are two small writes in a row, which is what
            // Nagle's algorithm holds back.
            agent.acknowledge(message);
            agent.handle.send(Command::Publish(crate::agent::publish(None, REPLIES, &payload)));
        };
        let ask = async {
            peer.publish(COMMANDS, &payload).await;
            peer.next_payload().await
        };
        let ((), answer) = tokio::join!(echo, ask);
        assert_eq!(answer, payload);
        times.push(begin.elapsed());
    }
    median_is_below_a_delayed_ack(times);
}

#[tokio::test]
async fn what_a_broker_with_nagles_algorithm_sends_does_not_wait_for_a_delayed_ack() {
    // The algorithm is on, as mosquitto has it unless it is told not to.
    let (mut agent, mut connection) = fake_connection().await;
    let mut times = Vec::new();
    for number in 1..=20 {
        // Where one answers the other, the kernel delays ACKs, for an answer to take them along.
        connection.send(&[0x32, 7, 0, 1, b't', 0, number, 0, b'x']).await;
        let message = agent.message().await;
        agent.acknowledge(message);
        assert_eq!(connection.read().await, [0x40, 2, 0, number], "PUBACK");
        // With QoS 0 there is none.
        let begin = std::time::Instant::now();
        for payload in *b"ab" {
            connection.send(&[0x30, 5, 0, 1, b't', 0, payload]).await;
        }
        for payload in *b"ab" {
            assert_eq!(agent.message().await.payload, [payload]);
        }
        times.push(begin.elapsed());
    }
    median_is_below_a_delayed_ack(times);
}

/// The kernel's takes 40 ms.
fn median_is_below_a_delayed_ack(mut times: Vec<Duration>) {
    times.sort();
    let median = times[times.len() / 2];
    println!("median {median:?}, slowest {:?}", times.last().unwrap());
    assert!(median < Duration::from_millis(20), "{median:?}");
}
