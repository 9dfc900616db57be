//! The two write-ahead logs, in turn: while one is flushed to the store, commits go to the other.

use std::path::Path;

use uuid::Uuid;

use super::entry::Writes;
use super::error::Error;
use super::write_ahead_log::{Commit, WriteAheadLog};

const NAMES: [&str; 2] = ["write-ahead", "write-ahead-2"];

#[derive(Debug)]
pub struct WriteAheadLogs {
    logs: [WriteAheadLog; 2],
    /// Which one commits go to.
    current: usize,
}

impl WriteAheadLogs {
    /// Empty ones in `dir`, durable but for their directory entries.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(dir: &Path, journal: Uuid) -> Result<Self, Error> {
        Self::open(dir, journal, 0, 0).map(|(it, _)| it)
    }

    /// Opens the first `existing` of them and creates the others, and tells the commits in them that a
    /// store with those up to `stored` has not got.
    ///
    /// # Errors
    /// The disk's, damaged, or of a store that has lost commits.
    pub fn open(
        dir: &Path,
        journal: Uuid,
        stored: u64,
        existing: usize,
    ) -> Result<(Self, Vec<Commit>), Error> {
        let open = |index: usize| {
            let path = dir.join(NAMES[index]);
            if index < existing {
                WriteAheadLog::open(&path, journal, stored)
            } else {
                WriteAheadLog::create(&path, journal).map(|log| (log, Vec::new()))
            }
        };
        let ((first, mut commits), (second, mut others)) = (open(0)?, open(1)?);
        let number = |commits: &[Commit]| commits.first().map(|(number, _)| *number);
        let is_second_later = number(&others) > number(&commits);
        // The earlier ones first.
        if !is_second_later {
            std::mem::swap(&mut commits, &mut others);
        }
        commits.append(&mut others);
        let numbers = commits.iter().map(|(number, _)| *number);
        for (last, number) in std::iter::once(stored).chain(numbers.clone()).zip(numbers) {
            if number != last + 1 {
                let message = format!("commit {number} follows on commit {last}");
                return Err(Error::damaged(&dir.join(NAMES[0]), message));
            }
        }
        Ok((Self { logs: [first, second], current: is_second_later.into() }, commits))
    }

    /// Makes a commit durable.
    ///
    /// # Errors
    /// The disk's; it may then be durable or not.
    pub fn append(&mut self, number: u64, writes: &Writes) -> Result<(), Error> {
        self.logs[self.current].append(number, writes)
    }

    pub fn is_empty(&self) -> bool {
        self.logs.iter().all(WriteAheadLog::is_empty)
    }

    /// It is time to switch.
    pub fn is_full(&self) -> bool {
        self.logs[self.current].is_full()
    }

    /// From now on commits go to the other one. False: the store has not got what is in that.
    pub fn switch(&mut self) -> bool {
        let is_free = self.logs[1 - self.current].is_empty();
        if is_free {
            self.current = 1 - self.current;
        }
        is_free
    }

    /// The store has what is in the other one, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn free_other(&mut self) -> Result<(), Error> {
        self.logs[1 - self.current].restart()
    }

    /// The store has everything, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.logs.iter_mut().try_for_each(WriteAheadLog::restart)
    }
}
