//! A broker by hand, for what mosquitto does not do: it sends the packets that it is given.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::agent::{Agent, options};
use crate::soon;

pub const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
/// Server Keep Alive 0, Receive Maximum 2.
pub const CONNACK_TIGHT: &[u8] = &[0x20, 9, 0, 0, 6, 0x13, 0, 0, 0x21, 0, 2];
/// Both subscriptions of [`crate::agent::options`]; the packet id is always the first.
pub const SUBACK: &[u8] = &[0x90, 5, 0, 1, 0, 1, 1];

pub struct FakeBroker {
    pub port: u16,
    listener: TcpListener,
}

/// An agent, connected and subscribed.
pub async fn fake_connection() -> (Agent, FakeConnection) {
    let broker = FakeBroker::start().await;
    let mut agent = Agent::start(options(broker.port));
    let connection = broker.serve(&mut agent, CONNACK).await;
    (agent, connection)
}

impl FakeBroker {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self { port: listener.local_addr().unwrap().port(), listener }
    }

    /// The next connection, after its CONNECT.
    pub async fn accept(&self) -> FakeConnection {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut connection = FakeConnection { stream };
        assert_eq!(connection.read().await[0], 0x10);
        connection
    }

    /// Until the agent is connected and subscribed.
    pub async fn serve(&self, agent: &mut Agent, connack: &[u8]) -> FakeConnection {
        let mut connection = self.accept().await;
        connection.send(connack).await;
        assert_eq!(connection.read().await[0], 0x82, "SUBSCRIBE");
        connection.send(SUBACK).await;
        agent.connected().await;
        connection
    }
}

pub struct FakeConnection {
    stream: TcpStream,
}

impl FakeConnection {
    pub async fn send(&mut self, packet: &[u8]) {
        self.stream.write_all(packet).await.unwrap();
    }

    /// What comes with one reading.
    pub async fn read_what_is_there(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4096);
        soon(self.stream.read_buf(&mut bytes)).await.unwrap();
        bytes
    }

    /// The next packet, whole.
    pub async fn read(&mut self) -> Vec<u8> {
        let mut packet = vec![soon(self.stream.read_u8()).await.unwrap()];
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = soon(self.stream.read_u8()).await.unwrap();
            packet.push(byte);
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let header = packet.len();
        packet.resize(header + length, 0);
        soon(self.stream.read_exact(&mut packet[header..])).await.unwrap();
        packet
    }
}
