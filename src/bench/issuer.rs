//! Who publishes: a key made by keygen, and what is signed with it.

use std::fs;
use std::io;
use std::path::Path;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::agent::{self, AgentError};
use super::clock::unix_time;
use crate::guard::authentication::signer::{Occasion, Signer, SignerError};
use crate::wire::signature::MQTT;

/// Of the one key that an issuer of the bench has.
pub const KID: &str = "1";

#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("failed to read keygen's key: {0}")]
    Read(#[source] io::Error),
    #[error("keygen's key cannot be used: {0}")]
    Key(#[from] SignerError),
}

pub struct Issuer {
    /// For an agent's configuration, as keygen printed them.
    pub lines: String,
    pub signer: Signer,
}

impl Issuer {
    /// The key lies in `folder`, as [`key_file`] names it.
    pub fn make(api_id: &str, folder: &Path) -> Result<Self, IssuerError> {
        let lines = agent::keygen(api_id, KID, folder)?;
        let secret = fs::read_to_string(folder.join(key_file(api_id)));
        let secret = Zeroizing::new(secret.map_err(IssuerError::Read)?);
        Ok(Self { lines, signer: Signer::from_text(api_id, Some(KID), &secret)? })
    }
}

/// The name that keygen gives to an issuer's key.
pub fn key_file(api_id: &str) -> String {
    format!("{api_id}-{KID}.hmac")
}

/// The signed envelope of a body. `nonce`: a fresh one unless given; `challenge`: from presence.
pub fn envelope(
    signer: &Signer,
    topic: &str,
    body: &str,
    nonce: Option<&str>,
    challenge: Option<&str>,
) -> String {
    let fresh = Uuid::new_v4().simple().to_string();
    let nonce = nonce.unwrap_or(&fresh);
    let timestamp = unix_time().as_secs();
    let occasion = Occasion { method: MQTT, path: topic, timestamp, nonce, challenge };
    signer.sign(body.as_bytes(), occasion).envelope(body)
}
