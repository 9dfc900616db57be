//! What the XML does not say about a command: `src/catalog/overlay.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Advice that several commands share, by the name that their `see` uses.
    #[serde(default)]
    pub advice: BTreeMap<String, String>,
    /// Domain, then command_type.
    pub commands: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub risk: Risk,
    pub repeatable: bool,
    /// Field names for meaningful params that have no label, by param.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// Meaningful params without a label that stay out of the interface.
    #[serde(default)]
    pub reserved: Vec<u8>,
    /// Params that are unset when left out, instead of those whose text names NaN.
    pub unset: Option<Vec<u8>>,
    /// Minimum and maximum where the XML has them in the text only, by param.
    #[serde(default)]
    pub limits: BTreeMap<String, [f64; 2]>,
    /// The location is in metres of a local frame, always.
    #[serde(default)]
    pub local: bool,
    /// The factor of COMMAND_INT's x and y, for a command without a location.
    pub int_scale: Option<u32>,
    /// Keys of `[advice]`.
    #[serde(default)]
    pub see: Vec<String>,
    /// Advice on this command alone.
    #[serde(default)]
    pub advice: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    Query,
    Payload,
    Flight,
    Critical,
}

pub fn parse(text: &str) -> Result<Overlay, toml::de::Error> {
    toml::from_str(text)
}
