//! What the engine keeps of a command beside its record.

use std::time::Duration;

use crate::guard::grants::GrantId;
use crate::guard::policy::Retransmit;
use crate::lifecycle::effect::Ticket;
use crate::lifecycle::record::Record;
use crate::wire::mavlink::Address;

/// COMMAND_ACK tells commands apart by nothing but who answers and the MAV_CMD.
pub type Slot = (Address, u16);

/// A command that something can still happen to, or whose last write is not durable yet.
#[derive(Clone, Debug)]
pub struct Live {
    pub record: Record,
    /// On the boot clock: when waiting ends.
    pub deadline: Duration,
    /// On the boot clock: IN_PROGRESS moves the deadline up to here. From the dispatch on.
    pub progress_until: Duration,
    /// It was dispatched by an earlier process.
    pub recovered: bool,
    /// The vehicle told this process that it works on it.
    pub progressed: bool,
    /// It waits since before a restart, so the vehicle may yet have to tell its state.
    pub waits_for_state: bool,
    /// It waits since before a restart, and its link has not been ready since.
    pub waits_for_link: bool,
    pub retransmit: Option<Retransmit>,
    /// It may be sent while this grant holds.
    pub grant: Option<GrantId>,
    /// COMMAND_LONG.confirmation: how often it was written again.
    pub confirmation: u8,
    /// A frame that waits among the effects.
    pub unsent: Option<Ticket>,
    /// A frame was handed out, by this process or perhaps by an earlier one.
    pub may_be_out: bool,
    /// An answer came that may be to the command of another.
    pub perhaps_answered: bool,
}

impl Live {
    pub fn new(record: Record, deadline: Duration) -> Self {
        Self {
            may_be_out: record.dispatch.is_some(),
            record,
            deadline,
            progress_until: Duration::ZERO,
            recovered: false,
            progressed: false,
            waits_for_state: false,
            waits_for_link: false,
            retransmit: None,
            grant: None,
            confirmation: 0,
            unsent: None,
            perhaps_answered: false,
        }
    }

    pub fn slot(&self) -> Slot {
        (self.record.target, self.record.content.command)
    }
}
