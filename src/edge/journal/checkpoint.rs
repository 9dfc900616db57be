//! How far the journal certainly is: the number of the last commit that reached the disk, in a file of
//! its own. A journal that ends before it has lost commits, which neither sled nor the write-ahead log
//! can tell from an end. It is not a database's checkpoint: bringing the log to the store is a flush here.
//!
//! The number is written when its commit has been reported, so it is never ahead of the disk. It is
//! synced after [`SYNC_EVERY`] commits: after the end of a process it is exact, unless that came just
//! between the two; after a power cut it may be older by about as many. Two slots make it safe against
//! a torn write: only the one that is not the last synced is written to, and after a sync they change
//! places.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::{Error, io_error, open_error};

/// Commits; one more fdatasync among so many.
const SYNC_EVERY: u64 = 256;
/// A page of the file system each, so that no write touches both.
const SLOT_BYTES: u64 = 4096;
const LINE_BYTES: usize = 8 + 1 + 36 + 1 + 20 + 1;

#[derive(Debug)]
pub struct Checkpoint {
    file: File,
    path: PathBuf,
    /// The journal's id: to write that as text takes longer than all the rest.
    journal: String,
    /// The slot that is written to.
    slot: u64,
    unsynced: u64,
}

impl Checkpoint {
    /// A new one, durable but for its directory entry.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(path: &Path, journal: Uuid, commit: u64) -> Result<Self, Error> {
        let file = File::create(path).map_err(io_error("create", path))?;
        let journal = journal.to_string();
        let mut it = Self { file, path: path.to_owned(), journal, slot: 0, unsynced: 0 };
        it.write(commit)?;
        it.sync()?;
        Ok(it)
    }

    /// Opens one, and tells its commit number. The caller goes on only with a store that has it.
    ///
    /// # Errors
    /// The disk's, or damaged, or another journal's.
    pub fn open(path: &Path, journal: Uuid) -> Result<(Self, u64), Error> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(open_error(path, "there is none"))?;
        let slots = [0, 1].map(|slot| read(&file, slot));
        let (best, (owner, commit)) = (0..)
            .zip(slots)
            .filter_map(|(slot, read)| Some((slot, read?)))
            .max_by_key(|(_, (_, commit))| *commit)
            .ok_or_else(|| Error::damaged(path, "it holds no checkpoint"))?;
        if owner != journal {
            return Err(Error::damaged(path, format!("it belongs to another journal, {owner}")));
        }
        let journal = journal.to_string();
        let mut it = Self { file, path: path.to_owned(), journal, slot: best, unsynced: 1 };
        // What was read may only be in the page cache.
        it.sync()?;
        Ok((it, commit))
    }

    /// To be called when `commit` is durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, commit: u64) -> Result<(), Error> {
        let at = self.slot * SLOT_BYTES;
        let line = line(&self.journal, commit);
        self.file.write_all_at(line.as_bytes(), at).map_err(io_error("write", &self.path))?;
        self.unsynced += 1;
        Ok(())
    }

    /// It is behind by as much as it may be.
    pub fn is_due(&self) -> bool {
        self.unsynced >= SYNC_EVERY
    }

    /// Makes the last number durable, if it is not.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.unsynced > 0 {
            self.file.sync_data().map_err(io_error("sync", &self.path))?;
            self.slot = 1 - self.slot;
            self.unsynced = 0;
        }
        Ok(())
    }

    pub fn is_synced(&self) -> bool {
        self.unsynced == 0
    }
}

fn line(journal: &str, commit: u64) -> String {
    let content = format!("{journal} {commit:020}");
    format!("{:08x} {content}\n", crc32fast::hash(content.as_bytes()))
}

/// `None`: never written, torn or damaged.
fn read(file: &File, slot: u64) -> Option<(Uuid, u64)> {
    let mut bytes = [0; LINE_BYTES];
    file.read_exact_at(&mut bytes, slot * SLOT_BYTES).ok()?;
    let text = str::from_utf8(&bytes).ok()?;
    let mut words = text.split_whitespace().skip(1);
    let journal = words.next()?;
    let commit = words.next()?.parse().ok()?;
    (text == line(journal, commit)).then_some((journal.parse().ok()?, commit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: Uuid = Uuid::from_u128(7);

    fn reopened(path: &Path) -> Result<u64, Error> {
        Checkpoint::open(path, JOURNAL).map(|(_, commit)| commit)
    }

    #[test]
    fn the_last_number_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut checkpoint = Checkpoint::create(&path, JOURNAL, 3).unwrap();
        assert_eq!(reopened(&path).unwrap(), 3);
        for commit in 4..4 + 3 * SYNC_EVERY {
            checkpoint.write(commit).unwrap();
            assert_eq!(reopened(&path).unwrap(), commit);
        }
    }

    #[test]
    fn a_torn_write_leaves_a_number_that_was_durable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut checkpoint = Checkpoint::create(&path, JOURNAL, 1).unwrap();
        let mut durable = 1;
        for commit in 2..3 * SYNC_EVERY {
            checkpoint.write(commit).unwrap();
            if checkpoint.is_due() {
                checkpoint.sync().unwrap();
                durable = commit;
            }
            // The page that a power cut may tear is the one that was written since the last sync.
            let whole = std::fs::read(&path).unwrap();
            let mut torn = whole.clone();
            let at = (checkpoint.slot * SLOT_BYTES) as usize;
            torn.resize(torn.len().max(at + LINE_BYTES), 0);
            torn[at + 10..].iter_mut().take(40).for_each(|byte| *byte = 0xff);
            std::fs::write(dir.path().join("torn"), torn).unwrap();
            assert_eq!(reopened(&dir.path().join("torn")).unwrap(), durable);
        }
    }

    #[test]
    fn damage_and_another_journal_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        Checkpoint::create(&path, Uuid::from_u128(8), 1).unwrap();
        assert!(reopened(&path).unwrap_err().to_string().contains("another journal"));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(reopened(&path).is_err(), "byte {at}");
        }
        std::fs::write(&path, b"").unwrap();
        assert!(reopened(&path).is_err());
    }
}
