//! One command as numbers: what the journal keeps and the wire sends.

use serde::{Deserialize, Serialize};

use super::Transport;

/// One command as numbers, independent of JSON and of the table that made it: a journaled command
/// stays what it was when the table changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoded {
    /// The MAV_CMD number.
    pub command: u16,
    /// The command's own form.
    pub transport: Transport,
    /// MAV_FRAME; means something in COMMAND_INT only.
    pub frame: u8,
    /// The factor of COMMAND_INT's x and y: 1e7 for degrees, 1e4 for metres, 1 for neither.
    pub int_scale: u32,
    /// As the publisher wrote them, locations in degrees or metres; `None` is unset.
    pub params: [Option<f64>; 7],
}

/// The params of COMMAND_LONG.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongParams(pub [f32; 7]);

/// The params of COMMAND_INT.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntParams {
    pub param1: f32,
    pub param2: f32,
    pub param3: f32,
    pub param4: f32,
    /// Param 5: degrees * 1e7, metres * 1e4, or a plain integer.
    pub x: i32,
    /// Param 6, like `x`.
    pub y: i32,
    /// Param 7.
    pub z: f32,
}

impl Encoded {
    /// As COMMAND_LONG; unset is NaN. Degrees lose digits: a float holds them to about a metre.
    pub fn long(&self) -> LongParams {
        LongParams(self.params.map(float))
    }

    /// As COMMAND_INT; unset is NaN, and INT32_MAX in x and y. `None` when x or y cannot be sent so:
    /// not whole in a command without a location, or too large.
    pub fn int(&self) -> Option<IntParams> {
        let [param1, param2, param3, param4, x, y, z] = self.params;
        Some(IntParams {
            param1: float(param1),
            param2: float(param2),
            param3: float(param3),
            param4: float(param4),
            x: integer(x, self.int_scale)?,
            y: integer(y, self.int_scale)?,
            z: float(z),
        })
    }

    /// Whether it means another place in COMMAND_LONG, which names no frame: PX4 takes what it holds as
    /// MAV_FRAME_GLOBAL.
    pub fn needs_frame(&self) -> bool {
        const GLOBAL: u8 = 0;
        const GLOBAL_INT: u8 = 5;
        !matches!(self.frame, GLOBAL | GLOBAL_INT)
    }

    /// Whether both put the same frame on the wire in the command's own form.
    pub fn same_content(&self, other: &Encoded) -> bool {
        if (self.command, self.transport) != (other.command, other.transport) {
            return false;
        }
        match self.transport {
            Transport::CommandLong => {
                std::iter::zip(self.long().0, other.long().0).all(|(a, b)| same(a, b))
            }
            Transport::CommandInt => {
                let (Some(a), Some(b)) = (self.int(), other.int()) else { return self == other };
                self.frame == other.frame
                    && (a.x, a.y) == (b.x, b.y)
                    && std::iter::zip(a.floats(), b.floats()).all(|(a, b)| same(a, b))
            }
        }
    }
}

impl IntParams {
    fn floats(self) -> [f32; 5] {
        [self.param1, self.param2, self.param3, self.param4, self.z]
    }
}

fn float(param: Option<f64>) -> f32 {
    param.map_or(f32::NAN, |value| value as f32)
}

fn integer(param: Option<f64>, scale: u32) -> Option<i32> {
    let Some(value) = param else { return Some(i32::MAX) };
    let scaled = match scale {
        // Not a quantity to round: half an index is no index.
        1 => (value.fract() == 0.0).then_some(value)?,
        scale => (value * f64::from(scale)).round(),
    };
    // INT32_MAX itself would read as unset.
    (scaled >= f64::from(i32::MIN) && scaled < f64::from(i32::MAX)).then_some(scaled as i32)
}

fn same(a: f32, b: f32) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}
