//! What has been seen of each command, and whether it may be so. Pure: the demo's verdict is
//! computed here from the messages and frames themselves.

use std::fmt;

use super::commands::{COMMANDS, DemoCommand};
use super::message::{Message, Reply, Update};
use crate::bench::vehicle::{CommandFrame, Event};

/// System 1, component 191 (MAV_COMP_ID_ONBOARD_COMPUTER).
const AGENT: (u8, u8) = (1, 191);
const AUTOPILOT: (u8, u8) = (1, 1);

/// An expectation that failed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Violation {
    #[error("{0}: {1}")]
    Command(&'static str, String),
    #[error("the agent published for an idempotency key that nobody sent: {0}")]
    UnknownKey(String),
    #[error("the agent refused a request: {code}: {message}")]
    Refused { code: String, message: String },
    #[error("the agent reported an ACK that belongs to no command: {0}")]
    Unmatched(String),
    #[error("the vehicle saw a command frame that nobody asked for: {0}")]
    StrayFrame(String),
}

/// What the demo has proven.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub commands: usize,
    pub frames: usize,
    pub duplicates: usize,
    pub kills: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commands, frames, duplicates, kills } = self;
        write!(
            formatter,
            "{commands} commands, {frames} frames on the wire, {duplicates} duplicates without one, \
             {kills} kill -9: none lost, none sent twice"
        )
    }
}

/// One entry per command of the demo, in its order.
#[derive(Default)]
pub struct Ledger {
    entries: [Entry; COMMANDS.len()],
    kills: usize,
}

#[derive(Default)]
struct Entry {
    /// How often the request was published.
    requests: usize,
    command_id: Option<String>,
    replies: usize,
    duplicates: usize,
    updates: Vec<Update>,
    frames: usize,
}

impl Ledger {
    /// Notes that the request of the command with this index goes out, for the first time or again.
    pub fn requested(&mut self, index: usize) {
        self.entries[index].requests += 1;
    }

    pub fn killed(&mut self) {
        self.kills += 1;
    }

    /// Takes a message of the agent. False if it tells nothing new about a command.
    pub fn on_message(&mut self, message: &Message) -> Result<bool, Violation> {
        match message {
            Message::Reply(reply) => {
                let (command, entry) = self.by_key(&reply.idempotency_key)?;
                entry.on_reply(command, reply).map_err(|reason| violation(command, reason))?;
                Ok(true)
            }
            Message::Update(update) => {
                let (command, entry) = self.by_key(&update.idempotency_key)?;
                entry.on_update(command, update).map_err(|reason| violation(command, reason))
            }
            Message::Refusal(refusal) => Err(Violation::Refused {
                code: refusal.error.code.clone(),
                message: refusal.error.message.clone(),
            }),
            Message::Unmatched(body) => Err(Violation::Unmatched(body.clone())),
            Message::Presence(_) => Ok(false),
        }
    }

    /// Takes what the vehicle saw on the wire.
    pub fn on_event(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Command(frame) => {
                let index = COMMANDS.iter().position(|it| it.mav_cmd == frame.command as u32);
                let Some(index) = index else {
                    return Err(Violation::StrayFrame(format!("{:?}", frame.command)));
                };
                let command = &COMMANDS[index];
                let seen = self.entries[index].on_frame(command, frame);
                seen.map_err(|reason| violation(command, reason))
            }
            Event::Undecodable { bytes } => Err(Violation::StrayFrame(format!("{bytes:02x?}"))),
            Event::Heartbeat { .. } | Event::Answered { .. } => Ok(()),
        }
    }

    /// Whether the command has its create reply and its terminal update.
    pub fn is_finished(&self, index: usize) -> bool {
        let entry = &self.entries[index];
        entry.replies > 0 && entry.updates.last().is_some_and(|update| update.terminal)
    }

    /// Whether every request but the first has been answered as a duplicate.
    pub fn duplicates_answered(&self, index: usize) -> bool {
        let entry = &self.entries[index];
        entry.replies > 0 && entry.duplicates + 1 == entry.requests
    }

    /// The command_id that the agent gave.
    pub fn command_id(&self, index: usize) -> Option<&str> {
        self.entries[index].command_id.as_deref()
    }

    /// Judges the whole.
    pub fn verdict(&self) -> Result<Verdict, Violation> {
        for (command, entry) in COMMANDS.iter().zip(&self.entries) {
            entry.judge(command).map_err(|reason| violation(command, reason))?;
        }
        Ok(Verdict {
            commands: self.entries.iter().filter(|entry| entry.command_id.is_some()).count(),
            frames: self.entries.iter().map(|entry| entry.frames).sum(),
            duplicates: self.entries.iter().map(|entry| entry.duplicates).sum(),
            kills: self.kills,
        })
    }

    /// The command and entry of a key that has been published.
    fn by_key(&mut self, key: &str) -> Result<(&'static DemoCommand, &mut Entry), Violation> {
        let mut all = COMMANDS.iter().zip(&mut self.entries);
        all.find(|(command, entry)| entry.requests > 0 && command.idempotency_key() == key)
            .ok_or_else(|| Violation::UnknownKey(key.to_owned()))
    }
}

impl Entry {
    fn on_reply(&mut self, command: &DemoCommand, reply: &Reply) -> Result<(), String> {
        self.check_id(&reply.command_id)?;
        if !reply.duplicate {
            self.replies += 1;
            return match reply.status.as_str() {
                _ if self.replies > 1 => Err("the same key made a second command".into()),
                "ACCEPTED" => Ok(()),
                other => Err(format!("the create reply says {other} instead of ACCEPTED")),
            };
        }
        self.duplicates += 1;
        if self.duplicates >= self.requests {
            return Err("its first request was answered as a duplicate".into());
        }
        if reply.status != command.status {
            let (got, due) = (&reply.status, command.status);
            return Err(format!("a duplicate's reply says {got} instead of {due}"));
        }
        Ok(())
    }

    fn on_update(&mut self, command: &DemoCommand, update: &Update) -> Result<bool, String> {
        self.check_id(&update.command_id)?;
        if let Some(seen) = self.updates.iter().find(|seen| seen.seq == update.seq) {
            // Delivered at least once.
            let (is_same, seq) = (seen == update, update.seq);
            return is_same.then_some(false).ok_or_else(|| format!("seq {seq} came twice"));
        }
        if update.command_type != command.command_type {
            return Err(format!("an update calls it {}", update.command_type));
        }
        if let Some(last) = self.updates.last() {
            if last.terminal {
                let (from, to) = (&last.status, &update.status);
                return Err(format!("it changed from the terminal {from} to {to}"));
            }
            if update.seq < last.seq {
                return Err(format!("seq went back from {} to {}", last.seq, update.seq));
            }
        }
        if update.terminal {
            let code = update.response_code.as_deref().unwrap_or("null");
            if (update.status.as_str(), code) != (command.status, command.response_code) {
                let due = format!("{} with {}", command.status, command.response_code);
                return Err(format!("it ended as {} with {code} instead of {due}", update.status));
            }
        }
        self.updates.push(update.clone());
        Ok(true)
    }

    fn on_frame(&mut self, command: &DemoCommand, frame: &CommandFrame) -> Result<(), String> {
        self.frames += 1;
        if self.frames > self.requests.min(1) {
            return Err(format!("the vehicle saw {} frames", self.frames));
        }
        if frame.form != command.form {
            return Err(format!("it was sent as {:?}, not {:?}", frame.form, command.form));
        }
        if (frame.source, frame.target) != (AGENT, AUTOPILOT) {
            let (source, target) = (frame.source, frame.target);
            return Err(format!("its frame went from {source:?} to {target:?}"));
        }
        Ok(())
    }

    fn check_id(&mut self, command_id: &str) -> Result<(), String> {
        let first = self.command_id.get_or_insert_with(|| command_id.to_owned());
        if first != command_id {
            return Err(format!("its command_id changed from {first} to {command_id}"));
        }
        Ok(())
    }

    fn judge(&self, command: &DemoCommand) -> Result<(), String> {
        let due = ["ACCEPTED", "DELIVERED", command.status];
        let statuses: Vec<&str> =
            self.updates.iter().map(|update| update.status.as_str()).collect();
        if statuses != due {
            return Err(format!("its lifecycle was {statuses:?} instead of {due:?}"));
        }
        if self.replies != 1 {
            return Err(format!("it has {} create replies", self.replies));
        }
        if self.duplicates + 1 != self.requests {
            let asked = self.requests.saturating_sub(1);
            return Err(format!("{} of {asked} duplicates were answered", self.duplicates));
        }
        if self.frames != 1 {
            return Err(format!("the vehicle saw {} frames", self.frames));
        }
        Ok(())
    }
}

fn violation(command: &DemoCommand, reason: String) -> Violation {
    Violation::Command(command.command_type, reason)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
