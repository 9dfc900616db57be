//! Keys and the signatures they verify.

use std::fmt;
use std::hint::black_box;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{SigningKey, VerifyingKey};
use ring::hmac;
use zeroize::Zeroizing;

use crate::lifecycle::time::Timestamp;

/// Bytes: as long as what HMAC-SHA256 puts out, so that the key is not the weaker part.
pub const MIN_SECRET_LEN: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha256,
    Ed25519,
}

/// What an issuer signs with, as the vehicle knows it.
#[derive(Clone)]
pub struct Key {
    /// Its name among the issuer's keys.
    pub kid: String,
    /// The last moment at which it counts.
    pub not_after: Option<Timestamp>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// HMAC's work on the secret alone is done once, not for every command.
    HmacSha256(hmac::Key),
    Ed25519(VerifyingKey),
}

/// What is wrong with a key's text, without showing it: it may be a secret in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the secret must begin with hex: or base64:")]
    Prefix,
    #[error("the secret is not valid hex (two digits for each byte, nothing between)")]
    Hex,
    #[error("the secret is not valid base64 (standard alphabet, padded)")]
    Base64,
    #[error("the secret has {0} bytes; it must have at least {MIN_SECRET_LEN}")]
    TooShort(usize),
    #[error("the Ed25519 public key is not 32 bytes in base64 (standard alphabet, padded)")]
    PublicKeyForm,
    #[error("the Ed25519 public key is not a point that signatures can be verified with")]
    PublicKeyPoint,
}

impl Key {
    /// A secret as text: `hex:` or `base64:` and at least 32 bytes. White space around it does not
    /// count.
    ///
    /// # Errors
    /// What is wrong with it; the secret is not in the message.
    pub fn hmac_from_text(
        kid: impl Into<String>,
        text: &str,
        not_after: Option<Timestamp>,
    ) -> Result<Self, KeyError> {
        let key = hmac_key_from_text(text)?;
        Ok(Self { kid: kid.into(), not_after, material: Material::HmacSha256(key) })
    }

    /// A public key as text: its 32 bytes in base64. White space around it does not count.
    ///
    /// # Errors
    /// What is wrong with it; the text is not in the message.
    pub fn ed25519_from_text(
        kid: impl Into<String>,
        text: &str,
        not_after: Option<Timestamp>,
    ) -> Result<Self, KeyError> {
        let bytes = decode(&BASE64, text.trim()).ok_or(KeyError::PublicKeyForm)?;
        let public = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::PublicKeyPoint)?;
        // For a key of small order, one signature fits many texts.
        if public.is_weak() {
            return Err(KeyError::PublicKeyPoint);
        }
        Ok(Self { kid: kid.into(), not_after, material: Material::Ed25519(public) })
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::HmacSha256(_) => Algorithm::HmacSha256,
            Material::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    pub(super) fn has_material_of(&self, other: &Key) -> bool {
        match (&self.material, &other.material) {
            // Secrets of which HMAC makes the same key, as one with zeros after it, are the same.
            (Material::HmacSha256(key), Material::HmacSha256(other)) => {
                hmac::verify(key, b"", hmac::sign(other, b"").as_ref()).is_ok()
            }
            (Material::Ed25519(public), Material::Ed25519(other)) => public == other,
            _ => false,
        }
    }

    /// Whether this key made the signature of this text.
    pub(super) fn verifies(&self, text: &[u8], signature: &Signature) -> bool {
        match (&self.material, signature) {
            (Material::HmacSha256(key), Signature::HmacSha256(signature)) => {
                hmac::verify(key, text, signature).is_ok()
            }
            (Material::Ed25519(public), Signature::Ed25519(signature)) => {
                public.verify_strict(text, signature).is_ok()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A signature in its form; the form tells the algorithm.
pub(super) enum Signature {
    HmacSha256([u8; 32]),
    Ed25519(ed25519_dalek::Signature),
}

impl Signature {
    /// 64 lower-case hex digits, or 64 bytes in standard base64 with padding.
    pub(super) fn read(text: &str) -> Option<Self> {
        let hmac = decode(&HEXLOWER, text).map(Signature::HmacSha256);
        hmac.or_else(|| {
            let bytes: [u8; 64] = decode(&BASE64, text)?;
            Some(Signature::Ed25519(ed25519_dalek::Signature::from_bytes(&bytes)))
        })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Signature::HmacSha256(_) => Algorithm::HmacSha256,
            Signature::Ed25519(_) => Algorithm::Ed25519,
        }
    }
}

/// Keys of nobody, tried in place of the keys that an issuer does not have, for the time it takes.
#[derive(Clone)]
pub(super) struct Decoys {
    hmac: hmac::Key,
    ed25519: VerifyingKey,
}

impl Decoys {
    pub(super) fn new() -> Self {
        let secret = [0; MIN_SECRET_LEN];
        Self {
            hmac: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            ed25519: SigningKey::from_bytes(&secret).verifying_key(),
        }
    }

    /// Anybody can make a signature that fits, so nobody is told.
    pub(super) fn try_verify(&self, text: &[u8], signature: &Signature) {
        match signature {
            Signature::HmacSha256(signature) => {
                black_box(hmac::verify(&self.hmac, text, signature).is_ok());
            }
            Signature::Ed25519(signature) => {
                black_box(self.ed25519.verify_strict(text, signature).is_ok());
            }
        }
    }
}

/// What [`Key::hmac_from_text`] reads.
pub(super) fn hmac_key_from_text(text: &str) -> Result<hmac::Key, KeyError> {
    let text = text.trim();
    let secret = if let Some(hex) = text.strip_prefix("hex:") {
        HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| KeyError::Hex)?
    } else if let Some(base64) = text.strip_prefix("base64:") {
        BASE64.decode(base64.as_bytes()).map_err(|_| KeyError::Base64)?
    } else {
        return Err(KeyError::Prefix);
    };
    let secret = Zeroizing::new(secret);
    if secret.len() < MIN_SECRET_LEN {
        return Err(KeyError::TooShort(secret.len()));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &secret))
}

fn decode<const N: usize>(encoding: &data_encoding::Encoding, text: &str) -> Option<[u8; N]> {
    encoding.decode(text.as_bytes()).ok()?.try_into().ok()
}
