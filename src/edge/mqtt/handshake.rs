//! How a connection becomes usable: TCP or TLS, CONNECT and CONNACK, SUBSCRIBE and SUBACK.
//!
//! Runs inside of the client's task. Giving it up at any point drops the connection.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Packet, Publish as PublishPacket, SubAck, SubscribeReasonCode,
};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::network::Network;
use super::{Broker, Options, Reason, packet, reason, tls};

/// For the certificates' files, name resolution, TCP, TLS and CONNACK together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which every subscription is granted.
pub(super) struct Session {
    pub network: Network,
    /// The broker had kept it.
    pub present: bool,
    /// Unacknowledged publishes that the broker takes, from 1.
    pub receive_maximum: u16,
    /// Bytes of a packet that the broker takes.
    pub largest_packet: u32,
    pub keep_alive: Duration,
    /// Messages of an old session that came before the SUBACK.
    pub early: Vec<PublishPacket>,
}

pub(super) async fn establish(options: &Options, broker: &Broker) -> Result<Session, Reason> {
    let connected = timeout(CONNECT_TIMEOUT, connect(options, broker)).await;
    let mut session =
        connected.unwrap_or_else(|_| Err(Reason::unreachable(broker, "no answer in time")))?;
    if !options.subscriptions.is_empty() {
        let subscribed = timeout(SUBSCRIBE_TIMEOUT, subscribe(&mut session, options, broker)).await;
        subscribed.unwrap_or_else(|_| {
            Err(Reason::unreachable(broker, "no answer to the subscriptions"))
        })?;
    }
    Ok(session)
}

async fn connect(options: &Options, broker: &Broker) -> Result<Session, Reason> {
    let tls =
        tls_configuration(options, broker).await.map_err(|error| Reason::tls(broker, error))?;
    let failed = |error| reason::of_failed_network(&error, options, broker);
    let mut network = Network::connect(broker, tls).await.map_err(failed)?;
    network.send(&packet::connect(options)).map_err(failed)?;
    match network.receive(true).await.map_err(failed)? {
        Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => {
            Ok(session(network, connack, options))
        }
        Packet::ConnAck(connack) => Err(reason::of_connack(connack.code, options, broker)),
        _ => Err(Reason::unreachable(broker, "its first packet is not a CONNACK")),
    }
}

/// Read anew each time, beside the loop: a disk may be slow.
async fn tls_configuration(
    options: &Options,
    broker: &Broker,
) -> Result<Option<Arc<ClientConfig>>, tls::Error> {
    if !broker.tls {
        return Ok(None);
    }
    let (tls, broker) = (options.tls.clone(), broker.clone());
    let reading = tokio::task::spawn_blocking(move || tls.connect_to(&broker));
    reading.await.expect("reading the certificates panicked").map(Some)
}

fn session(network: Network, connack: ConnAck, options: &Options) -> Session {
    let properties = connack.properties.as_ref();
    let server_keep_alive = properties.and_then(|it| it.server_keep_alive).unwrap_or(0);
    Session {
        network,
        present: connack.session_present,
        receive_maximum: properties.and_then(|it| it.receive_max).unwrap_or(u16::MAX),
        largest_packet: properties.and_then(|it| it.max_packet_size).unwrap_or(u32::MAX),
        // A broker that wants none gets ours: we want to notice when it is gone.
        keep_alive: match server_keep_alive {
            0 => packet::keep_alive(options),
            seconds => Duration::from_secs(seconds.into()),
        },
        early: Vec::new(),
    }
}

async fn subscribe(
    session: &mut Session,
    options: &Options,
    broker: &Broker,
) -> Result<(), Reason> {
    let lost = |error| reason::of_lost_network(&error, options, broker);
    session.network.send(&packet::subscribe(options)).map_err(lost)?;
    loop {
        match session.network.receive(true).await.map_err(lost)? {
            Packet::SubAck(suback) => return granted(&suback, &options.subscriptions),
            Packet::Publish(publish) => session.early.push(publish),
            Packet::Disconnect(disconnect) => {
                return Err(reason::of_disconnect(&disconnect, options, broker));
            }
            _ => {}
        }
    }
}

fn granted(suback: &SubAck, subscriptions: &[String]) -> Result<(), Reason> {
    let mut answers = suback.return_codes.iter();
    for filter in subscriptions {
        match answers.next() {
            Some(SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)) => {}
            Some(SubscribeReasonCode::Success(QoS::AtMostOnce)) => {
                let why = "granted for QoS 0 only, which loses commands";
                return Err(Reason::subscription(filter, why));
            }
            refused => {
                let answer = refused.map_or("no answer".to_owned(), |reason| format!("{reason:?}"));
                let why = format!("refused by the broker: {answer}");
                return Err(Reason::subscription(filter, why));
            }
        }
    }
    Ok(())
}
