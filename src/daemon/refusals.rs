//! How often something was refused, by code, since the start.

use std::collections::BTreeMap;

use crate::code::Code;
use crate::lifecycle::record::Record;
use crate::lifecycle::status::{Cause, Status};

#[derive(Debug, Default)]
pub struct Refusals {
    counts: BTreeMap<Code, u64>,
}

impl Refusals {
    pub fn count(&mut self, code: Code) {
        *self.counts.entry(code).or_default() += 1;
    }

    /// Counts the step if it ends a command that was not sent.
    pub fn count_step(&mut self, record: &Record) {
        if let (Status::Failed, Some(false), Some(Cause::Agent(code))) =
            (record.status, record.frame_sent(), record.cause)
        {
            self.count(code);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Code, u64)> {
        self.counts.iter().map(|(code, count)| (*code, *count))
    }
}
