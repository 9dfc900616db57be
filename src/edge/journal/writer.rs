//! The journal's thread: commits, and between them flushes, the checkpoint, the archive and rewrites.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use log::warn;
use tokio::sync::oneshot;

use super::archive::Archive;
use super::contents::Shared;
use super::directory::{Current, Directory};
use super::entry::{META, Meta, Writes, encode, segment_key, writes_of, writes_of_segment};
use super::error::Error;
use super::flush::{Flush, WRITES_PER_FLUSH_STEP};
use super::generation::Generation;
use super::retention::{Retention, SEGMENT_COMMANDS, Unpublished, archivable};
use super::rewrite::Rewrite;
use super::rewrite_schedule::COMMITS_PER_REWRITE_STEP;
use crate::guard::set_aside::SetAside;
use crate::lifecycle::effect::Batch;
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::SigningTime;

/// Commands not in the archive before it is looked for some to archive.
pub const ARCHIVE_ABOVE: u64 = 2 * SEGMENT_COMMANDS as u64;
/// Without commits, when the checkpoint is made durable.
const IDLE: Duration = Duration::from_secs(30);
/// So few finished commands rather go to the store than to a segment of their own.
const SMALLEST_SEGMENT: usize = SEGMENT_COMMANDS / 4;
/// Without commits for so long, some more is flushed.
const QUIET: Duration = Duration::from_millis(10);

/// What a commit needs to know beside its batch.
#[derive(Clone, Copy, Debug)]
pub struct CommitContext {
    /// The highest [`Record::number`] given.
    pub last_number: u64,
    pub clock_floor: Timestamp,
    /// The wall clock, if it can be trusted.
    pub trusted_now: Option<Timestamp>,
    pub set_aside: Option<SetAside>,
    /// MAVLink signatures will have earlier timestamps only.
    pub signing_bound: SigningTime,
}

#[derive(Debug)]
pub struct Job {
    pub batch: Batch,
    pub context: CommitContext,
    pub done: oneshot::Sender<Result<(), Error>>,
}

#[derive(Debug)]
pub struct Writer {
    pub directory: Directory,
    pub current: Current,
    pub generation: Generation,
    pub shared: Shared,
    /// As of the last commit.
    pub meta: Meta,
    pub signing_bound: SigningTime,
    pub rewrite: Option<Rewrite>,
    pub retention: Retention,
    pub unpublished: Unpublished,
    /// Of the log before the current one, while the store has not got all of it.
    pub flush: Option<Flush>,
    /// With so many commands not in the archive, it is time to look for some to archive.
    pub archive_above: u64,
    /// The size of the file up to which another rewrite would gain nothing.
    pub rewrite_above: u64,
    /// [`MIN_BYTES`](super::rewrite_schedule::MIN_BYTES).
    pub min_bytes: u64,
}

impl Writer {
    /// Until the other end of `jobs` is dropped, or something fails.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let Err(failure) = self.serve(jobs) else { return };
        // It came between two commits, so the next one is told.
        if let Ok(job) = jobs.recv() {
            let _ = job.done.send(Err(failure));
        }
    }

    /// Until the other end of `jobs` is dropped, or a commit fails, which has been answered then.
    ///
    /// # Errors
    /// Of what comes between the commits: nobody has been told.
    fn serve(&mut self, jobs: &Receiver<Job>) -> Result<(), Error> {
        let mut commits_since_step = 0;
        self.rewrite_if_due()?;
        loop {
            match self.next(jobs) {
                Ok(job) => {
                    let result = self.commit(&job.batch, job.context);
                    let failed = result.is_err();
                    // The caller may have gone; the commit stands all the same.
                    let _ = job.done.send(result);
                    // The engine must not go on from a commit whose fate is not known, so neither does this.
                    if failed {
                        return Ok(());
                    }
                    commits_since_step += 1;
                    let is_step_due = commits_since_step >= COMMITS_PER_REWRITE_STEP;
                    if is_step_due {
                        commits_since_step = 0;
                    }
                    self.after_commit(job.batch.records.len(), is_step_due)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    commits_since_step = 0;
                    self.idle()?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // Nobody is left to be told, and nothing is lost: it is in the logs.
                    if let Err(error) = self.flush_all() {
                        warn!("{error}");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Waits for the next job, but not longer than there is something else to do.
    fn next(&self, jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        let patience = if self.rewrite.is_some() {
            Duration::ZERO
        } else if self.flush.is_some() {
            QUIET
        } else if self.generation.checkpoint.is_synced() {
            return Ok(jobs.recv()?);
        } else {
            IDLE
        };
        jobs.recv_timeout(patience)
    }

    /// One write ahead, one fdatasync. What leaves the archive goes with it. Another bound for signatures
    /// takes a file of its own, once in minutes.
    pub fn commit(&mut self, batch: &Batch, context: CommitContext) -> Result<(), Error> {
        let mut meta = Meta {
            commit: self.meta.commit + 1,
            last_number: context.last_number,
            clock_floor: Some(context.clock_floor),
            set_aside: context.set_aside,
            ..self.meta.clone()
        };
        let expired = self.retention.expired(
            &self.shared.read().archive,
            meta.commands(),
            context.clock_floor,
            context.trusted_now,
        );
        let mut writes = writes_of(batch);
        for (first, commands) in &expired {
            writes.push((segment_key(*first), None));
            meta.removed += commands;
        }
        self.write(meta, writes, |archive| {
            expired.iter().try_for_each(|(first, _)| archive.remove(*first))
        })?;
        if context.signing_bound > self.signing_bound {
            self.directory.set_signing_bound(context.signing_bound)?;
            self.signing_bound = context.signing_bound;
        }
        self.unpublished.follow(batch);
        Ok(())
    }

    /// What a commit, of so many commands, must not wait for.
    pub fn after_commit(&mut self, commands: usize, is_step_due: bool) -> Result<(), Error> {
        self.generation.checkpoint.write(self.meta.commit)?;
        let is_full = self.generation.write_ahead_logs.is_full();
        if is_full {
            self.switch()?;
        }
        self.archive_if_due(is_full)?;
        self.flush_some(WRITES_PER_FLUSH_STEP.max(commands))?;
        if self.generation.checkpoint.is_due() {
            self.generation.checkpoint.sync()?;
        }
        if is_step_due { self.rewrite_step() } else { Ok(()) }
    }

    /// Finished commands leave the store for a segment, in a commit of its own. Most never get to the
    /// store: they go as soon as the log is full.
    fn archive_if_due(&mut self, is_log_full: bool) -> Result<(), Error> {
        let contents = self.shared.read();
        let in_store = self.meta.commands().saturating_sub(contents.archive.commands());
        let at_least = match is_log_full {
            true => SMALLEST_SEGMENT,
            false if in_store >= self.archive_above => SEGMENT_COMMANDS,
            false => return Ok(()),
        };
        let commands = archivable(&contents.entries, &self.unpublished)?;
        let are_all = commands.len() < SEGMENT_COMMANDS;
        self.archive_above =
            if are_all { in_store + SEGMENT_COMMANDS as u64 } else { ARCHIVE_ABOVE };
        if commands.len() < at_least {
            return Ok(());
        }
        let (first, summary, index) = contents.archive.write(&commands)?;
        drop(contents);
        let meta = Meta { commit: self.meta.commit + 1, ..self.meta.clone() };
        self.write(meta, writes_of_segment(&commands, first, &summary), |archive| {
            archive.add(first, summary, &index)
        })?;
        self.generation.checkpoint.write(self.meta.commit)
    }

    /// Makes a commit durable, then visible: what it changes in the archive together with the rest, or a
    /// command that is archived would be in neither for a moment.
    fn write(
        &mut self,
        meta: Meta,
        mut writes: Writes,
        change: impl FnOnce(&mut Archive) -> Result<(), Error>,
    ) -> Result<(), Error> {
        writes.push((META.into(), Some(encode(META, &meta))));
        self.generation.write_ahead_logs.append(meta.commit, &writes)?;
        self.meta = meta;
        let mut contents = self.shared.write();
        contents.entries.follow(writes);
        change(&mut contents.archive)
    }

    /// What there is time for while no job comes.
    fn idle(&mut self) -> Result<(), Error> {
        if self.flush.is_some() {
            self.flush_some(WRITES_PER_FLUSH_STEP)
        } else if self.rewrite.is_some() {
            self.rewrite_step()
        } else {
            self.generation.checkpoint.sync()
        }
    }
}
