//! Lines over UDP and TCP, on this machine.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};

use super::line::Line;

/// The longest that there is.
const DATAGRAM: usize = 64 * 1024;

/// Sends to an agent at `udpin:…`, as PX4 SITL does.
pub struct Udp {
    socket: UdpSocket,
    agent: SocketAddr,
    buffer: Vec<u8>,
    /// What has come of a datagram that was longer than what was asked for: the socket forgets it.
    rest: VecDeque<u8>,
}

/// Waits for an agent at `tcpout:…`; the next one can come when the one before has gone.
pub struct Tcp {
    listener: TcpListener,
    agent: Option<TcpStream>,
}

impl Udp {
    pub fn new(agent: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, agent, buffer: vec![0; DATAGRAM], rest: VecDeque::new() })
    }
}

impl Line for Udp {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let count = self.socket.recv(&mut self.buffer)?;
            self.rest.extend(&self.buffer[..count]);
        }
        self.rest.read(buffer)
    }

    fn holds_more(&self) -> bool {
        !self.rest.is_empty()
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Where nobody listens it is lost, as on every line.
        let _ = self.socket.send_to(bytes, self.agent);
        Ok(())
    }
}

impl Tcp {
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, agent: None })
    }
}

impl Line for Tcp {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.agent.as_ref().map_or_else(|| self.listener.as_fd(), TcpStream::as_fd)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(agent) = &mut self.agent else {
            let (agent, _) = self.listener.accept()?;
            agent.set_nonblocking(true)?;
            agent.set_nodelay(true)?;
            self.agent = Some(agent);
            return Err(io::ErrorKind::WouldBlock.into());
        };
        match agent.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Ok(count) if count > 0 => Ok(count),
            Ok(_) | Err(_) => {
                self.agent = None;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(agent) = &mut self.agent
            && let Err(error) = agent.write_all(bytes)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.agent = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Asks until something has come.
    fn received(line: &mut impl Line) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut buffer = [0; 64];
        loop {
            match line.receive(&mut buffer) {
                Ok(count) => return buffer[..count].to_vec(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(Instant::now() < deadline, "nothing came within 10 s");
        }
    }

    #[test]
    fn udp_reaches_an_agent_that_comes_later() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let mut line = Udp::new(address).unwrap();
        line.send(b"lost").unwrap();
        line.send(b"lost").unwrap();

        let agent = UdpSocket::bind(address).unwrap();
        line.send(b"to the agent").unwrap();
        let mut buffer = [0; 64];
        let (count, vehicle) = agent.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"to the agent");
        agent.send_to(b"and back", vehicle).unwrap();
        assert_eq!(received(&mut line), b"and back");
    }

    #[test]
    fn a_datagram_that_is_read_by_halves_is_read_whole() {
        let agent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut line = Udp::new(agent.local_addr().unwrap()).unwrap();
        let datagram: Vec<u8> = (0..100).collect();
        agent.send_to(&datagram, line.socket.local_addr().unwrap()).unwrap();
        let mut read = received(&mut line);
        assert_eq!(read, datagram[..64]);
        assert!(line.holds_more());
        read.extend(received(&mut line));
        assert_eq!(read, datagram);
        assert!(!line.holds_more());
    }

    #[test]
    fn tcp_takes_the_next_agent_when_one_has_gone() {
        let mut line = Tcp::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = line.listener.local_addr().unwrap();
        line.send(b"lost").unwrap();
        for _ in 0..2 {
            let mut agent = TcpStream::connect(address).unwrap();
            agent.write_all(b"to the vehicle").unwrap();
            assert_eq!(received(&mut line), b"to the vehicle");
            line.send(b"and back").unwrap();
            let mut buffer = [0; 8];
            agent.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"and back");
        }
    }
}
