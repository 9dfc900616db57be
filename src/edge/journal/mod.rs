//! The journal: every command, every update that the broker has not got, every nonce in use.
//!
//! A commit is one write and one fdatasync, on a thread of its own (`journal`), since it blocks on the
//! disk; sled gets what was written ahead in pieces between the commits. Reads run on the caller's
//! thread: they are small and mostly cached. [`Journal::commit`] is not cancel-safe: a dropped call still
//! commits. The thread ends with the [`Journal`], which waits for it.
//!
//! Reading order: `entry` (what is kept), `directory` (where), `write_ahead_log` and `write_ahead_logs`
//! (two of these in turn), `store` (sled), `entries` (all as one), `checkpoint` (how a lost end is
//! noticed), `generation`, `recover` (after a restart), `segment` and `archive` (finished commands),
//! `retention` (what is archived, and what is removed), `contents` (what is shared with those who read),
//! `writer` (the thread), `flush` (what it brings to the store), `rewrite` and `rewrite_schedule` (how the
//! disk's space comes back), `listing` (many commands at once), `reader` (of a stopped daemon's).
//! docs/durability.md says what is promised.

mod archive;
mod checkpoint;
mod contents;
mod directory;
mod entries;
mod entry;
mod error;
mod flush;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod generation;
mod listing;
mod reader;
mod recover;
mod retention;
mod rewrite;
mod rewrite_schedule;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod write_ahead_log;
mod write_ahead_logs;
mod writer;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use log::warn;
use tokio::sync::oneshot;

use crate::guard::set_aside::SetAside;
use crate::lifecycle::effect::Batch;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;
use archive::Archive;
use contents::{Contents, Shared};
use directory::{Current, Directory, JOURNAL_FORMAT};
use entries::Entries;
pub use entry::Meta;
pub use error::{Error, Trouble};
use generation::Generation;
pub use listing::Listing;
pub use reader::{Reader, Report, set_aside};
pub use recover::Recovered;
pub use retention::Retention;
use retention::Unpublished;
use rewrite_schedule::MIN_BYTES;
pub use store::error_of_panic;
use store::reading;
pub use writer::CommitContext;
use writer::{ARCHIVE_ABOVE, Job, Writer};

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    contents: Shared,
    /// `None` while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens or creates the journal in `dir` and reads what is open.
    ///
    /// # Errors
    /// In use by another process, not readable, not complete, or damaged. Nothing is deleted.
    pub fn open(dir: &Path, retention: Retention) -> Result<(Self, Recovered), Error> {
        let (writer, recovered) = open(dir, retention)?;
        let contents = writer.shared.clone();
        let (jobs, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || writer.run(&receiver));
        let thread = thread.map_err(error::io_error("start a thread for", dir))?;
        Ok((Self { contents, jobs: Some(jobs), thread: Some(thread) }, recovered))
    }

    /// Makes `batch` durable, all or nothing.
    ///
    /// # Errors
    /// The disk's error; the batch may then be durable or not, so the caller must stop.
    pub async fn commit(&self, batch: Batch, context: CommitContext) -> Result<(), Error> {
        let (done, committed) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(Error::Ended)?;
        jobs.send(Job { batch, context, done }).map_err(|_| Error::Ended)?;
        committed.await.map_err(|_| Error::Ended)?
    }

    /// The record of a command, as of the last commit.
    ///
    /// # Errors
    /// Not readable or damaged.
    pub fn get(&self, id: CommandId) -> Result<Option<Record>, Error> {
        self.contents.read().get(id)
    }

    /// Reads some more commands for a list, as of the last commit; true when it is made. `present`: a
    /// command as it stands now, given what the journal holds of it.
    ///
    /// # Errors
    /// Not readable or damaged.
    pub fn list(
        &self,
        listing: &mut Listing,
        present: impl Fn(Record) -> Record,
    ) -> Result<bool, Error> {
        listing.step(&self.contents.read(), present)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been told by the hook.
            let _ = thread.join();
        }
    }
}

fn open(dir: &Path, retention: Retention) -> Result<(Writer, Recovered), Error> {
    let directory = Directory::create(dir)?;
    let (current, generation, entries, meta) = open_or_begin(&directory)?;
    let (mut recovered, archive) = reading(dir, || {
        let archive = Archive::open(&directory, &entries)?;
        Ok((recover::read(&entries, &archive, meta.floor())?, archive))
    })?;
    recovered.last_number = meta.last_number;
    recovered.clock_floor = meta.clock_floor;
    recovered.set_aside = meta.set_aside;
    recovered.signing_bound = directory.signing_bound()?;
    // Everything that counts has been found.
    for removed in [directory.remove_leftovers(&current), archive.remove_leftovers()] {
        if let Err(error) = removed {
            warn!("{error}");
        }
    }
    let mut unpublished = Unpublished::default();
    for (number, record) in &recovered.outbox {
        unpublished.add(*number, record.number);
    }
    let writer = Writer {
        directory,
        current,
        generation,
        shared: Shared::new(Contents { entries, archive }),
        meta,
        signing_bound: recovered.signing_bound,
        rewrite: None,
        retention,
        unpublished,
        flush: None,
        archive_above: ARCHIVE_ABOVE,
        rewrite_above: 0,
        min_bytes: MIN_BYTES,
    };
    Ok((writer, recovered))
}

fn open_or_begin(directory: &Directory) -> Result<(Current, Generation, Entries, Meta), Error> {
    let mut current = match directory.current()? {
        Some(current) => current,
        None => {
            let current = Current::empty(false);
            directory.set_current(&current)?;
            current
        }
    };
    if current.generation > 0 {
        let (generation, entries, meta) = Generation::open(directory, &current)?;
        if current.format < JOURNAL_FORMAT {
            current.format = JOURNAL_FORMAT;
            directory.set_current(&current)?;
        }
        return Ok((current, generation, entries, meta));
    }
    let set_aside = current.after_set_aside.then_some(SetAside::UntilClockTrusted);
    let meta = Meta::first(current.journal, set_aside);
    let generation = Generation::first(directory, &mut current, &meta)?;
    let entries = Entries::new(Arc::clone(&generation.store));
    Ok((current, generation, entries, meta))
}
