//! What somebody asks for, byte for byte, and the hash that it goes by.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Deref;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

/// A request as it was signed. It is hashed once, for its signature and its replies together, and
/// not before one of them asks: who has signed nothing is refused without.
#[derive(Clone, Debug)]
pub struct RequestBody<'bytes> {
    bytes: Cow<'bytes, [u8]>,
    sha256: OnceCell<String>,
}

impl<'bytes> RequestBody<'bytes> {
    pub fn new(bytes: impl Into<Cow<'bytes, [u8]>>) -> Self {
        Self { bytes: bytes.into(), sha256: OnceCell::new() }
    }

    /// See [`sha256`].
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| sha256(&self.bytes))
    }
}

impl Deref for RequestBody<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Lower-case hex, as error replies name a message and signatures cover a body.
pub fn sha256(body: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, body).as_ref())
}
