//! The secret that vehicle, ground stations and we share.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

const LENGTH: usize = 32;
/// Whoever records one frame can try passphrases at leisure.
const MIN_PASSPHRASE: usize = 12;

#[derive(Clone)]
pub struct Key(Zeroizing<[u8; LENGTH]>);

/// What is wrong with a key, without showing it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the key is neither 32 raw bytes nor text that begins with hex:, base64: or passphrase:"
    )]
    Form,
    #[error("the key is not valid hex (two digits for each byte, nothing between)")]
    Hex,
    #[error("the key is not valid base64 (standard alphabet, padded)")]
    Base64,
    #[error("the key has {0} bytes; it must have {LENGTH}")]
    Length(usize),
    #[error("the passphrase has {0} bytes; it must have at least {MIN_PASSPHRASE}")]
    Passphrase(usize),
    /// In SETUP_SIGNING it stands for no signing at all.
    #[error("the key is all zeros, which stands for no key")]
    Zero,
}

impl Key {
    /// What a key file holds: `hex:` or `base64:` and 32 bytes; `passphrase:` and a text, whose
    /// SHA-256 is the key, as ground stations make it; or the 32 bytes themselves. A line end after a
    /// text does not count.
    ///
    /// # Errors
    /// What is wrong with it; the secret is not in the message.
    pub fn read(content: &[u8]) -> Result<Self, KeyError> {
        let text = content.strip_suffix(b"\n").unwrap_or(content);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let bytes = Zeroizing::new(if let Some(hex) = text.strip_prefix(b"hex:") {
            HEXLOWER_PERMISSIVE.decode(hex).map_err(|_| KeyError::Hex)?
        } else if let Some(base64) = text.strip_prefix(b"base64:") {
            BASE64.decode(base64).map_err(|_| KeyError::Base64)?
        } else if let Some(passphrase) = text.strip_prefix(b"passphrase:") {
            if passphrase.len() < MIN_PASSPHRASE {
                return Err(KeyError::Passphrase(passphrase.len()));
            }
            digest(&SHA256, passphrase).as_ref().to_vec()
        } else if content.len() == LENGTH {
            content.to_vec()
        } else {
            return Err(KeyError::Form);
        });
        let key: [u8; LENGTH] = bytes[..].try_into().map_err(|_| KeyError::Length(bytes.len()))?;
        if key == [0; LENGTH] {
            return Err(KeyError::Zero);
        }
        Ok(Self(Zeroizing::new(key)))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn every_form_of_one_key() {
        let raw: [u8; LENGTH] = sha2::Sha256::digest(b"correct horse battery").into();
        let hex = format!("hex:{}", HEXLOWER_PERMISSIVE.encode(&raw));
        let base64 = format!("base64:{}\n", BASE64.encode(&raw));
        for content in [
            &raw[..],
            hex.as_bytes(),
            hex.to_uppercase().replace("HEX:", "hex:").as_bytes(),
            base64.as_bytes(),
            b"passphrase:correct horse battery",
            b"passphrase:correct horse battery\r\n",
        ] {
            assert_eq!(Key::read(content).unwrap().as_bytes(), &raw, "{content:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_without_showing_it() {
        let long = format!("hex:{}", "ab".repeat(33));
        for (content, expected) in [
            (&b""[..], KeyError::Form),
            (b"0123456789", KeyError::Form),
            // As long as a key with the line end of a text.
            (&[7; LENGTH + 1], KeyError::Form),
            (b"hex:xyz", KeyError::Hex),
            (b"hex:ab cd", KeyError::Hex),
            (b"base64:abc", KeyError::Base64),
            (b"hex:abcd", KeyError::Length(2)),
            (long.as_bytes(), KeyError::Length(33)),
            (b"passphrase:too short\n", KeyError::Passphrase(9)),
            (&[0; LENGTH], KeyError::Zero),
        ] {
            assert_eq!(Key::read(content).unwrap_err(), expected, "{content:?}");
        }
        assert_eq!(format!("{:?}", Key::read(&[7; LENGTH]).unwrap()), "Key(..)");
    }
}
