//! Connecting, losing the connection, and what the caller is told about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use downlinkd::edge::mqtt::{Event, Reason};
use tokio::time::Instant;

use crate::agent::{Agent, COMMANDS, REPLIES, options};
use crate::broker::{Broker, ClosedPort};
use crate::fake::{CONNACK, FakeBroker, SUBACK, fake_connection};
use crate::format_all_logs;
use crate::peer::Peer;

#[tokio::test]
async fn an_absent_broker_is_named_and_found_when_it_comes() {
    let mut broker = Broker::start().await;
    broker.stop().await;
    let mut agent = Agent::start(options(broker.port));
    let reason = agent.disconnected().await;
    assert!(reason.contains(&format!("127.0.0.1:{}", broker.port)), "{reason}");
    broker.start_again().await;
    assert_eq!(agent.connected().await, (1, false));
}

#[tokio::test]
async fn attempts_slow_down() {
    let closed = ClosedPort::new();
    let mut agent = Agent::start(options(closed.port));
    let begin = Instant::now();
    let mut attempts = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        agent.disconnected().await;
        attempts += 1;
    }
    // Steps of 0.2, 0.4, 0.8, 1.6 s: at least half of each is waited for.
    assert!((2..=6).contains(&attempts), "{attempts} attempts in 3 s");
}

#[tokio::test]
async fn a_broker_that_refuses_the_credentials_is_quoted() {
    let broker = Broker::start_with("allow_anonymous false", |_| ()).await;
    let mut options = options(broker.port);
    options.username = Some("agent".into());
    options.password = Some("our-secret".into());
    let reason = Agent::start(options).disconnected().await;
    assert!(reason.contains("refused") && reason.contains("NotAuthorized"), "{reason}");
    assert!(!reason.contains("our-secret"), "{reason}");
}

/// mosquitto's access list knows nothing of subscriptions; its dynamic security plugin does.
#[tokio::test]
async fn a_subscription_that_the_broker_refuses_is_named_and_tried_again() {
    let configuration = format!(
        "allow_anonymous true\nplugin {}\nplugin_opt_config_file {{dir}}/security.json",
        dynamic_security_plugin().display()
    );
    let commands_only = serde_json::json!({
        "defaultACLAccess": {"subscribe": false},
        "groups": [{"groupname": "anyone", "roles": [{"rolename": "agent"}]}],
        "anonymousGroup": "anyone",
        "roles": [{"rolename": "agent", "acls": [
            {"acltype": "subscribePattern", "topic": "base/commands/+", "allow": true},
        ]}],
    });
    let broker = Broker::start_with(&configuration, |dir| {
        std::fs::write(dir.join("security.json"), commands_only.to_string()).unwrap();
    })
    .await;
    let mut agent = Agent::start(options(broker.port));
    for _ in 0..2 {
        let reason = agent.ended().await;
        assert!(matches!(reason, Reason::Subscription { .. }), "{reason:?}");
        let told = "subscription to \"base/queries/+\" refused by the broker: NotAuthorized";
        assert_eq!(reason.to_string(), told);
    }
}

fn dynamic_security_plugin() -> PathBuf {
    let name = "mosquitto_dynamic_security.so";
    std::fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join(name))
        .chain([Path::new("/usr/lib").join(name)])
        .find(|path| path.exists())
        .expect("mosquitto's dynamic security plugin is not installed")
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_and_found_again() {
    let broker = Broker::start().await;
    let mut options = options(broker.port);
    options.keep_alive = Duration::from_secs(5);
    let (mut agent, _) = Agent::connect(options).await;
    let mut peer = Peer::connect(broker.port, REPLIES).await;
    peer.publish(COMMANDS, "before").await;
    assert_eq!(agent.message().await.payload, b"before");
    broker.freeze();
    let begin = Instant::now();
    let reason = agent.disconnected().await;
    println!("noticed after {:?}: {reason}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    broker.thaw();
    assert_eq!(agent.connected().await, (2, true));
    let again = agent.message().await;
    assert_eq!(again.payload, b"before");
    agent.acknowledge(again);
    agent.settle().await;
}

/// More than the socket buffers hold.
#[tokio::test]
async fn a_frozen_broker_is_noticed_also_in_the_middle_of_a_write() {
    let broker = Broker::start().await;
    let mut options = options(broker.port);
    options.keep_alive = Duration::from_secs(5);
    let (mut agent, _) = Agent::connect(options).await;
    broker.freeze();
    let large = "x".repeat(1024 * 1024);
    for id in 0..16 {
        agent.publish(id, REPLIES, &large);
    }
    let begin = Instant::now();
    let reason = agent.disconnected().await;
    println!("noticed after {:?}: {reason}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    broker.thaw();
    assert_eq!(agent.connected().await, (2, true));
    agent.settle().await;
}

#[tokio::test]
async fn two_agents_with_one_client_id_are_told_and_do_not_fight_at_full_speed() {
    let broker = Broker::start().await;
    let mut agents = [Agent::start(options(broker.port)), Agent::start(options(broker.port))];
    let begin = Instant::now();
    let (mut connections, mut reasons) = (0, Vec::new());
    while begin.elapsed() < Duration::from_secs(5) {
        let [one, other] = &mut agents;
        let event = tokio::select! {
            event = one.next() => event,
            event = other.next() => event,
            () = tokio::time::sleep(Duration::from_millis(100)) => continue,
        };
        match event {
            Event::Connected { .. } => connections += 1,
            Event::Disconnected { reason } => reasons.push(reason.to_string()),
            other => panic!("{other:?}"),
        }
    }
    println!("{connections} connections in 5 s");
    assert!((2..=16).contains(&connections), "{connections} connections in 5 s");
    // mosquitto only closes the connection.
    assert!(reasons.iter().any(|reason| reason.contains("client_id \"agent\"")), "{reasons:?}");
}

/// MQTT 5, 3.14.2: the properties may be left out.
#[tokio::test]
async fn a_session_that_is_taken_over_is_said_to_be() {
    for disconnect in [&[0xE0, 1, 0x8E][..], &[0xE0, 2, 0x8E, 0]] {
        let (mut agent, mut connection) = fake_connection().await;
        connection.send(disconnect).await;
        let reason = agent.disconnected().await;
        let told = "lost: session taken over: another client uses the client_id \"agent\"";
        assert!(reason.ends_with(told), "{reason}");
    }
}

#[tokio::test]
async fn a_broker_that_leaves_is_quoted() {
    let (mut agent, mut connection) = fake_connection().await;
    connection.send(&[0xE0, 0]).await;
    let reason = agent.disconnected().await;
    assert!(reason.ends_with("disconnected by the broker: NormalDisconnection"), "{reason}");
}

/// Also when our next packet meets a closed connection before its DISCONNECT was read.
#[tokio::test]
async fn a_broker_that_hangs_up_while_we_write_has_said_why() {
    let (mut agent, mut connection) = fake_connection().await;
    connection.send(&[0xE0, 1, 0x8E]).await;
    drop(connection);
    for id in 0..10 {
        agent.publish(id, REPLIES, "{}");
    }
    let reason = agent.disconnected().await;
    assert!(reason.contains("session taken over"), "{reason}");
}

/// Server Keep Alive: 1 s (MQTT 5, 3.2.2.3.14).
#[tokio::test]
async fn an_idle_connection_is_kept_alive_as_the_broker_wants_and_left_when_nothing_comes_back() {
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(options(broker.port));
    let mut connection = broker.accept().await;
    connection.send(&[0x20, 6, 0, 0, 3, 0x13, 0, 1]).await;
    assert_eq!(connection.read().await[0], 0x82, "SUBSCRIBE");
    connection.send(SUBACK).await;
    agent.connected().await;
    // Longer than it may be silent.
    for _ in 0..4 {
        assert_eq!(connection.read().await, [0xC0, 0], "PINGREQ");
        connection.send(&[0xD0, 0]).await;
    }
    let reason = agent.disconnected().await;
    assert!(reason.ends_with("lost: nothing heard for 2 s"), "{reason}");
}

/// What a broker does that speaks only MQTT 3.1.1 (3.2.2.3).
#[tokio::test]
async fn a_broker_that_does_not_speak_mqtt_5_is_said_to() {
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(options(broker.port));
    broker.accept().await.send(&[0x20, 2, 0, 1]).await;
    let reason = agent.disconnected().await;
    assert!(reason.ends_with("it does not speak MQTT 5"), "{reason}");
}

#[tokio::test]
async fn a_packet_whose_parts_do_not_fit_is_not_waited_for() {
    let (mut agent, mut connection) = fake_connection().await;
    // The topic is said to have 200 bytes.
    connection.send(&[0x32, 7, 0, 200, b't', 0, 9, 0, b'x']).await;
    let reason = agent.disconnected().await;
    assert!(reason.contains("what came is not MQTT 5"), "{reason}");
}

#[tokio::test]
async fn what_is_not_utf_8_is_delivered_and_nothing_panics() {
    format_all_logs();
    let (mut agent, mut connection) = fake_connection().await;
    // Topic "a\xFF", packet id 9, no properties, payload FE 00.
    connection.send(&[0x32, 9, 0, 2, b'a', 0xFF, 0, 9, 0, 0xFE, 0]).await;
    let message = agent.message().await;
    assert_eq!(message.topic, "a\u{FFFD}");
    assert_eq!(message.payload, [0xFE, 0]);
    agent.acknowledge(message);
    assert_eq!(connection.read().await, [0x40, 2, 0, 9], "PUBACK");
}

/// Not every broker checks a publisher's strings, and what is not acknowledged comes again first.
#[tokio::test]
async fn a_message_with_properties_that_are_not_utf_8_is_acknowledged_and_the_next_one_comes() {
    format_all_logs();
    let (mut agent, mut connection) = fake_connection().await;
    // Topic "t", a user property "k" that is "\xFF"; a response topic; a content type.
    let properties: [&[u8]; 3] =
        [&[0x26, 0, 1, b'k', 0, 1, 0xFF], &[8, 0, 1, 0xFF], &[3, 0, 1, 0xFF]];
    for (packet_id, property) in (1..).zip(properties) {
        let length = property.len() as u8;
        connection.send(&[&[0x30, 4 + length, 0, 1, b't', length], property].concat()).await;
        let head = [0x32, 7 + length, 0, 1, b't', 0, packet_id, length];
        connection.send(&[&head[..], property, b"x"].concat()).await;
        let message = agent.message().await;
        assert_eq!((&message.topic[..], &message.payload[..]), ("", &[][..]));
        agent.acknowledge(message);
        assert_eq!(connection.read().await, [0x40, 2, 0, packet_id], "PUBACK");
    }
    connection.send(&[0x32, 7, 0, 1, b't', 0, 9, 0, b'x']).await;
    assert_eq!(agent.message().await.payload, b"x");
}

/// Messages that the broker sends between CONNACK and SUBACK belong to this connection, unless it
/// then refuses the subscription.
#[tokio::test]
async fn messages_of_a_connection_that_is_not_used_are_not_delivered() {
    let publish = [0x32, 7, 0, 1, b't', 0, 9, 0, b'x'];
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(options(broker.port));
    let mut connection = broker.accept().await;
    connection.send(CONNACK).await;
    connection.send(&publish).await;
    connection.send(&[0x90, 5, 0, 1, 0, 1, 0x97]).await;
    let reason = agent.disconnected().await;
    assert!(reason.contains("\"base/queries/+\" refused by the broker: QuotaExceeded"), "{reason}");

    let mut connection = broker.accept().await;
    connection.send(CONNACK).await;
    connection.send(&publish).await;
    connection.send(SUBACK).await;
    assert_eq!(agent.connected().await, (1, false));
    assert_eq!(agent.message().await.payload, b"x");
}

#[tokio::test]
async fn a_subscription_at_qos_0_is_not_good_enough() {
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(options(broker.port));
    let mut connection = broker.accept().await;
    connection.send(CONNACK).await;
    connection.send(&[0x90, 5, 0, 1, 0, 1, 0]).await;
    let reason = agent.disconnected().await;
    assert!(reason.contains("\"base/queries/+\" granted for QoS 0 only"), "{reason}");
}

#[tokio::test]
async fn a_broker_that_accepts_and_says_nothing_is_given_up() {
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(options(broker.port));
    let _connection = broker.accept().await;
    let reason = agent.disconnected().await;
    assert!(reason.contains("no answer in time"), "{reason}");
}
