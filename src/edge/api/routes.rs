//! One HTTP request to one call.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use tokio::sync::oneshot;
use url::form_urlencoded;
use uuid::Uuid;

use super::response::{self, Asked, HttpResponse};
use super::serve::Peer;
use super::{Agent, Call, Request, Submission};
use crate::code::Code;
use crate::guard::grants::{Action, ParseGrantIdError};
use crate::lifecycle::selection::Selection;
use crate::lifecycle::status::Status;
use crate::wire::request_body::sha256;
use crate::wire::{grant, inbound};

/// Bytes of a request's body: the largest message fits in, as a JSON string.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Commands in one list.
pub const MAX_LISTED: usize = 500;
const DEFAULT_LISTED: usize = 20;
/// From the headers to the body's last byte.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What stands first in the paths that are not for visitors.
const OPERATORS_ONLY: [&str; 3] = ["commands", "grants", "guard"];

/// Answers every request, wrong ones too.
pub async fn answer<B>(
    request: hyper::Request<B>,
    peer: &Peer,
    agent: &Agent,
) -> Result<HttpResponse, Infallible>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(match route(request, peer).await {
        Ok((call, asked)) => pass_on(call, asked, agent).await,
        Err(response) => response,
    })
}

type Routed = Result<(Call, Asked), HttpResponse>;

async fn route<B>(request: hyper::Request<B>, peer: &Peer) -> Routed
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if let Peer::Visitor(reads) = peer
        && parts.method == Method::GET
        && !reads.take()
    {
        return Err(response::too_many());
    }
    let segments: Vec<&str> = path.strip_prefix("/api/v1/").unwrap_or("").split('/').collect();
    match (segments.as_slice(), &parts.method) {
        (["open", "downlink", "commands"], &Method::POST) => {
            let headers = api_headers(&parts.headers);
            let body = collect(body).await?;
            let asked = Asked { request_sha256: sha256(&body), ..Asked::default() };
            Ok((Call::Submit(Submission { headers, body }), asked))
        }
        (["open", "downlink", "commands", id], &Method::GET) => {
            Ok((Call::Find(command_id(id).map_err(unreadable)?), Asked::default()))
        }
        (["open", "downlink", "commands"], _) => Err(not_allowed(&parts, "POST")),
        (["open", "downlink", "commands", _] | ["status"], _) if parts.method != Method::GET => {
            Err(not_allowed(&parts, "GET"))
        }
        (["status"], _) => Ok((Call::Status, Asked::default())),
        _ if path == "/metrics" && parts.method == Method::GET => {
            Ok((Call::Metrics, Asked::default()))
        }
        _ if path == "/metrics" => Err(not_allowed(&parts, "GET")),
        ([first, ..], _) if OPERATORS_ONLY.contains(first) => match peer {
            Peer::Operator { uid } => operators_route(&parts, &segments, *uid, body).await,
            Peer::Visitor(_) => {
                let text = format!("{path} is for operators, by the agent's Unix socket");
                let error = inbound::refusal(b"", Code::AuthNotPermitted, text);
                Err(response::error(&error))
            }
        },
        _ => Err(unknown(path)),
    }
}

/// What only an operator may ask.
async fn operators_route<B>(parts: &Parts, segments: &[&str], uid: u32, body: B) -> Routed
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let grant = |action| (Call::Grant { uid, action }, Asked::default());
    let grant_id = |id: &str| id.parse().map_err(|it: ParseGrantIdError| it.to_string());
    Ok(match (segments, &parts.method) {
        (["commands"], &Method::GET) => {
            let selection = selection(parts.uri.query().unwrap_or_default()).map_err(unreadable)?;
            (Call::List(selection), Asked::default())
        }
        (["commands", id], &Method::GET) => (
            Call::Find(command_id(id).map_err(unreadable)?),
            Asked { by_operator: true, ..Asked::default() },
        ),
        (["grants"], &Method::GET) => (Call::Grants, Asked::default()),
        (["grants"], &Method::POST) => {
            let message =
                grant::read_open(&collect(body).await?).map_err(|error| response::error(&error))?;
            let asked = Asked {
                opens: true,
                request_id: message.request_id,
                request_sha256: message.request_sha256,
                ..Asked::default()
            };
            (Call::Grant { uid, action: message.action }, asked)
        }
        (["grants"], &Method::DELETE) => grant(Action::RevokeAll),
        (["grants", id], &Method::DELETE) => {
            grant(Action::Revoke(grant_id(id).map_err(unreadable)?))
        }
        (["grants", id, "approve"], &Method::POST) => {
            grant(Action::Approve(grant_id(id).map_err(unreadable)?))
        }
        (["guard", "explain"], &Method::POST) => {
            let body = collect(body).await?;
            let rehearsal =
                serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
            let asked = Asked { request_sha256: sha256(&body), ..Asked::default() };
            (Call::Explain(rehearsal), asked)
        }
        (["commands"] | ["commands", _], _) => return Err(not_allowed(parts, "GET")),
        (["guard", "explain"] | ["grants", _, "approve"], _) => {
            return Err(not_allowed(parts, "POST"));
        }
        (["grants"], _) => return Err(not_allowed(parts, "DELETE, GET, POST")),
        (["grants", _], _) => return Err(not_allowed(parts, "DELETE")),
        _ => return Err(unknown(parts.uri.path())),
    })
}

async fn pass_on(call: Call, asked: Asked, agent: &Agent) -> HttpResponse {
    let (reply, response) = oneshot::channel();
    // Both fail in the same way: the daemon's loop has ended.
    let sent = agent.requests.send(Request { call, reply }).await;
    match if sent.is_ok() { response.await.ok() } else { None } {
        Some(response) => response::of(response, asked, &agent.device_id),
        None => response::stopping(asked),
    }
}

/// Whatever else a request carries says nothing about who has signed it.
fn api_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-api-"))
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

fn command_id(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| format!("command_id {text:?} is not a UUID"))
}

fn selection(query: &str) -> Result<Selection, String> {
    let mut selection = Selection { limit: DEFAULT_LISTED, ..Selection::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LISTED).contains(limit));
                selection.limit = limit
                    .ok_or_else(|| format!("limit is {value:?}; it must be 1 to {MAX_LISTED}"))?;
            }
            "status" => {
                let status = Status::ALL.into_iter().find(|status| status.as_str() == value);
                let known = || Status::ALL.map(Status::as_str).join(", ");
                selection.status = Some(status.ok_or_else(|| {
                    format!("status is {value:?}; it must be one of {}", known())
                })?);
            }
            "api_id" => selection.api_id = Some(value.into_owned()),
            "command_type" => selection.command_type = Some(value.into_owned()),
            _ => {
                return Err(format!(
                    "there is no {name:?} to select by; there are limit, status, api_id and \
                     command_type"
                ));
            }
        }
    }
    Ok(selection)
}

async fn collect<B>(body: B) -> Result<Bytes, HttpResponse>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limited = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, limited).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("the body is too large; at most {MAX_BODY_BYTES} bytes");
            Err(response::error(&inbound::refusal(b"", Code::EnvelopeTooLarge, text)))
        }
        Ok(Err(error)) => Err(unreadable(format!("the body could not be read: {error}"))),
        Err(_) => {
            let text = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
            Err(response::unreadable(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

fn not_allowed(parts: &Parts, allowed: &'static str) -> HttpResponse {
    response::not_allowed(&parts.method, parts.uri.path(), allowed)
}

fn unknown(path: &str) -> HttpResponse {
    response::unreadable(StatusCode::NOT_FOUND, format!("there is no {path:?} here"))
}

fn unreadable(text: String) -> HttpResponse {
    response::unreadable(StatusCode::BAD_REQUEST, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_select_by() {
        let all = Selection { limit: DEFAULT_LISTED, ..Selection::default() };
        assert_eq!(selection(""), Ok(all));
        let some = Selection {
            limit: MAX_LISTED,
            status: Some(Status::TimedOut),
            api_id: Some("a b&c".to_owned()),
            command_type: Some("nav_roi".to_owned()),
        };
        let query = "limit=500&status=TIMED_OUT&api_id=a+b%26c&command_type=nav_roi";
        assert_eq!(selection(query), Ok(some));
        for (query, told) in [
            ("limit=0", "1 to 500"),
            ("limit=501", "1 to 500"),
            ("limit=-1", "1 to 500"),
            ("limit", "1 to 500"),
            ("status=timed_out", "UNMATCHED_RESPONSE"),
            ("state=FAILED", "command_type"),
        ] {
            assert!(selection(query).unwrap_err().contains(told), "{query}");
        }
    }
}
