//! One generation: a store, its write-ahead logs, and their checkpoint.

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::directory::{Current, Directory, JOURNAL_FORMAT, sync_dir};
use super::entries::Entries;
use super::entry::{META, Meta, encode};
use super::error::Error;
use super::store::{Store, reading};
use super::write_ahead_logs::WriteAheadLogs;

const STORE: &str = "store";
const CHECKPOINT: &str = "checkpoint";

#[derive(Debug)]
pub struct Generation {
    pub store: Arc<Store>,
    pub write_ahead_logs: WriteAheadLogs,
    pub checkpoint: Checkpoint,
}

impl Generation {
    /// The first one of a journal: empty. Makes `current` name it.
    ///
    /// # Errors
    /// The disk's.
    pub fn first(directory: &Directory, current: &mut Current, meta: &Meta) -> Result<Self, Error> {
        let number = current.generation + 1;
        let path = directory.fresh_generation(number)?;
        let store = create_store(&path)?;
        store.apply([(META.into(), Some(encode(META, meta)))])?;
        let generation = Self::seal(&path, store, meta)?;
        current.format = JOURNAL_FORMAT;
        current.generation = number;
        directory.set_current(current)?;
        Ok(generation)
    }

    /// Makes a store that holds everything up to `meta` ready to become current.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(path: &Path, store: Store, meta: &Meta) -> Result<Self, Error> {
        store.sync()?;
        let write_ahead_logs = WriteAheadLogs::create(path, meta.journal)?;
        let checkpoint = Checkpoint::create(&path.join(CHECKPOINT), meta.journal, meta.commit)?;
        sync_dir(store.dir())?;
        sync_dir(path)?;
        Ok(Self { store: Arc::new(store), write_ahead_logs, checkpoint })
    }

    /// Opens the generation in use, and sees that nothing of it is missing.
    ///
    /// # Errors
    /// Damaged, another journal's, or the disk's.
    pub fn open(directory: &Directory, current: &Current) -> Result<(Self, Entries, Meta), Error> {
        let path = directory.generation(current.generation);
        let damaged = |message: String| Error::damaged(directory.path(), message);
        // First: sled repairs what it takes for the torn end of its log.
        let (checkpoint, durable) = Checkpoint::open(&path.join(CHECKPOINT), current.journal)?;
        let store = Arc::new(Store::open(&path.join(STORE))?);
        let stored: Option<Meta> = reading(&path, || store.get(META))?;
        let stored = stored.ok_or_else(|| {
            damaged(format!("it is empty, but commit {durable} was durable: its content is lost"))
        })?;
        if stored.journal != current.journal {
            return Err(damaged(format!(
                "the store belongs to another journal, {}",
                stored.journal
            )));
        }
        // At first every commit went to the store at once.
        let existing = match current.format {
            1 => 0,
            2 => 1,
            _ => 2,
        };
        let (write_ahead_logs, commits) =
            WriteAheadLogs::open(&path, current.journal, stored.commit, existing)?;
        if current.format < JOURNAL_FORMAT {
            sync_dir(&path)?;
        }
        let mut entries = Entries::new(Arc::clone(&store));
        for (_, writes) in commits {
            entries.follow(writes);
        }
        let meta = entries.get(META)?.unwrap_or(stored);
        if meta.commit < durable {
            return Err(damaged(format!(
                "it ends with commit {}, but commit {durable} was durable: its end is lost",
                meta.commit
            )));
        }
        Ok((Self { store, write_ahead_logs, checkpoint }, entries, meta))
    }
}

/// The store of a generation that is being made.
///
/// # Errors
/// The disk's.
pub fn create_store(path: &Path) -> Result<Store, Error> {
    Store::create(&path.join(STORE))
}
