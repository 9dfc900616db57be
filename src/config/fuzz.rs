//! What must hold whatever a configuration's text says; see [`crate::fuzz`].

use config::{Config as Values, File, FileFormat};
use serde_json::Value;

use super::{Config, Link, Source};
use crate::guard::Mode;
use crate::wire::topic::{Kind, Topics};

/// Stands in for every file that a configuration names: nothing else is opened.
const SECRET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/secret");
const MAX_FILES: usize = 8;

/// The text of a configuration.
pub fn config(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let mut values = Values::builder().add_source(File::from_str(text, FileFormat::Toml));
    let Ok(all) = values.build_cloned().and_then(|all| all.try_deserialize()) else { return false };
    let mut files = Vec::new();
    find_files(&all, "", &mut files);
    for file in &files {
        values = match values.set_override(file, SECRET) {
            Ok(values) => values,
            // A name that no key of ours has.
            Err(_) => return false,
        };
    }
    let Ok(all) = values.build_cloned().and_then(|all| all.try_deserialize()) else { return false };
    if files.len() > MAX_FILES || !names_only_the_secret(&all) {
        return false;
    }
    let Ok(Source { raw, .. }) = Source::read("fuzz".to_owned(), values, true) else {
        return false;
    };
    match raw.check() {
        Ok(config) => {
            check(&config);
            true
        }
        Err(mistake) => {
            assert!(!mistake.message.is_empty());
            // Not the secret itself.
            assert!(!mistake.message.contains("000102030405"), "{}", mistake.message);
            false
        }
    }
}

/// The paths of all keys that end in `_file`, as `config` writes paths.
fn find_files(value: &Value, path: &str, files: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                find_files(member, &format!("{path}{dot}{name}"), files);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_files(item, &format!("{path}[{index}]"), files);
            }
        }
        _ if path.ends_with("_file") => files.push(path.to_owned()),
        _ => {}
    }
}

fn names_only_the_secret(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().all(|(name, member)| {
            names_only_the_secret(member) && (!name.ends_with("_file") || member == SECRET)
        }),
        Value::Array(items) => items.iter().all(names_only_the_secret),
        _ => true,
    }
}

/// What the rest of the daemon takes for granted.
fn check(config: &Config) {
    let topics = Topics::new(&config.mqtt.prefix, &config.device_id);
    assert_eq!(topics.parse(&topics.commands("cloud")), Some((Kind::Commands, "cloud")));
    assert!(config.mqtt.keep_alive.as_secs() >= 5);
    assert_eq!(config.link.endpoint.to_string().parse(), Ok(config.link.endpoint.clone()));
    let Link { source, target, .. } = &config.link;
    assert!(source.system > 0 && source.component > 0);
    assert!(target.system != Some(0) && target.component > 0);
    assert!(source.component != target.component || !target.may_be_of(source.system));
    assert!(config.link.component_by_domain.values().all(|component| *component > 0));
    assert!((1..=300).contains(&config.delivery.default_timeout_seconds));
    assert!((1..=8).contains(&config.delivery.max_outstanding));
    if matches!(config.guard.mode(), Mode::Guarded) {
        assert!(config.guard.knows("nobody in any configuration").is_err());
    }
}
