//! A new generation: sled's file never gets smaller, so what lives is copied into a new one.
//!
//! It goes in steps between the commits. Whatever the old store gets meanwhile is repeated in the new
//! one, which counts for nothing until `current` names it. When all is copied, all is compared; then
//! the new one is made durable and takes over.

use std::ops::Bound;
use std::path::PathBuf;

use super::directory::{Current, Directory};
use super::entry::{Meta, checked};
use super::error::Error;
use super::generation::{Generation, create_store};
use super::store::{Entry, Store, Write};

/// Bytes that one step copies or compares: what a commit may have to wait for.
const STEP_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub struct Rewrite {
    number: u64,
    path: PathBuf,
    store: Store,
    phase: Phase,
}

/// Up to which key it has got.
#[derive(Debug)]
enum Phase {
    Copy(Option<Vec<u8>>),
    Compare(Option<Vec<u8>>),
    Done,
}

/// Why a step failed.
#[derive(Debug)]
pub enum Failure {
    /// The generation in use cannot be read.
    Old(Error),
    /// The new one cannot be written; the old one goes on.
    New(Error),
}

impl Rewrite {
    /// # Errors
    /// The disk's.
    pub fn begin(directory: &Directory, current: &Current) -> Result<Self, Error> {
        let number = current.generation + 1;
        let path = directory.fresh_generation(number)?;
        let store = create_store(&path)?;
        Ok(Self { number, path, store, phase: Phase::Copy(None) })
    }

    /// Repeats what the old store got. What the copying has not reached yet it finds anew.
    ///
    /// # Errors
    /// The disk's.
    pub fn follow(&self, writes: impl IntoIterator<Item = Write>) -> Result<(), Error> {
        self.store.apply(writes)
    }

    /// One step. True: everything of the old store is in the new one.
    ///
    /// # Errors
    /// Which side failed, and how.
    pub fn step(&mut self, old: &Store) -> Result<bool, Failure> {
        self.phase = match &self.phase {
            Phase::Copy(after) => self.copy(old, after.as_deref())?,
            Phase::Compare(after) => self.compare(old, after.as_deref())?,
            Phase::Done => Phase::Done,
        };
        Ok(matches!(self.phase, Phase::Done))
    }

    /// Makes the new generation durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self, meta: &Meta) -> Result<(u64, Generation), Error> {
        Generation::seal(&self.path, self.store, meta).map(|generation| (self.number, generation))
    }

    fn copy(&self, old: &Store, after: Option<&[u8]>) -> Result<Phase, Failure> {
        let (entries, is_last) = chunk(old, after).map_err(Failure::Old)?;
        for (key, value) in &entries {
            // Damage is not carried on. An empty value is a mark.
            if !value.is_empty() {
                checked(key, value).map_err(Failure::Old)?;
            }
        }
        let writes = entries.iter().cloned().map(|(key, value)| (key, Some(value)));
        self.store.apply(writes).map_err(Failure::New)?;
        // Now, so that little is left for the end.
        self.store.sync().map_err(Failure::New)?;
        Ok(if is_last { Phase::Compare(None) } else { Phase::Copy(last_key(&entries)) })
    }

    fn compare(&self, old: &Store, after: Option<&[u8]>) -> Result<Phase, Failure> {
        let (entries, is_last) = chunk(old, after).map_err(Failure::Old)?;
        let mut copies = self.store.range(beyond(after));
        let differs = || Error::damaged(&self.path, "the copy is not what was copied");
        for entry in &entries {
            if copies.next().transpose().map_err(Failure::New)?.as_ref() != Some(entry) {
                return Err(Failure::New(differs()));
            }
        }
        if !is_last {
            return Ok(Phase::Compare(last_key(&entries)));
        }
        match copies.next() {
            None => Ok(Phase::Done),
            Some(_) => Err(Failure::New(differs())),
        }
    }
}

/// The next entries, and whether they are the last.
fn chunk(store: &Store, after: Option<&[u8]>) -> Result<(Vec<Entry>, bool), Error> {
    let mut bytes = 0;
    let mut entries = Vec::new();
    for entry in store.range(beyond(after)) {
        let entry = entry?;
        bytes += entry.0.len() + entry.1.len();
        entries.push(entry);
        if bytes >= STEP_BYTES {
            return Ok((entries, false));
        }
    }
    Ok((entries, true))
}

fn beyond(after: Option<&[u8]>) -> Bound<&[u8]> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

fn last_key(entries: &[Entry]) -> Option<Vec<u8>> {
    entries.last().map(|(key, _)| key.to_vec())
}
