//! PURE: between bytes and the agent's own types.

pub mod mavlink;
