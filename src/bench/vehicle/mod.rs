//! A simulated PX4 at the far end of a line.
//!
//! [`Px4`] decides, without I/O; [`Vehicle`] is the thread that gives it a [`Line`] and a clock.

mod ack;
pub mod behaviour;
mod line;
mod network;
mod noise;
mod port;
pub mod px4;
mod signing;
mod stream;
mod thread;

pub use behaviour::{Behaviour, Behaviours, Reply};
pub use line::Line;
pub use network::{Tcp, Udp};
pub use px4::{AUTOPILOT, CAMERA, Camera, CommandFrame, Event, Form, Px4};
pub use signing::Signing;
pub use stream::Telemetry;
pub use thread::Vehicle;
