//! The vehicle at the end of a line: the simulated PX4, or a stand-in that answers at once.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::stand_in::{Line, StandIn};
use crate::bench::pty::Pty;
use crate::bench::vehicle::{Behaviours, Event, Px4, Vehicle};

/// What a vehicle saw or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of a command's frame has arrived.
    Frame { command: u16, bytes: usize },
    /// Its COMMAND_ACK goes out now.
    Answered { command: u16 },
}

/// Which vehicle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    Px4,
    StandIn(Line),
}

/// Dropping it switches it off.
pub enum Craft {
    Px4 { _vehicle: Vehicle },
    StandIn(StandIn),
}

impl Craft {
    /// `on_event` runs on the vehicle's thread.
    pub fn start(
        make: Make,
        pty: Arc<Pty>,
        mut on_event: impl FnMut(Instant, Seen) + Send + 'static,
    ) -> io::Result<Self> {
        match make {
            Make::StandIn(line) => StandIn::start(pty, line, on_event).map(Self::StandIn),
            Make::Px4 => {
                let px4 = Px4::new(Instant::now(), Behaviours::px4());
                let vehicle = Vehicle::start(pty, px4, move |event| {
                    if let Some(seen) = seen(&event) {
                        on_event(Instant::now(), seen);
                    }
                })?;
                Ok(Self::Px4 { _vehicle: vehicle })
            }
        }
    }

    pub fn stand_in(&self) -> Option<&StandIn> {
        match self {
            Self::StandIn(stand_in) => Some(stand_in),
            Self::Px4 { .. } => None,
        }
    }
}

fn seen(event: &Event) -> Option<Seen> {
    match event {
        Event::Command(frame) => {
            Some(Seen::Frame { command: frame.command as u16, bytes: frame.bytes.len() })
        }
        Event::Answered { command, .. } => Some(Seen::Answered { command: *command }),
        Event::Heartbeat { .. } | Event::Undecodable { .. } => None,
    }
}
