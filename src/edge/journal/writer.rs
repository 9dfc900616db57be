//! The journal's thread: commits, and between them the store's turn, the checkpoint, the archive and
//! the rewriting.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::oneshot;

use super::archive::Archive;
use super::directory::{Current, Directory};
use super::entries::Entries;
use super::entry::{META, Meta, Writes, encode, moved, segment_key, writes_of};
use super::error::{Error, io_error};
use super::generation::Generation;
use super::retention::{Retention, SEGMENT_COMMANDS, Unpublished, movable};
use super::rewrite::{Failure, Rewrite};
use super::segment::{Index, Summary};
use super::store::Write;
use crate::guard::set_aside::SetAside;
use crate::lifecycle::effect::Batch;
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::SigningTime;

/// Without commits, when the checkpoint is made durable.
const IDLE: Duration = Duration::from_secs(30);
/// Under load a rewriting still goes on, by a step after so many commits.
const COMMITS_PER_STEP: u32 = 8;
/// A store up to this size, and so much more per command and update in it, is left alone.
pub const MIN_BYTES: u64 = 32 * 1024 * 1024;
const BYTES_PER_ENTRY: u64 = 4096;
/// Writes that the store gets in one batch.
const WRITES_PER_BATCH: usize = 256;
/// Commands in the store before it is looked for some to move.
pub const LOOK_ABOVE: u64 = 2 * SEGMENT_COMMANDS as u64;

/// What reads go to; the thread changes it.
pub type Shared = Arc<RwLock<Contents>>;

#[derive(Debug)]
pub struct Contents {
    pub entries: Entries,
    pub archive: Archive,
}

/// What a commit needs to know beside its batch.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
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
    pub moment: Moment,
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
    /// How many are in the store.
    pub nonces: u64,
    /// A segment that is written; the next commit makes it count.
    pub moving: Option<Moving>,
    /// With so many commands in the store, it is time to look for some to move.
    pub look_above: u64,
    /// The size of the file below which another rewriting would gain nothing.
    pub gain_above: u64,
    /// [`MIN_BYTES`].
    pub min_bytes: u64,
}

#[derive(Debug)]
pub struct Moving {
    first: u64,
    summary: Summary,
    index: Index,
    writes: Writes,
}

impl Writer {
    /// Until the other end of `jobs` is dropped, or a commit fails.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut commits_since_step = 0;
        // The engine must not go on from a commit whose fate is not known, so neither does this.
        let mut failure = self.begin_if_due().err();
        while failure.is_none() {
            match self.next(jobs) {
                Ok(Some(job)) => {
                    let result = self.commit(&job.batch, job.moment);
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
                    failure = self.keep_house(is_step_due).err();
                }
                Ok(None) => {
                    commits_since_step = 0;
                    failure = self.idle().err();
                }
                Err(()) => {
                    if let Err(error) = self.hand_over() {
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
        if self.rewrite.is_some() {
            match jobs.try_recv() {
                Ok(job) => Ok(Some(job)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => Err(()),
            }
        } else if self.generation.checkpoint.is_synced() {
            jobs.recv().map(Some).map_err(|_| ())
        } else {
            match jobs.recv_timeout(IDLE) {
                Ok(job) => Ok(Some(job)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(()),
            }
        }
    }

    /// One write ahead, one fdatasync. What is moved to the archive and what leaves it goes with it.
    /// Another bound for signatures takes a file of its own, once in minutes.
    pub fn commit(&mut self, batch: &Batch, moment: Moment) -> Result<(), Error> {
        let moving = self.moving.take();
        let mut meta = Meta {
            commit: self.meta.commit + 1,
            last_number: moment.last_number,
            clock_floor: Some(moment.clock_floor),
            set_aside: moment.set_aside,
            ..self.meta.clone()
        };
        let expired = self.retention.expired(
            &self.shared.read().expect("no holder panics").archive,
            meta.commands(),
            moment.trusted_now,
        );
        let mut writes = writes_of(batch);
        writes.extend(moving.iter().flat_map(|moving| moving.writes.clone()));
        for (first, commands) in &expired {
            writes.push((segment_key(*first), None));
            meta.removed += commands;
        }
        writes.push((META.to_vec(), Some(encode(META, &meta))));
        self.generation.write_ahead.append(meta.commit, &writes)?;
        if moment.signing_bound > self.signing_bound {
            self.directory.set_signing_bound(moment.signing_bound)?;
            self.signing_bound = moment.signing_bound;
        }
        self.meta = meta;
        self.unpublished.follow(batch);
        self.nonces += batch.nonces.len() as u64;
        self.nonces = self.nonces.saturating_sub(batch.expired_nonces.len() as u64);
        let mut contents = self.shared.write().expect("no holder panics");
        contents.entries.follow(writes);
        if let Some(Moving { first, summary, index, .. }) = moving {
            contents.archive.add(first, summary, &index);
        }
        for (first, _) in expired {
            contents.archive.remove(first)?;
        }
        Ok(())
    }

    /// What a commit must not wait for.
    pub fn keep_house(&mut self, is_step_due: bool) -> Result<(), Error> {
        self.generation.checkpoint.write(self.meta.commit)?;
        self.move_if_due()?;
        if self.generation.write_ahead.is_full() {
            self.hand_over()?;
            self.begin_if_due()?;
        } else if self.generation.checkpoint.is_due() {
            self.generation.checkpoint.sync()?;
        }
        if is_step_due { self.step() } else { Ok(()) }
    }

    /// The store gets what was written ahead. A crash on the way leaves some of it in both places.
    pub fn hand_over(&mut self) -> Result<(), Error> {
        if self.generation.write_ahead.is_empty() {
            return self.generation.checkpoint.sync();
        }
        let writes = self.shared.read().expect("no holder panics").entries.ahead()?;
        let meta: Write = (META.into(), Some(encode(META, &self.meta).into()));
        for batch in writes.chunks(WRITES_PER_BATCH) {
            self.generation.store.apply(batch.iter().cloned())?;
        }
        self.generation.store.sync()?;
        // It says that the store has everything up to its commit.
        self.generation.store.apply([meta.clone()])?;
        self.generation.store.sync()?;
        if let Some(rewrite) = &self.rewrite
            && let Err(error) = rewrite.follow(writes.into_iter().chain([meta]))
        {
            self.give_up(&error)?;
        }
        self.generation.write_ahead.restart()?;
        self.shared.write().expect("no holder panics").entries.forget_ahead();
        self.generation.checkpoint.sync()
    }

    /// Writes a segment of finished commands; they leave the store with the next commit.
    fn move_if_due(&mut self) -> Result<(), Error> {
        let contents = self.shared.read().expect("no holder panics");
        let in_store = self.meta.commands().saturating_sub(contents.archive.commands());
        // Where a nonce is known its command stays: looking would read the whole store for nothing.
        let may_move = in_store.saturating_sub(self.nonces);
        let is_due = in_store >= self.look_above && may_move >= SEGMENT_COMMANDS as u64;
        if self.moving.is_some() || !is_due {
            return Ok(());
        }
        let Some(commands) = movable(&contents.entries, &self.unpublished)? else {
            self.look_above = in_store + SEGMENT_COMMANDS as u64;
            return Ok(());
        };
        self.look_above = LOOK_ABOVE;
        let (first, summary, index) = contents.archive.write(&commands)?;
        let writes = moved(&commands, first, &summary);
        self.moving = Some(Moving { first, summary, index, writes });
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Error> {
        if self.rewrite.is_some() { self.step() } else { self.generation.checkpoint.sync() }
    }

    fn begin_if_due(&mut self) -> Result<(), Error> {
        let bytes = self.generation.store.bytes()?;
        if self.rewrite.is_some() || bytes <= self.gain_above.max(self.expected_bytes()) {
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
            self.gain_above = bytes + MIN_BYTES;
            return Ok(());
        }
        self.begin()
    }

    /// What the store may have without being rewritten.
    fn expected_bytes(&self) -> u64 {
        let archived = self.shared.read().expect("no holder panics").archive.commands();
        let commands = self.meta.commands().saturating_sub(archived);
        self.min_bytes + BYTES_PER_ENTRY * (commands + self.unpublished.len())
    }

    /// Begins a new generation; steps follow.
    pub fn begin(&mut self) -> Result<(), Error> {
        match Rewrite::begin(&self.directory, &self.current) {
            Ok(rewrite) => self.rewrite = Some(rewrite),
            Err(error) => self.give_up(&error)?,
        }
        Ok(())
    }

    pub fn step(&mut self) -> Result<(), Error> {
        let Some(rewrite) = &mut self.rewrite else { return Ok(()) };
        match rewrite.step(&self.generation.store) {
            Ok(false) => Ok(()),
            Ok(true) => self.take_over(),
            Err(Failure::Old(error)) => Err(error),
            Err(Failure::New(error)) => self.give_up(&error),
        }
    }

    /// The new generation is complete: it becomes the current one, and the old one goes.
    fn take_over(&mut self) -> Result<(), Error> {
        let since = Instant::now();
        self.hand_over()?;
        let Some(rewrite) = self.rewrite.take() else { return Ok(()) };
        let (number, generation) = match rewrite.finish(&self.meta) {
            Ok(finished) => finished,
            Err(error) => return self.give_up(&error),
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
        // Where entries are larger than expected, another rewriting would change nothing.
        self.gain_above = if after > self.expected_bytes() { 2 * after } else { 0 };
        let pause = since.elapsed();
        self.directory.remove_leftovers(&self.current)?;
        info!("the journal was rewritten: {before} bytes became {after}, in a pause of {pause:?}");
        Ok(())
    }

    fn give_up(&mut self, error: &Error) -> Result<(), Error> {
        warn!("the journal goes on as it is, it could not be rewritten: {error}");
        self.rewrite = None;
        self.gain_above = self.generation.store.bytes()? + MIN_BYTES;
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
