//! The local API: HTTP/1.1, one request per connection, over a Unix socket and, where that is asked
//! for, over TCP. Who may open the socket is an operator; over TCP anybody may come, and gets less.
//! A command must be signed by its issuer on either way, as over MQTT.
//!
//! | | | over TCP too |
//! |---|---|---|
//! | `POST /api/v1/open/downlink/commands` | a command | yes |
//! | `GET /api/v1/open/downlink/commands/{command_id}` | how it stands | yes |
//! | `GET /api/v1/status` | how the agent is doing | yes |
//! | `GET /metrics` | the same in numbers, for Prometheus | yes |
//! | `GET /api/v1/commands` | the newest commands, of all issuers | |
//! | `GET /api/v1/commands/{command_id}` | all that is published of one | |
//! | `GET /api/v1/grants` | open and pending grants | |
//! | `POST /api/v1/grants` | opens a grant | |
//! | `POST /api/v1/grants/{id}/approve` | the second person's yes | |
//! | `DELETE /api/v1/grants/{id}`, `DELETE /api/v1/grants` | revokes one, or all | |
//! | `POST /api/v1/guard/explain` | what each layer would say to a request | |
//!
//! Tasks: one per listener that accepts, one per connection, each bounded in time. They know nothing
//! of the engine: a request goes to the daemon's loop as a [`Request`], and its [`Response`] comes
//! back. A connection that is dropped in between loses the response, never the request.
//!
//! Reading order: `socket` and this file (who listens), `serve` (connections and their bounds),
//! `routes` (what is asked), `response` (what is answered).

pub mod client;
mod response;
mod routes;
mod serve;
mod socket;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::guard::Refusal;
use crate::guard::grants::{Action, Answer};
use crate::lifecycle::effect::{ErrorReply, Reply};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::selection::Selection;
use crate::wire::explanation::{Explanation, Rehearsal};
use crate::wire::grant::Grant;
use crate::wire::status::AgentStatus;
pub use routes::{MAX_BODY_BYTES, MAX_LISTED};
use serve::{MAX_OPERATORS, MAX_VISITORS};
pub use socket::Error;
use socket::SocketFile;

/// What a caller wants of the daemon's loop.
#[derive(Debug)]
pub struct Request {
    pub call: Call,
    /// Dropped without an answer, it tells the caller that the agent is stopping.
    pub reply: oneshot::Sender<Response>,
}

#[derive(Debug)]
pub enum Call {
    Submit(Submission),
    /// How a command stands, whoever's it is.
    Find(CommandId),
    List(Selection),
    /// `uid`: of the operator's process, as the kernel knows it.
    Grant {
        uid: u32,
        action: Action,
    },
    Grants,
    Status,
    Metrics,
    Explain(Rehearsal),
}

/// A command as it came; nothing of it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Those named `X-Api-…`.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

#[derive(Debug)]
pub enum Response {
    /// To [`Call::Submit`] and [`Call::Find`].
    Reply(Reply),
    /// The newest first; `complete`: there are no others.
    Commands {
        records: Vec<Record>,
        complete: bool,
    },
    Grant(Result<Answer, Refusal>),
    Grants(Vec<Grant>),
    Status(Box<AgentStatus>),
    /// In Prometheus' text format, version 0.0.4.
    Metrics(String),
    Explanation(Result<Explanation, ErrorReply>),
}

/// What every connection needs to know.
#[derive(Clone, Debug)]
pub struct Agent {
    pub device_id: String,
    pub requests: mpsc::Sender<Request>,
}

/// Keeps a listener running; dropping it ends it and removes the socket.
#[derive(Debug)]
pub struct Handle {
    accepting: JoinHandle<()>,
    places: Arc<Semaphore>,
    all_places: u32,
    _socket: Option<SocketFile>,
}

impl Handle {
    /// Takes no more connections, and waits until those that there are have ended.
    pub async fn close(self) {
        self.accepting.abort();
        // It fails only when the semaphore is closed, which this one never is.
        let _ = self.places.acquire_many(self.all_places).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens on `path`, mode 0660, for operators.
///
/// A socket that an earlier process left behind is replaced, and a missing last folder of `path` is
/// made.
///
/// # Errors
/// When somebody listens there already, or the socket cannot be made.
pub fn spawn(path: &Path, agent: Agent) -> Result<Handle, Error> {
    let (listener, socket) = socket::listen(path)?;
    let places = Arc::new(Semaphore::new(MAX_OPERATORS as usize));
    let accepting = tokio::spawn(serve::operators(listener, Arc::clone(&places), agent));
    Ok(Handle { accepting, places, all_places: MAX_OPERATORS, _socket: Some(socket) })
}

/// Listens on `address` for anybody, by plain HTTP. Also returns the address, with the port that the
/// system has chosen for port 0.
///
/// # Errors
/// When the address is taken, or none of this machine.
pub fn spawn_tcp(address: SocketAddr, agent: Agent) -> Result<(SocketAddr, Handle), Error> {
    let (listener, address) = socket::listen_tcp(address)?;
    let places = Arc::new(Semaphore::new(MAX_VISITORS as usize));
    let accepting = tokio::spawn(serve::visitors(listener, Arc::clone(&places), agent));
    Ok((address, Handle { accepting, places, all_places: MAX_VISITORS, _socket: None }))
}
