//! One HTTP request to one call, and its response back.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Call, MAX_BODY_BYTES, Request, Response};
use crate::code::{Code, Violation};
use crate::guard::grants::{Action, ParseGrantIdError};
use crate::lifecycle::effect::ErrorReply;
use crate::wire::{grant, inbound, outbound};

type HttpResponse = hyper::Response<Full<Bytes>>;

/// Answers every request, wrong ones too.
pub async fn answer<B>(
    request: hyper::Request<B>,
    uid: u32,
    requests: &mpsc::Sender<Request>,
) -> Result<HttpResponse, Infallible>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(match route(request).await {
        Ok(routed) => call(routed, uid, requests).await,
        Err(response) => response,
    })
}

/// A request that is understood.
struct Routed {
    call: Call,
    request_id: Option<String>,
    request_sha256: String,
}

async fn route<B>(request: hyper::Request<B>) -> Result<Routed, HttpResponse>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let method = parts.method;
    let path = parts.uri.path();
    let segments: Vec<&str> = path.strip_prefix("/api/v1/").unwrap_or("").split('/').collect();
    let wrong_id =
        |error: ParseGrantIdError| unreadable(StatusCode::BAD_REQUEST, error.to_string());
    let call = match (segments.as_slice(), &method) {
        (["status"], &Method::GET) => Call::Status,
        (["grants"], &Method::GET) => Call::Grants,
        (["grants"], &Method::POST) => return read_open(body).await,
        (["guard", "explain"], &Method::POST) => return read_rehearsal(body).await,
        (["grants"], &Method::DELETE) => Call::Grant(Action::RevokeAll),
        (["grants", id], &Method::DELETE) => {
            Call::Grant(Action::Revoke(id.parse().map_err(wrong_id)?))
        }
        (["grants", id, "approve"], &Method::POST) => {
            Call::Grant(Action::Approve(id.parse().map_err(wrong_id)?))
        }
        (["guard", "explain"], _) => return Err(not_allowed(&method, path, "POST")),
        (["status"], _) => return Err(not_allowed(&method, path, "GET")),
        (["grants"], _) => return Err(not_allowed(&method, path, "DELETE, GET, POST")),
        (["grants", _], _) => return Err(not_allowed(&method, path, "DELETE")),
        (["grants", _, "approve"], _) => return Err(not_allowed(&method, path, "POST")),
        _ => return Err(unreadable(StatusCode::NOT_FOUND, format!("there is no {path:?} here"))),
    };
    Ok(Routed { call, request_id: None, request_sha256: inbound::sha256(b"") })
}

async fn read_open<B>(body: B) -> Result<Routed, HttpResponse>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let message = grant::read_open(&collect(body).await?)
        .map_err(|it| error_response(StatusCode::BAD_REQUEST, it))?;
    Ok(Routed {
        call: Call::Grant(message.action),
        request_id: message.request_id,
        request_sha256: message.request_sha256,
    })
}

async fn read_rehearsal<B>(body: B) -> Result<Routed, HttpResponse>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = collect(body).await?;
    let rehearsal = serde_json::from_slice(&body)
        .map_err(|error| unreadable(StatusCode::BAD_REQUEST, error.to_string()))?;
    let request_sha256 = inbound::sha256(&body);
    Ok(Routed { call: Call::Explain(rehearsal), request_id: None, request_sha256 })
}

async fn collect<B>(body: B) -> Result<Bytes, HttpResponse>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("the body is too large; at most {MAX_BODY_BYTES} bytes");
            let error = inbound::refusal(b"", Code::EnvelopeTooLarge, text);
            Err(error_response(StatusCode::PAYLOAD_TOO_LARGE, error))
        }
        Err(error) => {
            let text = format!("the body could not be read: {error}");
            Err(unreadable(StatusCode::BAD_REQUEST, text))
        }
    }
}

async fn call(routed: Routed, uid: u32, requests: &mpsc::Sender<Request>) -> HttpResponse {
    let Routed { call, request_id, request_sha256 } = routed;
    let opens = matches!(call, Call::Grant(Action::Open(_)));
    let (reply, response) = oneshot::channel();
    // Both fail in the same way: the daemon's loop has ended.
    let sent = requests.send(Request { uid, call, reply }).await;
    let response = if sent.is_ok() { response.await.ok() } else { None };
    let refused = |code, message: String| ErrorReply {
        violations: vec![Violation::whole(code, message)],
        idempotency_key: None,
        command_id: None,
        request_id: request_id.clone(),
        request_sha256,
    };
    match response {
        Some(Response::Grant(Ok(answer))) => {
            let status = if opens { StatusCode::CREATED } else { StatusCode::OK };
            json_response(status, grant::answer(&answer, request_id.as_deref()))
        }
        Some(Response::Grant(Err(refusal))) => {
            error_response(status_of(refusal.code), refused(refusal.code, refusal.message))
        }
        Some(Response::Grants(grants)) => {
            json_response(StatusCode::OK, json!({ "grants": grants }).to_string().into_bytes())
        }
        Some(Response::Status(status)) => {
            json_response(StatusCode::OK, json!(status).to_string().into_bytes())
        }
        Some(Response::Explanation(Ok(explanation))) => {
            json_response(StatusCode::OK, json!(explanation).to_string().into_bytes())
        }
        Some(Response::Explanation(Err(error))) => error_response(StatusCode::BAD_REQUEST, error),
        None => error_response(
            StatusCode::SERVICE_UNAVAILABLE,
            refused(Code::BusyQueueFull, "the agent is stopping; try again later".to_owned()),
        ),
    }
}

/// How HTTP says what the code says.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::GrantMissing | Code::GrantExpired | Code::GrantExhausted => StatusCode::NOT_FOUND,
        Code::TransportNotReady => StatusCode::CONFLICT,
        Code::RequestInvalid | Code::RequestOutOfRange => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    }
}

fn not_allowed(method: &Method, path: &str, allowed: &'static str) -> HttpResponse {
    let text = format!("{method} is not for {path}; it takes {allowed}");
    let mut response = unreadable(StatusCode::METHOD_NOT_ALLOWED, text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn unreadable(status: StatusCode, text: String) -> HttpResponse {
    error_response(status, inbound::refusal(b"", Code::RequestInvalid, text))
}

fn error_response(status: StatusCode, error: ErrorReply) -> HttpResponse {
    json_response(status, outbound::error(&error))
}

fn json_response(status: StatusCode, mut body: Vec<u8>) -> HttpResponse {
    // For those who read it in a terminal.
    body.push(b'\n');
    let mut response = hyper::Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
