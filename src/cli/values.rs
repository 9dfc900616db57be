//! Values of options that more than one subcommand has.

use crate::config;
use crate::wire::signature::is_kid;
use crate::wire::topic::is_level;

/// An issuer, or a vehicle.
///
/// # Errors
/// What it must be, in words.
pub fn level(text: &str) -> Result<String, String> {
    if is_level(text) {
        return Ok(text.to_owned());
    }
    Err("it must be one level of a topic: 1 to 128 bytes without /, + and #".to_owned())
}

/// # Errors
/// What it must be, in words.
pub fn prefix(text: &str) -> Result<String, String> {
    config::check_prefix(text).map(|()| text.to_owned())
}

/// # Errors
/// What it must be, in words.
pub fn kid(text: &str) -> Result<String, String> {
    if is_kid(text) {
        return Ok(text.to_owned());
    }
    Err("it must have 1 to 64 printable ASCII characters and no spaces".to_owned())
}
