//! The local API: HTTP/1.1 over a Unix socket, one request per connection. Who may open the socket
//! is an operator; there is no other authentication, and nothing here can send a command.
//!
//! | | |
//! |---|---|
//! | `GET /api/v1/status` | how the agent is doing |
//! | `GET /api/v1/grants` | open and pending grants |
//! | `POST /api/v1/grants` | opens a grant |
//! | `POST /api/v1/grants/{id}/approve` | the second person's yes |
//! | `DELETE /api/v1/grants/{id}`, `DELETE /api/v1/grants` | revokes one, or all |
//! | `POST /api/v1/guard/explain` | what each layer would say to a request |
//!
//! Tasks: one that accepts, one per connection, each bounded in time. They know nothing of the
//! engine: a request goes to the daemon's loop as a [`Request`], and its [`Response`] comes back. A
//! connection that is dropped in between loses the response, never the request.

pub mod client;
mod routes;
mod socket;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::guard::Refusal;
use crate::guard::grants::{Action, Answer};
use crate::lifecycle::effect::ErrorReply;
use crate::wire::explanation::{Explanation, Rehearsal};
use crate::wire::grant::Grant;
use crate::wire::status::AgentStatus;
pub use socket::Error;
use socket::SocketFile;

/// Bytes of a request's body: the largest message fits in, as a JSON string.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// More wait in the kernel until one of these is done.
const MAX_CONNECTIONS: usize = 16;
/// For the request line and the headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything from the first byte to the last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(500);

/// What a caller wants of the daemon's loop.
#[derive(Debug)]
pub struct Request {
    /// The user id of the calling process, as the kernel knows it.
    pub uid: u32,
    pub call: Call,
    /// Dropped without an answer, it tells the caller that the agent is stopping.
    pub reply: oneshot::Sender<Response>,
}

#[derive(Debug)]
pub enum Call {
    Grant(Action),
    Grants,
    Status,
    Explain(Rehearsal),
}

#[derive(Debug)]
pub enum Response {
    Grant(Result<Answer, Refusal>),
    Grants(Vec<Grant>),
    Status(Box<AgentStatus>),
    Explanation(Result<Explanation, ErrorReply>),
}

/// Keeps the API running; dropping it ends it and removes the socket.
#[derive(Debug)]
pub struct Handle {
    accepting: JoinHandle<()>,
    _socket: SocketFile,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens on `path`, mode 0660, and sends what comes to `requests`.
///
/// A socket that an earlier process left behind is replaced, and a missing last folder of `path` is
/// made.
///
/// # Errors
/// When somebody listens there already, or the socket cannot be made.
pub fn spawn(path: &Path, requests: mpsc::Sender<Request>) -> Result<Handle, Error> {
    let (listener, socket) = socket::listen(path)?;
    let accepting = tokio::spawn(accept(listener, requests));
    Ok(Handle { accepting, _socket: socket })
}

/// Ends only by being aborted.
async fn accept(listener: UnixListener, requests: mpsc::Sender<Request>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is not closed");
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            let uid = stream.peer_cred()?.uid();
            Ok((stream, uid))
        });
        match accepted {
            Ok((stream, uid)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    let serving = serve(stream, uid, requests);
                    if tokio::time::timeout(CONNECTION_TIMEOUT, serving).await.is_err() {
                        log::debug!("a connection to the local API took too long");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!("failed to accept a connection to the local API: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, uid: u32, requests: mpsc::Sender<Request>) {
    let service = service_fn(|request| routes::answer(request, uid, &requests));
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug!("a connection to the local API broke: {error}");
    }
}
