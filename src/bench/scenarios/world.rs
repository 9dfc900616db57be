//! What was seen from outside since a scenario began: the agent's messages and the frames on the line.
//! No I/O.
//!
//! Each message is expected by a step, once; [`World::leftovers`] tells what nobody expected. What no
//! agent may ever say is a fault at once, whatever the steps expect.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::step::{ErrorStep, FrameStep, LinkState, ReplyStep, StatusStep, UnmatchedStep};
use super::value::Param;
use crate::bench::vehicle::{CommandFrame, Event};
use crate::code::Code;
use crate::lifecycle::request::command_id;
use crate::lifecycle::status::Status;
use crate::wire::topic::Topics;

/// What a step finds of what it expects.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    Found,
    NotYet,
    /// What came instead.
    Wrong(String),
}

pub struct World {
    device_id: String,
    api_id: String,
    commands: BTreeMap<String, Lifecycle>,
    replies: VecDeque<Reply>,
    answers: VecDeque<Update>,
    errors: VecDeque<Refusal>,
    unmatched: VecDeque<Unmatched>,
    grants: u32,
    frames: Vec<CommandFrame>,
    /// By MAV_CMD, how many frames steps have told of.
    told: BTreeMap<u32, u32>,
    heartbeats: u64,
    presence: Presence,
    fault: Option<String>,
}

/// The agent as its presence tells it.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// Of the agent that is online.
    pub session: Option<String>,
    pub link: Option<LinkState>,
    pub challenge: Option<String>,
}

#[derive(Default)]
struct Lifecycle {
    updates: Vec<Update>,
    /// How many of them steps have looked at.
    looked_at: usize,
}

#[derive(Clone, Debug, Deserialize)]
struct Update {
    command_id: Uuid,
    status: Status,
    response_code: Option<String>,
    idempotency_key: String,
    seq: u64,
    terminal: bool,
    progress: Option<u8>,
    vendor_response: BTreeMap<String, Value>,
    /// All of it.
    #[serde(skip)]
    body: Value,
}

#[derive(Debug, Deserialize)]
struct Reply {
    status: Status,
    idempotency_key: String,
    duplicate: bool,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Debug, Deserialize)]
struct Reason {
    code: Code,
    message: String,
    field: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Unmatched {
    mavlink_command_id: u16,
    result: u8,
    response_code: String,
}

#[derive(Debug, Deserialize)]
struct PresenceMessage {
    online: bool,
    session: String,
    challenge: Option<String>,
    link: Option<PresentLink>,
}

#[derive(Debug, Deserialize)]
struct PresentLink {
    state: LinkState,
}

impl World {
    pub fn new(device_id: &str, api_id: &str) -> Self {
        Self {
            device_id: device_id.to_owned(),
            api_id: api_id.to_owned(),
            commands: BTreeMap::new(),
            replies: VecDeque::new(),
            answers: VecDeque::new(),
            errors: VecDeque::new(),
            unmatched: VecDeque::new(),
            grants: 0,
            frames: Vec::new(),
            told: BTreeMap::new(),
            heartbeats: 0,
            presence: Presence::default(),
            fault: None,
        }
    }

    /// Takes what happened at the vehicle.
    pub fn on_event(&mut self, event: Event) {
        match event {
            Event::Heartbeat { .. } => self.heartbeats += 1,
            Event::Command(frame) => self.frames.push(frame),
            Event::Undecodable { bytes } => {
                self.fault(format!("a frame that no vehicle understands: {bytes:02x?}"));
            }
            Event::Answered { .. } => {}
        }
    }

    /// Takes a message of the agent.
    pub fn on_message(&mut self, topics: &Topics, topic: &str, payload: &[u8]) {
        if let Err(error) = self.read(topics, topic, payload) {
            let body = String::from_utf8_lossy(payload);
            self.fault(format!("a message on {topic} that cannot be read: {error}: {body}"));
        }
    }

    fn read(&mut self, topics: &Topics, topic: &str, body: &[u8]) -> serde_json::Result<()> {
        if topic == topics.presence() {
            self.on_presence(serde_json::from_slice(body)?);
        } else if topic == topics.unmatched() {
            self.unmatched.push_back(serde_json::from_slice(body)?);
        } else if topic == topics.replies(&self.api_id) {
            let value: Value = serde_json::from_slice(body)?;
            if value.get("error").is_some() {
                self.errors.push_back(serde_json::from_value(value)?);
            } else if value.get("duplicate").is_some() {
                self.replies.push_back(serde_json::from_value(value)?);
            } else if value.get("grant").is_some() {
                self.grants += 1;
            } else {
                self.answers.push_back(serde_json::from_value(value)?);
            }
        } else {
            let body: Value = serde_json::from_slice(body)?;
            let update = Update { body: body.clone(), ..serde_json::from_value(body)? };
            if topic != topics.lifecycle(&self.api_id, update.command_id) {
                self.fault(format!("an update of {} on {topic}", update.command_id));
            }
            self.on_update(update);
        }
        Ok(())
    }

    /// A last will says nothing of a session that has begun since.
    fn on_presence(&mut self, message: PresenceMessage) {
        if message.online {
            let link = message.link.map(|link| link.state);
            let challenge = message.challenge;
            self.presence = Presence { session: Some(message.session), link, challenge };
        } else if self.presence.session.as_ref() == Some(&message.session) {
            self.presence = Presence::default();
        }
    }

    fn on_update(&mut self, update: Update) {
        let key = update.idempotency_key.clone();
        let due = command_id(&self.device_id, &self.api_id, &key);
        let lifecycle = self.commands.entry(key.clone()).or_default();
        if let Some(seen) = lifecycle.updates.iter().find(|seen| seen.seq == update.seq) {
            // Delivered at least once.
            if seen.body != update.body {
                let [first, second] = [&seen.body, &update.body];
                let fault = format!("{key}: seq {} came twice: {first}, {second}", update.seq);
                self.fault(fault);
            }
            return;
        }
        let fault = match lifecycle.updates.last() {
            _ if update.command_id != due => Some("it has the id of another command".to_owned()),
            Some(last) if update.seq < last.seq => {
                Some(format!("seq went back from {} to {}", last.seq, update.seq))
            }
            Some(last) if last.terminal && !may_follow(last.status, update.status) => {
                Some(format!("it changed from the terminal {last} to {update}"))
            }
            Some(_) | None => None,
        };
        lifecycle.updates.push(update);
        if let Some(fault) = fault {
            self.fault(format!("{key}: {fault}"));
        }
    }

    fn fault(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    /// What no agent may ever do, if it was done.
    pub fn faulty(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// How many HEARTBEATs of the agent the vehicle has heard.
    pub fn heartbeats(&self) -> u64 {
        self.heartbeats
    }

    /// How many grants the agent has told to be open.
    pub fn grants(&self) -> u32 {
        self.grants
    }

    /// The next reply to a key.
    pub fn reply(&mut self, step: &ReplyStep) -> Look {
        let Some(at) = self.replies.iter().position(|it| it.idempotency_key == step.key) else {
            return Look::NotYet;
        };
        let Some(reply) = self.replies.remove(at) else { return Look::NotYet };
        found_if((reply.status, reply.duplicate) == (step.status, step.duplicate), &reply)
    }

    /// The next error.
    pub fn error(&mut self, step: &ErrorStep) -> Look {
        let Some(error) = self.errors.pop_front() else { return Look::NotYet };
        let Reason { code, field, .. } = &error.error;
        found_if(*code == step.code && (step.field.is_none() || *field == step.field), &error)
    }

    /// The next answer to a query.
    pub fn answer(&mut self, key: &str, status: Status) -> Look {
        let Some(answer) = self.answers.pop_front() else { return Look::NotYet };
        found_if(answer.idempotency_key == key && answer.status == status, &answer)
    }

    /// The next COMMAND_ACK that belongs to no command.
    pub fn unmatched(&mut self, step: &UnmatchedStep) -> Look {
        let Some(ack) = self.unmatched.pop_front() else { return Look::NotYet };
        let is_due = ack.mavlink_command_id == step.command.mavlink_command_id
            && step.result.is_none_or(|result| result.0 == ack.result);
        found_if(is_due, &ack)
    }

    /// A COMMAND_ACK of this MAV_CMD that belongs to no command, wherever it stands among others.
    pub fn unmatched_mark(&mut self, command: u16) -> Look {
        let at = self.unmatched.iter().position(|ack| ack.mavlink_command_id == command);
        match at.and_then(|at| self.unmatched.remove(at)) {
            Some(_) => Look::Found,
            None => Look::NotYet,
        }
    }

    /// The update that is expected, among those that no step has looked at. Others before it may only
    /// be on the way to an end.
    pub fn status(&mut self, step: &StatusStep) -> Look {
        let Some(lifecycle) = self.commands.get_mut(&step.key) else { return Look::NotYet };
        while let Some(update) = lifecycle.updates.get(lifecycle.looked_at) {
            lifecycle.looked_at += 1;
            if is_due(update, step) {
                return Look::Found;
            }
            if update.terminal {
                return Look::Wrong(update.to_string());
            }
        }
        Look::NotYet
    }

    /// So many frames of a command, the last one as expected.
    pub fn frame(&mut self, step: &FrameStep) -> Look {
        let number = u32::from(step.command.mavlink_command_id);
        let due = step.count.get();
        self.told.insert(number, due);
        let of_command = |frame: &&CommandFrame| frame.command as u32 == number;
        let count = self.frames.iter().filter(of_command).count();
        let last = self.frames.iter().rfind(of_command);
        match (last, count.cmp(&(due as usize))) {
            (None, _) | (_, Ordering::Less) => Look::NotYet,
            (Some(_), Ordering::Greater) => Look::Wrong(format!("{count} frames of it")),
            (Some(last), Ordering::Equal) => {
                difference(last, step).map_or(Look::Found, Look::Wrong)
            }
        }
    }

    /// What the vehicle has seen of a command, in words.
    pub fn frames_of(&self, mavlink_command_id: u16) -> String {
        let number = u32::from(mavlink_command_id);
        let count = self.frames.iter().filter(|frame| frame.command as u32 == number).count();
        format!("{count} frames of it")
    }

    /// What has come of a command, in words.
    pub fn updates_of(&self, key: &str) -> String {
        let updates = self.commands.get(key).map_or(&[][..], |lifecycle| &lifecycle.updates);
        let errors = self.errors.iter().map(Refusal::to_string);
        let all: Vec<String> = updates.iter().map(Update::to_string).chain(errors).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
    }

    /// The frames that no step has told of: more of a command than were told, or fewer.
    pub fn stray_frames(&self) -> Option<String> {
        let mut seen: BTreeMap<u32, (u32, String)> = BTreeMap::new();
        for frame in &self.frames {
            let entry = seen.entry(frame.command as u32);
            entry.or_insert_with(|| (0, format!("{:?}", frame.command))).0 += 1;
        }
        let mut text = String::new();
        for (number, (count, name)) in seen {
            let told = self.told.get(&number).copied().unwrap_or(0);
            if count != told {
                let separator = if text.is_empty() { "" } else { "; " };
                // Writing to a String cannot fail.
                let _ =
                    write!(text, "{separator}{count} frames of {name}, of which {told} were told");
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// The messages that no step has expected, of those that must be.
    pub fn leftovers(&self) -> Option<String> {
        let errors = self.errors.iter().map(Refusal::to_string);
        let all: Vec<String> =
            errors.chain(self.unmatched.iter().map(Unmatched::to_string)).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// The only ways on from an end: a late answer, and one to a command that nobody waited for.
fn may_follow(end: Status, next: Status) -> bool {
    match end {
        Status::TimedOut => next == Status::UnmatchedResponse,
        Status::Delivered => next != Status::Accepted,
        _ => false,
    }
}

fn is_due(update: &Update, step: &StatusStep) -> bool {
    update.status == step.status
        && step.code.as_ref().is_none_or(|code| update.response_code.as_deref() == Some(&*code.0))
        && step.progress.is_none_or(|progress| update.progress == Some(progress))
        && step
            .vendor_response
            .iter()
            .all(|(field, value)| update.vendor_response.get(field) == Some(value))
}

/// What is not as expected.
fn difference(frame: &CommandFrame, step: &FrameStep) -> Option<String> {
    if let Some(form) = step.form.filter(|form| form.0 != frame.form) {
        return Some(format!("{} instead of {}", frame.form.as_str(), form.0.as_str()));
    }
    if let Some(component) = step.target_component.filter(|it| *it != frame.target.1) {
        return Some(format!("a frame for component {} instead of {component}", frame.target.1));
    }
    step.params.iter().find_map(|(&Param(number), &value)| {
        let sent = frame.params[usize::from(number) - 1];
        // Floats on the wire have 24 bits.
        let same = sent == value || sent == f64::from(value as f32);
        (!same).then(|| format!("param {number} is {sent} instead of {value}"))
    })
}

fn found_if(found: bool, came: &impl fmt::Display) -> Look {
    if found { Look::Found } else { Look::Wrong(came.to_string()) }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.as_str())?;
        if let Some(code) = &self.response_code {
            write!(f, " with {code}")?;
        }
        match self.progress {
            Some(progress) => write!(f, " at {progress} %"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.duplicate { "a duplicate's reply" } else { "a create reply" };
        write!(f, "{kind} with {}", self.status.as_str())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason { code, message, field } = &self.error;
        write!(f, "error {code}")?;
        if let Some(field) = field {
            write!(f, " of {field}")?;
        }
        write!(f, ": {message}")
    }
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an unmatched COMMAND_ACK of {}: {}", self.mavlink_command_id, self.response_code)
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
