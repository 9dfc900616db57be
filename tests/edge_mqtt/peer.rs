//! The other side: a plain MQTT client that publishes commands and hears what the agent publishes.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::soon;

pub struct Peer {
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<Publish>,
    acknowledged: mpsc::UnboundedReceiver<()>,
    task: AbortHandle,
}

impl Peer {
    /// Connected and subscribed when it returns.
    pub async fn connect(port: u16, filter: &str) -> Self {
        let id = format!("peer-{}", uuid::Uuid::new_v4());
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options.set_outgoing_inflight_upper_limit(10);
        let (client, mut event_loop) = AsyncClient::new(options, 100);
        let (to_messages, messages) = mpsc::unbounded_channel();
        let (to_acknowledged, acknowledged) = mpsc::unbounded_channel();
        let (to_subscribed, mut subscribed) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok(event) = event_loop.poll().await {
                // A receiver is gone when the test is at its end.
                let _ = match event {
                    Event::Incoming(Packet::Publish(publish)) => {
                        to_messages.send(publish).map_err(drop)
                    }
                    Event::Incoming(Packet::PubAck(_)) => to_acknowledged.send(()).map_err(drop),
                    Event::Incoming(Packet::SubAck(_)) => to_subscribed.send(()).map_err(drop),
                    _ => Ok(()),
                };
            }
        });
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        soon(subscribed.recv()).await.unwrap();
        Self { client, messages, acknowledged, task: task.abort_handle() }
    }

    /// Returns when the broker has taken the message.
    pub async fn publish(&mut self, topic: &str, payload: &str) {
        self.publish_with(topic, QoS::AtLeastOnce, false, payload, PublishProperties::default())
            .await;
    }

    pub async fn publish_with(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: &str,
        properties: PublishProperties,
    ) {
        self.client
            .publish_with_properties(topic, qos, retain, payload.to_owned(), properties)
            .await
            .unwrap();
        if qos == QoS::AtLeastOnce {
            soon(self.acknowledged.recv()).await.unwrap();
        }
    }

    pub async fn next(&mut self) -> Publish {
        soon(self.messages.recv()).await.unwrap()
    }

    pub async fn next_payload(&mut self) -> String {
        String::from_utf8(self.next().await.payload.to_vec()).unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
