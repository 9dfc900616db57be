//! What the daemon's loop answered, as HTTP says it.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use serde_json::json;

use super::Response;
use crate::code::{Code, Violation};
use crate::guard::Refusal;
use crate::lifecycle::effect::{ErrorReply, Reply};
use crate::wire::request_body::sha256;
use crate::wire::{grant, inbound, outbound};

pub type HttpResponse = hyper::Response<Full<Bytes>>;

/// What of a request its response depends on.
#[derive(Debug)]
pub struct Asked {
    /// Who may see all that is published of a command.
    pub by_operator: bool,
    /// Something new comes of it.
    pub opens: bool,
    pub request_id: Option<String>,
    /// Lower-case hex SHA-256 of the body.
    pub request_sha256: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self { by_operator: false, opens: false, request_id: None, request_sha256: sha256(b"") }
    }
}

impl Asked {
    fn refused(self, refusal: Refusal) -> ErrorReply {
        ErrorReply {
            violations: vec![Violation::whole(refusal.code, refusal.message)],
            request_id: self.request_id,
            request_sha256: self.request_sha256,
            ..ErrorReply::default()
        }
    }
}

pub fn of(response: Response, asked: Asked, device_id: &str) -> HttpResponse {
    match response {
        Response::Reply(reply) => replied(&reply, asked.by_operator, device_id),
        Response::Commands { records, complete } => {
            json_of(StatusCode::OK, outbound::commands(device_id, &records, complete))
        }
        Response::Grant(Ok(answer)) => {
            let status = if asked.opens { StatusCode::CREATED } else { StatusCode::OK };
            json_of(status, grant::answer(&answer, asked.request_id.as_deref()))
        }
        Response::Grant(Err(refusal)) => error(&asked.refused(refusal)),
        Response::Grants(grants) => found(&json!({ "grants": grants })),
        Response::Status(status) => found(&json!(status)),
        Response::Metrics(text) => {
            let of = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            whole(StatusCode::OK, of, text.into_bytes())
        }
        Response::Explanation(Ok(explanation)) => found(&json!(explanation)),
        Response::Explanation(Err(refused)) => error(&refused),
    }
}

fn replied(reply: &Reply, by_operator: bool, device_id: &str) -> HttpResponse {
    match reply {
        Reply::Created { record, duplicate } => {
            let status = if *duplicate { StatusCode::OK } else { StatusCode::CREATED };
            json_of(status, outbound::created(record))
        }
        Reply::Found { record, .. } if by_operator => {
            json_of(StatusCode::OK, outbound::command(device_id, record))
        }
        Reply::Found { record, .. } => json_of(StatusCode::OK, outbound::state(device_id, record)),
        Reply::Grant { answer, request_id } => {
            json_of(StatusCode::OK, grant::answer(answer, request_id.as_deref()))
        }
        Reply::Error(refused) => error(refused),
    }
}

/// The daemon's loop has ended.
pub fn stopping(asked: Asked) -> HttpResponse {
    let text = "the agent is stopping; try again later";
    error(&asked.refused(Refusal::new(Code::BusyQueueFull, text)))
}

pub fn too_many() -> HttpResponse {
    let text = "too many requests; try again in a moment";
    error(&inbound::refusal(b"", Code::PolicyRateLimited, text))
}

pub fn not_allowed(method: &Method, path: &str, allowed: &'static str) -> HttpResponse {
    let text = format!("{method} is not for {path}; it takes {allowed}");
    let response = unreadable(StatusCode::METHOD_NOT_ALLOWED, text);
    with(response, ALLOW, allowed)
}

/// A mistake in the HTTP of it.
pub fn unreadable(status: StatusCode, text: String) -> HttpResponse {
    json_of(status, outbound::error(&inbound::refusal(b"", Code::RequestInvalid, text)))
}

pub fn error(error: &ErrorReply) -> HttpResponse {
    let status = status_of(error.violations[0].code);
    let response = json_of(status, outbound::error(error));
    match status {
        // RFC 9110, section 11.6.1, wants one.
        StatusCode::UNAUTHORIZED => with(response, WWW_AUTHENTICATE, "X-Api-Signature"),
        _ => response,
    }
}

/// How HTTP says what the code says.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::EnvelopeMalformed
        | Code::EnvelopeRetained
        | Code::EnvelopeExpired
        | Code::RequestInvalid
        | Code::RequestUnknownCommand
        | Code::RequestUnknownField
        | Code::RequestOutOfRange
        | Code::TargetDeviceMismatch
        | Code::TargetVendorUnsupported => StatusCode::BAD_REQUEST,
        Code::EnvelopeTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::AuthFailed | Code::AuthReplay | Code::AuthStale | Code::AuthClockUntrusted => {
            StatusCode::UNAUTHORIZED
        }
        Code::AuthNotPermitted
        | Code::GuardDisabled
        | Code::PolicyCommandDenied
        | Code::PolicyOutOfBounds => StatusCode::FORBIDDEN,
        Code::QueryNotFound | Code::GrantMissing | Code::GrantExpired | Code::GrantExhausted => {
            StatusCode::NOT_FOUND
        }
        Code::IdempotencyConflict
        | Code::StateUnknown
        | Code::StatePrecondition
        | Code::TransportNotReady => StatusCode::CONFLICT,
        Code::PolicyRateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::BusyQueueFull | Code::BusyJournalFull => StatusCode::SERVICE_UNAVAILABLE,
        // How a command ends, which is no error of a request.
        Code::TransportLost
        | Code::TransportWriteFailed
        | Code::TimeoutQueue
        | Code::TimeoutAck
        | Code::TimeoutProgress
        | Code::RestartExpired
        | Code::RestartOutcomeUnknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn found(value: &serde_json::Value) -> HttpResponse {
    json_of(StatusCode::OK, value.to_string().into_bytes())
}

fn json_of(status: StatusCode, mut body: Vec<u8>) -> HttpResponse {
    // For those who read it in a terminal.
    body.push(b'\n');
    whole(status, HeaderValue::from_static("application/json"), body)
}

fn whole(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> HttpResponse {
    let mut response = hyper::Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn with(mut response: HttpResponse, name: HeaderName, value: &'static str) -> HttpResponse {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
