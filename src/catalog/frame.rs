//! Which MAV_FRAME a command's location may be in, and how COMMAND_INT scales it.

use super::table::MAV_FRAME;
use super::{Command, Entry};
use crate::code::{Code, Violation};

/// What a command's param 5 to 7 are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// No location.
    None,
    /// Latitude and longitude, by name.
    Geographic,
    /// Whatever the frame says.
    Framed,
    /// Metres, by definition.
    Local,
}

/// A MAV_FRAME that a location can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub number: u8,
    pub system: System,
}

/// What a location's coordinates are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Degrees; 1e-7 in COMMAND_INT.
    Global,
    /// Metres; 1e-4 in COMMAND_INT.
    Local,
}

impl System {
    /// The factor of COMMAND_INT's x and y.
    pub(super) fn scale(self) -> u32 {
        match self {
            System::Global => 10_000_000,
            System::Local => 10_000,
        }
    }

    /// The range of param 5 and 6: a coordinate on Earth, or what x and y can hold.
    pub(super) fn limit(self, param: u8) -> f64 {
        match (self, param) {
            (System::Global, 5) => 90.0,
            (System::Global, _) => 180.0,
            // INT32_MAX itself means unset.
            (System::Local, _) => f64::from(i32::MAX - 1) / 1e4,
        }
    }
}

impl Command {
    /// The frames that a request may name, and what coordinates are in each; none without location.
    pub fn frames(&self) -> impl Iterator<Item = (&'static Entry, System)> + '_ {
        MAV_FRAME.entries.iter().filter_map(|entry| Some((entry, self.admits(entry)?.system)))
    }

    /// The frame of a request that names none; `None` without location.
    pub fn default_frame(&self) -> Option<&'static Entry> {
        let assumed = self.assumed_frame()?;
        self.frames().map(|(entry, _)| entry).find(|entry| entry.value == u32::from(assumed.number))
    }

    /// The coordinate systems that the location may be in, the default frame's first; none without
    /// location.
    pub fn systems(&self) -> impl Iterator<Item = System> + '_ {
        let admits = |system| self.frames().any(|(_, admitted)| admitted == system);
        [System::Global, System::Local].into_iter().filter(move |system| admits(*system))
    }

    /// The frame of a request: the named one, or what the command assumes. `None` without location.
    pub(super) fn frame(&self, name: Option<&str>) -> Result<Option<Frame>, Violation> {
        let Some(name) = name else { return Ok(self.assumed_frame()) };
        if self.location == Location::None {
            let message =
                format!("frame: {} has no location, so it takes no frame", self.command_type);
            return Err(Violation::new(Code::RequestUnknownField, "frame", message));
        }
        let named = MAV_FRAME.entries.iter().find(|entry| entry.name == name);
        match named.and_then(|entry| self.admits(entry)) {
            Some(frame) => Ok(Some(frame)),
            None => {
                let allowed: Vec<String> = self
                    .frames()
                    .map(|(entry, _)| format!("{} ({})", entry.name, entry.value))
                    .collect();
                let message = format!(
                    "frame: {:?} is no frame for the location of {}; allowed: {}",
                    super::check::shorten(name),
                    self.command_type,
                    allowed.join(", ")
                );
                Err(Violation::new(Code::RequestOutOfRange, "frame", message))
            }
        }
    }

    fn assumed_frame(&self) -> Option<Frame> {
        match self.location {
            Location::None => None,
            // PX4 assumes MAV_FRAME_GLOBAL.
            Location::Geographic | Location::Framed => {
                Some(Frame { number: 0, system: System::Global })
            }
            Location::Local => Some(Frame { number: 1, system: System::Local }),
        }
    }

    fn admits(&self, entry: &Entry) -> Option<Frame> {
        let number = u8::try_from(entry.value).ok()?;
        let system = system(number)?;
        let admitted = match self.location {
            Location::None => false,
            Location::Geographic => system == System::Global,
            Location::Framed => true,
            Location::Local => system == System::Local,
        };
        admitted.then_some(Frame { number, system })
    }
}

/// `None` for MAV_FRAME_MISSION, which is no coordinate frame, and for the reserved numbers.
fn system(number: u8) -> Option<System> {
    match number {
        0 | 3 | 5 | 6 | 10 | 11 => Some(System::Global),
        1 | 4 | 7 | 8 | 9 | 12 | 20 | 21 => Some(System::Local),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_of_the_xml_is_sorted() {
        for entry in MAV_FRAME.entries {
            let number = u8::try_from(entry.value).unwrap();
            let expected = match entry.name {
                "MAV_FRAME_MISSION" => None,
                name if name.contains("RESERVED") => None,
                name if name.contains("GLOBAL") => Some(System::Global),
                name if name.contains("LOCAL") || name.contains("BODY") => Some(System::Local),
                name => panic!("{name} is new: is it global or local?"),
            };
            assert_eq!(system(number), expected, "{}", entry.name);
        }
    }
}
