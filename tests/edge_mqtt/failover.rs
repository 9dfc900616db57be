//! Several brokers: the next one is tried after a failure and after a loss, and each keeps what it
//! holds for us.

use downlinkd::edge::mqtt::{self, Event, Options};

use crate::agent::{Agent, COMMANDS, REPLIES, options};
use crate::broker::{Broker, ClosedPort};
use crate::peer::Peer;
use crate::soon;

fn options_for(ports: &[u16]) -> Options {
    let broker = |port: &u16| mqtt::Broker { host: "127.0.0.1".into(), port: *port, tls: false };
    Options { brokers: ports.iter().map(broker).collect(), ..options(0) }
}

/// The reasons of failures and losses on the way, and the port at which the agent is now.
async fn arrival(agent: &mut Agent) -> (Vec<String>, u16) {
    let mut reasons = Vec::new();
    let arrival = async {
        loop {
            match agent.next().await {
                Event::Disconnected { reason } => reasons.push(reason.to_string()),
                Event::Connected { broker, .. } => return broker.port,
                other => panic!("{other:?} before Connected"),
            }
        }
    };
    let port = soon(arrival).await;
    (reasons, port)
}

#[tokio::test]
async fn a_broker_that_is_down_and_one_that_refuses_everything_do_not_block_the_next() {
    let (down, up) = (ClosedPort::new(), Broker::start().await);
    let refusing = Broker::start_with("allow_anonymous false", |_| ()).await;
    let mut agent = Agent::start(options_for(&[down.port, refusing.port, up.port]));
    let (reasons, port) = arrival(&mut agent).await;
    assert_eq!(port, up.port);
    assert_eq!(reasons.len(), 2, "one attempt each: {reasons:?}");
    let [first, second] = [down.port, refusing.port].map(|port| format!("mqtt://127.0.0.1:{port}"));
    assert!(reasons[0].contains(&first) && reasons[1].contains(&second), "{reasons:?}");
    agent.settle().await;
}

#[tokio::test]
async fn a_lost_broker_is_replaced_and_used_again_when_it_is_its_turn() {
    let (mut first, mut second) = (Broker::start().await, Broker::start().await);
    let mut agent = Agent::start(options_for(&[first.port, second.port]));
    assert_eq!(arrival(&mut agent).await, (Vec::new(), first.port));

    first.stop().await;
    let (reasons, port) = arrival(&mut agent).await;
    assert_eq!((reasons.len(), port), (1, second.port), "{reasons:?}");
    // Nothing draws it back while the second serves.
    first.start_again().await;
    agent.settle().await;

    // What is published at a broker waits there until the agent is back.
    let mut peer = Peer::connect(first.port, REPLIES).await;
    peer.publish(COMMANDS, "at the first").await;
    second.stop().await;
    let (reasons, port) = arrival(&mut agent).await;
    assert_eq!((reasons.len(), port), (1, first.port), "{reasons:?}");
    let message = agent.message().await;
    assert_eq!(message.payload, b"at the first");
    agent.acknowledge(message);
    agent.settle().await;

    // Both down, then the second comes back alone.
    first.stop().await;
    agent.disconnected().await;
    agent.disconnected().await;
    second.start_again().await;
    assert_eq!(arrival(&mut agent).await.1, second.port);
}
