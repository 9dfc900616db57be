//! Flushes: the store gets what was written ahead, one log at a time while commits go to the other, or
//! all of it at once. Not the disk's, which is `Store::sync`.
//!
//! It runs on the journal's thread. A crash on the way leaves some in both places, where the log counts.

use sled::IVec;

use super::entry::{META, Meta, encode};
use super::error::Error;
use super::store::Write;
use super::writer::Writer;

/// Writes of a log that are flushed at a time, so that the next commit waits little; behind a commit of
/// more commands as many as these.
pub const WRITES_PER_FLUSH_STEP: usize = 16;
/// Writes that the store gets in one batch when all is flushed.
const WRITES_PER_BATCH: usize = 256;

/// A log that is being flushed: the one before the current one.
#[derive(Debug)]
pub struct Flush {
    /// As of that log's last commit.
    meta: Meta,
    /// Up to this key the store has got everything.
    after: IVec,
}

impl Writer {
    /// Commits go to the other log; while they do, this one is flushed.
    pub fn switch(&mut self) -> Result<(), Error> {
        if !self.generation.write_ahead_logs.switch() {
            // Commits came faster than they were flushed, or both logs had some at the start.
            self.flush_all()?;
            return self.rewrite_if_due();
        }
        self.shared.write().entries.switch();
        self.flush = Some(Flush { meta: self.meta.clone(), after: IVec::default() });
        Ok(())
    }

    /// Flushes some more of the log before the current one. What a later commit has changed again the
    /// store need not get: that is in the current one.
    pub fn flush_some(&mut self, limit: usize) -> Result<(), Error> {
        let Some(flush) = self.flush.take() else { return Ok(()) };
        let (writes, last) = self.shared.read().entries.old(&flush.after, limit)?;
        self.apply(writes)?;
        if let Some(after) = last {
            self.flush = Some(Flush { after, ..flush });
            return Ok(());
        }
        self.apply_meta(&flush.meta)?;
        self.generation.write_ahead_logs.free_other()?;
        self.shared.write().entries.forget_old();
        self.generation.checkpoint.sync()?;
        self.rewrite_if_due()
    }

    /// Flushes all that was written ahead.
    pub fn flush_all(&mut self) -> Result<(), Error> {
        if self.generation.write_ahead_logs.is_empty() {
            return self.generation.checkpoint.sync();
        }
        let writes = self.shared.read().entries.ahead()?;
        writes.chunks(WRITES_PER_BATCH).try_for_each(|batch| self.apply(batch.to_vec()))?;
        self.apply_meta(&self.meta.clone())?;
        self.generation.write_ahead_logs.restart()?;
        self.shared.write().entries.forget_ahead();
        self.flush = None;
        self.generation.checkpoint.sync()
    }

    /// To the store, and to the one that is to follow it.
    fn apply(&mut self, writes: Vec<Write>) -> Result<(), Error> {
        self.generation.store.apply(writes.iter().cloned())?;
        match &self.rewrite {
            Some(rewrite) => rewrite.follow(writes).or_else(|error| self.abandon_rewrite(&error)),
            None => Ok(()),
        }
    }

    /// It says that the store has everything up to its commit, so all of that is durable before.
    fn apply_meta(&mut self, meta: &Meta) -> Result<(), Error> {
        self.generation.store.sync()?;
        self.apply(vec![(META.into(), Some(encode(META, meta)))])?;
        self.generation.store.sync()
    }
}
