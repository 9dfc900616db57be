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
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::directory::sync_dir;
use super::entry::{decode, record_key};
use super::error::{Error, io_error, open_error};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::time::{Stamp, Timestamp};

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
    /// Until when the nonce of one of them must be remembered.
    pub nonces_expire: Option<Timestamp>,
}

impl Summary {
    /// Whether a nonce of one of its commands expires at `floor` or later.
    pub fn has_nonces_in_use(&self, floor: Timestamp) -> bool {
        self.nonces_expire >= Some(floor)
    }
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub number: u64,
    pub offset: u32,
    pub length: u32,
}

pub type Index = Vec<(CommandId, Place)>;

/// A finished command, its value as the store has it: a segment's worth of records would be some of
/// the largest memory that the process ever takes.
#[derive(Debug)]
pub struct Finished {
    pub number: u64,
    pub command_id: CommandId,
    pub updated: Stamp,
    /// Until when its nonce must be remembered.
    pub nonce_expires: Option<Timestamp>,
    pub value: sled::IVec,
}

/// Writes a segment, durably; `commands` are in order of number, at least one.
///
/// # Errors
/// The disk's.
pub fn write(path: &Path, commands: &[Finished]) -> Result<(Summary, Index), Error> {
    let new = path.with_extension("new");
    let file = File::create(&new).map_err(io_error("create", &new))?;
    let (index, bytes, index_crc) = fill(file, commands).map_err(io_error("write", &new))?;
    fs::rename(&new, path).map_err(io_error("rename", &new))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    let all_trusted = commands.iter().all(|command| command.updated.wall_trusted);
    let newest = commands.iter().map(|command| command.updated.wall).max();
    let summary = Summary {
        commands: commands.len() as u64,
        bytes,
        index_crc,
        newest: newest.filter(|_| all_trusted),
        nonces_expire: commands.iter().filter_map(|command| command.nonce_expires).max(),
    };
    Ok((summary, index))
}

/// Reads where everything stands, and sees that it is the segment of `summary`.
///
/// # Errors
/// Damaged, missing, or the disk's.
pub fn read_index(path: &Path, summary: &Summary) -> Result<Index, Error> {
    let damaged = |message: &str| Error::damaged(path, message);
    let file = File::open(path).map_err(open_error(path, "this part of it is missing"))?;
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

/// Reads every command, as key and value in the store's form.
///
/// # Errors
/// Damaged, missing, the disk's, or `look`'s.
pub fn read_values(
    path: &Path,
    summary: &Summary,
    mut look: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let index = read_index(path, summary)?;
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    index.iter().try_for_each(|(_, place)| {
        let values = bytes.get(place.offset as usize..);
        let value = values.and_then(|values| values.get(..place.length as usize));
        let value = value.ok_or_else(|| Error::damaged(path, "it became shorter"))?;
        look(&record_key(place.number), value)
    })
}

/// # Errors
/// Damaged, missing, or the disk's.
pub fn read(path: &Path, place: Place) -> Result<Record, Error> {
    let mut value = vec![0; place.length as usize];
    let file = File::open(path).map_err(io_error("open", path))?;
    file.read_exact_at(&mut value, place.offset.into()).map_err(io_error("read", path))?;
    decode(&record_key(place.number), &value)
}

/// Returns where everything stands, the length of the file, and the CRC-32 of its index.
fn fill(file: File, commands: &[Finished]) -> io::Result<(Index, u64, u32)> {
    let mut file = BufWriter::new(file);
    let mut index = Index::new();
    let mut index_bytes = Vec::new();
    let mut offset = 0;
    for Finished { number, command_id, value, .. } in commands {
        file.write_all(value)?;
        let place = Place { number: *number, offset, length: value.len() as u32 };
        index_bytes.extend(command_id.as_bytes());
        index_bytes.extend(place.number.to_be_bytes());
        index_bytes.extend(place.offset.to_be_bytes());
        index_bytes.extend(place.length.to_be_bytes());
        index.push((*command_id, place));
        offset += place.length;
    }
    let index_crc = crc32fast::hash(&index_bytes);
    file.write_all(&index_bytes)?;
    file.write_all(&index_crc.to_be_bytes())?;
    file.write_all(&(commands.len() as u32).to_be_bytes())?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok((index, u64::from(offset) + index_bytes.len() as u64 + TRAILER, index_crc))
}

#[cfg(test)]
mod tests {
    use super::super::entry::encode;
    use super::*;

    fn example() -> Finished {
        let record = Record::example();
        Finished {
            number: record.number,
            command_id: record.command_id,
            updated: record.updated,
            nonce_expires: None,
            value: encode(&record_key(record.number), &record),
        }
    }

    #[test]
    fn an_index_that_names_what_is_not_in_the_file_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commands-1");
        let (good, index) = write(&path, &[example()]).unwrap();
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
        let (good, _) = write(&path, &[example()]).unwrap();
        for commands in [2, 1 << 32, 1 << 59, u64::MAX] {
            let error = read_index(&path, &Summary { commands, ..good.clone() }).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{error}");
        }
    }
}
