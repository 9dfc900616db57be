//! JSON of grants: what is asked for at `{base}/grants/{api_id}` and at the local API, and the
//! answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::inbound::{
    collect, error, missing, parse_object, read_integer, read_optional_text, read_text,
    refuse_unknown, wrong_type,
};
use super::request_body::RequestBody;
use super::topic::is_level;
use crate::catalog::{self, Risk, shorten};
use crate::code::{Code, Violation};
use crate::guard::grants::{Action, Answer, GrantId, GrantRequest, GrantView, Opener, Scope};
use crate::lifecycle::effect::ErrorReply;
use crate::lifecycle::request::GrantMessage;

/// Seconds, for `duration_seconds`; the configuration allows less.
const MAX_DURATION_SECONDS: u32 = 86_400;
/// For `count`; the configuration allows less.
const MAX_COUNT: u32 = 1000;
const MAX_SCOPES: usize = 16;
/// Bytes, for `reason`.
const MAX_REASON: usize = 200;

const OPEN_FIELDS: [&str; 7] =
    ["action", "scope", "duration_seconds", "count", "issuer", "reason", "request_id"];
const APPROVE_FIELDS: [&str; 3] = ["action", "grant_id", "request_id"];
const REVOKE_FIELDS: [&str; 4] = ["action", "grant_id", "all", "request_id"];
const SCOPE_FIELDS: [&str; 3] = ["risk", "domain", "command"];

/// Reads a message that says itself what it wants: `"action"` is `open`, `approve` or `revoke`.
///
/// # Errors
/// Every violation of the message.
pub fn read_action(body: &RequestBody<'_>) -> Result<GrantMessage, ErrorReply> {
    read(body, |object, violations| match collect(read_text(object, "action"), violations)? {
        "open" => read_open_request(object, violations),
        "approve" => {
            refuse_unknown(object, &APPROVE_FIELDS, violations);
            collect(read_grant_id(object), violations).map(Action::Approve)
        }
        "revoke" => read_revocation(object, violations),
        other => {
            violations.push(unknown_action(other, "open, approve or revoke"));
            None
        }
    })
}

/// Reads what a grant is to be; `"action"` may be left out.
///
/// # Errors
/// Every violation of the message.
pub fn read_open(body: &[u8]) -> Result<GrantMessage, ErrorReply> {
    read(&RequestBody::new(body), |object, violations| {
        let action = collect(read_optional_text(object, "action"), violations).flatten();
        if let Some(other) = action.filter(|action| *action != "open") {
            violations.push(unknown_action(other, "open here"));
        }
        read_open_request(object, violations)
    })
}

/// The answer to an action, as JSON: `{"grant":{…}}` or `{"revoked":[…]}`.
pub fn answer(answer: &Answer, request_id: Option<&str>) -> Vec<u8> {
    let mut object = match answer {
        Answer::Grant(view) => json!({ "grant": Grant::of(view) }),
        Answer::Revoked(ids) => {
            json!({ "revoked": ids.iter().map(GrantId::to_string).collect::<Vec<_>>() })
        }
    };
    if let Some(request_id) = request_id {
        object["request_id"] = request_id.into();
    }
    object.to_string().into_bytes()
}

/// A grant, as presence and the local API show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub grant_id: String,
    /// `open`, or `pending` while it waits for a second person.
    pub state: String,
    pub scope: Vec<GrantScope>,
    /// The only issuer whose commands it lets through; `null`: any.
    pub issuer: Option<String>,
    pub reason: Option<String>,
    pub opened_by: GrantOpener,
    pub approved_by: Option<GrantOpener>,
    /// When this was written, rounded down.
    pub seconds_left: u64,
    /// Commands.
    pub count_left: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantScope {
    Risk(String),
    Domain(String),
    Command(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantOpener {
    /// Somebody at the vehicle.
    Operator {
        uid: u32,
    },
    Issuer(String),
}

impl Grant {
    pub fn of(view: &GrantView) -> Self {
        Self {
            grant_id: view.id.to_string(),
            state: view.state.as_str().to_owned(),
            scope: view.scopes.iter().map(GrantScope::of).collect(),
            issuer: view.issuer.clone(),
            reason: view.reason.clone(),
            opened_by: GrantOpener::of(&view.opened_by),
            approved_by: view.approved_by.as_ref().map(GrantOpener::of),
            seconds_left: view.time_left.as_secs(),
            count_left: view.count_left,
        }
    }
}

impl GrantScope {
    fn of(scope: &Scope) -> Self {
        match scope {
            Scope::Risk(risk) => GrantScope::Risk(risk.as_str().to_owned()),
            Scope::Domain(domain) => GrantScope::Domain(domain.clone()),
            Scope::Command(command_type) => GrantScope::Command((*command_type).to_owned()),
        }
    }
}

impl GrantOpener {
    fn of(opener: &Opener) -> Self {
        match opener {
            Opener::Operator { uid } => GrantOpener::Operator { uid: *uid },
            Opener::Issuer(api_id) => GrantOpener::Issuer(api_id.clone()),
        }
    }
}

type Object = Map<String, Value>;

fn read(
    body: &RequestBody<'_>,
    read_action: impl FnOnce(&Object, &mut Vec<Violation>) -> Option<Action>,
) -> Result<GrantMessage, ErrorReply> {
    let request_sha256 = body.sha256().to_owned();
    let object = match parse_object(body) {
        Ok(object) => object,
        Err(violation) => return Err(error(vec![violation], None, request_sha256)),
    };
    let mut violations = Vec::new();
    let action = read_action(&object, &mut violations);
    let request_id = collect(read_optional_text(&object, "request_id"), &mut violations).flatten();
    let request_id = request_id.map(str::to_owned);
    match action {
        Some(action) if violations.is_empty() => {
            Ok(GrantMessage { action, request_id, request_sha256, authenticated: None })
        }
        _ => Err(ErrorReply { request_id, ..error(violations, None, request_sha256) }),
    }
}

fn read_open_request(object: &Object, violations: &mut Vec<Violation>) -> Option<Action> {
    refuse_unknown(object, &OPEN_FIELDS, violations);
    let scopes = read_scopes(object, violations);
    let seconds =
        collect(read_positive(object, "duration_seconds", MAX_DURATION_SECONDS), violations);
    let count = collect(read_positive(object, "count", MAX_COUNT), violations);
    let issuer = collect(read_issuer(object), violations);
    let reason = collect(read_reason(object), violations);
    Some(Action::Open(GrantRequest {
        scopes: scopes?,
        duration: Duration::from_secs(seconds?.into()),
        count: count?,
        issuer: issuer?,
        reason: reason?,
    }))
}

fn read_revocation(object: &Object, violations: &mut Vec<Violation>) -> Option<Action> {
    refuse_unknown(object, &REVOKE_FIELDS, violations);
    match (object.contains_key("grant_id"), object.get("all")) {
        (true, None) => collect(read_grant_id(object), violations).map(Action::Revoke),
        (false, Some(Value::Bool(true))) => Some(Action::RevokeAll),
        _ => {
            violations.push(Violation::new(
                Code::RequestInvalid,
                "grant_id",
                "a revocation needs either grant_id or \"all\": true",
            ));
            None
        }
    }
}

/// One scope, or a list of them.
fn read_scopes(object: &Object, violations: &mut Vec<Violation>) -> Option<Vec<Scope>> {
    match object.get("scope") {
        None => violations.push(missing("scope")),
        Some(Value::Object(scope)) => {
            return collect(read_scope(scope, "scope"), violations).map(|scope| vec![scope]);
        }
        Some(Value::Array(scopes)) if (1..=MAX_SCOPES).contains(&scopes.len()) => {
            let read: Vec<_> = scopes
                .iter()
                .enumerate()
                .filter_map(|(index, scope)| {
                    let field = format!("scope[{index}]");
                    let scope = scope.as_object().ok_or_else(|| {
                        wrong_type(&field, "an object with risk, domain or command", scope)
                    });
                    collect(scope.and_then(|scope| read_scope(scope, &field)), violations)
                })
                .collect();
            return Some(read);
        }
        Some(other) => violations.push(wrong_type(
            "scope",
            &format!("an object with risk, domain or command, or a list of 1 to {MAX_SCOPES}"),
            other,
        )),
    }
    None
}

fn read_scope(scope: &Object, field: &str) -> Result<Scope, Violation> {
    let mut entries = scope.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        return Err(Violation::new(
            Code::RequestInvalid,
            field,
            format!("{field} must have exactly one of {}", SCOPE_FIELDS.join(", ")),
        ));
    };
    let path = format!("{field}.{}", shorten(key));
    let Value::String(text) = value else { return Err(wrong_type(&path, "a string", value)) };
    let short = shorten(text);
    match key.as_str() {
        "risk" => {
            Risk::ALL.into_iter().find(|risk| risk.as_str() == text).map(Scope::Risk).ok_or_else(
                || {
                    let risks = Risk::ALL.map(Risk::as_str).join(", ");
                    let message = format!("{path} is {short:?}; it must be one of {risks}");
                    Violation::new(Code::RequestOutOfRange, &path, message)
                },
            )
        }
        "domain" if catalog::is_domain(text) => Ok(Scope::Domain(text.clone())),
        "domain" => Err(Violation::new(
            Code::RequestOutOfRange,
            &path,
            format!("{path} is {short:?}, which is not a domain of the catalogue"),
        )),
        "command" => catalog::find(text)
            .map(|command| Scope::Command(command.command_type))
            .ok_or_else(|| {
                let message = format!("{path} is {short:?}, which is no command_type");
                Violation::new(Code::RequestUnknownCommand, &path, message)
            }),
        _ => Err(Violation::new(
            Code::RequestUnknownField,
            &path,
            format!("unknown field {path}; the fields are {}", SCOPE_FIELDS.join(", ")),
        )),
    }
}

fn read_positive(object: &Object, field: &str, maximum: u32) -> Result<u32, Violation> {
    match read_integer(object, field, maximum)? {
        None => Err(missing(field)),
        Some(0) => Err(Violation::new(
            Code::RequestOutOfRange,
            field,
            format!("{field} is 0; it must be an integer from 1 to {maximum}"),
        )),
        Some(number) => Ok(number),
    }
}

fn read_issuer(object: &Object) -> Result<Option<String>, Violation> {
    let issuer = read_optional_text(object, "issuer")?;
    if let Some(issuer) = issuer.filter(|issuer| !is_level(issuer)) {
        let message = format!("issuer {:?} cannot be a publisher's name", shorten(issuer));
        return Err(Violation::new(Code::RequestInvalid, "issuer", message));
    }
    Ok(issuer.map(str::to_owned))
}

fn read_reason(object: &Object) -> Result<Option<String>, Violation> {
    let reason = read_optional_text(object, "reason")?;
    if reason.is_some_and(|it| it.len() > MAX_REASON || it.chars().any(char::is_control)) {
        let message =
            format!("reason must have at most {MAX_REASON} bytes and no control characters");
        return Err(Violation::new(Code::RequestInvalid, "reason", message));
    }
    Ok(reason.map(str::to_owned))
}

fn read_grant_id(object: &Object) -> Result<GrantId, Violation> {
    let text = read_text(object, "grant_id")?;
    text.parse().map_err(|error| {
        Violation::new(Code::RequestInvalid, "grant_id", format!("grant_id {error}"))
    })
}

fn unknown_action(action: &str, allowed: &str) -> Violation {
    let message = format!("action is {:?}; it must be {allowed}", shorten(action));
    Violation::new(Code::RequestOutOfRange, "action", message)
}

#[cfg(test)]
mod tests;
