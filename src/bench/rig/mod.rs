//! What is measured: agents between one broker and their vehicles, and commands that go through them.
//!
//! One task on a current-thread runtime publishes and reads a single channel, which the publisher's
//! task and the vehicles' threads fill. Every instant is taken where the thing happens, on one clock.

mod craft;
mod flow;
mod kind;
mod process;
mod site;
mod stand_in;
mod station;
mod stream;
mod traces;

pub use craft::Make;
pub use flow::{Pace, Plan, Sample};
pub use kind::Kind;
pub use process::{processor_time, resident_bytes};
pub use site::{RigError, Site, SiteOptions};
pub use stand_in::Line;
