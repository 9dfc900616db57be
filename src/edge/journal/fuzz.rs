//! What must hold whatever the journal's files hold; see [`crate::fuzz`].

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::directory::parse_current;
use super::entry::{self, Meta, decode, encode, nonce_of, number_of};
use super::segment::{self, Summary};
use super::write_ahead_log;
use crate::lifecycle::record::Record;
use crate::lifecycle::time::Timestamp;
use crate::wire::outbound;

/// The journal that every checkpoint in the corpus belongs to.
const JOURNAL: Uuid = Uuid::from_u128(7);

/// The first byte says what the others are: with a letter of the store's keys the body of a value, with
/// `C` the file `current`, with `k` a checkpoint, with `a` a segment behind 8 bytes that count its
/// commands, with `w` a write-ahead log.
pub fn journal(data: &[u8]) -> bool {
    let Some((&kind, body)) = data.split_first() else { return false };
    let _ = (number_of(data), nonce_of(data));
    match kind {
        b'c' | b'o' => {
            let records = entries::<Record>(kind, body);
            records.iter().for_each(check_record);
            !records.is_empty()
        }
        b'i' => !entries::<u64>(kind, body).is_empty(),
        b'm' => !entries::<Meta>(kind, body).is_empty(),
        b'n' => !entries::<Timestamp>(kind, body).is_empty(),
        b's' => !entries::<Summary>(kind, body).is_empty(),
        b'C' => current(body),
        b'k' => checkpoint(body),
        b'a' => archive(body),
        b'w' => write_ahead_log(body),
        _ => false,
    }
}

/// What `body` reads as, as it is and with the format and the checksum that it would need.
fn entries<T>(kind: u8, body: &[u8]) -> Vec<T>
where
    T: Serialize + DeserializeOwned,
{
    let key = [[kind; 1].as_slice(), &7_u64.to_be_bytes()].concat();
    let crc = crc32fast::hash(&[&key, body].concat()).to_le_bytes();
    let sealed = [entry::JSON_VALUE_FORMAT, entry::VALUE_FORMAT]
        .map(|format| [&[format], &crc[..], body].concat());
    let values = [body, &sealed[0], &sealed[1]].map(|value| decode::<T>(&key, value).ok());
    let values: Vec<T> = values.into_iter().flatten().collect();
    for value in &values {
        let written = encode(&key, value);
        let again = decode::<T>(&key, &written).expect("it was just written");
        // Not the values: a NaN differs from itself.
        assert_eq!(encode(&key, &again), written);
        // Under another key it does not count.
        assert!(decode::<T>(&key[1..], &written).is_err());
    }
    values
}

fn check_record(record: &Record) {
    let _ = (record.is_terminal(), record.is_undecided(), record.frame_sent(), record.deadline());
    let _ = (record.content.long(), record.content.int());
    let update = outbound::update("px4-real-1", record);
    serde_json::from_slice::<serde_json::Value>(&update).expect("an update is JSON");
}

fn current(text: &[u8]) -> bool {
    let dir = Path::new("journal");
    let Ok(current) = parse_current(dir, text) else { return false };
    let written = serde_json::to_vec(&current).expect("plain data");
    assert_eq!(parse_current(dir, &written).expect("it was just written"), current);
    true
}

fn checkpoint(bytes: &[u8]) -> bool {
    let (_file, path) = file(bytes);
    let Ok((mut checkpoint, commit)) = Checkpoint::open(&path, JOURNAL) else { return false };
    let Some(next) = commit.checked_add(1) else { return true };
    checkpoint.write(next).expect("memory takes it");
    let (_, found) = Checkpoint::open(&path, JOURNAL).expect("it was just written");
    assert_eq!(found, next);
    true
}

fn archive(bytes: &[u8]) -> bool {
    let Some((commands, bytes)) = bytes.split_first_chunk() else { return false };
    let commands = u64::from_le_bytes(*commands);
    // What the store would have to say for this file to be a segment.
    let index = commands.checked_mul(32).and_then(|index| usize::try_from(index).ok());
    let start = index.and_then(|index| bytes.len().checked_sub(8 + index));
    let index_crc = start.map_or(0, |start| crc32fast::hash(&bytes[start..bytes.len() - 8]));
    let summary = Summary {
        commands,
        bytes: bytes.len() as u64,
        index_crc,
        newest: None,
        nonces_expire: None,
    };
    let (_file, path) = file(bytes);
    let Ok(index) = segment::read_index(&path, &summary) else { return false };
    assert_eq!(index.len() as u64, commands);
    for (_, place) in index {
        let end = u64::from(place.offset) + u64::from(place.length);
        assert!(end <= summary.bytes, "{place:?} lies outside of the file");
        if let Ok(record) = segment::read(&path, place) {
            check_record(&record);
        }
    }
    true
}

/// As it is, and as the writes of one commit.
fn write_ahead_log(bytes: &[u8]) -> bool {
    let sealed = [&write_ahead_log::head(JOURNAL, 1, bytes), bytes].concat();
    let logs = [bytes, &sealed].map(|log| write_ahead_log::read(log, JOURNAL, 0).ok());
    let mut is_any = false;
    for (commits, end) in logs.into_iter().flatten() {
        let mut written = Vec::new();
        for (number, writes) in &commits {
            write_ahead_log::write(&mut written, JOURNAL, *number, writes);
        }
        // Where the file ends the zeroes that fill up the last commit may be missing.
        assert_eq!(written.len(), end);
        let read = write_ahead_log::read(&written, JOURNAL, 0).expect("it was just written");
        is_any |= !commits.is_empty();
        assert_eq!(read, (commits, end));
    }
    is_any
}

/// In memory, as long as the first lives.
fn file(bytes: &[u8]) -> (File, PathBuf) {
    let mut file = File::from(memfd_create("journal", MemfdFlags::CLOEXEC).expect("it is Linux"));
    file.write_all(bytes).expect("memory takes it");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file, path)
}
