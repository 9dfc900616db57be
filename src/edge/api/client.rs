//! The other end of the local API, for the command line: one request, one answer, with no other
//! task around it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

pub use hyper::Method;

/// For the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nobody listens on {}; is downlinkd running?", .0.display())]
    NobodyListens(PathBuf),
    #[error("failed to connect to {}: permission denied; operators are the users who may", .0.display())]
    NotAnOperator(PathBuf),
    #[error("failed to connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("failed to exchange HTTP over {}: {source}", path.display())]
    Http { path: PathBuf, source: hyper::Error },
    #[error("no answer over {} within {} s", .0.display(), TIMEOUT.as_secs())]
    NoAnswer(PathBuf),
    #[error("failed to start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// What the agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// It did as it was told.
    pub success: bool,
    pub body: Bytes,
}

/// Asks the agent that listens on `socket`, and waits for its answer for at most 10 s.
///
/// # Errors
/// When there is no answer at all; a refusal is an [`Answer`].
pub fn call(
    socket: &Path,
    method: Method,
    path: &str,
    body: impl Into<Bytes>,
) -> Result<Answer, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let exchange = exchange(socket, method, path, body.into());
    runtime.map_err(Error::Runtime)?.block_on(async {
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::NoAnswer(socket.to_owned())),
        }
    })
}

async fn exchange(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
    let stream = UnixStream::connect(socket).await.map_err(|error| connect_error(socket, error))?;
    let failed = |source| Error::Http { path: socket.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // It drives the exchange below and ends with it.
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("the paths of the command line are valid");
    let response = sender.send_request(request).await.map_err(failed)?;
    let success = response.status().is_success();
    let body = response.into_body().collect().await.map_err(failed)?.to_bytes();
    connection.abort();
    Ok(Answer { success, body })
}

fn connect_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NobodyListens(path),
        io::ErrorKind::PermissionDenied => Error::NotAnOperator(path),
        _ => Error::Connect { path, source },
    }
}
