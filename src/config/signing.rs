//! With which key MAVLink frames are signed.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Mistake, value};
use crate::wire::mavlink::Key;

/// Of one link.
#[derive(Clone, Debug)]
pub struct Signing {
    pub key: Key,
    pub link_id: u8,
}

/// `default_link_id`: unlike that of every other link.
pub fn check(
    section: &'static str,
    key_file: Option<PathBuf>,
    link_id: Option<u8>,
    default_link_id: u8,
) -> Result<Option<Signing>, Mistake> {
    let Some(path) = key_file else {
        return match link_id {
            Some(_) => {
                let message = "means nothing without signing_key_file".to_owned();
                Err(value(section, "signing_link_id", message))
            }
            None => Ok(None),
        };
    };
    let key = read(&path).map_err(|error| {
        let message = format!("failed to read {}: {error}", path.display());
        value(section, "signing_key_file", message)
    })?;
    Ok(Some(Signing { key, link_id: link_id.unwrap_or(default_link_id) }))
}

fn read(path: &Path) -> Result<Key, String> {
    let content = Zeroizing::new(std::fs::read(path).map_err(|error| error.to_string())?);
    Key::read(&content).map_err(|error| error.to_string())
}
