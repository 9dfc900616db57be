//! Carries TCP connections to the broker without delay. rumqttd and mosquitto leave Nagle's algorithm
//! on, so each small packet that follows another waits for the receiver's delayed ACK, some 40 ms. The
//! relay ACKs at once. Two threads per connection, which end with it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::net::sockopt::set_tcp_quickack;

/// Accepts connections from `listener` for `broker`, on a thread that lasts until the process ends.
pub fn start(listener: TcpListener, broker: SocketAddr) -> io::Result<()> {
    thread::Builder::new().name("relay".into()).spawn(move || {
        for client in listener.incoming().flatten() {
            // A client whose connection cannot be passed on is disconnected, and sees it so.
            drop(connect(client, broker));
        }
    })?;
    Ok(())
}

/// The same on a free port of this machine, whose address it returns.
pub fn start_on_free_port(broker: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    start(listener, broker)?;
    Ok(address)
}

/// A relay that can be cut, on a port of its own.
pub struct Cuttable {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    /// Those that were let through, closed ones among them.
    clients: Vec<TcpStream>,
}

impl Cuttable {
    /// Carries to `broker` whatever connects, until the process ends.
    pub fn start(listener: TcpListener, broker: SocketAddr) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::Builder::new().name("relay".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if state.cut {
                    continue;
                }
                if let Ok(clone) = client.try_clone() {
                    state.clients.push(clone);
                    drop(connect(client, broker));
                }
            }
        })?;
        Ok(Self { address, state })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cut = true;
        for client in state.clients.drain(..) {
            // One that has ended already is as good.
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Lets new connections through again.
    pub fn restore(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cut = false;
    }
}

fn connect(client: TcpStream, broker: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(broker)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_reader, server_reader) = (client.try_clone()?, server.try_clone()?);
    spawn(client_reader, server)?;
    spawn(server_reader, client)
}

fn spawn(from: TcpStream, to: TcpStream) -> io::Result<()> {
    thread::Builder::new().name("relay".into()).spawn(move || {
        // However one direction ends, the other must not outlive it: a killed client is a lost one.
        let _ = copy(&from, &to);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    })?;
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        // The kernel forgets it again and again.
        set_tcp_quickack(from, true)?;
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_bytes_both_ways_and_passes_an_end_on() {
        let broker = listen();
        let mut client = connected_through(&broker);
        let (mut server, _) = broker.accept().unwrap();

        client.write_all(b"to the broker").unwrap();
        let mut received = [0; 13];
        server.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"to the broker");

        server.write_all(b"and back").unwrap();
        let mut received = [0; 8];
        client.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"and back");

        drop(client);
        assert_eq!(server.read(&mut received).unwrap(), 0);
    }

    #[test]
    fn a_relay_finds_its_own_port() {
        let broker = listen();
        let address = start_on_free_port(broker.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        let mut received = [0];
        broker.accept().unwrap().0.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"x");
    }

    #[test]
    fn a_client_sees_that_the_broker_has_gone() {
        let broker = listen();
        let mut client = connected_through(&broker);
        drop(broker.accept().unwrap());
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_client_sees_that_there_is_no_broker() {
        let broker = listen();
        let (front, address) = (listen(), broker.local_addr().unwrap());
        drop(broker);
        let mut client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        start(front, address).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn what_is_cut_ends_and_what_is_restored_carries() {
        let broker = listen();
        let relay = Cuttable::start(listen(), broker.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let (mut server, _) = broker.accept().unwrap();
        relay.cut();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        let mut client = TcpStream::connect(relay.address()).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);

        relay.restore();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let (mut server, _) = broker.accept().unwrap();
        client.write_all(b"again").unwrap();
        let mut received = [0; 5];
        server.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"again");
    }

    fn connected_through(broker: &TcpListener) -> TcpStream {
        let front = listen();
        let client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        start(front, broker.local_addr().unwrap()).unwrap();
        client
    }

    fn listen() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }
}
