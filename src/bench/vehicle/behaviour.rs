//! How a component answers each command: tables that start out as what PX4 and a camera really do.

use std::collections::BTreeMap;
use std::time::Duration;

use mavlink::dialects::development::MavResult;

use super::px4::Form;

/// One COMMAND_ACK, `after` the command has been taken up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reply {
    /// The number of a MAV_RESULT; also one that no dialect knows.
    pub result: u8,
    pub after: Duration,
    /// Percent, with MAV_RESULT_IN_PROGRESS.
    pub progress: u8,
    /// The component that answers; `None`: the one that took the command up.
    pub component: Option<u8>,
    /// System and component that it is addressed to; `None`: the command's sender.
    pub target: Option<(u8, u8)>,
    /// Only the first half of the frame reaches the line.
    pub cut: bool,
}

/// What a component does with a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// These answers and no action. None: silence, as PX4 shows where a driver is missing.
    Answers(Vec<Reply>),
    /// The same in one form; the other is refused with COMMAND_LONG_ONLY or COMMAND_INT_ONLY.
    Only(Form, Vec<Reply>),
    /// MAV_CMD_COMPONENT_ARM_DISARM: param1 chooses.
    ArmDisarm,
    /// MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN: param1 chooses, the action follows the ACK.
    RebootShutdown,
    /// MAV_CMD_REQUEST_MESSAGE: param1 chooses, the ACK follows the message.
    RequestMessage,
}

/// Behaviour per MAV_CMD number; a command without an entry is UNSUPPORTED.
#[derive(Clone, Debug)]
pub struct Behaviours(BTreeMap<u32, Behaviour>);

impl Reply {
    /// An answer at once.
    pub fn new(result: MavResult) -> Self {
        Self {
            result: result as u8,
            after: Duration::ZERO,
            progress: 0,
            component: None,
            target: None,
            cut: false,
        }
    }
}

impl Behaviours {
    /// PX4 1.18 with the camera_trigger driver.
    pub fn px4() -> Self {
        let mut behaviours = Self(BTreeMap::new());
        // MAV_CMD_NAV_ROI, MAV_CMD_DO_SET_ROI_LOCATION, MAV_CMD_DO_SET_ROI
        for command in [80, 195, 201] {
            behaviours.set(command, Behaviour::accepted(Duration::ZERO));
        }
        behaviours.set(203, Behaviour::accepted(Duration::from_millis(20)));
        // MAV_CMD_DO_AUTOTUNE_ENABLE: no terminal answer has been seen.
        let in_progress = Reply::new(MavResult::MAV_RESULT_IN_PROGRESS);
        behaviours.set(212, Behaviour::Answers(vec![in_progress]));
        behaviours.set(246, Behaviour::RebootShutdown);
        behaviours.set(400, Behaviour::ArmDisarm);
        behaviours.set(512, Behaviour::RequestMessage);
        // MAV_CMD_REQUEST_CAMERA_INFORMATION is the camera's to answer: PX4 stays silent.
        behaviours.set(521, Behaviour::Answers(Vec::new()));
        behaviours
    }

    /// A MAVLink camera: takes pictures, and says what it is asked for.
    pub fn camera() -> Self {
        let mut behaviours = Self(BTreeMap::new());
        // MAV_CMD_REQUEST_CAMERA_INFORMATION, …_CAPTURE_STATUS, MAV_CMD_IMAGE_START_CAPTURE, …_STOP_…
        for command in [521, 527, 2000, 2001] {
            behaviours.set(command, Behaviour::accepted(Duration::from_millis(20)));
        }
        behaviours
    }

    /// Replaces the behaviour for the command with this MAV_CMD number.
    pub fn set(&mut self, command: u32, behaviour: Behaviour) {
        self.0.insert(command, behaviour);
    }

    /// Whether there is one for the command with this MAV_CMD number.
    pub fn knows(&self, command: u32) -> bool {
        self.0.contains_key(&command)
    }

    /// The behaviour for the command with this MAV_CMD number.
    pub fn get(&self, command: u32) -> Behaviour {
        self.0.get(&command).cloned().unwrap_or_else(Behaviour::unsupported)
    }
}

impl Behaviour {
    fn accepted(after: Duration) -> Self {
        Self::Answers(vec![Reply { after, ..Reply::new(MavResult::MAV_RESULT_ACCEPTED) }])
    }

    fn unsupported() -> Self {
        Self::Answers(vec![Reply::new(MavResult::MAV_RESULT_UNSUPPORTED)])
    }
}
