//! What others asked of the vehicle through us.
//!
//! A COMMAND_ACK that names nobody (MAVLink 1, old firmware) may answer them or us, and nothing tells
//! which. So it answers nobody while a command of others with the same MAV_CMD and component is
//! remembered: a result that may be another's is no result.

use std::collections::BTreeMap;
use std::time::Duration;

use super::live::Slot;
use crate::wire::mavlink::{Address, CommandAck, ForeignCommand};

/// How long after it passed, or after the last news of its progress, a command may yet be answered.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Commands that are told apart; with more, any may be answered.
const MAX_COMMANDS: usize = 1024;

/// Times are of the boot clock.
#[derive(Clone, Debug, Default)]
pub(super) struct ForeignCommands {
    /// Until when an answer may come; 0 in an address stands for all.
    recent: BTreeMap<Slot, Duration>,
    /// Until when an answer to any command may come.
    any_until: Duration,
}

impl ForeignCommands {
    /// Whatever passed before `now` is not known.
    pub(super) fn forget(&mut self, now: Duration) {
        self.recent.clear();
        self.any_until = now + REMEMBERED;
    }

    pub(super) fn passed(
        &mut self,
        ForeignCommand { target, command }: ForeignCommand,
        now: Duration,
    ) {
        self.recent.retain(|_, until| now < *until);
        if self.recent.len() >= MAX_COMMANDS {
            self.forget(now);
        }
        self.recent.insert((target, command), now + REMEMBERED);
    }

    /// Whether this may be the answer to one of them. While it tells of progress, more may follow.
    pub(super) fn may_be_answered(&mut self, ack: &CommandAck, now: Duration) -> bool {
        let Address { system, component } = ack.source;
        let found = now < self.any_until
            || [(system, component), (system, 0), (0, component), (0, 0)].iter().any(
                |&(system, component)| {
                    let slot = (Address { system, component }, ack.command);
                    self.recent.get(&slot).is_some_and(|until| now < *until)
                },
            );
        if found && ack.is_in_progress() {
            self.passed(ForeignCommand { target: ack.source, command: ack.command }, now);
        }
        found
    }
}
