//! What PX4's MAVLink module and commander do with a byte-exact frame, as a state machine without
//! I/O: time comes in as an argument, frames to send come out of [`Px4::poll`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mavlink::dialects::development::{
    ATTITUDE_DATA, AUTOPILOT_VERSION_DATA, COMMAND_ACK_DATA, COMMAND_INT_DATA, COMMAND_LONG_DATA,
    EXTENDED_SYS_STATE_DATA, HEARTBEAT_DATA, MavAutopilot, MavCmd, MavLandedState, MavMessage,
    MavModeFlag, MavResult, MavState, MavType, SYS_STATUS_DATA,
};
use mavlink::{MAVLinkMessageRaw, MAVLinkV2MessageRaw, MavHeader, Message as _, MessageData as _};

use super::behaviour::{Behaviour, Behaviours};

const SYSTEM_ID: u8 = 1;
/// MAV_COMP_ID_AUTOPILOT1.
const COMPONENT_ID: u8 = 1;
/// uORB queue of vehicle_command; what exceeds it is dropped without an ACK.
const QUEUE_DEPTH: usize = 8;
/// The commander runs at 100 Hz and then takes up all that is queued.
const COMMANDER_CYCLE: Duration = Duration::from_millis(10);
/// PX4 sends the ACK first and goes down after it.
const SHUTDOWN_DELAY: Duration = Duration::from_millis(400);
const BOOT_TIME: Duration = Duration::from_secs(4);

/// COMMAND_LONG or COMMAND_INT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Long,
    Int,
}

impl Form {
    /// The message's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Long => "COMMAND_LONG",
            Form::Int => "COMMAND_INT",
        }
    }
}

/// A command frame as it stood on the wire, whoever it was for.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandFrame {
    pub bytes: Vec<u8>,
    /// System and component id of the sender.
    pub source: (u8, u8),
    /// System and component id that the frame is addressed to.
    pub target: (u8, u8),
    pub form: Form,
    pub command: MavCmd,
    pub param1: f32,
    pub param7: f32,
}

/// What happened at the vehicle.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody else's HEARTBEAT arrived.
    Heartbeat { source: (u8, u8) },
    /// A COMMAND_LONG or COMMAND_INT arrived, for us or not, obeyed or not.
    Command(CommandFrame),
    /// A COMMAND_LONG or COMMAND_INT arrived that the dialect cannot decode.
    Undecodable { bytes: Vec<u8> },
    /// A COMMAND_ACK went out.
    Answered { command: MavCmd, result: MavResult },
}

/// A frame to send now.
pub struct Outgoing {
    pub bytes: Vec<u8>,
    pub event: Option<Event>,
}

/// An autopilot, system 1, component 1, disarmed on the ground.
pub struct Px4 {
    behaviours: Behaviours,
    booted: Instant,
    power: Power,
    queue: VecDeque<CommandFrame>,
    cycle: Option<Instant>,
    planned: Vec<(Instant, Planned)>,
    streams: Vec<Stream>,
    sequence: u8,
}

impl Px4 {
    pub fn new(now: Instant, behaviours: Behaviours) -> Self {
        Self {
            behaviours,
            booted: now,
            power: Power::On,
            queue: VecDeque::new(),
            cycle: None,
            planned: Vec::new(),
            streams: Stream::onboard(now),
            sequence: 0,
        }
    }

    /// Takes a frame from the line. The checksum has been verified.
    pub fn receive(&mut self, now: Instant, raw: &MAVLinkMessageRaw) -> Option<Event> {
        self.boot(now);
        let source = (u8::try_from(raw.system_id()).ok()?, raw.component_id());
        let is_command = matches!(raw.message_id(), COMMAND_LONG_DATA::ID | COMMAND_INT_DATA::ID);
        let message = MavMessage::parse(raw.version(), raw.message_id(), raw.payload());
        let frame = match message {
            Ok(MavMessage::HEARTBEAT(_)) => return Some(Event::Heartbeat { source }),
            Ok(MavMessage::COMMAND_LONG(long)) => CommandFrame {
                bytes: bytes(raw),
                source,
                target: (long.target_system, long.target_component),
                form: Form::Long,
                command: long.command,
                param1: long.param1,
                param7: long.param7,
            },
            Ok(MavMessage::COMMAND_INT(int)) => CommandFrame {
                bytes: bytes(raw),
                source,
                target: (int.target_system, int.target_component),
                form: Form::Int,
                command: int.command,
                param1: int.param1,
                param7: int.z,
            },
            Err(_) if is_command => return Some(Event::Undecodable { bytes: bytes(raw) }),
            Ok(_) | Err(_) => return None,
        };
        if self.power == Power::On && is_for_us(&frame) && self.queue.len() < QUEUE_DEPTH {
            self.queue.push_back(frame.clone());
            self.cycle.get_or_insert(now + COMMANDER_CYCLE);
        }
        Some(Event::Command(frame))
    }

    /// The next frame that is due, if any. Call until `None`, then wait until [`Px4::next_due`].
    pub fn poll(&mut self, now: Instant) -> Option<Outgoing> {
        self.boot(now);
        if self.cycle.is_some_and(|cycle| cycle <= now) {
            self.cycle = None;
            for frame in std::mem::take(&mut self.queue) {
                self.take_up(now, &frame);
            }
        }
        loop {
            let next = (0..self.planned.len()).min_by_key(|&index| self.planned[index].0);
            let Some(index) = next.filter(|&index| self.planned[index].0 <= now) else { break };
            match self.planned.remove(index).1 {
                Planned::Ack(ack) => {
                    let event = Event::Answered { command: ack.command, result: ack.result };
                    let bytes = self.encode(&MavMessage::COMMAND_ACK(ack));
                    return Some(Outgoing { bytes, event: Some(event) });
                }
                Planned::Message(message) => {
                    return Some(Outgoing { bytes: self.encode(&message), event: None });
                }
                Planned::PowerDown(until) => self.power_down(until),
            }
        }
        if self.power != Power::On {
            return None;
        }
        let stream = self.streams.iter_mut().find(|stream| stream.next <= now)?;
        stream.next += stream.every;
        let message = (stream.message)(now - self.booted);
        Some(Outgoing { bytes: self.encode(&message), event: None })
    }

    /// When [`Px4::poll`] has something to do again; `None` for a vehicle that is shut down.
    pub fn next_due(&self) -> Option<Instant> {
        match self.power {
            Power::Off => None,
            Power::RebootingUntil(up) => Some(up),
            Power::On => {
                let planned = self.planned.iter().map(|(due, _)| *due);
                let streams = self.streams.iter().map(|stream| stream.next);
                planned.chain(streams).chain(self.cycle).min()
            }
        }
    }

    fn take_up(&mut self, now: Instant, frame: &CommandFrame) {
        let replies = match self.behaviours.get(frame.command as u32) {
            Behaviour::Answers(replies) => replies,
            Behaviour::RebootShutdown => {
                let (result, action) = reboot_shutdown(now, frame);
                self.planned.extend(action);
                vec![super::Reply { result, after: Duration::ZERO }]
            }
            Behaviour::RequestMessage => {
                let message = requested(frame.param1, now - self.booted);
                let result = match message {
                    Some(_) => MavResult::MAV_RESULT_ACCEPTED,
                    None => MavResult::MAV_RESULT_DENIED,
                };
                self.planned.extend(message.map(|it| (now, Planned::Message(Box::new(it)))));
                vec![super::Reply { result, after: Duration::ZERO }]
            }
        };
        self.planned.extend(replies.into_iter().map(|reply| {
            let ack = COMMAND_ACK_DATA {
                command: frame.command,
                result: reply.result,
                target_system: frame.source.0,
                target_component: frame.source.1,
                ..COMMAND_ACK_DATA::DEFAULT
            };
            (now + reply.after, Planned::Ack(ack))
        }));
    }

    fn power_down(&mut self, power: Power) {
        self.power = power;
        self.queue.clear();
        self.planned.clear();
        self.cycle = None;
    }

    fn boot(&mut self, now: Instant) {
        if let Power::RebootingUntil(up) = self.power
            && up <= now
        {
            self.power = Power::On;
            self.booted = up;
            self.streams = Stream::onboard(up);
            self.sequence = 0;
        }
    }

    fn encode(&mut self, message: &MavMessage) -> Vec<u8> {
        let header = MavHeader {
            system_id: SYSTEM_ID.into(),
            component_id: COMPONENT_ID,
            sequence: self.sequence,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut raw = MAVLinkV2MessageRaw::new();
        raw.serialize_message(header, message);
        raw.raw_bytes().to_vec()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Power {
    On,
    RebootingUntil(Instant),
    Off,
}

enum Planned {
    Ack(COMMAND_ACK_DATA),
    Message(Box<MavMessage>),
    PowerDown(Power),
}

/// One message of PX4's onboard stream.
struct Stream {
    every: Duration,
    next: Instant,
    message: fn(Duration) -> MavMessage,
}

impl Stream {
    fn onboard(now: Instant) -> Vec<Self> {
        let every_second = Duration::from_secs(1);
        vec![
            Self { every: every_second, next: now, message: |_| heartbeat() },
            Self { every: every_second, next: now, message: |_| sys_status() },
            Self { every: every_second, next: now, message: |_| extended_sys_state() },
            Self { every: Duration::from_millis(50), next: now, message: attitude },
        ]
    }
}

/// PX4 listens to its own system id and component id and to both broadcasts, and drops frames that
/// claim to come from itself.
fn is_for_us(frame: &CommandFrame) -> bool {
    [0, SYSTEM_ID].contains(&frame.target.0)
        && [0, COMPONENT_ID].contains(&frame.target.1)
        && frame.source != (SYSTEM_ID, COMPONENT_ID)
}

/// Disarmed. PX4 reads param1 (0 nothing, 1 reboot, 2 shutdown, 3 bootloader) and refuses a force
/// code in param7.
fn reboot_shutdown(now: Instant, frame: &CommandFrame) -> (MavResult, Option<(Instant, Planned)>) {
    let down = now + SHUTDOWN_DELAY;
    let power = match frame.param1 {
        _ if frame.param7 != 0.0 && !frame.param7.is_nan() => {
            return (MavResult::MAV_RESULT_DENIED, None);
        }
        0.0 => return (MavResult::MAV_RESULT_ACCEPTED, None),
        1.0 => Power::RebootingUntil(down + BOOT_TIME),
        2.0 | 3.0 => Power::Off,
        _ => return (MavResult::MAV_RESULT_DENIED, None),
    };
    (MavResult::MAV_RESULT_ACCEPTED, Some((down, Planned::PowerDown(power))))
}

/// One of the messages that this vehicle has, by its id.
fn requested(id: f32, since_boot: Duration) -> Option<MavMessage> {
    let all = [heartbeat(), sys_status(), extended_sys_state(), attitude(since_boot), version()];
    all.into_iter().find(|message| message.message_id() as f32 == id)
}

fn version() -> MavMessage {
    MavMessage::AUTOPILOT_VERSION(AUTOPILOT_VERSION_DATA {
        // 1.18.0, a release (255).
        flight_sw_version: 0x0112_00ff,
        ..AUTOPILOT_VERSION_DATA::DEFAULT
    })
}

fn heartbeat() -> MavMessage {
    MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        custom_mode: 0,
        mavtype: MavType::MAV_TYPE_QUADROTOR,
        autopilot: MavAutopilot::MAV_AUTOPILOT_PX4,
        base_mode: MavModeFlag::MAV_MODE_FLAG_CUSTOM_MODE_ENABLED,
        system_status: MavState::MAV_STATE_STANDBY,
        mavlink_version: 3,
    })
}

fn sys_status() -> MavMessage {
    MavMessage::SYS_STATUS(SYS_STATUS_DATA {
        load: 320,
        voltage_battery: 15_900,
        current_battery: 110,
        battery_remaining: 87,
        ..SYS_STATUS_DATA::DEFAULT
    })
}

fn extended_sys_state() -> MavMessage {
    MavMessage::EXTENDED_SYS_STATE(EXTENDED_SYS_STATE_DATA {
        landed_state: MavLandedState::MAV_LANDED_STATE_ON_GROUND,
        ..EXTENDED_SYS_STATE_DATA::DEFAULT
    })
}

fn attitude(since_boot: Duration) -> MavMessage {
    MavMessage::ATTITUDE(ATTITUDE_DATA {
        time_boot_ms: since_boot.as_millis() as u32,
        roll: 0.01,
        pitch: -0.02,
        yaw: 1.57,
        ..ATTITUDE_DATA::DEFAULT
    })
}

fn bytes(raw: &MAVLinkMessageRaw) -> Vec<u8> {
    match raw {
        MAVLinkMessageRaw::V1(raw) => raw.raw_bytes().to_vec(),
        MAVLinkMessageRaw::V2(raw) => raw.raw_bytes().to_vec(),
    }
}

#[cfg(test)]
#[path = "px4_tests.rs"]
#[expect(deprecated, reason = "publishers still send commands that MAVLink has superseded")]
mod tests;
