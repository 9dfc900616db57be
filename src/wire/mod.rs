//! PURE. Between bytes and the agent's own types: topics, JSON, MAVLink frames.

pub mod explanation;
pub mod grant;
pub mod inbound;
pub mod mavlink;
pub mod outbound;
pub mod request_body;
pub mod signature;
pub mod status;
pub mod topic;
mod unique;
