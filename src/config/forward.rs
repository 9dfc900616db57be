//! `[[forward]]`: who shares the line to the vehicle.

use serde::{Deserialize, Deserializer, de};

use super::{Mistake, value};
use crate::edge::link::{Direction, ForwardEndpoint, ForwardOptions};

/// Each has a task and its buffers.
const MAX_FORWARDS: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawForward {
    #[serde(deserialize_with = "endpoint")]
    endpoint: ForwardEndpoint,
    #[serde(default)]
    direction: RawDirection,
}

/// Reading commands nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDirection {
    #[default]
    Out,
    Both,
}

pub fn check(all: Vec<RawForward>) -> Result<Vec<ForwardOptions>, Mistake> {
    let wrong = |message| Err(value("forward", "endpoint", message));
    if all.len() > MAX_FORWARDS {
        return wrong(format!("{} are too many; at most {MAX_FORWARDS} are served", all.len()));
    }
    for (at, forward) in all.iter().enumerate() {
        if all[..at].iter().any(|earlier| earlier.endpoint == forward.endpoint) {
            return wrong(format!("{} is there twice", forward.endpoint));
        }
    }
    let options = all.into_iter().map(|RawForward { endpoint, direction }| ForwardOptions {
        endpoint,
        direction: match direction {
            RawDirection::Out => Direction::Out,
            RawDirection::Both => Direction::Both,
        },
    });
    Ok(options.collect())
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ForwardEndpoint, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| de::Error::custom(format!("forward.endpoint: {error}")))
}
