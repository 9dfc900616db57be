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
    /// The extra ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ExtraLinkStatus>,
    pub forwards: Vec<ForwardStatus>,
    pub broker: BrokerStatus,
    pub clock: ClockStatus,
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
pub struct ExtraLinkStatus {
    pub name: String,
    /// `closed`, `open` (a component sends no heartbeat) or `ready`.
    pub state: String,
    pub endpoint: String,
}

/// One who shares the line; counts since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardStatus {
    pub endpoint: String,
    /// `out` or `both`.
    pub direction: String,
    /// Somebody listens, or is believed to.
    pub has_peer: bool,
    /// Frames of the vehicle.
    pub to_peer: u64,
    /// Frames of the vehicle that the peer was too slow for.
    pub to_peer_dropped: u64,
    /// Frames of the peer.
    pub to_vehicle: u64,
    /// Frames of the peer that the line had no time for.
    pub to_vehicle_dropped: u64,
    /// Frames of the peer with our own address, or that `direction` keeps out.
    pub refused: u64,
    /// Bytes of the peer that were no frame.
    pub garbage_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerStatus {
    pub connected: bool,
    /// `HOST:PORT`
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
