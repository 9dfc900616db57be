//! Keys and values. A value is a format version, a CRC-32 of key and body, and the body in postcard's format:
//! fields one after the other without names, variants by number. So neither may move or go, and
//! `tests/values.rs` sees to it. A new variant comes last, and so does a new field of a value, whose older
//! bodies then must be given its default. Before journals had format 5, bodies were JSON.
//!
//! | key | value |
//! |---|---|
//! | `c` + number | the command of this [`Record::number`] |
//! | `i` + command id | its number |
//! | `m` | [`Meta`], in every commit |
//! | `n` + hash | a nonce that a message used which made no command, and until when it is remembered |
//! | `o` + number | an outbox entry |
//! | `s` + number | a segment of the archive, by its first command: its [`Summary`] |
//! | `u` + number | the command is not closed; no value |
//!
//! Numbers are big-endian: the order of the keys is the order of acceptance.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::IVec;
use uuid::Uuid;

use super::error::Error;
use super::segment::{Finished, Summary};
use super::store::Write;
use crate::guard::nonces::NonceKey;
use crate::guard::set_aside::SetAside;
use crate::lifecycle::effect::{Batch, OutboxNumber};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::time::Timestamp;

/// Of the values, by their first byte; not of sled's own files.
pub const VALUE_FORMAT: u8 = 2;
/// The one before: bodies were JSON.
pub const JSON_VALUE_FORMAT: u8 = 1;
/// The format and the checksum.
const HEAD: usize = 1 + 4;

/// Most records are a little shorter, and the rest is, the meta among it.
const USUAL_RECORD_BYTES: usize = 384;
const USUAL_BYTES: usize = 64;

pub const META: &[u8] = b"m";
pub const RECORDS: &[u8] = b"c";
pub const IDS: &[u8] = b"i";
pub const NONCES: &[u8] = b"n";
pub const OUTBOX: &[u8] = b"o";
pub const SEGMENTS: &[u8] = b"s";
pub const OPEN: &[u8] = b"u";

/// What must survive beside the commands; every commit writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Names the journal, as in `current` and the checkpoint.
    pub journal: Uuid,
    /// Counts the commits, without a gap.
    pub commit: u64,
    /// The highest [`Record::number`] ever given.
    pub last_number: u64,
    /// Of these so many were removed: the others must be there.
    pub removed: u64,
    pub clock_floor: Option<Timestamp>,
    /// What the journal before this one leaves to make up for.
    pub set_aside: Option<SetAside>,
}

impl Meta {
    /// Of an empty journal.
    pub fn first(journal: Uuid, set_aside: Option<SetAside>) -> Self {
        Self { journal, commit: 1, last_number: 0, removed: 0, clock_floor: None, set_aside }
    }

    pub fn commands(&self) -> u64 {
        self.last_number.saturating_sub(self.removed)
    }

    /// Nonces that expire before are forgotten.
    pub fn floor(&self) -> Timestamp {
        self.clock_floor.unwrap_or_default()
    }
}

/// What one commit changes.
pub type Writes = Vec<Write>;

/// All that a batch changes but the meta.
pub fn writes_of(batch: &Batch) -> Writes {
    // Nonces are rare; the meta is still to come.
    let usual = 3 * batch.records.len() + batch.outbox.len() + batch.published.len() + 1;
    let mut writes = Writes::with_capacity(usual);
    // A command and its latest update are mostly one object: its body is made once.
    let mut made = HashMap::new();
    let mut push = |key: IVec, record: &Arc<Record>| {
        let body = made
            .entry(Arc::as_ptr(record))
            .or_insert_with(|| packed(&**record, Vec::with_capacity(USUAL_RECORD_BYTES)));
        let value = value(&key, body);
        writes.push((key, Some(value)));
    };
    for record in batch.records.values() {
        push(record_key(record.number), record);
    }
    for (number, record) in &batch.outbox {
        push(outbox_key(*number), record);
    }
    for (id, record) in &batch.records {
        let key = id_key(*id);
        let number = encode(&key, &record.number);
        writes.push((key, Some(number)));
        writes.push((open_key(record.number), (!record.closed).then(IVec::default)));
    }
    for number in &batch.published {
        writes.push((outbox_key(*number), None));
    }
    for (nonce, expires) in &batch.nonces {
        let key = nonce_key(nonce);
        let value = encode(&key, expires);
        writes.push((key, Some(value)));
    }
    for nonce in &batch.expired_nonces {
        writes.push((nonce_key(nonce), None));
    }
    writes
}

/// What changes when commands leave the store for a segment.
pub fn writes_of_segment(commands: &[Finished], first: u64, summary: &Summary) -> Writes {
    let keys = commands.iter().flat_map(|it| [record_key(it.number), id_key(it.command_id)]);
    let mut writes: Writes = keys.map(|key| (key, None)).collect();
    let key = segment_key(first);
    let value = encode(&key, summary);
    writes.push((key, Some(value)));
    writes
}

pub fn encode(key: &[u8], content: &impl Serialize) -> IVec {
    let mut value = Vec::with_capacity(USUAL_BYTES);
    value.resize(HEAD, VALUE_FORMAT);
    let mut value = packed(content, value);
    let crc = checksum(key, &value[HEAD..]);
    value[1..HEAD].copy_from_slice(&crc.to_le_bytes());
    value.into()
}

/// # Errors
/// Damaged, or of another format.
pub fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, Error> {
    let content = match checked(key, value)? {
        (JSON_VALUE_FORMAT, body) => {
            serde_json::from_slice(body).map_err(|error| error.to_string())
        }
        (_, body) => match postcard::take_from_bytes(body) {
            Ok((content, [])) => Ok(content),
            Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
            Err(error) => Err(error.to_string()),
        },
    };
    content.map_err(|message| Error::entry(key, message))
}

/// The format of a value, and its body, whose checksum fits.
///
/// # Errors
/// Damaged, or of another format.
pub fn checked<'value>(key: &[u8], value: &'value [u8]) -> Result<(u8, &'value [u8]), Error> {
    let (head, body) =
        value.split_first_chunk::<HEAD>().ok_or_else(|| Error::entry(key, "too short"))?;
    let [format, crc @ ..] = *head;
    if !(JSON_VALUE_FORMAT..=VALUE_FORMAT).contains(&format) {
        return Err(Error::entry(key, format!("format {format} is not known to this version")));
    }
    if u32::from_le_bytes(crc) != checksum(key, body) {
        return Err(Error::entry(key, "the checksum does not fit"));
    }
    Ok((format, body))
}

/// The number at the end of a key.
///
/// # Errors
/// It has none.
pub fn number_of(key: &[u8]) -> Result<u64, Error> {
    let number = key.get(1..).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes);
    number.ok_or_else(|| Error::entry(key, "a key without a number"))
}

pub fn nonce_of(key: &[u8]) -> Result<NonceKey, Error> {
    let nonce = key.get(1..).and_then(|rest| rest.try_into().ok()).map(NonceKey);
    nonce.ok_or_else(|| Error::entry(key, "a nonce of another length"))
}

pub fn record_key(number: u64) -> IVec {
    key(RECORDS, number.to_be_bytes())
}

pub fn id_key(id: CommandId) -> IVec {
    key(IDS, id.into_bytes())
}

pub fn open_key(number: u64) -> IVec {
    key(OPEN, number.to_be_bytes())
}

pub fn outbox_key(number: OutboxNumber) -> IVec {
    key(OUTBOX, number.to_be_bytes())
}

pub fn segment_key(first: u64) -> IVec {
    key(SEGMENTS, first.to_be_bytes())
}

pub fn nonce_key(nonce: &NonceKey) -> IVec {
    key(NONCES, nonce.0)
}

/// sled keeps one of this length without memory of its own.
fn key<const LENGTH: usize>(kind: &[u8], name: [u8; LENGTH]) -> IVec {
    let mut key = [0; 1 + 16];
    key[..1].copy_from_slice(kind);
    key[1..=LENGTH].copy_from_slice(&name);
    key[..=LENGTH].into()
}

/// Behind what `bytes` already hold.
fn packed(content: &impl Serialize, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(content, bytes).expect("the values are plain data")
}

fn value(key: &[u8], body: &[u8]) -> IVec {
    let mut value = Vec::with_capacity(HEAD + body.len());
    value.push(VALUE_FORMAT);
    value.extend(checksum(key, body).to_le_bytes());
    value.extend(body);
    value.into()
}

/// Over the key too, so that a value under another key is noticed.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}
