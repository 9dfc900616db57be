//! `[mqtt]`: the brokers, and who we are to them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::{Position, Url};

use super::seconds::Seconds;
use super::{Mistake, missing, secret, value};
use crate::edge::mqtt::{Broker, ClientCertificate, Options, Tls, tls};
use crate::wire::topic::is_level;

const SECTION: &str = "mqtt";
/// Bytes: topics are to stay well below those of a Response Topic, 1024.
const LONGEST_PREFIX: usize = 256;
/// Of Debian's package ca-certificates.
const CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";
const URL_FORM: &str = "mqtts://HOST[:PORT] or mqtt://HOST[:PORT]";

#[derive(Debug)]
pub struct Mqtt {
    /// In the order in which they are tried; at least one.
    pub brokers: Vec<Broker>,
    pub tls: Tls,
    pub prefix: String,
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub keep_alive: Duration,
    pub session_expiry: Duration,
}

impl Mqtt {
    /// How to reach the brokers, as whom; what to hear is the caller's, and so is a will.
    pub fn options(&self) -> Options {
        Options {
            brokers: self.brokers.clone(),
            tls: self.tls.clone(),
            client_id: self.client_id.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            keep_alive: self.keep_alive,
            session_expiry: self.session_expiry,
            subscriptions: Vec::new(),
            will: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMqtt {
    #[serde(deserialize_with = "one_or_more")]
    pub url: Vec<String>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub prefix: String,
    pub client_id: Option<String>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub keep_alive: Seconds<5, 3600>,
    pub session_expiry: Seconds<0, { u32::MAX as u64 - 1 }>,
}

impl Default for RawMqtt {
    fn default() -> Self {
        Self {
            url: Vec::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: "downlink/v1".to_owned(),
            client_id: None,
            username: None,
            password_file: None,
            keep_alive: Seconds(30),
            session_expiry: Seconds(7 * 86_400),
        }
    }
}

impl RawMqtt {
    pub(super) fn check(self, device_id: &str) -> Result<Mqtt, Mistake> {
        if self.url.is_empty() {
            return Err(missing(SECTION, "url", "such as \"mqtts://broker.example:8883\""));
        }
        let brokers = self.url.iter().map(|url| broker(url)).collect::<Result<Vec<_>, _>>();
        let brokers = brokers.map_err(|message| value(SECTION, "url", message))?;
        check_prefix(&self.prefix).map_err(|message| value(SECTION, "prefix", message))?;
        Ok(Mqtt {
            tls: tls(&brokers, self.ca_file, self.cert_file, self.key_file)?,
            brokers,
            prefix: self.prefix,
            client_id: client_id(self.client_id, device_id)?,
            username: self.username,
            password: self
                .password_file
                .map(|file| secret(SECTION, "password_file", &file))
                .transpose()?,
            keep_alive: self.keep_alive.duration(),
            session_expiry: self.session_expiry.duration(),
        })
    }
}

fn client_id(given: Option<String>, device_id: &str) -> Result<String, Mistake> {
    match given {
        // The broker would choose another one, and so another session, for every connection.
        Some(id) if id.is_empty() => {
            let message =
                "\"\" names no session; without the key it is \"downlinkd-{id}\"".to_owned();
            Err(value(SECTION, "client_id", message))
        }
        Some(id) => Ok(id),
        None => Ok(format!("downlinkd-{device_id}")),
    }
}

/// # Errors
/// What a prefix of topics must be.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.len() <= LONGEST_PREFIX && !prefix.starts_with('$') && prefix.split('/').all(is_level)
    {
        return Ok(());
    }
    Err(format!(
        "{prefix:?} is not a topic prefix; it must be levels without + and #, not begin with $, and \
         have at most {LONGEST_PREFIX} bytes, such as \"downlink/v1\""
    ))
}

/// # Errors
/// What the URL of a broker must be, without the password of one that can be read.
pub fn broker(url: &str) -> Result<Broker, String> {
    let parsed = Url::parse(url)
        .map_err(|error| format!("{url:?} is not a URL ({error}); it must be {URL_FORM}"))?;
    let (tls, default_port) = match parsed.scheme() {
        "mqtts" => (true, 8883),
        "mqtt" => (false, 1883),
        other => return Err(format!("{other:?} is not supported; it must be {URL_FORM}")),
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(
            "user and password do not belong here; use username and password_file".to_owned()
        );
    }
    let rest = &parsed[Position::BeforePath..];
    if !matches!(rest, "" | "/") {
        return Err(format!("{rest:?} does not belong in {url:?}; it must be {URL_FORM}"));
    }
    // An IPv6 address stands in brackets in a URL, and nowhere else.
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if ServerName::try_from(host).is_err() {
        return Err(format!(
            "{url:?} has no host; it must be {URL_FORM}, with a name or an address"
        ));
    }
    let port = parsed.port().unwrap_or(default_port);
    if port == 0 {
        return Err(format!("{url:?} has port 0; it must be 1 to 65535"));
    }
    Ok(Broker { host: host.to_owned(), port, tls })
}

fn tls(
    brokers: &[Broker],
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
) -> Result<Tls, Mistake> {
    let wanted = brokers.iter().any(|broker| broker.tls);
    for (key, file) in [("ca_file", &ca_file), ("cert_file", &cert_file), ("key_file", &key_file)] {
        if let (false, Some(file)) = (wanted, file) {
            let message = format!("{} has no use, since no url is mqtts://", file.display());
            return Err(value(SECTION, key, message));
        }
    }
    let client = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(ClientCertificate { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(missing(SECTION, "key_file", "the private key of cert_file"));
        }
        (None, Some(_)) => {
            return Err(missing(SECTION, "cert_file", "the certificate of key_file"));
        }
    };
    let tls = Tls { ca_file: ca_file.unwrap_or_else(|| CA_FILE.into()), client };
    if wanted {
        tls.check().map_err(|error| {
            let key = match error.file {
                tls::File::Authorities => "ca_file",
                tls::File::Certificate => "cert_file",
                tls::File::Key => "key_file",
            };
            value(SECTION, key, error.to_string())
        })?;
    }
    Ok(tls)
}

/// A string, with commas between several as the environment has them, or a list of strings.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Urls;

    impl<'de> Visitor<'de> for Urls {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a URL, or a list of URLs")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(',').map(|url| url.trim().to_owned()).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut urls = Vec::new();
            while let Some(url) = list.next_element()? {
                urls.push(url);
            }
            Ok(urls)
        }
    }

    deserializer.deserialize_any(Urls)
}
