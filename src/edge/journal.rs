//! The journal: sled, with one true disk flush per commit.
//!
//! Commits run on a thread of their own, since they block on the disk; a commit is one sled batch,
//! one sled flush and one fdatasync (sled's flush ends in sync_file_range(2), which does not reach
//! the disk's own cache). Reads run on the caller's thread: they are small and mostly cached.
//! [`Journal::commit`] is not cancel-safe: a dropped call still commits.
//!
//! Keys: `c` + command id: the record. `u` + command id: it is not closed. `o` + number, big-endian:
//! an outbox entry. `n` + hash: a nonce that was used. `m`: what must survive beside them. A value is a format version, a CRC-32 of
//! key and body, and the body as JSON.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::guard::nonces::NonceKey;
use crate::lifecycle::effect::{Batch, OutboxNumber};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::time::Timestamp;

/// Of the values, not of sled's own files.
const FORMAT: u8 = 1;
/// Bytes; the working set is the open commands and the outbox.
const CACHE_BYTES: u64 = 2 * 1024 * 1024;
/// A process that was just killed may hold the lock for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const META: &[u8] = b"m";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to create the journal in {}: {source}", dir.display())]
    Create { dir: PathBuf, source: io::Error },
    #[error("the journal in {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("failed to open the journal in {}: {message}", dir.display())]
    Open { dir: PathBuf, message: String },
    #[error("failed to read the journal: {0}")]
    Read(String),
    #[error("failed to write the journal: {0}")]
    Write(String),
    #[error("the journal's entry {key} is damaged: {message}")]
    Damaged { key: String, message: String },
    #[error("the journal's thread has ended")]
    Ended,
}

/// What the journal holds that the engine must take up again.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Commands that something can still happen to.
    pub open: Vec<Record>,
    pub outbox: Vec<(OutboxNumber, Record)>,
    /// Used up, and until when.
    pub nonces: Vec<(NonceKey, Timestamp)>,
    /// The highest `Record::number` ever given.
    pub last_number: u64,
    /// The wall clock was here when it could last be trusted.
    pub clock_floor: Option<Timestamp>,
}

/// A handle to the open journal; the thread ends with the last one.
#[derive(Debug)]
pub struct Journal {
    db: sled::Db,
    commits: mpsc::UnboundedSender<Commit>,
}

#[derive(Debug)]
struct Commit {
    batch: sled::Batch,
    done: oneshot::Sender<Result<(), Error>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Meta {
    last_number: u64,
    clock_floor: Option<Timestamp>,
}

impl Journal {
    /// Opens or creates the journal in `dir` and reads what is open.
    ///
    /// # Errors
    /// In use by another process, not readable, or damaged. Nothing is repaired or deleted.
    pub fn open(dir: &Path) -> Result<(Self, Recovered), Error> {
        let create = |source| Error::Create { dir: dir.to_owned(), source };
        let is_new = !dir.join("db").exists();
        std::fs::create_dir_all(dir).map_err(create)?;
        let db = open_patiently(dir)?;
        let recovered = recover(&db)?;
        let file = File::open(dir.join("db")).map_err(create)?;
        if is_new {
            // The directory entries must survive a power cut as well.
            db.flush().map_err(|error| Error::Write(error.to_string()))?;
            file.sync_all().map_err(create)?;
            sync_dir(dir).map_err(create)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent).map_err(create)?;
            }
        }
        let (commits, mut jobs) = mpsc::unbounded_channel::<Commit>();
        let writer = db.clone();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                while let Some(job) = jobs.blocking_recv() {
                    // The caller may have gone; the commit stands all the same.
                    let _ = job.done.send(write(&writer, &file, job.batch));
                }
            })
            .map_err(create)?;
        Ok((Self { db, commits }, recovered))
    }

    /// Makes `batch` durable, all or nothing.
    ///
    /// # Errors
    /// The disk's error; the batch may then be durable or not, so the caller must stop.
    pub async fn commit(
        &self,
        batch: &Batch,
        last_number: u64,
        clock_floor: Timestamp,
    ) -> Result<(), Error> {
        let (done, committed) = oneshot::channel();
        let batch = encode(batch, &Meta { last_number, clock_floor: Some(clock_floor) })?;
        self.commits.send(Commit { batch, done }).map_err(|_| Error::Ended)?;
        committed.await.map_err(|_| Error::Ended)?
    }

    /// The record of a command, as of the last commit.
    ///
    /// # Errors
    /// Not readable or damaged.
    pub fn get(&self, id: CommandId) -> Result<Option<Record>, Error> {
        get(&self.db, &command_key(id))
    }
}

fn open_patiently(dir: &Path) -> Result<sled::Db, Error> {
    let since = Instant::now();
    loop {
        match open_db(dir) {
            Err(Error::InUse(_)) if since.elapsed() < LOCK_PATIENCE => {
                thread::sleep(Duration::from_millis(50));
            }
            result => return result,
        }
    }
}

fn open_db(dir: &Path) -> Result<sled::Db, Error> {
    let failed = |message: String| Error::Open { dir: dir.to_owned(), message };
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        // Every commit flushes by itself.
        .flush_every_ms(None);
    // Damaged files make sled panic instead of returning an error.
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) if is_lock_error(&error) => {
            Err(Error::InUse(dir.to_owned()))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => {
            Err(failed("its files are damaged (sled panicked while reading them)".to_owned()))
        }
    }
}

fn is_lock_error(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.to_string().contains("could not acquire lock")
}

fn write(db: &sled::Db, file: &File, batch: sled::Batch) -> Result<(), Error> {
    db.apply_batch(batch).map_err(|error| Error::Write(error.to_string()))?;
    db.flush().map_err(|error| Error::Write(error.to_string()))?;
    file.sync_data().map_err(|error| Error::Write(error.to_string()))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn encode(batch: &Batch, meta: &Meta) -> Result<sled::Batch, Error> {
    let mut writes = sled::Batch::default();
    for (id, record) in &batch.records {
        insert(&mut writes, command_key(*id), record)?;
        if record.closed {
            writes.remove(open_key(*id));
        } else {
            writes.insert(open_key(*id), &[]);
        }
    }
    for (number, record) in &batch.outbox {
        insert(&mut writes, outbox_key(*number), record)?;
    }
    for number in &batch.published {
        writes.remove(outbox_key(*number));
    }
    for (nonce, expires) in &batch.nonces {
        insert(&mut writes, nonce_key(nonce), expires)?;
    }
    for nonce in &batch.expired_nonces {
        writes.remove(nonce_key(nonce));
    }
    insert(&mut writes, META.to_vec(), meta)?;
    Ok(writes)
}

fn insert(batch: &mut sled::Batch, key: Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    let mut bytes = vec![FORMAT, 0, 0, 0, 0];
    serde_json::to_writer(&mut bytes, value).map_err(|error| Error::Write(error.to_string()))?;
    let crc = checksum(&key, &bytes[5..]);
    bytes[1..5].copy_from_slice(&crc.to_le_bytes());
    batch.insert(key, bytes);
    Ok(())
}

fn recover(db: &sled::Db) -> Result<Recovered, Error> {
    let meta: Meta = get(db, META)?.unwrap_or_default();
    let mut open = Vec::new();
    for entry in db.scan_prefix(b"u") {
        let (key, _) = entry.map_err(read_error)?;
        let record_key = [b"c", &key[1..]].concat();
        let record = get(db, &record_key)?
            .ok_or_else(|| damaged(&record_key, "an open command has no record"))?;
        open.push(record);
    }
    let mut outbox = Vec::new();
    for entry in db.scan_prefix(b"o") {
        let (key, value) = entry.map_err(read_error)?;
        let number = key[1..]
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| damaged(&key, "an outbox entry without a number"))?;
        outbox.push((number, decode(&key, &value)?));
    }
    let mut nonces = Vec::new();
    for entry in db.scan_prefix(b"n") {
        let (key, value) = entry.map_err(read_error)?;
        let nonce = key[1..].try_into().map(NonceKey);
        let nonce = nonce.map_err(|_| damaged(&key, "a nonce of another length"))?;
        nonces.push((nonce, decode(&key, &value)?));
    }
    Ok(Recovered {
        open,
        outbox,
        nonces,
        last_number: meta.last_number,
        clock_floor: meta.clock_floor,
    })
}

fn get<T: DeserializeOwned>(db: &sled::Db, key: &[u8]) -> Result<Option<T>, Error> {
    db.get(key).map_err(read_error)?.map(|value| decode(key, &value)).transpose()
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, Error> {
    let [format, crc @ ..] = value.first_chunk::<5>().ok_or_else(|| damaged(key, "too short"))?;
    if *format != FORMAT {
        return Err(damaged(key, &format!("format {format} is not known to this version")));
    }
    let body = &value[5..];
    if u32::from_le_bytes(*crc) != checksum(key, body) {
        return Err(damaged(key, "the checksum does not fit"));
    }
    serde_json::from_slice(body).map_err(|error| damaged(key, &error.to_string()))
}

/// Over the key too, so that a value under another key is noticed.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

fn command_key(id: CommandId) -> Vec<u8> {
    [b"c".as_slice(), id.as_bytes()].concat()
}

fn open_key(id: CommandId) -> Vec<u8> {
    [b"u".as_slice(), id.as_bytes()].concat()
}

fn outbox_key(number: OutboxNumber) -> Vec<u8> {
    [b"o".as_slice(), &number.to_be_bytes()].concat()
}

fn nonce_key(nonce: &NonceKey) -> Vec<u8> {
    [b"n".as_slice(), &nonce.0].concat()
}

fn read_error(error: sled::Error) -> Error {
    Error::Read(error.to_string())
}

fn damaged(key: &[u8], message: &str) -> Error {
    let kind = key.first().map_or('?', |byte| char::from(*byte));
    let rest: String = key.iter().skip(1).map(|byte| format!("{byte:02x}")).collect();
    Error::Damaged { key: format!("{kind}{rest}"), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::request::command_id;

    const NOW: Timestamp = Timestamp::from_secs(1_781_481_600);

    fn record(number: u64, closed: bool) -> Record {
        let mut record = Record::example();
        record.command_id = command_id("px4-real-1", "cloud", &number.to_string());
        record.number = number;
        record.closed = closed;
        // Numbers that do not survive a careless round trip.
        record.content.params[0] = Some(0.1);
        record.content.params[2] = Some(-1.0 / 3.0);
        record.content.params[4] = Some(47.397_742_1);
        record
    }

    fn batch(records: impl IntoIterator<Item = Record>) -> Batch {
        let mut batch = Batch::default();
        for record in records {
            batch.outbox.insert(record.number, record.clone());
            batch.records.insert(record.command_id, record);
        }
        batch
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, recovered) = Journal::open(dir.path()).unwrap();
        assert!(recovered.open.is_empty() && recovered.outbox.is_empty());
        assert_eq!((recovered.last_number, recovered.clock_floor), (0, None));
        let (open, closed) = (record(1, false), record(2, true));
        block_on(journal.commit(&batch([open.clone(), closed.clone()]), 2, NOW)).unwrap();
        drop(journal);

        let (journal, recovered) = Journal::open(dir.path()).unwrap();
        assert_eq!(recovered.open, std::slice::from_ref(&open));
        assert_eq!(recovered.outbox, [(1, open.clone()), (2, closed.clone())]);
        assert_eq!((recovered.last_number, recovered.clock_floor), (2, Some(NOW)));
        assert_eq!(journal.get(open.command_id).unwrap(), Some(open.clone()));
        assert_eq!(journal.get(closed.command_id).unwrap(), Some(closed));
        assert_eq!(journal.get(record(3, false).command_id).unwrap(), None);

        let (kept, gone) = (NonceKey([1; 16]), NonceKey([2; 16]));
        let nonces = Batch { nonces: [(kept, NOW), (gone, NOW)].into(), ..Batch::default() };
        block_on(journal.commit(&nonces, 2, NOW)).unwrap();

        let mut update = batch([Record { closed: true, ..open }]);
        update.outbox.clear();
        update.published = [1].into();
        update.expired_nonces = [gone].into();
        block_on(journal.commit(&update, 2, NOW)).unwrap();
        drop(journal);
        let (_, recovered) = Journal::open(dir.path()).unwrap();
        assert!(recovered.open.is_empty());
        assert_eq!(recovered.outbox.len(), 1);
        assert_eq!(recovered.nonces, [(kept, NOW)]);
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_journal, _) = Journal::open(dir.path()).unwrap();
        // flock(2) is per open file, so a second open in this process stands for another one's.
        let Err(error) = Journal::open(dir.path()) else { panic!("opened twice") };
        assert!(matches!(error, Error::InUse(_)), "{error}");
    }

    #[test]
    fn a_damaged_value_is_an_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path()).unwrap();
        let open = record(1, false);
        block_on(journal.commit(&batch([open.clone()]), 1, NOW)).unwrap();
        let key = command_key(open.command_id);
        let good = journal.db.get(&key).unwrap().unwrap();
        for (at, told) in [(0, "format 2 "), (3, "checksum"), (good.len() - 1, "checksum")] {
            let mut bad = good.to_vec();
            bad[at] = bad[at].wrapping_add(1);
            journal.db.insert(&key, bad.clone()).unwrap();
            let error = journal.get(open.command_id).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert!(recover(&journal.db).is_err());
            assert_eq!(journal.db.get(&key).unwrap().unwrap(), bad);
        }
        // A good value under another's key.
        let other = command_key(record(2, false).command_id);
        journal.db.insert(&other, good.clone()).unwrap();
        assert!(get::<Record>(&journal.db, &other).is_err());
        // An open command without its record.
        journal.db.insert(&key, good).unwrap();
        journal.db.remove(&key).unwrap();
        let error = recover(&journal.db).unwrap_err().to_string();
        assert!(error.contains("no record"), "{error}");
    }

    #[test]
    fn damaged_files_are_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path()).unwrap();
        for number in 1..200 {
            block_on(journal.commit(&batch([record(number, false)]), number, NOW)).unwrap();
        }
        drop(journal);
        let file = dir.path().join("conf");
        std::fs::write(&file, b"not sled's").unwrap();
        let Err(error) = Journal::open(dir.path()) else { panic!("opened") };
        assert!(matches!(error, Error::Open { .. }), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"not sled's");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let Err(error) = Journal::open(&file.join("journal")) else { panic!("opened") };
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}
