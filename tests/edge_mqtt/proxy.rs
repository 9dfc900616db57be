//! A TCP proxy that cuts: whatever is on the way is lost, in the middle of a packet if it so happens.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub struct Proxy {
    pub port: u16,
    accepting: AbortHandle,
    relays: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Proxy {
    /// Forwards to `target`; every chunk is on its way for `latency`, and as the chunks are smaller
    /// than many packets, a cut leaves half packets behind.
    pub async fn start(target: u16, latency: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relays = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::clone(&relays);
        let accepting = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                // While the target is down the near side sees a closed connection.
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
                    continue;
                };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let mut relays = started.lock().unwrap();
                for (from, to) in [(near_read, far_write), (far_read, near_write)] {
                    relays.push(tokio::spawn(relay(from, to, latency)).abort_handle());
                }
            }
        });
        Self { port, accepting: accepting.abort_handle(), relays }
    }

    /// Cuts every connection; new ones are accepted.
    pub fn cut(&self) {
        self.relays.lock().unwrap().drain(..).for_each(|relay| relay.abort());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, latency: Duration) {
    let mut buffer = [0; 1000];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                tokio::time::sleep(latency).await;
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
