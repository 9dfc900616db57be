//! The steps of a scenario, as its file writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;

use super::value::{FormName, Param, ResponseCode, ResultNumber, Seconds, Within, command};
use crate::bench::vehicle::{Behaviour, Reply};
use crate::catalog::Command;
use crate::code::Code;
use crate::lifecycle::status::Status;

/// `timeout_seconds` of a request that says nothing of it.
const TIMEOUT: u32 = 15;

/// `{ do = "…", … }`
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Signs a command request and publishes it.
    Publish(Publish),
    /// Publishes these bytes as a command request, as they are.
    PublishRaw {
        body: String,
    },
    /// Waits for the reply to a request.
    Reply(ReplyStep),
    /// Waits for an error reply.
    Error(ErrorStep),
    /// Waits for a lifecycle update.
    Status(StatusStep),
    /// Asks for a command, and waits for the answer.
    Query(QueryStep),
    /// Opens a grant.
    Grant(GrantStep),
    /// Waits until the vehicle has seen so many frames of a command since the scenario began.
    Frame(FrameStep),
    /// Waits for two HEARTBEATs of the agent: what it sent before has arrived. The vehicle has seen no
    /// frame that no `frame` step told.
    NoFrame {},
    /// Waits for the agent to tell of a COMMAND_ACK that belongs to no command.
    Unmatched(UnmatchedStep),
    /// Waits for presence to tell this state of the link.
    Link(LinkStep),
    /// From now on the vehicle answers a command so.
    Answer(AnswerStep),
    /// The vehicle sends a COMMAND_ACK now.
    Ack(AckStep),
    Arm {},
    Disarm {},
    /// Whether the vehicle streams, HEARTBEATs among others.
    Stream {
        on: bool,
    },
    /// Takes the port away.
    Unplug {},
    Plug {},
    Noise {
        on: bool,
    },
    /// kill -9.
    Kill {},
    /// SIGTERM; waits until the agent has ended.
    Stop {},
    /// Waits until the agent is online and its link ready.
    Start {},
    /// Ends the agent's connection to the broker, and every new one.
    CutBroker {},
    RestoreBroker {},
    /// Only for what time alone brings about.
    Pause {
        seconds: Seconds,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    #[serde(deserialize_with = "command")]
    pub command: &'static Command,
    #[serde(default)]
    pub payload: toml::Table,
    /// The command's name, unless given.
    pub key: Option<String>,
    #[serde(default = "timeout")]
    pub timeout: u32,
    pub frame: Option<String>,
    pub target_component: Option<u8>,
    #[serde(default)]
    pub sign: Sign,
    /// A new one, unless given.
    pub nonce: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    #[default]
    Genuine,
    /// By somebody who does not have the key.
    Forged,
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyStep {
    pub key: String,
    #[serde(default = "accepted")]
    pub status: Status,
    #[serde(default)]
    pub duplicate: bool,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorStep {
    pub code: Code,
    pub field: Option<String>,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusStep {
    pub key: String,
    pub status: Status,
    pub code: Option<ResponseCode>,
    /// Percent.
    pub progress: Option<u8>,
    /// Fields of the update's `vendor_response` and their values.
    #[serde(default)]
    pub vendor_response: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryStep {
    pub key: String,
    /// Without one an `error` step follows.
    pub status: Option<Status>,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantStep {
    #[serde(deserialize_with = "command")]
    pub command: &'static Command,
    #[serde(default = "one")]
    pub count: u32,
    #[serde(default = "minute")]
    pub seconds: u32,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameStep {
    #[serde(deserialize_with = "command")]
    pub command: &'static Command,
    #[serde(default = "first")]
    pub count: NonZeroU32,
    /// Of the last one.
    pub form: Option<FormName>,
    pub target_component: Option<u8>,
    /// Of the last one, values by number; x and y of COMMAND_INT (5 and 6) are integers.
    #[serde(default)]
    pub params: BTreeMap<Param, f64>,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnmatchedStep {
    #[serde(deserialize_with = "command")]
    pub command: &'static Command,
    pub result: Option<ResultNumber>,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkStep {
    pub state: LinkState,
    #[serde(default)]
    pub within: Within,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    Closed,
    Open,
    Ready,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerStep {
    #[serde(deserialize_with = "command")]
    pub command: &'static Command,
    pub answers: Vec<Answer>,
    pub only: Option<FormName>,
}

/// What the vehicle does with a command.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answering {
    /// One COMMAND_ACK each. None: silence.
    pub answers: Vec<Answer>,
    /// The other form is refused with COMMAND_LONG_ONLY or COMMAND_INT_ONLY.
    pub only: Option<FormName>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub result: ResultNumber,
    /// From the frame.
    #[serde(default)]
    pub after: Seconds,
    #[serde(default)]
    pub progress: u8,
    /// Who answers; the autopilot, unless given.
    pub component: Option<u8>,
    /// Whom; the sender of the frame, unless given: system and component.
    pub target: Option<(u8, u8)>,
    /// Only half of the frame reaches the line.
    #[serde(default)]
    pub cut: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckStep {
    #[serde(deserialize_with = "command")]
    pub command: &'static Command,
    pub result: ResultNumber,
    #[serde(default)]
    pub progress: u8,
    pub component: Option<u8>,
    pub target: Option<(u8, u8)>,
}

impl Step {
    /// As `do` names it.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Publish(_) => "publish",
            Step::PublishRaw { .. } => "publish_raw",
            Step::Reply(_) => "reply",
            Step::Error(_) => "error",
            Step::Status(_) => "status",
            Step::Query(_) => "query",
            Step::Grant(_) => "grant",
            Step::Frame(_) => "frame",
            Step::NoFrame {} => "no_frame",
            Step::Unmatched(_) => "unmatched",
            Step::Link(_) => "link",
            Step::Answer(_) => "answer",
            Step::Ack(_) => "ack",
            Step::Arm {} => "arm",
            Step::Disarm {} => "disarm",
            Step::Stream { .. } => "stream",
            Step::Unplug {} => "unplug",
            Step::Plug {} => "plug",
            Step::Noise { .. } => "noise",
            Step::Kill {} => "kill",
            Step::Stop {} => "stop",
            Step::Start {} => "start",
            Step::CutBroker {} => "cut_broker",
            Step::RestoreBroker {} => "restore_broker",
            Step::Pause { .. } => "pause",
        }
    }

    /// Whether only the simulated vehicle can do it.
    pub fn needs_simulator(&self) -> bool {
        matches!(
            self,
            Step::Answer(_)
                | Step::Ack(_)
                | Step::Arm {}
                | Step::Disarm {}
                | Step::Stream { .. }
                | Step::Unplug {}
                | Step::Plug {}
                | Step::Noise { .. }
        )
    }

    /// Whether it looks at what only the simulated vehicle can see.
    pub fn looks_at_the_line(&self) -> bool {
        matches!(self, Step::Frame(_) | Step::NoFrame {})
    }
}

impl fmt::Display for ReplyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.duplicate { "a duplicate's" } else { "a create" };
        write!(f, "{kind} reply for {} with {}", self.key, self.status.as_str())
    }
}

impl fmt::Display for ErrorStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.code)?;
        self.field.as_ref().map_or(Ok(()), |field| write!(f, " of {field}"))
    }
}

impl fmt::Display for StatusStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.status.as_str())?;
        if let Some(ResponseCode(code)) = &self.code {
            write!(f, " with {code}")?;
        }
        if let Some(progress) = self.progress {
            write!(f, " at {progress} %")?;
        }
        let fields = &mut self.vendor_response.iter();
        fields.try_for_each(|(field, value)| write!(f, ", vendor_response.{field} {value}"))
    }
}

impl fmt::Display for FrameStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {} of {}", self.count, self.command.command_type)
    }
}

impl fmt::Display for UnmatchedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an unmatched COMMAND_ACK of {}", self.command.command_type)
    }
}

impl Publish {
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(self.command.command_type)
    }
}

impl Answering {
    pub fn behaviour(&self) -> Behaviour {
        behaviour(&self.answers, self.only)
    }
}

impl AnswerStep {
    pub fn behaviour(&self) -> Behaviour {
        behaviour(&self.answers, self.only)
    }
}

impl AckStep {
    pub fn reply(&self) -> Reply {
        let &Self { result, progress, component, target, .. } = self;
        Answer { result, after: Seconds::default(), progress, component, target, cut: false }
            .reply()
    }
}

impl Answer {
    pub fn reply(&self) -> Reply {
        let &Self { result, after, progress, component, target, cut } = self;
        Reply { result: result.0, after: after.duration(), progress, component, target, cut }
    }
}

fn behaviour(answers: &[Answer], only: Option<FormName>) -> Behaviour {
    let replies = answers.iter().map(Answer::reply).collect();
    match only {
        Some(FormName(form)) => Behaviour::Only(form, replies),
        None => Behaviour::Answers(replies),
    }
}

fn timeout() -> u32 {
    TIMEOUT
}

fn accepted() -> Status {
    Status::Accepted
}

fn one() -> u32 {
    1
}

fn first() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn minute() -> u32 {
    60
}
