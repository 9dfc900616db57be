//! The bench: both ends that an agent works between, without hardware and without a cloud.
//!
//! `vehicle` is a PX4 on a pty, `broker` an embedded MQTT broker, `client` a cloud publisher, `agent`
//! the real daemon in a process of its own, so that it can be killed. `demo` shows the way of
//! five commands with them, `scenarios` plays what files say, `standalone` is the vehicle alone.

pub mod agent;
pub mod broker;
pub mod client;
pub mod demo;
pub mod pty;
mod relay;
pub mod scenarios;
pub mod standalone;
pub mod vehicle;
