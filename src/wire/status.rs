//! JSON of the agent's own state, as the local API tells it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::grant::Grant;
use crate::lifecycle::time::Timestamp;

/// How the agent is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub vendor: String,
    pub device_id: String,
    pub version: String,
    /// Names this run of the agent.
    pub session: Uuid,
    /// `disabled` or `guarded`.
    pub guard_mode: String,
    pub link: LinkStatus,
    pub broker: BrokerStatus,
    pub clock: ClockStatus,
    /// To be signed when the clock cannot be trusted, as presence tells it.
    pub challenge: String,
    pub commands: CommandCounts,
    pub grants: Vec<Grant>,
    /// Since the start, by code.
    pub refusals: BTreeMap<String, u64>,
    pub catalog_hash: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// `closed`, `open` (no heartbeat) or `ready`.
    pub state: String,
    pub endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerStatus {
    pub connected: bool,
    /// `mqtts://HOST:PORT`: the one in use, or, without a connection, all that are tried, with commas.
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockStatus {
    pub trusted: bool,
    pub time: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandCounts {
    /// Accepted, waiting for their turn.
    pub queued: usize,
    /// Sent, waiting for the vehicle.
    pub outstanding: usize,
    /// Lifecycle updates that the broker has not acknowledged.
    pub unpublished: usize,
}
