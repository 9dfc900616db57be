//! Who says that a request is theirs: the signature beside a plain body or around it.
//!
//! Beside: MQTT 5 user properties, or HTTP headers, `X-Api-Id`, `X-Api-Timestamp`, `X-Api-Nonce`,
//! `X-Api-Signature`, and optionally `X-Api-Kid` and `X-Api-Challenge`. Around, for everyone else:
//! `{"auth":{"api_id":…,"timestamp":…,"nonce":…,"signature":…},"body":"<the body as a string>"}`.
//! Nothing here is believed yet; [`crate::guard::authentication`] judges it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::request_body::RequestBody;
use super::topic::is_level;
use crate::catalog::shorten;
use crate::code::{Code, Violation};

/// The METHOD of what comes by MQTT; its PATH is the whole topic.
pub const MQTT: &str = "MQTT";
/// The METHOD of a command that comes by HTTP.
pub const HTTP: &str = "POST";
/// Its PATH.
pub const HTTP_COMMANDS: &str = "/api/v1/open/downlink/commands";

/// Bytes of a nonce, a kid or a challenge at most.
const MAX_WORD: usize = 64;

/// What a sender claims, in form but not yet in substance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The signer: one topic level.
    pub api_id: String,
    /// Seconds since 1970. As text it has one spelling only, digits without a leading zero, so that
    /// the signed text can be rebuilt from the number.
    pub timestamp: u64,
    /// 1 to 64 printable ASCII characters without spaces; never used before.
    pub nonce: String,
    /// HMAC-SHA256 in lower-case hex, or Ed25519 in base64.
    pub signature: String,
    /// Which of the signer's keys; 1 to 64 printable ASCII characters.
    pub kid: Option<String>,
    /// From presence, for a vehicle whose clock is not trusted; 1 to 64 printable ASCII characters.
    pub challenge: Option<String>,
}

impl Credentials {
    /// As MQTT 5 user properties or HTTP headers, beside the plain body.
    pub fn properties(&self) -> Vec<(String, String)> {
        Field::ALL
            .into_iter()
            .filter_map(|field| Some((field.property().to_owned(), self.value(field)?)))
            .collect()
    }

    /// As an envelope around the body.
    pub fn envelope(&self, body: &str) -> String {
        let auth: serde_json::Map<String, Value> = Field::ALL
            .into_iter()
            .filter_map(|field| {
                let value = match field {
                    Field::Timestamp => self.timestamp.into(),
                    other => self.value(other)?.into(),
                };
                Some((field.member().to_owned(), value))
            })
            .collect();
        json!({ "auth": auth, "body": body }).to_string()
    }

    fn value(&self, field: Field) -> Option<String> {
        match field {
            Field::ApiId => Some(self.api_id.clone()),
            Field::Timestamp => Some(self.timestamp.to_string()),
            Field::Nonce => Some(self.nonce.clone()),
            Field::Signature => Some(self.signature.clone()),
            Field::Kid => self.kid.clone(),
            Field::Challenge => self.challenge.clone(),
        }
    }
}

/// A message without its signature.
#[derive(Clone, Debug)]
pub struct Unwrapped<'payload> {
    /// `None`: it is not signed.
    pub credentials: Option<Credentials>,
    pub body: RequestBody<'payload>,
}

/// Takes the signature off a message. `properties`: its user properties or HTTP headers; others than
/// the six are left alone. The caller limits the payload's size first.
///
/// # Errors
/// `envelope.malformed` with the field: one that is missing, doubled, unknown or not in its form,
/// and a message that is signed both ways.
pub fn unwrap<'payload>(
    payload: &'payload [u8],
    properties: &[(String, String)],
) -> Result<Unwrapped<'payload>, Violation> {
    let beside = read_properties(properties)?;
    match (beside, read_envelope(payload)?) {
        (Some(_), Some(_)) => Err(malformed(
            "auth",
            "the message is signed twice, by its properties and by its envelope; one must go",
        )),
        (None, Some((credentials, body))) => {
            let body = RequestBody::new(body.into_bytes());
            Ok(Unwrapped { credentials: Some(credentials), body })
        }
        (credentials, None) => Ok(Unwrapped { credentials, body: RequestBody::new(payload) }),
    }
}

/// What a signature is made over: `METHOD\nPATH\nTIMESTAMP\nNONCE\nhex(SHA-256(body))`, and
/// `\nCHALLENGE` if there is one. `timestamp`: seconds since 1970.
///
/// No two requests share a text as long as no field holds a line break, so a request that has one
/// must be refused.
pub fn signed_text(
    method: &str,
    path: &str,
    timestamp: u64,
    nonce: &str,
    body: &RequestBody<'_>,
    challenge: Option<&str>,
) -> String {
    let timestamp = timestamp.to_string();
    let lines = [method, path, &timestamp, nonce, body.sha256()];
    lines.into_iter().chain(challenge).collect::<Vec<_>>().join("\n")
}

/// Whether `text` can name an issuer's key: 1 to 64 printable ASCII characters without spaces.
pub fn is_kid(text: &str) -> bool {
    is_word(text, MAX_WORD)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ApiId,
    Timestamp,
    Nonce,
    Signature,
    Kid,
    Challenge,
}

impl Field {
    const ALL: [Field; 6] = [
        Field::ApiId,
        Field::Timestamp,
        Field::Nonce,
        Field::Signature,
        Field::Kid,
        Field::Challenge,
    ];

    const fn property(self) -> &'static str {
        match self {
            Field::ApiId => "X-Api-Id",
            Field::Timestamp => "X-Api-Timestamp",
            Field::Nonce => "X-Api-Nonce",
            Field::Signature => "X-Api-Signature",
            Field::Kid => "X-Api-Kid",
            Field::Challenge => "X-Api-Challenge",
        }
    }

    /// The name in the envelope's `auth`.
    fn member(self) -> &'static str {
        &self.path()["auth.".len()..]
    }

    /// The path in the envelope.
    const fn path(self) -> &'static str {
        match self {
            Field::ApiId => "auth.api_id",
            Field::Timestamp => "auth.timestamp",
            Field::Nonce => "auth.nonce",
            Field::Signature => "auth.signature",
            Field::Kid => "auth.kid",
            Field::Challenge => "auth.challenge",
        }
    }
}

/// The fields as text, and how this way of signing names them.
struct Fields {
    name: fn(Field) -> &'static str,
    /// In the order of [`Field::ALL`].
    values: [Option<String>; 6],
}

impl Fields {
    fn new(name: fn(Field) -> &'static str) -> Self {
        Self { name, values: Default::default() }
    }

    fn add(&mut self, field: Field, value: String) -> Result<(), Violation> {
        if self.values[field as usize].replace(value).is_none() {
            return Ok(());
        }
        Err(self.wrong(field, "stands twice"))
    }

    fn credentials(mut self) -> Result<Credentials, Violation> {
        let api_id = self.required(Field::ApiId)?;
        let timestamp = self.required(Field::Timestamp)?;
        let timestamp = read_seconds(&timestamp).ok_or_else(|| {
            self.wrong(Field::Timestamp, "must be seconds since 1970, in digits only")
        })?;
        Ok(Credentials {
            api_id,
            timestamp,
            nonce: self.required(Field::Nonce)?,
            signature: self.required(Field::Signature)?,
            kid: self.optional(Field::Kid)?,
            challenge: self.optional(Field::Challenge)?,
        })
    }

    fn required(&mut self, field: Field) -> Result<String, Violation> {
        self.optional(field)?.ok_or_else(|| self.wrong(field, "is missing"))
    }

    fn optional(&mut self, field: Field) -> Result<Option<String>, Violation> {
        let Some(value) = self.values[field as usize].take() else { return Ok(None) };
        let max_len = match field {
            Field::Signature => 128,
            // An issuer may have a name in any script.
            Field::ApiId if is_level(&value) => return Ok(Some(value)),
            Field::ApiId => return Err(self.wrong(field, "must be one level of a topic")),
            Field::Timestamp | Field::Nonce | Field::Kid | Field::Challenge => MAX_WORD,
        };
        if is_word(&value, max_len) {
            return Ok(Some(value));
        }
        let rule = format!("must have 1 to {max_len} printable ASCII characters and no spaces");
        Err(self.wrong(field, &rule))
    }

    fn wrong(&self, field: Field, what: &str) -> Violation {
        let name = (self.name)(field);
        malformed(name, format!("{name} {what}"))
    }
}

fn is_word(text: &str, max_len: usize) -> bool {
    (1..=max_len).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read_properties(properties: &[(String, String)]) -> Result<Option<Credentials>, Violation> {
    let mut fields = Fields::new(Field::property);
    for (name, value) in properties {
        let field = Field::ALL.into_iter().find(|it| it.property().eq_ignore_ascii_case(name));
        if let Some(field) = field {
            fields.add(field, value.clone())?;
        }
    }
    if fields.values.iter().all(Option::is_none) {
        return Ok(None);
    }
    fields.credentials().map(Some)
}

/// An object with `auth`, or with nothing but `body`, is an envelope; no request has such a field.
/// Everything else is left to those who read requests.
fn read_envelope(payload: &[u8]) -> Result<Option<(Credentials, String)>, Violation> {
    // Most messages are none, and nothing of them need be kept to see that.
    if let Ok(Outline { auth: false, body: false }) = serde_json::from_slice(payload) {
        return Ok(None);
    }
    let Ok(Json::Object(members)) = serde_json::from_slice(payload) else { return Ok(None) };
    if !members.iter().any(|(name, _)| matches!(name.as_str(), "auth" | "body")) {
        return Ok(None);
    }
    let (mut auth, mut body, mut foreign) = (None, None, None);
    for (name, value) in members {
        let place = match name.as_str() {
            "auth" => &mut auth,
            "body" => &mut body,
            _ => {
                foreign.get_or_insert(name);
                continue;
            }
        };
        if place.replace(value).is_some() {
            let message = format!("{name} stands twice");
            return Err(malformed(name, message));
        }
    }
    match foreign {
        Some(_) if auth.is_none() => return Ok(None),
        Some(name) => {
            let name = shorten(&name);
            let message = format!("an envelope holds auth and body, and no {name:?}");
            return Err(malformed(name, message));
        }
        None => {}
    }
    let auth = match auth {
        Some(Json::Object(auth)) => auth,
        Some(_) => return Err(malformed("auth", "auth must be an object")),
        None => return Err(malformed("auth", "auth is missing beside body")),
    };
    let body = match body {
        Some(Json::Text(body)) => body,
        Some(_) => {
            return Err(malformed("body", "body must be a string that holds the exact body"));
        }
        None => return Err(malformed("body", "body is missing beside auth")),
    };
    Ok(Some((read_auth(auth)?, body)))
}

fn read_auth(members: Vec<(String, Json)>) -> Result<Credentials, Violation> {
    let mut fields = Fields::new(Field::path);
    for (name, value) in members {
        let Some(field) = Field::ALL.into_iter().find(|it| it.member() == name) else {
            let known = Field::ALL.map(Field::member).join(", ");
            let name = shorten(&name);
            let message = format!("auth has no field {name:?}; the fields are {known}");
            return Err(malformed(format!("auth.{name}"), message));
        };
        let text = match value {
            Json::Text(text) => text,
            Json::Integer(number) if field == Field::Timestamp => number.to_string(),
            _ => return Err(fields.wrong(field, "must be a string")),
        };
        fields.add(field, text)?;
    }
    fields.credentials()
}

/// One spelling per number: two would be two signed texts for one timestamp.
fn read_seconds(text: &str) -> Option<u64> {
    text.parse().ok().filter(|seconds: &u64| seconds.to_string() == text)
}

fn malformed(field: impl Into<String>, message: impl Into<String>) -> Violation {
    Violation::new(Code::EnvelopeMalformed, field, message)
}

/// Which of an envelope's members an object has, whatever they hold; neither may stand twice.
#[derive(Deserialize)]
struct Outline {
    #[serde(default, deserialize_with = "is_there")]
    auth: bool,
    #[serde(default, deserialize_with = "is_there")]
    body: bool,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// As much of a JSON value as an envelope can hold, with repeated members still in it.
enum Json {
    Text(String),
    Integer(u64),
    Object(Vec<(String, Json)>),
    Other,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Json, E> {
                Ok(Json::Text(text))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Integer(number))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Json::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Json::Object(object))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests;
