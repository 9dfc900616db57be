//! `downlinkd`: command JSON over MQTT or HTTP in, one MAVLink frame out, the COMMAND_ACK's meaning
//! back.
//!
//! The way of one command, from file to file:
//!
//! ```text
//!   edge/mqtt        PUBLISH arrives, its PUBACK is withheld; or, with its response,
//!   edge/api         POST does, and goes the same way
//!   daemon           one loop: inputs in, one commit, effects out
//!   wire/topic       whose it is            guard           may they speak at all
//!   wire/inbound     JSON -> request        catalog         names and numbers -> parameters
//!   lifecycle/engine intake                 guard           may this command go
//!   edge/journal     ACCEPTED and "a frame may be out" are durable
//!   wire/mavlink     the frame              edge/link       written and drained
//!   edge/mqtt        PUBACK, create reply, ACCEPTED, then DELIVERED
//!   edge/link        bytes -> frames        wire/mavlink    COMMAND_ACK
//!   lifecycle/engine answer
//!   edge/journal     the outcome is durable
//!   wire/outbound    SUCCEEDED as JSON      edge/mqtt       published until the broker has it
//! ```
//!
//! `catalog`, `guard`, `lifecycle` and `wire` are pure: no clock, file, socket or log; time comes in
//! as an argument. The engine is told what happened, then asked what to do and until when to sleep:
//! [`lifecycle::engine`] has the contract.

#[cfg(feature = "bench")]
pub mod bench;
pub mod catalog;
#[cfg(test)]
mod chance;
pub mod cli;
pub mod code;
pub mod config;
pub mod daemon;
pub mod edge;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod guard;
pub mod lifecycle;
pub mod wire;
