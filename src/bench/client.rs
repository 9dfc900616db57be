//! A cloud publisher: an MQTT 5 client whose event loop runs as a task of the caller's runtime.
//! Messages arrive at a callback on that task, in the broker's order.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(10);
const MAX_PACKET: u32 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    #[error("failed to connect to the broker at {0}: {1}")]
    Connect(SocketAddr, #[source] Box<ConnectionError>),
    #[error("the broker refused a subscription to {0}")]
    Refused(String),
    #[error("the broker at {0} does not answer a subscription")]
    NoSubAck(SocketAddr),
    #[error("failed to publish to {0}: {1}")]
    Publish(String, #[source] Box<ClientError>),
    #[error("failed to subscribe: {0}")]
    Subscribe(#[source] Box<ClientError>),
}

/// A connected publisher. Dropping it closes the connection.
pub struct Publisher {
    client: AsyncClient,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Connects with a clean session and subscribes to `filters` at QoS 1; the broker has confirmed
    /// every subscription when this returns. A lost connection is the last thing `on_message` gets.
    pub async fn connect(
        broker: SocketAddr,
        client_id: &str,
        filters: Vec<String>,
        on_message: impl FnMut(Result<Publish, ConnectionError>) + Send + 'static,
    ) -> Result<Self, PublisherError> {
        let mut options = MqttOptions::new(client_id, broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(30));
        options.set_clean_start(true);
        options.set_max_packet_size(Some(MAX_PACKET));
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, event_loop) = AsyncClient::new(options, 32);
        client
            .subscribe_many(filters.iter().map(|filter| Filter::new(filter, QoS::AtLeastOnce)))
            .await
            .map_err(|error| PublisherError::Subscribe(Box::new(error)))?;

        let (confirm, confirmed) = oneshot::channel();
        let task = tokio::spawn(run(event_loop, confirm, on_message));
        let publisher = Self { client, task };
        match tokio::time::timeout(SUBSCRIBE_LIMIT, confirmed).await {
            Ok(Ok(Ok(codes))) => {
                let refused = codes.iter().position(|code| {
                    !matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce))
                });
                match refused {
                    Some(index) => Err(PublisherError::Refused(filters[index].clone())),
                    None => Ok(publisher),
                }
            }
            Ok(Ok(Err(error))) => Err(PublisherError::Connect(broker, Box::new(error))),
            Ok(Err(_)) | Err(_) => Err(PublisherError::NoSubAck(broker)),
        }
    }

    /// Publishes at QoS 1, not retained.
    pub async fn publish(&self, topic: &str, body: String) -> Result<(), PublisherError> {
        self.send(topic, false, body).await
    }

    /// Takes away what is retained; who listens gets an empty message.
    pub async fn clear(&self, topic: &str) -> Result<(), PublisherError> {
        self.send(topic, true, String::new()).await
    }

    async fn send(&self, topic: &str, retain: bool, body: String) -> Result<(), PublisherError> {
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, body)
            .await
            .map_err(|error| PublisherError::Publish(topic.to_owned(), Box::new(error)))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut event_loop: EventLoop,
    confirm: oneshot::Sender<Result<Vec<SubscribeReasonCode>, ConnectionError>>,
    mut on_message: impl FnMut(Result<Publish, ConnectionError>),
) {
    let mut confirm = Some(confirm);
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => on_message(Ok(publish)),
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if let Some(confirm) = confirm.take() {
                    // Nobody waits any longer: the caller has given up on the connection.
                    let _ = confirm.send(Ok(ack.return_codes));
                }
            }
            Ok(_) => {}
            Err(error) => {
                match confirm.take() {
                    Some(confirm) => drop(confirm.send(Err(error))),
                    None => on_message(Err(error)),
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::bench::broker;

    #[tokio::test]
    async fn what_one_publishes_the_other_gets_in_order() {
        let address = broker::start().unwrap();
        let (sender, mut received) = mpsc::unbounded_channel();
        let filters = vec!["a/replies/#".to_owned(), "a/presence".to_owned()];
        let _listener = Publisher::connect(address, "listener", filters, move |message| {
            sender.send(message.unwrap()).unwrap();
        })
        .await
        .unwrap();
        let publisher =
            Publisher::connect(address, "publisher", vec!["b".to_owned()], |_| {}).await.unwrap();

        for number in 0..100 {
            publisher.publish("a/replies/demo", number.to_string()).await.unwrap();
        }
        for number in 0..100 {
            let next = tokio::time::timeout(Duration::from_secs(10), received.recv());
            let message = next.await.expect("no message within 10 s").unwrap();
            assert_eq!(message.topic, "a/replies/demo");
            assert_eq!(message.payload, number.to_string());
        }
    }

    #[tokio::test]
    async fn says_when_there_is_no_broker() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let result = Publisher::connect(address, "publisher", vec!["a".to_owned()], |_| {}).await;
        assert!(matches!(result, Err(PublisherError::Connect(..))));
    }
}
