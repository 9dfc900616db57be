//! A file of finished commands, written once and never changed.
//!
//! ```text
//! values, one after the other     as in the store, each with its own checksum
//! index, per command              16 bytes command id, 8 number, 4 offset, 4 length
//! trailer                         4 bytes CRC-32 of the index, 4 commands
//! ```
//!
//! Numbers are big-endian. What sled has read stays in memory; a finished command in here costs
//! its place in the index.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::directory::sync_dir;
use super::entry::{decode, encode, record_key};
use super::error::{Error, io_error};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::time::Timestamp;

const INDEX_ENTRY: usize = 32;
const TRAILER: u64 = 8;

/// What the store keeps of a segment, under the number of its first command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub commands: u64,
    /// The length of the file.
    pub bytes: u64,
    /// CRC-32 of the index, so of the file's end.
    pub index_crc: u32,
    /// The latest update of a command in it; `None`: one was made while the clock was not trusted.
    pub newest: Option<Timestamp>,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub number: u64,
    pub offset: u32,
    pub length: u32,
}

pub type Index = Vec<(CommandId, Place)>;

/// Writes a segment, durably; `records` are in order of number, at least one.
///
/// # Errors
/// The disk's.
pub fn write(path: &Path, records: &[Record]) -> Result<(Summary, Index), Error> {
    let mut bytes = Vec::new();
    let mut index = Vec::new();
    for record in records {
        let value = encode(&record_key(record.number), record);
        let place =
            Place { number: record.number, offset: bytes.len() as u32, length: value.len() as u32 };
        bytes.extend(value);
        index.push((record.command_id, place));
    }
    let start = bytes.len();
    for (id, place) in &index {
        bytes.extend(id.as_bytes());
        bytes.extend(place.number.to_be_bytes());
        bytes.extend(place.offset.to_be_bytes());
        bytes.extend(place.length.to_be_bytes());
    }
    let index_crc = crc32fast::hash(&bytes[start..]);
    bytes.extend(index_crc.to_be_bytes());
    bytes.extend((records.len() as u32).to_be_bytes());
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(io_error("create", &new))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &new))?;
    fs::rename(&new, path).map_err(io_error("rename", &new))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    let all_trusted = records.iter().all(|record| record.updated.wall_trusted);
    let newest = records.iter().map(|record| record.updated.wall).max();
    let summary = Summary {
        commands: records.len() as u64,
        bytes: bytes.len() as u64,
        index_crc,
        newest: newest.filter(|_| all_trusted),
    };
    Ok((summary, index))
}

/// Reads where everything stands, and sees that it is the segment of `summary`.
///
/// # Errors
/// Damaged, missing, or the disk's.
pub fn read_index(path: &Path, summary: &Summary) -> Result<Index, Error> {
    let damaged = |message: &str| Error::damaged(path, message);
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged("this part of it is missing"),
        _ => io_error("open", path)(error),
    })?;
    let length = file.metadata().map_err(io_error("read", path))?.len();
    let index_bytes = summary.commands.checked_mul(INDEX_ENTRY as u64);
    let start = index_bytes.and_then(|it| summary.bytes.checked_sub(TRAILER)?.checked_sub(it));
    let (true, Some(start)) = (length == summary.bytes, start) else {
        return Err(damaged("it has another length than when it was written"));
    };
    let mut bytes = vec![0; (summary.bytes - TRAILER - start) as usize];
    file.read_exact_at(&mut bytes, start).map_err(io_error("read", path))?;
    if crc32fast::hash(&bytes) != summary.index_crc {
        return Err(damaged("the checksum of its index does not fit"));
    }
    let entry = |entry: &[u8]| {
        let (id, rest) = entry.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (offset, rest) = rest.split_first_chunk::<4>()?;
        let place = Place {
            number: u64::from_be_bytes(*number),
            offset: u32::from_be_bytes(*offset),
            length: u32::from_be_bytes(*rest.first_chunk::<4>()?),
        };
        let end = u64::from(place.offset) + u64::from(place.length);
        (end <= start).then_some((Uuid::from_bytes(*id), place))
    };
    let index = bytes.chunks_exact(INDEX_ENTRY).map(entry).collect::<Option<_>>();
    index.ok_or_else(|| damaged("its index names what is not in it"))
}

/// # Errors
/// Damaged, missing, or the disk's.
pub fn read(path: &Path, place: Place) -> Result<Record, Error> {
    let mut value = vec![0; place.length as usize];
    let file = File::open(path).map_err(io_error("open", path))?;
    file.read_exact_at(&mut value, place.offset.into()).map_err(io_error("read", path))?;
    decode(&record_key(place.number), &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_names_what_is_not_in_the_file_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commands-1");
        let (good, index) = write(&path, &[Record::example()]).unwrap();
        assert_eq!(read_index(&path, &good).unwrap(), index);
        let bytes = fs::read(&path).unwrap();
        let start = bytes.len() - TRAILER as usize - INDEX_ENTRY;
        // Offset and length, behind the id and the number.
        for (field, number) in [(24, 1), (24, u32::MAX), (28, index[0].1.length + 1)] {
            let mut bytes = bytes.clone();
            bytes[start + field..][..4].copy_from_slice(&u32::to_be_bytes(number));
            let index_crc = crc32fast::hash(&bytes[start..start + INDEX_ENTRY]);
            fs::write(&path, &bytes).unwrap();
            let error = read_index(&path, &Summary { index_crc, ..good.clone() }).unwrap_err();
            assert!(error.to_string().contains("names what is not in it"), "{error}");
        }
    }

    #[test]
    fn no_count_is_too_large_to_be_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commands-1");
        let (good, _) = write(&path, &[Record::example()]).unwrap();
        for commands in [2, 1 << 32, 1 << 59, u64::MAX] {
            let error = read_index(&path, &Summary { commands, ..good.clone() }).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{error}");
        }
    }
}
