//! What PX4's MAVLink module and commander do with a byte-exact frame, and a camera behind it, as a
//! state machine without I/O: time comes in as an argument, frames to send come out of [`Px4::poll`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use mavlink::dialects::development::{
    COMMAND_INT_DATA, COMMAND_LONG_DATA, MavCmd, MavMessage, MavResult,
};
use mavlink::{MAVLinkMessageRaw, MAVLinkV2MessageRaw, MavHeader, Message as _, MessageData};

use serde::Deserialize;

use super::ack::CommandAck;
use super::behaviour::{Behaviour, Behaviours, Reply};
use super::signing::Signing;
use super::stream::{State, Stream, Telemetry, heartbeat, requested};

const SYSTEM_ID: u8 = 1;
/// MAV_COMP_ID_AUTOPILOT1.
pub const AUTOPILOT: u8 = 1;
/// MAV_COMP_ID_CAMERA.
pub const CAMERA: u8 = 100;
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
    /// COMMAND_INT's x and y as the integers that they are.
    pub params: [f64; 7],
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
    /// A COMMAND_ACK went out: the numbers of its MAV_CMD and its MAV_RESULT.
    Answered { command: u16, result: u8 },
}

/// A frame to send now.
pub struct Outgoing {
    pub bytes: Vec<u8>,
    pub event: Option<Event>,
}

/// Where a camera is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Camera {
    #[default]
    Absent,
    /// At another port of PX4, which forwards nothing to it: as delivered (MAV_1_FORWARD is 0).
    Unforwarded,
    /// There, and PX4 forwards.
    Forwarded,
}

/// An autopilot, system 1, component 1, disarmed on the ground.
pub struct Px4 {
    behaviours: Behaviours,
    camera: Camera,
    camera_behaviours: Behaviours,
    telemetry: Telemetry,
    signing: Option<Signing>,
    armed: bool,
    streaming: bool,
    booted: Instant,
    power: Power,
    /// With what was to be done with each when it came.
    queue: VecDeque<(CommandFrame, Behaviour)>,
    cycle: Option<Instant>,
    planned: Vec<(Instant, Planned)>,
    streams: Vec<Stream>,
    /// Of each component.
    sequences: BTreeMap<u8, u8>,
}

impl Px4 {
    pub fn new(now: Instant, behaviours: Behaviours) -> Self {
        Self {
            behaviours,
            camera: Camera::default(),
            camera_behaviours: Behaviours::camera(),
            telemetry: Telemetry::default(),
            signing: None,
            armed: false,
            streaming: true,
            booted: now,
            power: Power::On,
            queue: VecDeque::new(),
            cycle: None,
            planned: Vec::new(),
            streams: Stream::of_autopilot(now, Telemetry::default()),
            sequences: BTreeMap::new(),
        }
    }

    pub fn with_telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self.start_streams(self.booted);
        self
    }

    pub fn with_camera(mut self, camera: Camera) -> Self {
        self.camera = camera;
        self.start_streams(self.booted);
        self
    }

    /// From now on only what is signed counts.
    pub fn with_signing(mut self, signing: Signing) -> Self {
        self.signing = Some(signing);
        self
    }

    /// Replaces what the autopilot does with commands of this MAV_CMD number that come from now on.
    pub fn set_behaviour(&mut self, command: u32, behaviour: Behaviour) {
        self.behaviours.set(command, behaviour);
    }

    /// Arms or disarms, and says so at once.
    pub fn set_armed(&mut self, now: Instant, armed: bool) {
        self.armed = armed;
        if self.streaming {
            let heartbeat = heartbeat(&self.state(now));
            self.planned.push((now, Planned::Message(Box::new(heartbeat))));
        }
    }

    /// Whether it streams; without, it only answers.
    pub fn set_streaming(&mut self, now: Instant, streaming: bool) {
        self.streaming = streaming;
        self.start_streams(now);
    }

    /// Answers the command of this MAV_CMD number and of `sender` now, whether it came or not.
    pub fn acknowledge(&mut self, now: Instant, command: u16, sender: (u8, u8), reply: Reply) {
        self.plan(now, AUTOPILOT, command, sender, [reply]);
    }

    /// Takes a frame from the line. The checksum has been verified.
    pub fn receive(&mut self, now: Instant, raw: &MAVLinkMessageRaw) -> Option<Event> {
        self.boot(now);
        let source = (u8::try_from(raw.system_id()).ok()?, raw.component_id());
        let is_admitted = self.signing.as_mut().is_none_or(|signing| signing.admits(raw));
        let is_command = matches!(raw.message_id(), COMMAND_LONG_DATA::ID | COMMAND_INT_DATA::ID);
        let message = MavMessage::parse(raw.version(), raw.message_id(), raw.payload());
        let frame = match message {
            Ok(MavMessage::HEARTBEAT(_)) => return Some(Event::Heartbeat { source }),
            Ok(MavMessage::COMMAND_LONG(it)) => CommandFrame {
                bytes: bytes(raw),
                source,
                target: (it.target_system, it.target_component),
                form: Form::Long,
                command: it.command,
                params: [
                    it.param1, it.param2, it.param3, it.param4, it.param5, it.param6, it.param7,
                ]
                .map(f64::from),
            },
            Ok(MavMessage::COMMAND_INT(it)) => CommandFrame {
                bytes: bytes(raw),
                source,
                target: (it.target_system, it.target_component),
                form: Form::Int,
                command: it.command,
                params: [
                    it.param1.into(),
                    it.param2.into(),
                    it.param3.into(),
                    it.param4.into(),
                    it.x.into(),
                    it.y.into(),
                    it.z.into(),
                ],
            },
            Err(_) if is_command => return Some(Event::Undecodable { bytes: bytes(raw) }),
            Ok(_) | Err(_) => return None,
        };
        if is_admitted && self.power == Power::On {
            self.deliver(now, &frame);
        }
        Some(Event::Command(frame))
    }

    /// The next frame that is due, if any. Call until `None`, then wait until [`Px4::next_due`].
    pub fn poll(&mut self, now: Instant) -> Option<Outgoing> {
        self.boot(now);
        if self.cycle.is_some_and(|cycle| cycle <= now) {
            self.cycle = None;
            for (frame, behaviour) in std::mem::take(&mut self.queue) {
                let replies = self.take_up(now, &frame, behaviour);
                self.plan(now, AUTOPILOT, frame.command as u16, frame.source, replies);
            }
        }
        loop {
            let next = (0..self.planned.len()).min_by_key(|&index| self.planned[index].0);
            let Some(index) = next.filter(|&index| self.planned[index].0 <= now) else { break };
            match self.planned.remove(index).1 {
                Planned::Ack { component, ack, cut } => {
                    let event = Event::Answered { command: ack.command, result: ack.result };
                    let mut bytes = self.encode(now, component, |raw, header| {
                        raw.serialize_message_data(header, &ack);
                        CommandAck::EXTRA_CRC
                    });
                    if cut {
                        bytes.truncate(bytes.len() / 2);
                    }
                    return Some(Outgoing { bytes, event: Some(event) });
                }
                Planned::Message(message) => {
                    let bytes = self.encode_message(now, AUTOPILOT, &message);
                    return Some(Outgoing { bytes, event: None });
                }
                Planned::PowerDown(until) => self.power_down(until),
            }
        }
        if self.power != Power::On {
            return None;
        }
        let state = self.state(now);
        let stream = self.streams.iter_mut().find(|stream| stream.next <= now)?;
        stream.next += stream.every;
        let (component, message) = (stream.component, (stream.message)(&state));
        Some(Outgoing { bytes: self.encode_message(now, component, &message), event: None })
    }

    /// When [`Px4::poll`] has something to do again; `None` for a vehicle that is shut down, or silent.
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

    /// PX4 listens to its own system id and component id and to both broadcasts, and drops frames that
    /// claim to come from itself. What is for a camera it may forward.
    fn deliver(&mut self, now: Instant, frame: &CommandFrame) {
        if ![0, SYSTEM_ID].contains(&frame.target.0) || frame.source == (SYSTEM_ID, AUTOPILOT) {
            return;
        }
        if [0, CAMERA].contains(&frame.target.1)
            && self.camera == Camera::Forwarded
            && let Behaviour::Answers(replies) = self.camera_behaviours.get(frame.command as u32)
        {
            self.plan(now, CAMERA, frame.command as u16, frame.source, replies);
        }
        if [0, AUTOPILOT].contains(&frame.target.1) && self.queue.len() < QUEUE_DEPTH {
            let behaviour = self.behaviours.get(frame.command as u32);
            self.queue.push_back((frame.clone(), behaviour));
            self.cycle.get_or_insert(now + COMMANDER_CYCLE);
        }
    }

    fn take_up(&mut self, now: Instant, frame: &CommandFrame, behaviour: Behaviour) -> Vec<Reply> {
        let result = match behaviour {
            Behaviour::Answers(replies) if replies.is_empty() => return replies,
            _ if self.behaviours.knows(frame.command as u32) && has_strange_params(frame) => {
                MavResult::MAV_RESULT_DENIED
            }
            Behaviour::Answers(replies) => return replies,
            Behaviour::Only(form, replies) if form == frame.form => return replies,
            Behaviour::Only(Form::Long, _) => MavResult::MAV_RESULT_COMMAND_LONG_ONLY,
            Behaviour::Only(Form::Int, _) => MavResult::MAV_RESULT_COMMAND_INT_ONLY,
            Behaviour::ArmDisarm => {
                self.set_armed(now, frame.params[0] == 1.0);
                MavResult::MAV_RESULT_ACCEPTED
            }
            Behaviour::RebootShutdown => {
                let (result, action) = reboot_shutdown(now, frame, self.armed);
                self.planned.extend(action);
                result
            }
            Behaviour::RequestMessage => {
                let message = requested(frame.params[0], &self.state(now));
                let is_known = message.is_some();
                self.planned.extend(message.map(|it| (now, Planned::Message(Box::new(it)))));
                if is_known { MavResult::MAV_RESULT_ACCEPTED } else { MavResult::MAV_RESULT_DENIED }
            }
        };
        vec![Reply::new(result)]
    }

    fn plan(
        &mut self,
        now: Instant,
        component: u8,
        command: u16,
        sender: (u8, u8),
        replies: impl IntoIterator<Item = Reply>,
    ) {
        self.planned.extend(replies.into_iter().map(|reply| {
            let Reply { result, progress, cut, .. } = reply;
            let target = reply.target.unwrap_or(sender);
            let ack = CommandAck { command, result, progress, target };
            let component = reply.component.unwrap_or(component);
            (now + reply.after, Planned::Ack { component, ack, cut })
        }));
    }

    fn state(&self, now: Instant) -> State {
        let since_boot = now.saturating_duration_since(self.booted);
        State { since_boot, armed: self.armed }
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
            self.start_streams(up);
            self.sequences.clear();
        }
    }

    fn start_streams(&mut self, now: Instant) {
        self.streams.clear();
        if self.streaming {
            self.streams = Stream::of_autopilot(now, self.telemetry);
            let camera = (self.camera == Camera::Forwarded).then(|| Stream::of_camera(now));
            self.streams.extend(camera);
        }
    }

    fn encode_message(&mut self, now: Instant, component: u8, message: &MavMessage) -> Vec<u8> {
        self.encode(now, component, |raw, header| {
            raw.serialize_message(header, message);
            MavMessage::extra_crc(message.message_id())
        })
    }

    /// `write` returns the CRC_EXTRA of what it has written.
    fn encode(
        &mut self,
        now: Instant,
        component: u8,
        write: impl FnOnce(&mut MAVLinkV2MessageRaw, MavHeader) -> u8,
    ) -> Vec<u8> {
        let sequence = self.sequences.entry(component).or_default();
        let header =
            MavHeader { system_id: SYSTEM_ID.into(), component_id: component, sequence: *sequence };
        *sequence = sequence.wrapping_add(1);
        let mut raw = MAVLinkV2MessageRaw::new();
        let extra = write(&mut raw, header);
        let mut bytes = raw.raw_bytes().to_vec();
        if let Some(signing) = &mut self.signing {
            signing.sign(now, &mut bytes, extra);
        }
        bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Power {
    On,
    RebootingUntil(Instant),
    Off,
}

enum Planned {
    Ack { component: u8, ack: CommandAck, cut: bool },
    Message(Box<MavMessage>),
    PowerDown(Power),
}

/// What belongs to the other form: the bits of a float's NaN in x or y, or INT32_MAX as a float.
fn has_strange_params(frame: &CommandFrame) -> bool {
    match frame.form {
        Form::Long => frame.params.contains(&f64::from(i32::MAX as f32)),
        Form::Int => frame.params[4..6].contains(&f64::from(f32::NAN.to_bits())),
    }
}

/// PX4 reads param1 (0 nothing, 1 reboot, 2 shutdown, 3 bootloader) and refuses a force code in
/// param7; armed, it does nothing.
fn reboot_shutdown(
    now: Instant,
    frame: &CommandFrame,
    armed: bool,
) -> (MavResult, Option<(Instant, Planned)>) {
    let down = now + SHUTDOWN_DELAY;
    let [action, .., force] = frame.params;
    let power = match action {
        _ if force != 0.0 && !force.is_nan() => return (MavResult::MAV_RESULT_DENIED, None),
        0.0 => return (MavResult::MAV_RESULT_ACCEPTED, None),
        _ if armed => return (MavResult::MAV_RESULT_DENIED, None),
        1.0 => Power::RebootingUntil(down + BOOT_TIME),
        2.0 | 3.0 => Power::Off,
        _ => return (MavResult::MAV_RESULT_DENIED, None),
    };
    (MavResult::MAV_RESULT_ACCEPTED, Some((down, Planned::PowerDown(power))))
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
