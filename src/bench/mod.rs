//! The bench: both ends that an agent works between, without hardware and without a cloud.
//!
//! `vehicle` is a PX4 on a pty, `broker` an embedded MQTT broker, `client` a cloud publisher, `agent`
//! the real daemon in a process of its own, so that it can be killed. `demo` shows the way of
//! five commands with them, `scenarios` plays what files say, `standalone` is the vehicle alone.
//! `rig` puts them together for measurements: `load` of many commands, a `fleet` of many vehicles,
//! `perf` against the floor of the same machine.

pub mod agent;
pub mod broker;
pub mod client;
mod clock;
pub mod demo;
pub mod fleet;
mod issuer;
pub mod load;
mod measurement;
mod output;
pub mod perf;
pub mod pty;
mod relay;
mod rig;
pub mod scenarios;
mod signals;
pub mod standalone;
pub mod vehicle;

/// Exit code: 128 + SIGINT, as a shell reports it.
const INTERRUPTED: u8 = 130;
