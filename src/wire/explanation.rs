//! JSON of what the guard would say to a request, for the local API.

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::guard::explain::{Layer, Verdict};

/// What is asked: a request as it would be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// The payload of the message, signed by an envelope or not at all.
    pub request: String,
    /// On whose topic; `None`: whoever has signed the envelope.
    pub issuer: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub issuer: String,
    pub command_type: String,
    /// In the order in which they are asked; the first refusal is the command's.
    pub layers: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub layer: String,
    /// `passes`, `refuses` or `not asked`.
    pub verdict: String,
    /// Of a refusal.
    pub code: Option<Code>,
    pub message: Option<String>,
}

impl Finding {
    pub fn of(layer: Layer, verdict: Verdict) -> Self {
        let (verdict, refusal) = match verdict {
            Verdict::Passes => ("passes", None),
            Verdict::Refuses(refusal) => ("refuses", Some(refusal)),
            Verdict::NotAsked => ("not asked", None),
        };
        Self {
            layer: layer.as_str().to_owned(),
            verdict: verdict.to_owned(),
            code: refusal.as_ref().map(|refusal| refusal.code),
            message: refusal.map(|refusal| refusal.message),
        }
    }
}
