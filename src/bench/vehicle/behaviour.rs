//! How the autopilot answers each command: a table that starts out as what PX4 really does.

use std::collections::BTreeMap;
use std::time::Duration;

use mavlink::dialects::development::MavResult;

/// One COMMAND_ACK, `after` the command has been taken up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reply {
    pub result: MavResult,
    pub after: Duration,
}

/// What the autopilot does with a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// These answers and no action. None: silence, as PX4 shows where a driver is missing.
    Answers(Vec<Reply>),
    /// MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN: param1 chooses, the action follows the ACK.
    RebootShutdown,
    /// MAV_CMD_REQUEST_MESSAGE: param1 chooses, the ACK follows the message.
    RequestMessage,
}

/// Behaviour per MAV_CMD number; a command without an entry is UNSUPPORTED.
#[derive(Clone, Debug)]
pub struct Behaviours(BTreeMap<u32, Behaviour>);

impl Behaviours {
    /// PX4 1.18 with the camera_trigger driver, and no camera behind it.
    pub fn px4() -> Self {
        let mut behaviours = Self(BTreeMap::new());
        behaviours.set(80, Behaviour::accepted(Duration::ZERO));
        behaviours.set(203, Behaviour::accepted(Duration::from_millis(20)));
        behaviours.set(246, Behaviour::RebootShutdown);
        behaviours.set(512, Behaviour::RequestMessage);
        // MAV_CMD_REQUEST_CAMERA_INFORMATION is the camera's to answer: PX4 stays silent.
        behaviours.set(521, Behaviour::Answers(Vec::new()));
        behaviours
    }

    /// Replaces the behaviour for the command with this MAV_CMD number.
    pub fn set(&mut self, command: u32, behaviour: Behaviour) {
        self.0.insert(command, behaviour);
    }

    /// The behaviour for the command with this MAV_CMD number.
    pub fn get(&self, command: u32) -> Behaviour {
        self.0.get(&command).cloned().unwrap_or_else(Behaviour::unsupported)
    }
}

impl Behaviour {
    fn accepted(after: Duration) -> Self {
        Self::Answers(vec![Reply { result: MavResult::MAV_RESULT_ACCEPTED, after }])
    }

    fn unsupported() -> Self {
        let result = MavResult::MAV_RESULT_UNSUPPORTED;
        Self::Answers(vec![Reply { result, after: Duration::ZERO }])
    }
}
