//! The configuration: `downlinkd.toml`, then `conf.d/*.toml` beside it in order of name, then
//! `DOWNLINKD_SECTION__KEY` from the environment. Later values replace earlier ones; lists are
//! replaced whole.

mod api;
mod extra_link;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod mqtt;
pub mod publisher;
mod seconds;
pub mod secrets;
mod signing;
mod target_system;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat};
use serde::{Deserialize, Deserializer, de};

use crate::catalog;
use crate::edge::journal::Retention;
use crate::edge::link::{Endpoint, ForwardOptions};
use crate::guard::Guard;
use crate::guard::autopilot::Autopilot;
use crate::wire::mavlink::Address;
use crate::wire::topic::{VENDOR, is_level};
use api::RawApi;
pub use api::{Api, DEFAULT_SOCKET};
pub use extra_link::Extra;
use extra_link::RawExtraLink;
use forward::RawForward;
use guard::RawGuard;
use mqtt::RawMqtt;
pub use mqtt::{Mqtt, broker, check_prefix};
use seconds::Seconds;
pub use signing::Signing;
use target_system::TargetSystem;

/// A mistake in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The file (or the environment) and, from the reader, key and value.
    #[error("{origin}: {message}")]
    Invalid { origin: String, message: String },
    #[error("{origin}: [{section}] {key}: {message}")]
    Value { origin: String, section: &'static str, key: &'static str, message: String },
}

impl Error {
    fn invalid(origin: &str, error: &config::ConfigError) -> Self {
        let message = match error {
            config::ConfigError::FileParse { cause, .. } => without_excerpt(&cause.to_string()),
            error => error.to_string(),
        };
        Self::Invalid { origin: origin.to_owned(), message }
    }
}

/// Where and why, without the picture in between: a line of the file, and a caret under it.
fn without_excerpt(text: &str) -> String {
    let is_excerpt = |line: &str| {
        let rest = line.trim_start_matches(|it: char| it == ' ' || it.is_ascii_digit());
        rest.starts_with('|')
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_excerpt(line)).collect();
    lines.join(": ")
}

/// Everything that the daemon needs to know, checked.
#[derive(Debug)]
pub struct Config {
    pub device_id: String,
    pub mqtt: Mqtt,
    pub link: Link,
    pub forwards: Vec<ForwardOptions>,
    pub guard: Guard,
    pub delivery: Delivery,
    pub journal: Journal,
    pub api: Api,
}

#[derive(Debug)]
pub struct Link {
    pub endpoint: Endpoint,
    /// Our own address.
    pub source: Address,
    /// The autopilot.
    pub target: Autopilot,
    /// Where the commands of a domain go, if not to the autopilot.
    pub component_by_domain: BTreeMap<String, u8>,
    /// `None`: MAVLink frames are not signed.
    pub signing: Option<Signing>,
    /// Other ways, to other components.
    pub extra: Vec<Extra>,
}

#[derive(Debug)]
pub struct Delivery {
    pub default_timeout_seconds: u32,
    pub max_outstanding: usize,
    pub max_queue: usize,
    pub late_ack_window: Duration,
    pub max_progress: Duration,
    /// How long a stop waits for what is out.
    pub stop_timeout: Duration,
}

#[derive(Debug)]
pub struct Journal {
    pub dir: PathBuf,
    pub retention: Retention,
}

impl Config {
    /// Reads `path`, the drop-ins beside it, and the environment.
    ///
    /// # Errors
    /// The first mistake, with file, key and value.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (all, sources) = read(path)?;
        all.raw.check().map_err(|mistake| {
            let set_by = sources.iter().rev().find(|source| source.sets(&mistake));
            mistake.made_in(set_by.map_or(all.origin, |source| source.origin.clone()))
        })
    }

    /// Only where the local API is, for those who may not read the secrets that the whole names.
    ///
    /// # Errors
    /// A file that cannot be read, or does not hold a configuration.
    pub fn api_socket(path: &Path) -> Result<PathBuf, Error> {
        Ok(read(path)?.0.raw.api.socket)
    }
}

/// Everything merged, and what it came from.
fn read(path: &Path) -> Result<(Source, Vec<Source>), Error> {
    let mut sources = Vec::new();
    for file in std::iter::once(path.to_owned()).chain(drop_ins(path)?) {
        let text = std::fs::read_to_string(&file)
            .map_err(|source| Error::Read { path: file.clone(), source })?;
        let source = config::Config::builder().add_source(File::from_str(&text, FileFormat::Toml));
        sources.push(Source::read(file.display().to_string(), source, true)?);
    }
    let environment = config::Config::builder().add_source(environment());
    sources.push(Source::read("the environment (DOWNLINKD_…)".to_owned(), environment, false)?);

    let all = sources
        .iter()
        .fold(config::Config::builder(), |all, source| all.add_source(source.values.clone()));
    // The files' values have been found to be of their types.
    let all = Source::read(path.display().to_string(), all, false)?;
    Ok((all, sources))
}

fn environment() -> Environment {
    Environment::with_prefix("DOWNLINKD").prefix_separator("_").separator("__").ignore_empty(true)
}

/// One file, or the environment, read alone first: a mistake that is found in the merged whole has
/// no file to name.
struct Source {
    origin: String,
    values: config::Config,
    raw: Raw,
}

impl Source {
    fn read(
        origin: String,
        builder: ConfigBuilder<DefaultState>,
        is_file: bool,
    ) -> Result<Self, Error> {
        let invalid = |error| Error::invalid(&origin, &error);
        let values = builder.build().map_err(invalid)?;
        let raw = values::read(values.clone(), is_file).map_err(invalid)?;
        Ok(Self { origin, values, raw })
    }

    /// Whether the mistake can be this source's. A list of tables counts as a whole.
    fn sets(&self, mistake: &Mistake) -> bool {
        let Mistake { section, key, .. } = mistake;
        self.values.get_array(section).is_ok()
            || self.values.get::<config::Value>(&format!("{section}.{key}")).is_ok()
    }
}

/// A value that does not do, before it is known where it stands.
struct Mistake {
    section: &'static str,
    key: &'static str,
    message: String,
}

impl Mistake {
    fn made_in(self, origin: String) -> Error {
        let Self { section, key, message } = self;
        Error::Value { origin, section, key, message }
    }
}

/// The sections as they are written; everything has a default or is checked for in [`Raw::check`].
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    device: RawDevice,
    mqtt: RawMqtt,
    link: RawLink,
    forward: Vec<RawForward>,
    guard: RawGuard,
    delivery: RawDelivery,
    journal: RawJournal,
    api: RawApi,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawDevice {
    vendor: String,
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLink {
    #[serde(deserialize_with = "endpoint")]
    endpoint: Option<Endpoint>,
    system_id: u8,
    component_id: u8,
    target_system: TargetSystem,
    target_component: u8,
    component_by_domain: BTreeMap<String, u8>,
    extra: Vec<RawExtraLink>,
    signing_key_file: Option<PathBuf>,
    signing_link_id: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawDelivery {
    default_timeout: Seconds<1, 300>,
    max_outstanding: usize,
    max_queue: usize,
    late_ack_window: Seconds<0, 86_400>,
    max_progress: Seconds<1, 86_400>,
    stop_timeout: Seconds<0, 10>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawJournal {
    dir: PathBuf,
    retention: Seconds<3600, { 3650 * 86_400 }>,
    max_commands: u64,
}

impl Default for RawDevice {
    fn default() -> Self {
        Self { vendor: VENDOR.to_owned(), id: None }
    }
}

impl Default for RawLink {
    fn default() -> Self {
        Self {
            endpoint: None,
            system_id: 1,
            // MAV_COMP_ID_ONBOARD_COMPUTER
            component_id: 191,
            target_system: TargetSystem(Some(1)),
            // MAV_COMP_ID_AUTOPILOT1
            target_component: 1,
            component_by_domain: BTreeMap::new(),
            extra: Vec::new(),
            signing_key_file: None,
            signing_link_id: None,
        }
    }
}

impl Default for RawDelivery {
    fn default() -> Self {
        Self {
            default_timeout: Seconds(30),
            // PX4's queue holds 8 and drops silently.
            max_outstanding: 3,
            max_queue: 256,
            late_ack_window: Seconds(300),
            max_progress: Seconds(600),
            // With the goodbye to the broker well within the unit's TimeoutStopSec=.
            stop_timeout: Seconds(5),
        }
    }
}

impl Default for RawJournal {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/var/lib/downlinkd/journal"),
            retention: Seconds(7 * 86_400),
            max_commands: 100_000,
        }
    }
}

impl Raw {
    fn check(self) -> Result<Config, Mistake> {
        let device_id = self.device.check()?;
        let link = self.link.check()?;
        Ok(Config {
            mqtt: self.mqtt.check(&device_id)?,
            forwards: forward::check(self.forward)?,
            guard: self.guard.check(&link)?,
            delivery: self.delivery.check()?,
            journal: self.journal.check()?,
            api: self.api.check()?,
            device_id,
            link,
        })
    }
}

impl RawDevice {
    fn check(self) -> Result<String, Mistake> {
        if self.vendor != VENDOR {
            let message = format!("{:?} is not supported; the vendor is {VENDOR:?}", self.vendor);
            return Err(value("device", "vendor", message));
        }
        let id = self.id.ok_or_else(|| missing("device", "id", "such as \"px4-real-1\""))?;
        check_level("device", "id", &id)?;
        Ok(id)
    }
}

impl RawLink {
    fn check(self) -> Result<Link, Mistake> {
        let endpoint = self
            .endpoint
            .ok_or_else(|| missing("link", "endpoint", "such as \"serial:/dev/ttyAMA0:921600\""))?;
        for (key, id) in [
            ("system_id", self.system_id),
            ("component_id", self.component_id),
            ("target_component", self.target_component),
        ] {
            if id == 0 {
                return Err(value("link", key, "0 is a broadcast; it must be 1 to 255".to_owned()));
            }
        }
        let source = Address { system: self.system_id, component: self.component_id };
        let target = Autopilot { system: self.target_system.0, component: self.target_component };
        if source.component == target.component && target.may_be_of(source.system) {
            let message = match target.address() {
                Some(address) => format!("we cannot be the autopilot itself ({address})"),
                None => format!(
                    "with target_system = \"auto\" any system may be the autopilot's, so it must not \
                     be target_component, {}",
                    target.component
                ),
            };
            return Err(value("link", "component_id", message));
        }
        for (domain, component) in &self.component_by_domain {
            if !catalog::is_domain(domain) {
                let message = format!("{domain:?} is not a domain of the catalogue");
                return Err(value("link", "component_by_domain", message));
            }
            if *component == 0 {
                let message = format!("0 is a broadcast; {domain} needs 1 to 255");
                return Err(value("link", "component_by_domain", message));
            }
        }
        let main = Link {
            endpoint,
            source,
            target,
            component_by_domain: self.component_by_domain,
            signing: signing::check("link", self.signing_key_file, self.signing_link_id, 0)?,
            extra: Vec::new(),
        };
        Ok(Link { extra: extra_link::check(self.extra, &main)?, ..main })
    }
}

impl RawDelivery {
    fn check(self) -> Result<Delivery, Mistake> {
        for (key, count, maximum) in
            [("max_outstanding", self.max_outstanding, 8), ("max_queue", self.max_queue, 10_000)]
        {
            if !(1..=maximum).contains(&count) {
                let message = format!("{count} is out of range; it must be 1 to {maximum}");
                return Err(value("delivery", key, message));
            }
        }
        Ok(Delivery {
            default_timeout_seconds: self.default_timeout.duration().as_secs() as u32,
            max_outstanding: self.max_outstanding,
            max_queue: self.max_queue,
            late_ack_window: self.late_ack_window.duration(),
            max_progress: self.max_progress.duration(),
            stop_timeout: self.stop_timeout.duration(),
        })
    }
}

impl RawJournal {
    fn check(self) -> Result<Journal, Mistake> {
        if !(10_000..=1_000_000).contains(&self.max_commands) {
            let message =
                format!("{} is out of range; it must be 10000 to 1000000", self.max_commands);
            return Err(value("journal", "max_commands", message));
        }
        let retention =
            Retention { age: self.retention.duration(), max_commands: self.max_commands };
        Ok(Journal { dir: self.dir, retention })
    }
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = path.with_file_name("conf.d");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Read { path: dir, source }),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|source| Error::Read { path: dir.clone(), source })?.path();
        if is_drop_in(&file) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// As `*.toml` is for a shell: what editors leave is hidden, and may be no file at all.
fn is_drop_in(file: &Path) -> bool {
    let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && file.extension().is_some_and(|extension| extension == "toml")
}

/// A secret from its file, without the line end that editors leave.
fn secret(section: &'static str, key: &'static str, path: &Path) -> Result<String, Mistake> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        value(section, key, format!("failed to read {}: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| de::Error::custom(format!("link.endpoint: {error}")))
}

fn check_level(section: &'static str, key: &'static str, text: &str) -> Result<(), Mistake> {
    if is_level(text) {
        return Ok(());
    }
    let message = format!(
        "{text:?} does not fit into a topic; it must have 1 to 128 bytes without /, + and #"
    );
    Err(value(section, key, message))
}

fn missing(section: &'static str, key: &'static str, example: &str) -> Mistake {
    value(section, key, format!("is missing; give one, {example}"))
}

fn value(section: &'static str, key: &'static str, message: String) -> Mistake {
    Mistake { section, key, message }
}

#[cfg(test)]
mod tests;
