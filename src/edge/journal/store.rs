//! One sled database. sled's flush ends in sync_file_range(2), which does not reach the disk's own
//! cache, so [`Store::sync`] adds an fdatasync of our own.

use std::cell::RefCell;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use serde::de::DeserializeOwned;
use sled::IVec;

use super::directory::{LOCK_PATIENCE, sync_dir};
use super::entry::decode;
use super::error::{Error, io_error};

/// Bytes; the working set is the open commands and the outbox.
const CACHE_BYTES: u64 = 1024 * 1024;

thread_local! {
    /// What this thread reads at the moment.
    static READING: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

#[derive(Debug)]
pub struct Store {
    db: sled::Db,
    file: File,
    dir: PathBuf,
}

/// A key and its value.
pub type Entry = (IVec, IVec);
/// A key, and its new value or none.
pub type Write = (IVec, Option<IVec>);

impl Store {
    /// # Errors
    /// The disk's.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        let store = Self::open_or_create(dir)?;
        store.sync()?;
        sync_dir(dir)?;
        Ok(store)
    }

    /// # Errors
    /// Not there, damaged, or the disk's.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        // Where nothing is, sled would begin anew.
        let path = dir.join("db");
        match std::fs::metadata(&path) {
            Ok(file) if file.len() > 0 => {
                forget_cached(&path)?;
                Self::open_or_create(dir)
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("read", &path)(error))
            }
            _ => Err(Error::damaged(dir, "its data file `db` is missing or empty")),
        }
    }

    fn open_or_create(dir: &Path) -> Result<Self, Error> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            // Whoever writes flushes.
            .flush_every_ms(None);
        let since = Instant::now();
        let db = loop {
            match reading(dir, || config.open().map_err(|error| failed("open", dir, error))) {
                // sled's threads let go of its lock a moment after its end.
                Err(Error::InUse(_)) if since.elapsed() < LOCK_PATIENCE => {
                    thread::sleep(Duration::from_millis(10));
                }
                result => break result?,
            }
        };
        let path = dir.join("db");
        let file = File::open(&path).map_err(io_error("open", &path))?;
        Ok(Self { db, file, dir: dir.to_owned() })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All or nothing; durable after the next [`Store::sync`].
    ///
    /// # Errors
    /// The disk's.
    pub fn apply(&self, writes: impl IntoIterator<Item = Write>) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(|error| failed("write", &self.dir, error))
    }

    /// # Errors
    /// The disk's; what was applied may then be durable or not.
    pub fn sync(&self) -> Result<(), Error> {
        self.db.flush().map_err(|error| failed("write", &self.dir, error))?;
        self.file.sync_data().map_err(io_error("sync", &self.dir))
    }

    /// # Errors
    /// Not readable or damaged.
    pub fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        let value = self.db.get(key).map_err(|error| failed("read", &self.dir, error))?;
        value.map(|value| decode(key, &value)).transpose()
    }

    /// # Errors
    /// Not readable.
    pub fn contains(&self, key: &[u8]) -> Result<bool, Error> {
        self.db.contains_key(key).map_err(|error| failed("read", &self.dir, error))
    }

    /// Every entry from a key on, in order. Never from the end: that would bring a constant of 1 MB.
    pub fn range(&self, from: Bound<&[u8]>) -> impl Iterator<Item = Result<Entry, Error>> + '_ {
        let range = self.db.range::<&[u8], _>((from, Bound::Unbounded));
        range.map(|entry| entry.map_err(|it| failed("read", &self.dir, it)))
    }

    /// Bytes of sled's log on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn bytes(&self) -> Result<u64, Error> {
        self.file.metadata().map(|file| file.len()).map_err(io_error("read", &self.dir))
    }
}

/// Has a file read from the disk. What a write that failed left in the page cache counts there as written:
/// sled would build on it, and the next reboot would end its log before that.
fn forget_cached(path: &Path) -> Result<(), Error> {
    let file = File::open(path).map_err(io_error("open", path))?;
    // Only what is not waiting to be written can go.
    file.sync_data().map_err(io_error("sync", path))?;
    fadvise(&file, 0, None, Advice::DontNeed).map_err(|error| io_error("read", path)(error.into()))
}

/// Damaged files make sled panic instead of returning an error: while `read` runs, [`error_of_panic`]
/// knows of `dir`.
pub fn reading<T>(dir: &Path, read: impl FnOnce() -> T) -> T {
    let outer = READING.replace(Some(dir.to_owned()));
    let result = read();
    READING.set(outer);
    result
}

/// What a panic of this thread means, if it reads a journal. For the panic's hook.
pub fn error_of_panic() -> Option<Error> {
    let damaged = |dir: &PathBuf| Error::damaged(dir, "sled panicked while reading its files");
    READING.with_borrow(|dir| dir.as_ref().map(damaged))
}

fn failed(what: &'static str, dir: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
            Error::InUse(dir.to_owned())
        }
        sled::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            Error::damaged(dir, source.to_string())
        }
        sled::Error::Io(source) => Error::Io { what, path: dir.to_owned(), source },
        sled::Error::Corruption { .. } => Error::damaged(dir, error.to_string()),
        other => Error::Store { what, dir: dir.to_owned(), message: other.to_string() },
    }
}
