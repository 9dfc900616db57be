//! What must hold whatever bytes come in: one function for each kind of them.
//!
//! Built for the fuzzer (`cargo fuzz` sets `cfg(fuzzing)`) and for the tests, which replay the corpus
//! in `fuzz/corpus` and mutations of it. A function panics where a promise is broken, and says whether
//! the bytes were accepted.

mod catalog;
mod content;
mod mavlink;
mod query;
#[cfg(test)]
mod replay;
mod request;
mod signature;
mod topic;

use serde_json::Value;

pub use crate::config::fuzz::config;
pub use crate::edge::journal::fuzz::journal;
pub use catalog::catalog;
pub use mavlink::mavlink;
pub use query::query;
pub use request::request;
pub use signature::signature;
pub use topic::topic;

use crate::lifecycle::effect::ErrorReply;
use crate::wire::outbound;
use crate::wire::request_body::sha256;

const API_ID: &str = "cloud";
const DEVICE_ID: &str = "px4-real-1";
/// Bytes of an error reply beyond those of the message, whose `request_id` it repeats.
const MAX_REFUSAL: usize = 64 * 1024;

/// An error reply says what is wrong with which message, and is not much larger.
fn check_refusal(body: &[u8], refusal: &ErrorReply) {
    assert!(!refusal.violations.is_empty());
    assert_eq!(refusal.request_sha256, sha256(body));
    let reply = outbound::error(refusal);
    assert!(reply.len() <= body.len() + MAX_REFUSAL, "{} bytes for {}", reply.len(), body.len());
    let reply: Value = serde_json::from_slice(&reply).expect("it is JSON");
    assert!(reply["error"]["code"].is_string());
    assert_ne!(reply["error"]["message"], "");
}
