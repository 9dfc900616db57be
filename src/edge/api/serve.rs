//! Connections: how many, for how long, and what each of them may take of the daemon's loop.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Agent, routes};
use crate::guard::rate::RateLimit;

/// Connections over the socket at a time; more wait in the kernel until one of these is done.
pub const MAX_OPERATORS: u32 = 16;
/// The same over TCP, where a slow one must cost the others nothing.
pub const MAX_VISITORS: u32 = 128;
/// For the request line and the headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of them.
const HEADER_BYTES: usize = 16 * 1024;
/// For everything from the first byte to the last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(500);
/// Reads over TCP, where nobody is asked who they are.
const READS: (u32, Duration) = (200, Duration::from_millis(5));

/// Who is at the other end.
#[derive(Clone, Debug)]
pub enum Peer {
    /// By the socket: a process of this user id, as the kernel knows it.
    Operator { uid: u32 },
    /// By TCP.
    Visitor(Arc<Reads>),
}

/// What all visitors together may read.
#[derive(Debug)]
pub struct Reads {
    since: Instant,
    limit: Mutex<RateLimit>,
}

impl Reads {
    fn new() -> Self {
        let (burst, interval) = READS;
        Self { since: Instant::now(), limit: Mutex::new(RateLimit::new(burst, interval)) }
    }

    /// Whether one more is within the limit.
    pub fn take(&self) -> bool {
        self.limit.lock().expect("no holder panics").take(self.since.elapsed())
    }
}

/// Ends only by being aborted.
pub async fn operators(listener: UnixListener, places: Arc<Semaphore>, agent: Agent) {
    loop {
        let place = place(&places).await;
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
            Ok((uid, stream)) => begin(stream, Peer::Operator { uid }, place, &agent),
            Err(error) => pause(&error).await,
        }
    }
}

/// Ends only by being aborted.
pub async fn visitors(listener: TcpListener, places: Arc<Semaphore>, agent: Agent) {
    let reads = Arc::new(Reads::new());
    loop {
        let place = place(&places).await;
        match listener.accept().await {
            Ok((stream, _)) => begin(stream, Peer::Visitor(Arc::clone(&reads)), place, &agent),
            Err(error) => pause(&error).await,
        }
    }
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is not closed")
}

async fn pause(error: &io::Error) {
    log::warn!("failed to accept a connection to the local API: {error}");
    tokio::time::sleep(ACCEPT_RETRY).await;
}

fn begin<S>(stream: S, peer: Peer, place: OwnedSemaphorePermit, agent: &Agent)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let agent = agent.clone();
    tokio::spawn(async move {
        let serving = serve(stream, &peer, &agent);
        if tokio::time::timeout(CONNECTION_TIMEOUT, serving).await.is_err() {
            log::debug!("a connection to the local API took too long");
        }
        drop(place);
    });
}

async fn serve<S>(stream: S, peer: &Peer, agent: &Agent)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| routes::answer(request, peer, agent));
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEADER_BYTES)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug!("a connection to the local API broke: {error}");
    }
}
