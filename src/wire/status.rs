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
    /// Every frame of ours is, and of those of others only signed ones count.
    pub signed: bool,
    pub counters: LinkCounters,
    /// `SYSTEM/COMPONENT` of autopilots that are not the target; nothing that they say counts.
    pub other_autopilots: Vec<String>,
}

/// What came over the link since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkCounters {
    pub bytes: u64,
    /// Intact frames; of these `mavlink_1` are of version 1, and `foreign` of other systems than the
    /// target.
    pub frames: u64,
    pub mavlink_1: u64,
    pub foreign: u64,
    /// Bytes of no known frame, and what in them looked like one.
    pub skipped_bytes: u64,
    pub bad_checksum: u64,
    pub unknown_message: u64,
    pub unknown_flags: u64,
    /// With a signing key: HEARTBEATs, COMMAND_ACKs and telemetry that did not count, by why.
    pub unsigned: u64,
    pub bad_signature: u64,
    pub replayed: u64,
    pub stale: u64,
}

impl LinkCounters {
    /// All but the totals, by name.
    pub fn classes(&self) -> [(&'static str, u64); 10] {
        [
            ("mavlink_1", self.mavlink_1),
            ("foreign", self.foreign),
            ("skipped_bytes", self.skipped_bytes),
            ("bad_checksum", self.bad_checksum),
            ("unknown_message", self.unknown_message),
            ("unknown_flags", self.unknown_flags),
            ("unsigned", self.unsigned),
            ("bad_signature", self.bad_signature),
            ("replayed", self.replayed),
            ("stale", self.stale),
        ]
    }
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
