//! Lines over UDP and TCP, on this machine.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};

use super::line::Line;

/// Sends to an agent at `udpin:…`, as PX4 SITL does.
pub struct Udp {
    socket: UdpSocket,
    agent: SocketAddr,
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
        Ok(Self { socket, agent })
    }
}

impl Line for Udp {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer)
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
