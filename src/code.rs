//! The agent's own codes: why something was refused or how it ended when no COMMAND_ACK decided.
//!
//! They share the `response_code` field with the mapped `MAV_RESULT_*` names; the agent never fakes
//! one of those. Clients match on these strings, so a name never changes once it has shipped.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! codes {
    ($($variant:ident => $text:literal, $meaning:literal;)*) => {
        /// A stable, machine-readable reason, lower case with a dot.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the interface's documentation.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code as it stands in JSON and in logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }
        }
    };
}

codes! {
    EnvelopeMalformed => "envelope.malformed", "The message is not the JSON object that the topic carries.";
    EnvelopeTooLarge => "envelope.too_large", "The message is larger than the agent reads.";
    EnvelopeRetained => "envelope.retained", "Retained commands, queries and grants are never acted on.";
    EnvelopeExpired => "envelope.expired", "The message's own expiry was over when it arrived.";
    RequestInvalid => "request.invalid", "A field is missing or has the wrong type or form.";
    RequestUnknownCommand => "request.unknown_command", "The catalogue has no such command_type.";
    RequestUnknownField => "request.unknown_field", "A field that this request or command does not have.";
    RequestOutOfRange => "request.out_of_range", "A value outside of what the field allows.";
    TargetDeviceMismatch => "target.device_mismatch", "The request is for another device.";
    TargetVendorUnsupported => "target.vendor_unsupported", "The request is for another vendor.";
    AuthFailed => "auth.failed", "Not signed by an issuer whom this vehicle knows.";
    AuthReplay => "auth.replay", "The nonce was used before, with another body.";
    AuthStale => "auth.stale", "The timestamp is outside of the window.";
    AuthClockUntrusted => "auth.clock_untrusted", "The vehicle's clock cannot judge a timestamp now.";
    AuthNotPermitted => "auth.not_permitted", "The issuer may not do this.";
    IdempotencyConflict => "idempotency.conflict", "The key belongs to a command with other content.";
    GuardDisabled => "guard.disabled", "Downlink is disabled on this vehicle.";
    PolicyCommandDenied => "policy.command_denied", "No rule of the policy allows this command.";
    PolicyOutOfBounds => "policy.out_of_bounds", "The policy narrows this field or target further.";
    PolicyRateLimited => "policy.rate_limited", "The issuer's rate is used up.";
    StateUnknown => "state.unknown", "A precondition cannot be judged: the state is unknown or stale.";
    StatePrecondition => "state.precondition", "The vehicle is not in the state that the policy asks for.";
    GrantMissing => "grant.missing", "The command needs an open grant.";
    GrantExpired => "grant.expired", "The grant's time is over.";
    GrantExhausted => "grant.exhausted", "The grant's count is used up.";
    TransportNotReady => "transport.not_ready", "The link is closed, or no heartbeat within 3 s.";
    TransportLost => "transport.lost", "The link was lost before the command could be written, or another vehicle is there.";
    TransportWriteFailed => "transport.write_failed", "The frame certainly did not go out whole.";
    BusyQueueFull => "busy.queue_full", "Too many commands wait already; try again later.";
    BusyJournalFull => "busy.journal_full", "The journal has no room for another command.";
    TimeoutQueue => "timeout.queue", "The deadline passed in the queue; the command was never sent.";
    TimeoutAck => "timeout.ack", "The command was sent and no COMMAND_ACK came in time.";
    TimeoutProgress => "timeout.progress", "The vehicle reported progress, then fell silent.";
    RestartExpired => "restart.expired", "Not sent before the agent restarted, and now too late or not provably in time.";
    RestartOutcomeUnknown => "restart.outcome_unknown", "Perhaps sent before the agent restarted; no COMMAND_ACK came since.";
    QueryNotFound => "query.not_found", "The issuer has no such command.";
}

impl Code {
    /// The code says that no whole frame can have gone out.
    pub const fn certainly_unsent(self) -> bool {
        matches!(
            self,
            Code::StateUnknown
                | Code::StatePrecondition
                | Code::GuardDisabled
                | Code::PolicyCommandDenied
                | Code::GrantMissing
                | Code::GrantExpired
                | Code::GrantExhausted
                | Code::TransportNotReady
                | Code::TransportLost
                | Code::TransportWriteFailed
                | Code::TimeoutQueue
                | Code::RestartExpired
        )
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As text, also where variants go by their number: these are in the order of the documentation.
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|code| code.as_str() == text);
        known.copied().ok_or_else(|| de::Error::custom(format_args!("no code is named {text:?}")))
    }
}

/// One thing that is wrong with a request: what, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Violation {
    pub code: Code,
    /// The field's path, such as `payload.zoom_absolute`; `None` when it is the message as a whole.
    pub field: Option<String>,
    /// Names the field, the value and what is allowed.
    pub message: String,
}

impl Violation {
    pub fn new(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: Some(field.into()), message: message.into() }
    }

    pub fn whole(code: Code, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into() }
    }
}
