//! Messages from the agent: each is answered, and a refusal never costs the connection.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use downlinkd::edge::mqtt::{Command, Event, Options, Publish};
use rumqttc::v5::mqttbytes::QoS;
use tokio::time::Instant;

use crate::agent::{Agent, COMMANDS, PRESENCE, REPLIES, options, publish};
use crate::broker::{Broker, ClosedPort};
use crate::fake::{CONNACK, CONNACK_TIGHT, FakeBroker, FakeConnection, fake_connection};
use crate::peer::Peer;
use crate::proxy::Proxy;
use crate::{format_all_logs, soon};

#[tokio::test]
async fn a_publish_arrives_as_json_with_its_properties_and_is_answered() {
    let broker = Broker::start().await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    let mut reply = publish(Some(1), REPLIES, "{\"b\":2}");
    reply.correlation_data = Some(vec![0, 0xFF]);
    reply.user_properties = vec![("k".into(), "v".into())];
    agent.handle.send(Command::Publish(reply));
    assert_eq!(agent.published().await, (1, Ok(())));
    let received = peer.next().await;
    assert_eq!(&received.payload[..], b"{\"b\":2}");
    assert_eq!(received.qos, QoS::AtLeastOnce);
    let properties = received.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.payload_format_indicator, Some(1));
    assert_eq!(properties.correlation_data.as_deref(), Some(&[0, 0xFF][..]));
    assert_eq!(properties.user_properties, [("k".to_owned(), "v".to_owned())]);
    agent.publish(2, "nobody/listens", "{}");
    assert_eq!(agent.published().await, (2, Ok(())), "no subscriber is no failure");
}

/// What a caller with an outbox does: at most 16 outstanding, and after each `Connected` again what
/// was not answered.
#[tokio::test]
async fn five_thousand_publishes_survive_repeated_cuts() {
    const COUNT: u64 = 5000;
    const OUTSTANDING: usize = 16;
    format_all_logs();
    let broker = Broker::start().await;
    let proxy = Proxy::start(broker.port, Duration::from_millis(5)).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    let mut agent = Agent::start(options(proxy.port));

    let mut waiting: VecDeque<u64> = (0..COUNT).collect();
    let mut outstanding = BTreeSet::new();
    let mut answered = BTreeSet::new();
    let (mut connected, mut cuts) = (false, 0);
    let mut cut_at = Instant::now();
    while (answered.len() as u64) < COUNT {
        match agent.next().await {
            Event::Connected { .. } => {
                connected = true;
                cut_at = Instant::now() + Duration::from_millis(700);
                for id in outstanding.iter().rev() {
                    waiting.push_front(*id);
                }
                outstanding.clear();
            }
            Event::Disconnected { .. } => connected = false,
            Event::Published { id, outcome } => {
                assert_eq!(outcome, Ok(()));
                outstanding.remove(&id.0);
                waiting.retain(|waiting| *waiting != id.0);
                answered.insert(id.0);
            }
            Event::Message(message) => panic!("{message:?}"),
        }
        if !connected {
            continue;
        }
        while outstanding.len() < OUTSTANDING
            && let Some(id) = waiting.pop_front()
        {
            agent.publish(id, REPLIES, &id.to_string());
            outstanding.insert(id);
        }
        if Instant::now() >= cut_at {
            proxy.cut();
            cuts += 1;
            cut_at = Instant::now() + Duration::from_secs(3600);
        }
    }

    let mut received = BTreeSet::new();
    let mut deliveries = 0;
    while (received.len() as u64) < COUNT {
        received.insert(peer.next_payload().await.parse::<u64>().unwrap());
        deliveries += 1;
    }
    println!("{COUNT} publishes through {cuts} cuts, {deliveries} deliveries");
    assert!(cuts >= 3, "only {cuts} cuts");
    assert_eq!(received, (0..COUNT).collect());
    assert_eq!(answered, (0..COUNT).collect());
}

#[tokio::test]
async fn a_publish_larger_than_the_broker_takes_is_answered_and_costs_nothing() {
    let broker = Broker::start_with("allow_anonymous true\nmax_packet_size 2000", |_| ()).await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    agent.publish(1, REPLIES, &"x".repeat(3000));
    let (id, outcome) = agent.published().await;
    assert_eq!(id, 1);
    let reason = outcome.unwrap_err();
    assert!(reason.contains("2000"), "{reason}");
    agent.publish(2, REPLIES, &"x".repeat(1000));
    assert_eq!(agent.published().await, (2, Ok(())));
}

#[tokio::test]
async fn what_mosquitto_would_hang_up_on_is_answered_and_costs_nothing() {
    let broker = Broker::start().await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    for (id, topic) in ["", "a/+", "a/#", "a\0", "a\u{7}", "a\u{FFFF}"].into_iter().enumerate() {
        agent.publish(id as u64, topic, "{}");
        let (answered, outcome) = agent.published().await;
        assert_eq!(answered, id as u64);
        assert!(outcome.is_err(), "{topic:?}");
    }
    agent.settle().await;
}

#[tokio::test]
async fn a_publish_that_the_broker_forbids_is_answered_with_its_reason() {
    let acl = |dir: &std::path::Path| {
        let file = dir.join("acl");
        std::fs::write(&file, "topic read base/#\ntopic write settle\n").unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    };
    let broker = Broker::start_with("allow_anonymous true\nacl_file {dir}/acl", acl).await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    agent.publish(1, REPLIES, "{}");
    let (id, outcome) = agent.published().await;
    assert_eq!(id, 1);
    let reason = outcome.unwrap_err();
    assert!(reason.contains("NotAuthorized"), "{reason}");
    agent.settle().await;
}

/// A broker that takes little at a time and wants no keep-alive: that gets no pings without a pause.
#[tokio::test]
async fn a_small_receive_maximum_is_respected_and_does_not_hold_back_acknowledgements() {
    let (mut agent, mut connection) = tight_connection().await;
    for id in 0..3 {
        agent.publish(id, "t", "{}");
    }
    for packet_id in 1..=2 {
        assert_eq!(published_packet_id(&mut connection).await, packet_id);
    }
    connection.send(&[0x32, 7, 0, 1, b't', 0, 9, 0, b'x']).await;
    let message = agent.message().await;
    agent.acknowledge(message);
    assert_eq!(connection.read().await, [0x40, 2, 0, 9], "PUBACK, and no third PUBLISH");
    connection.send(&[0x40, 2, 0, 1]).await;
    assert_eq!(agent.published().await, (0, Ok(())));
    assert_eq!(published_packet_id(&mut connection).await, 3);
    for (packet_id, id) in [(3, 2), (2, 1)] {
        connection.send(&[0x40, 2, 0, packet_id]).await;
        assert_eq!(agent.published().await, (id, Ok(())));
    }
}

#[tokio::test]
async fn an_update_does_not_wait_behind_answers_that_the_broker_does_not_take() {
    let (mut agent, mut connection) = tight_connection().await;
    for payload in ["1", "2", "3", "4"] {
        agent.handle.send(Command::Publish(publish(None, "t", payload)));
    }
    agent.publish(7, "t", "update");
    let mut published = Vec::new();
    for _ in 0..5 {
        let packet = connection.read().await;
        // The broker takes one when it has the next one, too.
        if !published.is_empty() {
            connection.send(&[0x40, 2, 0, published.len() as u8]).await;
        }
        published.push(packet);
    }
    let payloads = ["1", "2", "update", "3", "4"];
    for (packet, payload) in published.iter().zip(payloads) {
        assert!(packet.ends_with(payload.as_bytes()), "{payload} instead of {packet:?}");
    }
    assert_eq!(agent.published().await, (7, Ok(())));
}

/// The broker takes two at a time.
async fn tight_connection() -> (Agent, FakeConnection) {
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(options(broker.port));
    let connection = broker.serve(&mut agent, CONNACK_TIGHT).await;
    (agent, connection)
}

/// Of a PUBLISH to topic "t": it takes three bytes after the two of the fixed header.
async fn published_packet_id(connection: &mut FakeConnection) -> u16 {
    let packet = connection.read().await;
    assert_eq!(packet[0], 0x32, "PUBLISH at QoS 1");
    u16::from_be_bytes([packet[5], packet[6]])
}

/// Everything that the caller asks for at one time: on a cellular link each packet of its own costs.
#[tokio::test]
async fn what_is_asked_for_at_one_time_leaves_in_one_segment() {
    let (mut agent, mut connection) = fake_connection().await;
    connection.send(&[0x32, 7, 0, 1, b't', 0, 9, 0, b'x']).await;
    let message = agent.message().await;
    agent.acknowledge(message);
    for id in 0..4 {
        agent.publish(id, "t", "{}");
    }
    let segment = connection.read_what_is_there().await;
    let mut rest = &segment[..];
    let mut kinds = Vec::new();
    while let [kind, length, ..] = rest {
        kinds.push(*kind);
        rest = &rest[2 + usize::from(*length)..];
    }
    assert_eq!(kinds, [0x40, 0x32, 0x32, 0x32, 0x32], "PUBACK, and four times PUBLISH");
}

#[tokio::test]
async fn packets_that_come_in_pieces_and_together_are_read_one_by_one() {
    let (mut agent, mut connection) = fake_connection().await;
    agent.publish(1, "t", "{}");
    assert_eq!(published_packet_id(&mut connection).await, 1);
    let together =
        [&[0x32, 7, 0, 1, b't', 0, 9, 0, b'x'][..], &[0x40, 2, 0, 1], &[0x32, 7, 0, 1, b't', 0]]
            .concat();
    connection.send(&together).await;
    assert_eq!(agent.message().await.payload, b"x");
    assert_eq!(agent.published().await, (1, Ok(())));
    for byte in [10, 0, b'y'] {
        connection.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.message().await.payload, b"y");
}

/// Nothing is subscribed at QoS 2, but an old session may have messages of it.
#[tokio::test]
async fn a_message_at_qos_2_is_delivered_and_acknowledged_to_its_end() {
    let (mut agent, mut connection) = fake_connection().await;
    connection.send(&[0x34, 7, 0, 1, b't', 0, 9, 0, b'x']).await;
    let message = agent.message().await;
    agent.acknowledge(message);
    assert_eq!(connection.read().await, [0x50, 2, 0, 9], "PUBREC");
    connection.send(&[0x62, 2, 0, 9]).await;
    assert_eq!(connection.read().await, [0x70, 2, 0, 9], "PUBCOMP");
}

#[tokio::test]
async fn a_puback_for_nothing_changes_nothing() {
    let (mut agent, mut connection) = fake_connection().await;
    connection.send(&[0x40, 2, 0, 7]).await;
    agent.publish(1, "t", "{}");
    assert_eq!(published_packet_id(&mut connection).await, 1);
    connection.send(&[0x40, 2, 0, 1]).await;
    assert_eq!(agent.published().await, (1, Ok(())));
}

#[tokio::test]
async fn the_will_is_published_when_the_agent_vanishes() {
    let broker = Broker::start().await;
    let mut peer = Peer::connect(broker.port, PRESENCE).await;
    // In a runtime of its own, so that it can be torn down like a process that dies.
    let port = broker.port;
    let (connected, on_connected) = std::sync::mpsc::channel();
    let (vanish, on_vanish) = std::sync::mpsc::channel::<()>();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let agent = runtime.block_on(Agent::connect(options(port)));
        connected.send(()).unwrap();
        on_vanish.recv().unwrap();
        drop(runtime);
        drop(agent);
    });
    tokio::task::spawn_blocking(move || on_connected.recv().unwrap()).await.unwrap();
    vanish.send(()).unwrap();
    let will = peer.next().await;
    assert_eq!(&will.payload[..], b"offline");
    assert_eq!(will.properties.unwrap().content_type.as_deref(), Some("application/json"));
    process.join().unwrap();
    let mut late = Peer::connect(broker.port, PRESENCE).await;
    let stored = late.next().await;
    assert_eq!(&stored.payload[..], b"offline");
    assert!(stored.retain);
}

#[tokio::test]
async fn a_goodbye_publishes_what_was_asked_for_and_not_the_will() {
    let broker = Broker::start().await;
    let mut peer = Peer::connect(broker.port, PRESENCE).await;
    let (mut agent, _) = Agent::connect(options(broker.port)).await;
    for id in 0..100 {
        agent.publish(id, PRESENCE, &id.to_string());
    }
    let begin = Instant::now();
    agent.handle.send(Command::Disconnect);
    for id in 0..100 {
        assert_eq!(agent.published().await, (id, Ok(())));
    }
    assert!(agent.next_or_end().await.is_none());
    soon(agent.handle.closed()).await;
    println!("gone after {:?}", begin.elapsed());
    for id in 0..100 {
        assert_eq!(peer.next_payload().await, id.to_string());
    }
    // The broker handles packets in order: what it published before this it would have sent before.
    let marker = Agent::connect({
        let mut options = options(broker.port);
        options.client_id = "marker".into();
        options
    });
    let (mut marker, _) = marker.await;
    marker.publish(1, PRESENCE, "marker");
    assert_eq!(marker.published().await, (1, Ok(())));
    assert_eq!(peer.next_payload().await, "marker");
}

#[tokio::test]
async fn a_goodbye_ends_in_time_also_when_nobody_answers() {
    let (agent, mut connection) = fake_connection().await;
    agent.publish(1, "t", "{}");
    let begin = Instant::now();
    agent.handle.send(Command::Disconnect);
    soon(agent.handle.closed()).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(connection.read().await[0], 0x32, "PUBLISH");
    let goodbye = connection.read().await;
    // Its length, reason code and properties' length.
    let length = goodbye.len() as u8 - 2;
    assert_eq!(goodbye[..4], [0xE0, length, 4, length - 2], "DISCONNECT with the will");
    assert!(connection.read_what_is_there().await.is_empty(), "nothing comes after it");
}

/// It has no will that the broker could publish.
#[tokio::test]
async fn a_visitor_leaves_as_usual_also_when_nobody_answers() {
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(Options { will: None, ..options(broker.port) });
    let mut connection = broker.serve(&mut agent, CONNACK).await;
    agent.publish(1, "t", "{}");
    agent.handle.send(Command::Disconnect);
    assert!(agent.next_or_end().await.is_none());
    assert_eq!(connection.read().await[0], 0x32, "PUBLISH");
    assert_eq!(connection.read().await, [0xE0, 0], "DISCONNECT");
}

/// A broker far away: our absence still waits behind what it has not acknowledged when we leave.
#[tokio::test]
async fn who_leaves_before_the_broker_has_taken_everything_is_not_retained_as_present() {
    let broker = Broker::start().await;
    let mut peer = Peer::connect(broker.port, PRESENCE).await;
    let proxy = Proxy::start(broker.port, Duration::from_millis(700)).await;
    let (mut agent, _) = Agent::connect(options(proxy.port)).await;
    let presence = |payload| Publish { retain: true, ..publish(None, PRESENCE, payload) };
    agent.handle.send(Command::Publish(presence("online")));
    for id in 0..20 {
        agent.publish(id, "t", "{}");
    }
    agent.handle.send(Command::Publish(presence("offline")));
    agent.handle.send(Command::Disconnect);
    assert!(agent.next_or_end().await.is_none(), "nothing is acknowledged in time");
    assert_eq!(peer.next_payload().await, "online");
    assert_eq!(peer.next_payload().await, "offline");
}

#[tokio::test]
async fn a_goodbye_without_a_connection_ends_at_once() {
    let closed = ClosedPort::new();
    let agent = Agent::start(options(closed.port));
    agent.handle.send(Command::Disconnect);
    soon(agent.handle.closed()).await;
}

#[tokio::test]
async fn the_task_ends_with_its_caller() {
    let broker = Broker::start().await;
    let (agent, _) = Agent::connect(options(broker.port)).await;
    let handle = agent.handle.clone();
    drop(agent);
    soon(handle.closed()).await;
    // To nobody: nothing happens.
    handle.send(Command::Publish(publish(None, COMMANDS, "{}")));
}
