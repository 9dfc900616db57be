//! A write-ahead log: where a commit becomes durable, before sled gets it. One write and one
//! fdatasync, where a batch of sled's takes three waits for the disk and rewrites whole nodes.
//!
//! ```text
//! 4 bytes length of the writes, 4 CRC-32, 8 number of the commit, the writes, zeroes up to 8 bytes
//! per write: 1 byte length of the key, 4 length of the value and one or 0, the key, the value
//! ```
//!
//! Numbers are little-endian. The CRC-32 covers the journal's id, the commit's number and the writes.
//! The file is filled with zeroes when it is made and overwritten from its beginning whenever the
//! store has what is in it, so that a commit changes neither its length nor its place on the disk. What
//! is left from before it was last reused has lower numbers. Only the last commit can be torn, since the
//! next one is written after its fdatasync; a readable one behind one that is not means damage.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::entry::Writes;
use super::error::{Error, io_error, open_error};

/// How much is written ahead before it is flushed. More needs more memory; less makes flushes come more
/// often. A command takes 1.2 kB or more, mostly nearly 2: not more than a segment's worth.
const BYTES: u64 = 640 * 1024;
const HEAD: usize = 16;
const ALIGNMENT: usize = 8;
/// The buffer of an ordinary commit is kept for the next one.
const BUFFER_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub struct WriteAheadLog {
    file: File,
    path: PathBuf,
    journal: Uuid,
    /// Where the next commit goes.
    end: u64,
    buffer: Vec<u8>,
}

/// The number of a commit, and what it writes.
pub type Commit = (u64, Writes);

impl WriteAheadLog {
    /// An empty one, durable but for its directory entry.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(path: &Path, journal: Uuid) -> Result<Self, Error> {
        let file = File::create(path).map_err(io_error("create", path))?;
        file.write_all_at(&vec![0; BYTES as usize], 0)
            .and_then(|()| file.sync_all())
            .map_err(io_error("write", path))?;
        Ok(Self { file, path: path.to_owned(), journal, end: 0, buffer: Vec::new() })
    }

    /// Opens one, and tells the commits in it that a store with those up to `stored` has not got.
    ///
    /// # Errors
    /// The disk's, or damaged.
    pub fn open(path: &Path, journal: Uuid, stored: u64) -> Result<(Self, Vec<Commit>), Error> {
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(open_error(path, "there is none"))?;
        let bytes = fs::read(path).map_err(io_error("read", path))?;
        let found = read(&bytes, journal, stored);
        let (commits, end) = found.map_err(|message| Error::damaged(path, message))?;
        // What is read may only be in the page cache, which after a sync that failed holds it to be on
        // the disk: only what is written anew is synced.
        file.write_all_at(&bytes[..end.min(bytes.len())], 0).map_err(io_error("write", path))?;
        file.sync_data().map_err(io_error("sync", path))?;
        let path = path.to_owned();
        Ok((Self { file, path, journal, end: end as u64, buffer: Vec::new() }, commits))
    }

    /// Makes a commit durable.
    ///
    /// # Errors
    /// The disk's; it may then be durable or not.
    pub fn append(&mut self, number: u64, writes: &Writes) -> Result<(), Error> {
        self.buffer.clear();
        write(&mut self.buffer, self.journal, number, writes);
        self.file.write_all_at(&self.buffer, self.end).map_err(io_error("write", &self.path))?;
        self.file.sync_data().map_err(io_error("sync", &self.path))?;
        self.end += self.buffer.len() as u64;
        self.buffer.shrink_to(BUFFER_BYTES);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// The store should get what is in it.
    pub fn is_full(&self) -> bool {
        self.end > BYTES - BUFFER_BYTES as u64
    }

    /// Begins anew: the store has everything, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn restart(&mut self) -> Result<(), Error> {
        if self.end > BYTES {
            self.file.set_len(BYTES).map_err(io_error("shorten", &self.path))?;
        }
        self.end = 0;
        Ok(())
    }
}

/// What the bytes of a log say that a store with the commits up to `stored` has not got, without a gap,
/// and where it ends.
///
/// # Errors
/// Damaged: in words.
pub fn read(bytes: &[u8], journal: Uuid, stored: u64) -> Result<(Vec<Commit>, usize), String> {
    let mut commits: Vec<Commit> = Vec::new();
    let (mut at, mut end) = (0, 0);
    while let Some((number, body, length)) = record(bytes, at, journal) {
        at += length;
        // Left from before the log was last reused.
        if number <= stored {
            continue;
        }
        if let Some((last, _)) = commits.last().filter(|(last, _)| number != last + 1) {
            return Err(format!("commit {number} follows on commit {last}"));
        }
        let writes = writes(body).ok_or_else(|| format!("commit {number} has no form"))?;
        commits.push((number, writes));
        end = at;
    }
    let last = commits.last().map_or(stored, |(last, _)| *last);
    let mut beyond = (at..bytes.len()).step_by(ALIGNMENT);
    let later = beyond.find_map(|at| record(bytes, at, journal).filter(|it| it.0 > last));
    match later {
        None => Ok((commits, end)),
        Some((number, ..)) => Err(format!("commit {number} is there, but not commit {}", last + 1)),
    }
}

/// Appends the record of a commit.
pub fn write(to: &mut Vec<u8>, journal: Uuid, number: u64, writes: &Writes) {
    let begin = to.len();
    to.extend([0; HEAD]);
    for (key, value) in writes {
        to.push(key.len().try_into().expect("keys are short"));
        to.extend(value.as_ref().map_or(0, |value| length(value) + 1).to_le_bytes());
        to.extend_from_slice(key);
        to.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let (begun, body) = to[begin..].split_at_mut(HEAD);
    begun.copy_from_slice(&head(journal, number, body));
    to.resize(to.len().next_multiple_of(ALIGNMENT), 0);
}

/// What stands before the writes of a commit.
pub fn head(journal: Uuid, number: u64, body: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&length(body).to_le_bytes());
    head[4..8].copy_from_slice(&checksum(journal, number, body).to_le_bytes());
    head[8..].copy_from_slice(&number.to_le_bytes());
    head
}

/// The record at `at`: its number, its writes, and the length of all. `None`: there is none, or it
/// is torn or damaged.
fn record(bytes: &[u8], at: usize, journal: Uuid) -> Option<(u64, &[u8], usize)> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<HEAD>()?;
    let length = u32::from_le_bytes(*head.first_chunk()?) as usize;
    let number = u64::from_le_bytes(*head.last_chunk()?);
    let body = rest.get(..length)?;
    let crc = u32::from_le_bytes(*head[4..].first_chunk()?);
    // Every commit writes at least the meta.
    let is_whole = length > 0 && crc == checksum(journal, number, body);
    is_whole.then(|| (number, body, (HEAD + length).next_multiple_of(ALIGNMENT)))
}

fn writes(mut body: &[u8]) -> Option<Writes> {
    let mut writes = Writes::new();
    while let Some(([key_length, length @ ..], rest)) = body.split_first_chunk::<5>() {
        let (key, rest) = rest.split_at_checked((*key_length).into())?;
        let length = u32::from_le_bytes(*length).checked_sub(1);
        let (value, rest) = rest.split_at_checked(length.unwrap_or_default() as usize)?;
        writes.push((key.into(), length.map(|_| value.into())));
        body = rest;
    }
    body.is_empty().then_some(writes)
}

fn length(bytes: &[u8]) -> u32 {
    bytes.len().try_into().expect("a commit fits in the memory")
}

fn checksum(journal: Uuid, number: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(journal.as_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}
