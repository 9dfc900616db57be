//! MAV_RESULT: what a vehicle answers to a command. A raw number, since it may be one that the dialect does
//! not know.

use std::borrow::Cow;

pub const ACCEPTED: u8 = 0;
pub const TEMPORARILY_REJECTED: u8 = 1;
pub const DENIED: u8 = 2;
pub const UNSUPPORTED: u8 = 3;
pub const FAILED: u8 = 4;
/// The only one with a progress.
pub const IN_PROGRESS: u8 = 5;
pub const CANCELLED: u8 = 6;
/// The form is refused, not the command: it is to come as COMMAND_LONG.
pub const COMMAND_LONG_ONLY: u8 = 7;
/// The same, as COMMAND_INT.
pub const COMMAND_INT_ONLY: u8 = 8;
pub const COMMAND_UNSUPPORTED_MAV_FRAME: u8 = 9;
pub const NOT_IN_CONTROL: u8 = 10;

/// The name, `MAV_RESULT_<n>` for a number that the dialect does not know.
pub fn result_name(result: u8) -> Cow<'static, str> {
    let name = match result {
        ACCEPTED => "MAV_RESULT_ACCEPTED",
        TEMPORARILY_REJECTED => "MAV_RESULT_TEMPORARILY_REJECTED",
        DENIED => "MAV_RESULT_DENIED",
        UNSUPPORTED => "MAV_RESULT_UNSUPPORTED",
        FAILED => "MAV_RESULT_FAILED",
        IN_PROGRESS => "MAV_RESULT_IN_PROGRESS",
        CANCELLED => "MAV_RESULT_CANCELLED",
        COMMAND_LONG_ONLY => "MAV_RESULT_COMMAND_LONG_ONLY",
        COMMAND_INT_ONLY => "MAV_RESULT_COMMAND_INT_ONLY",
        COMMAND_UNSUPPORTED_MAV_FRAME => "MAV_RESULT_COMMAND_UNSUPPORTED_MAV_FRAME",
        NOT_IN_CONTROL => "MAV_RESULT_NOT_IN_CONTROL",
        unknown => return Cow::Owned(format!("MAV_RESULT_{unknown}")),
    };
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use mavlink::dialects::development::MavResult;

    use super::*;

    #[test]
    fn result_names_are_those_of_the_dialect() {
        let known = [
            MavResult::MAV_RESULT_ACCEPTED,
            MavResult::MAV_RESULT_TEMPORARILY_REJECTED,
            MavResult::MAV_RESULT_DENIED,
            MavResult::MAV_RESULT_UNSUPPORTED,
            MavResult::MAV_RESULT_FAILED,
            MavResult::MAV_RESULT_IN_PROGRESS,
            MavResult::MAV_RESULT_CANCELLED,
            MavResult::MAV_RESULT_COMMAND_LONG_ONLY,
            MavResult::MAV_RESULT_COMMAND_INT_ONLY,
            MavResult::MAV_RESULT_COMMAND_UNSUPPORTED_MAV_FRAME,
            MavResult::MAV_RESULT_NOT_IN_CONTROL,
        ];
        for result in known {
            assert_eq!(result_name(result as u8), format!("{result:?}"));
        }
        assert_eq!(result_name(11), "MAV_RESULT_11");
        assert_eq!(result_name(255), "MAV_RESULT_255");
    }
}
