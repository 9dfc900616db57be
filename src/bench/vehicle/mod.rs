//! A simulated PX4 at the far end of a serial line.
//!
//! [`Px4`] decides, without I/O; [`Vehicle`] is the thread that gives it a line and a clock.

pub mod behaviour;
pub mod px4;
mod thread;

pub use behaviour::{Behaviour, Behaviours, Reply};
pub use px4::{CommandFrame, Event, Form, Px4};
pub use thread::Vehicle;
