//! What the engine is told, and what it asks for in return.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::record::Record;
use super::request::{CommandId, CommandRequest, GrantMessage, Origin, Query, ReplyTo};
use super::time::Timestamp;
use crate::code::{Code, Violation};
use crate::guard::Refusal;
use crate::guard::extra_link::LinkId;
use crate::guard::grants::{Action, Answer, Ending, GrantId, Opener};
use crate::guard::nonces::NonceKey;
use crate::guard::vehicle::LinkState;
use crate::wire::mavlink::{
    Address, CommandAck, CommandFrame, ForeignCommand, Heartbeat, Telemetry,
};

/// Names an incoming MQTT PUBLISH whose PUBACK is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub u64);

/// Names a frame handed to the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Names somebody at the local API who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Counts outbox entries; also their order.
pub type OutboxNumber = u64;

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// `stored`: what the journal holds under this command id.
    Request {
        request: Box<CommandRequest>,
        stored: Option<Box<Record>>,
        origin: Origin,
    },
    /// `stored` as above.
    Query {
        query: Query,
        stored: Option<Box<Record>>,
        origin: Origin,
    },
    /// A PUBLISH that makes no command. `None`: not even an error reply.
    Refused {
        error: Option<ErrorReply>,
        reply_to: ReplyTo,
        delivery: DeliveryId,
    },
    /// An operator at the vehicle opens, approves or revokes grants.
    Grant {
        action: Action,
        opener: Opener,
        call: CallId,
    },
    /// An issuer does so.
    GrantMessage {
        message: Box<GrantMessage>,
        reply_to: ReplyTo,
        delivery: DeliveryId,
    },
    BrokerConnected,
    BrokerDisconnected,
    /// The broker's PUBACK for an outbox entry, or its refusal.
    Published {
        number: OutboxNumber,
        accepted: bool,
    },
    LinkOpened(LinkId),
    LinkClosed(LinkId),
    /// And how long ago it came.
    Heartbeat(LinkId, Heartbeat, Duration),
    /// By the main link, so long ago.
    Telemetry(Telemetry, Duration),
    CommandAck(LinkId, CommandAck),
    /// A command of another went to the vehicle by our main link.
    ForeignCommand(ForeignCommand),
    /// Every byte of the frame left the kernel's buffer.
    Sent {
        ticket: Ticket,
    },
    /// The frame certainly did not go out whole.
    NotSent {
        ticket: Ticket,
        code: Code,
        message: String,
    },
    /// Perhaps it went out.
    SendUnknown {
        ticket: Ticket,
    },
    /// Time has passed.
    Tick,
    /// Dispatch nothing more, and write down what still waits to be.
    Stop,
}

/// Something to do outside, in this order; nothing may overtake a `Persist`. Only a `Send` may overtake
/// the others.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Durable before the next effect runs.
    Persist(Batch),
    /// Send the withheld PUBACK.
    Acknowledge(DeliveryId),
    Reply {
        origin: Origin,
        reply: Reply,
    },
    /// A command has taken a step; for the log, in order.
    Step(Arc<Record>),
    /// Publish a lifecycle update until the broker acknowledges it.
    Publish {
        number: OutboxNumber,
        record: Arc<Record>,
    },
    /// Hand a frame to a link, unless the boot clock has passed `not_after`.
    Send {
        link: LinkId,
        ticket: Ticket,
        frame: CommandFrame,
        not_after: Duration,
    },
    /// A COMMAND_ACK that belongs to no command.
    Unmatched(CommandAck),
    /// Who the autopilot is, where the configuration leaves that open. Once.
    Learned(Address),
    /// A link's state changed.
    Link(LinkId, LinkState),
    /// The answer to an [`Input::Grant`].
    GrantReply {
        call: CallId,
        outcome: Result<Answer, Refusal>,
    },
    /// The grants changed; these have ended.
    Grants {
        ended: Vec<(GrantId, Ending)>,
    },
}

/// What one commit writes, all or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub records: BTreeMap<CommandId, Arc<Record>>,
    pub outbox: BTreeMap<OutboxNumber, Arc<Record>>,
    /// Entries of earlier commits that the broker has acknowledged, or that gave way to later ones.
    pub published: BTreeSet<OutboxNumber>,
    /// Used up by messages that made no command, and until when; a command's is in its record.
    pub nonces: BTreeMap<NonceKey, Timestamp>,
    /// Such nonces of earlier commits that may be forgotten, if the clock's floor is raised with it.
    pub expired_nonces: BTreeSet<NonceKey>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The answer to a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Created { record: Arc<Record>, duplicate: bool },
    Found { record: Box<Record>, request_id: Option<String> },
    Grant { answer: Answer, request_id: Option<String> },
    Error(ErrorReply),
}

/// Why a message made no command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorReply {
    /// At least one; the first is the one in `error`.
    pub violations: Vec<Violation>,
    pub idempotency_key: Option<String>,
    /// The existing command, for a conflict.
    pub command_id: Option<CommandId>,
    pub request_id: Option<String>,
    /// Lower-case hex SHA-256 of the message.
    pub request_sha256: String,
}
