//! An embedded MQTT 5 broker on a free loopback port, behind the relay, on threads of its own until
//! the process ends: rumqttd has no way to stop. It logs through `tracing`, which nobody here listens to.
//!
//! Good enough to carry messages, retain and send wills. Its sessions live in memory and its
//! redelivery is its own, so what persists across a broker's restart is not tested with it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rumqttd::{ConnectionSettings, RouterConfig, ServerSettings};

use super::relay;

const START_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("failed to find a free port for the broker: {0}")]
    Port(#[source] io::Error),
    #[error("failed to start the broker's thread: {0}")]
    Thread(#[source] io::Error),
    #[error("the broker ended instead of listening on {0}")]
    Ended(SocketAddr),
    #[error("the broker does not accept connections on {address}: {source}")]
    Unreachable { address: SocketAddr, source: io::Error },
}

/// Starts a broker and returns where it accepts connections.
pub fn start() -> Result<SocketAddr, BrokerError> {
    let listener = listen().map_err(BrokerError::Port)?;
    let public = listener.local_addr().map_err(BrokerError::Port)?;
    relay::start(listener, start_rumqttd()?).map_err(BrokerError::Thread)?;
    Ok(public)
}

fn start_rumqttd() -> Result<SocketAddr, BrokerError> {
    let address = listen().and_then(|free| free.local_addr()).map_err(BrokerError::Port)?;
    let mut broker = rumqttd::Broker::new(config(address));
    let thread = std::thread::Builder::new()
        .name("broker".into())
        // Its result is Ok even when a listener failed; that it ended says it all.
        .spawn(move || drop(broker.start()))
        .map_err(BrokerError::Thread)?;

    let limit = Instant::now() + START_LIMIT;
    loop {
        match TcpStream::connect(address) {
            Ok(_) if thread.is_finished() => return Err(BrokerError::Ended(address)),
            Ok(_) => return Ok(address),
            Err(_) if thread.is_finished() => return Err(BrokerError::Ended(address)),
            Err(source) if Instant::now() > limit => {
                return Err(BrokerError::Unreachable { address, source });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

fn config(listen: SocketAddr) -> rumqttd::Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 256 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        // Without it a subscription to a topic that nobody has used yet is refused.
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "mqtt5".into(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    rumqttd::Config {
        router: RouterConfig {
            max_connections: 64,
            max_outgoing_packet_count: 200,
            max_segment_size: 1024 * 1024,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("v5".into(), server)])),
        ..rumqttd::Config::default()
    }
}
