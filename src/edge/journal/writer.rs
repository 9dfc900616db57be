//! The journal's thread: commits, and between them flushes, the checkpoint, the archive and rewrites.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use log::{info, warn};
use sled::IVec;
use tokio::sync::oneshot;

use super::archive::Archive;
use super::directory::{Current, Directory};
use super::entries::Entries;
use super::entry::{META, Meta, Writes, encode, segment_key, writes_of, writes_of_segment};
use super::error::{Error, io_error};
use super::generation::Generation;
use super::retention::{Retention, SEGMENT_COMMANDS, Unpublished, archivable};
use super::rewrite::{Failure, Rewrite};
use super::store::Write;
use crate::guard::set_aside::SetAside;
use crate::lifecycle::effect::Batch;
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::SigningTime;

/// Without commits, when the checkpoint is made durable.
const IDLE: Duration = Duration::from_secs(30);
/// Under load a rewrite still goes on, by a step after so many commits.
const COMMITS_PER_STEP: u32 = 8;
/// A store up to this size, and so much more per command and update in it, is left alone.
pub const MIN_BYTES: u64 = 32 * 1024 * 1024;
const BYTES_PER_ENTRY: u64 = 4096;
/// So few finished commands rather go to the store than to a segment of their own.
const SMALLEST_SEGMENT: usize = SEGMENT_COMMANDS / 4;
/// Writes that the store gets in one batch.
const WRITES_PER_BATCH: usize = 256;
/// Writes that it gets at a time from the log before, so that the next commit waits little; behind a
/// commit of more commands as many as these.
const WRITES_PER_STEP: usize = 16;
/// Without commits for so long, it gets some more.
const QUIET: Duration = Duration::from_millis(10);
/// Commands not in the archive before it is looked for some to archive.
pub const ARCHIVE_ABOVE: u64 = 2 * SEGMENT_COMMANDS as u64;

/// What reads go to; the thread changes it.
pub type Shared = Arc<RwLock<Contents>>;

#[derive(Debug)]
pub struct Contents {
    pub entries: Entries,
    pub archive: Archive,
}

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
    /// The store is getting what is in the log before the current one.
    pub flush: Option<Flush>,
    /// With so many commands not in the archive, it is time to look for some to archive.
    pub archive_above: u64,
    /// The size of the file up to which another rewrite would gain nothing.
    pub rewrite_above: u64,
    /// [`MIN_BYTES`].
    pub min_bytes: u64,
}

#[derive(Debug)]
pub struct Flush {
    /// As of that log's last commit.
    meta: Meta,
    /// Up to this key it has got everything.
    after: IVec,
}

impl Writer {
    /// Until the other end of `jobs` is dropped, or a commit fails.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut commits_since_step = 0;
        // The engine must not go on from a commit whose fate is not known, so neither does this.
        let mut failure = self.rewrite_if_due().err();
        while failure.is_none() {
            match self.next(jobs) {
                Ok(Some(job)) => {
                    let result = self.commit(&job.batch, job.context);
                    let failed = result.is_err();
                    // The caller may have gone; the commit stands all the same.
                    let _ = job.done.send(result);
                    if failed {
                        return;
                    }
                    commits_since_step += 1;
                    let is_step_due = commits_since_step >= COMMITS_PER_STEP;
                    if is_step_due {
                        commits_since_step = 0;
                    }
                    failure = self.after_commit(job.batch.records.len(), is_step_due).err();
                }
                Ok(None) => {
                    commits_since_step = 0;
                    failure = self.idle().err();
                }
                Err(()) => {
                    if let Err(error) = self.flush_all() {
                        warn!("{error}");
                    }
                    return;
                }
            }
        }
        let Some(failure) = failure else { return };
        if let Ok(job) = jobs.recv() {
            let _ = job.done.send(Err(failure));
        }
    }

    /// `None`: there is time for something else. Error: the end.
    fn next(&self, jobs: &Receiver<Job>) -> Result<Option<Job>, ()> {
        let patience = if self.rewrite.is_some() {
            Duration::ZERO
        } else if self.flush.is_some() {
            QUIET
        } else if self.generation.checkpoint.is_synced() {
            return jobs.recv().map(Some).map_err(|_| ());
        } else {
            IDLE
        };
        match jobs.recv_timeout(patience) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
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
            &self.shared.read().expect("no holder panics").archive,
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
        self.flush_some(WRITES_PER_STEP.max(commands))?;
        if self.generation.checkpoint.is_due() {
            self.generation.checkpoint.sync()?;
        }
        if is_step_due { self.rewrite_step() } else { Ok(()) }
    }

    /// Commits go to the other log; while they do, the store gets what is in this one.
    pub fn switch(&mut self) -> Result<(), Error> {
        if !self.generation.write_ahead_logs.switch() {
            // Commits came faster than the store got them, or both logs had some at the start.
            self.flush_all()?;
            return self.rewrite_if_due();
        }
        self.shared.write().expect("no holder panics").entries.switch();
        self.flush = Some(Flush { meta: self.meta.clone(), after: IVec::default() });
        Ok(())
    }

    /// The store gets some more of the log before the current one. What a later commit has changed
    /// again it need not get: that is in the current one.
    pub fn flush_some(&mut self, limit: usize) -> Result<(), Error> {
        let Some(flush) = self.flush.take() else { return Ok(()) };
        let contents = self.shared.read().expect("no holder panics");
        let (writes, last) = contents.entries.old(&flush.after, limit)?;
        drop(contents);
        self.apply(writes)?;
        if let Some(after) = last {
            self.flush = Some(Flush { after, ..flush });
            return Ok(());
        }
        self.apply_meta(&flush.meta)?;
        self.generation.write_ahead_logs.free_other()?;
        self.shared.write().expect("no holder panics").entries.forget_old();
        self.generation.checkpoint.sync()?;
        self.rewrite_if_due()
    }

    /// The store gets all that was written ahead. A crash on the way leaves some of it in both places.
    pub fn flush_all(&mut self) -> Result<(), Error> {
        if self.generation.write_ahead_logs.is_empty() {
            return self.generation.checkpoint.sync();
        }
        let writes = self.shared.read().expect("no holder panics").entries.ahead()?;
        writes.chunks(WRITES_PER_BATCH).try_for_each(|batch| self.apply(batch.to_vec()))?;
        self.apply_meta(&self.meta.clone())?;
        self.generation.write_ahead_logs.restart()?;
        self.shared.write().expect("no holder panics").entries.forget_ahead();
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

    /// Finished commands leave the store for a segment, in a commit of its own. Most never get to the
    /// store: they go as soon as the log is full.
    fn archive_if_due(&mut self, is_log_full: bool) -> Result<(), Error> {
        let contents = self.shared.read().expect("no holder panics");
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
        let mut contents = self.shared.write().expect("no holder panics");
        contents.entries.follow(writes);
        change(&mut contents.archive)
    }

    fn idle(&mut self) -> Result<(), Error> {
        if self.flush.is_some() {
            self.flush_some(WRITES_PER_STEP)
        } else if self.rewrite.is_some() {
            self.rewrite_step()
        } else {
            self.generation.checkpoint.sync()
        }
    }

    fn rewrite_if_due(&mut self) -> Result<(), Error> {
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

    /// What the store may have without being rewritten.
    fn expected_bytes(&self) -> u64 {
        let archived = self.shared.read().expect("no holder panics").archive.commands();
        let commands = self.meta.commands().saturating_sub(archived);
        self.min_bytes + BYTES_PER_ENTRY * (commands + self.unpublished.len())
    }

    /// Begins a new generation; steps follow.
    pub fn begin_rewrite(&mut self) -> Result<(), Error> {
        match Rewrite::begin(&self.directory, &self.current) {
            Ok(rewrite) => self.rewrite = Some(rewrite),
            Err(error) => self.abandon_rewrite(&error)?,
        }
        Ok(())
    }

    pub fn rewrite_step(&mut self) -> Result<(), Error> {
        let Some(rewrite) = &mut self.rewrite else { return Ok(()) };
        match rewrite.step(&self.generation.store) {
            Ok(false) => Ok(()),
            Ok(true) => self.finish_rewrite(),
            Err(Failure::Old(error)) => Err(error),
            Err(Failure::New(error)) => self.abandon_rewrite(&error),
        }
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
        self.shared.write().expect("no holder panics").entries = entries;
        self.current = current;
        self.generation = generation;
        // Where entries are larger than expected, another rewrite would change nothing.
        self.rewrite_above = if after > self.expected_bytes() { 2 * after } else { 0 };
        let pause = since.elapsed();
        self.directory.remove_leftovers(&self.current)?;
        info!("the journal was rewritten: {before} bytes became {after}, in a pause of {pause:?}");
        Ok(())
    }

    fn abandon_rewrite(&mut self, error: &Error) -> Result<(), Error> {
        warn!("the journal goes on as it is, it could not be rewritten: {error}");
        self.rewrite = None;
        self.rewrite_above = self.generation.store.bytes()? + MIN_BYTES;
        if let Err(error) = self.directory.remove_leftovers(&self.current) {
            warn!("{error}");
        }
        Ok(())
    }
}

fn free_bytes(directory: &Directory) -> Result<u64, Error> {
    let path = directory.path();
    let stat = rustix::fs::statvfs(path).map_err(|error| io_error("read", path)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
