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
    #[serde(default = "read_only", deserialize_with = "direction")]
    direction: Direction,
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
    let options = all
        .into_iter()
        .map(|RawForward { endpoint, direction }| ForwardOptions { endpoint, direction });
    Ok(options.collect())
}

/// Who only reads commands nothing.
fn read_only() -> Direction {
    Direction::Out
}

fn direction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Direction, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = [Direction::Out, Direction::Both].into_iter().find(|it| it.as_str() == text);
    known.ok_or_else(|| {
        de::Error::custom(format!("forward.direction: {text:?} is neither \"out\" nor \"both\""))
    })
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ForwardEndpoint, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| de::Error::custom(format!("forward.endpoint: {error}")))
}
