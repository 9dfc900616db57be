//! When the store is rewritten, and how that begins, goes on between the commits, and ends: in a new
//! generation, or with the old one as it is. It runs on the journal's thread.

use std::sync::Arc;
use std::time::Instant;

use log::{info, warn};

use super::directory::{Current, Directory};
use super::entries::Entries;
use super::error::{Error, io_error};
use super::rewrite::{Failure, Rewrite};
use super::writer::Writer;

/// Under load a rewrite still goes on, by a step after so many commits.
pub const COMMITS_PER_REWRITE_STEP: u32 = 8;
/// A store up to this size, and so much more per command and update in it, is left alone.
pub const MIN_BYTES: u64 = 32 * 1024 * 1024;
const BYTES_PER_ENTRY: u64 = 4096;

impl Writer {
    /// Begins a rewrite if the store has grown far beyond what lives in it.
    pub fn rewrite_if_due(&mut self) -> Result<(), Error> {
        let bytes = self.generation.store.bytes()?;
        if self.rewrite.is_some() || bytes <= self.rewrite_above.max(self.expected_bytes()) {
            return Ok(());
        }
        let free = free_bytes(&self.directory)?;
        // What lives is at most as much as there was, and sled is given no chance to run out of space.
        if free < bytes {
            warn!(
                "the journal in {} has {bytes} bytes and cannot be made smaller: that takes as many \
                 free ones, and there are {free}",
                self.directory.path().display()
            );
            self.rewrite_above = bytes + MIN_BYTES;
            return Ok(());
        }
        // What was removed but is still in the store would be copied in vain.
        self.flush_all()?;
        self.begin_rewrite()
    }

    /// Begins a new generation; steps follow.
    pub fn begin_rewrite(&mut self) -> Result<(), Error> {
        match Rewrite::begin(&self.directory, &self.current) {
            Ok(rewrite) => self.rewrite = Some(rewrite),
            Err(error) => self.abandon_rewrite(&error)?,
        }
        Ok(())
    }

    /// Goes on with the rewrite, if there is one; the last step ends it.
    pub fn rewrite_step(&mut self) -> Result<(), Error> {
        let Some(rewrite) = &mut self.rewrite else { return Ok(()) };
        match rewrite.step(&self.generation.store) {
            Ok(false) => Ok(()),
            Ok(true) => self.finish_rewrite(),
            Err(Failure::Old(error)) => Err(error),
            Err(Failure::New(error)) => self.abandon_rewrite(&error),
        }
    }

    /// The new generation cannot be written: the old one goes on.
    pub fn abandon_rewrite(&mut self, error: &Error) -> Result<(), Error> {
        warn!("the journal goes on as it is, it could not be rewritten: {error}");
        self.rewrite = None;
        self.rewrite_above = self.generation.store.bytes()? + MIN_BYTES;
        if let Err(error) = self.directory.remove_leftovers(&self.current) {
            warn!("{error}");
        }
        Ok(())
    }

    /// The new generation is complete: it becomes the current one, and the old one goes.
    fn finish_rewrite(&mut self) -> Result<(), Error> {
        let since = Instant::now();
        self.flush_all()?;
        let Some(rewrite) = self.rewrite.take() else { return Ok(()) };
        let (number, generation) = match rewrite.finish(&self.meta) {
            Ok(finished) => finished,
            Err(error) => return self.abandon_rewrite(&error),
        };
        let current = Current { generation: number, ..self.current.clone() };
        // If this fails nobody knows which one a restart would find.
        self.directory.set_current(&current)?;
        let before = self.generation.store.bytes()?;
        let after = generation.store.bytes()?;
        let entries = Entries::new(Arc::clone(&generation.store));
        self.shared.write().entries = entries;
        self.current = current;
        self.generation = generation;
        // Where entries are larger than expected, another rewrite would change nothing.
        self.rewrite_above = if after > self.expected_bytes() { 2 * after } else { 0 };
        let pause = since.elapsed();
        self.directory.remove_leftovers(&self.current)?;
        info!("the journal was rewritten: {before} bytes became {after}, in a pause of {pause:?}");
        Ok(())
    }

    /// What the store may have without being rewritten.
    fn expected_bytes(&self) -> u64 {
        let archived = self.shared.read().archive.commands();
        let commands = self.meta.commands().saturating_sub(archived);
        self.min_bytes + BYTES_PER_ENTRY * (commands + self.unpublished.len())
    }
}

fn free_bytes(directory: &Directory) -> Result<u64, Error> {
    let path = directory.path();
    let stat = rustix::fs::statvfs(path).map_err(|error| io_error("read", path)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
