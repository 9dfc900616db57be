//! Adapters to the world outside. None imports another; only `daemon` knows them all.

pub mod api;
pub mod clock;
pub mod journal;
pub mod link;
pub mod log;
pub mod mqtt;
pub mod systemd;
