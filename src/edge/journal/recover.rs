//! What the engine must take up again after a restart. Of finished commands it reads only those whose
//! nonces are remembered, two minutes' worth, and what is not in the archive; so their number does not
//! matter.

use super::archive::Archive;
use super::entries::Entries;
use super::entry::{NONCES, OPEN, OUTBOX, RECORDS, decode, nonce_of, number_of, record_key};
use super::error::Error;
use super::segment;
use crate::guard::nonces::NonceKey;
use crate::guard::set_aside::SetAside;
use crate::lifecycle::effect::OutboxNumber;
use crate::lifecycle::record::Record;
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::SigningTime;

/// What the journal holds that the engine must take up again.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Commands that something can still happen to.
    pub open: Vec<Record>,
    pub outbox: Vec<(OutboxNumber, Record)>,
    /// Nonces with an entry of their own, and until when each is remembered.
    pub nonce_entries: Vec<(NonceKey, Timestamp)>,
    /// Those of commands.
    pub nonces_of_commands: Vec<(NonceKey, Timestamp)>,
    /// The highest [`Record::number`] ever given.
    pub last_number: u64,
    /// The wall clock was here when it could last be trusted.
    pub clock_floor: Option<Timestamp>,
    /// Another journal was set aside for this one.
    pub set_aside: Option<SetAside>,
    /// Earlier timestamps may have been used in MAVLink signatures.
    pub signing_bound: SigningTime,
}

/// What the entries and the archive hold of it. `floor`: nonces that expire before are forgotten.
///
/// # Errors
/// Not readable or damaged.
pub fn read(entries: &Entries, archive: &Archive, floor: Timestamp) -> Result<Recovered, Error> {
    let mut recovered = Recovered::default();
    for entry in entries.scan(OPEN) {
        let key = record_key(number_of(&entry?.0)?);
        let record = entries.get(&key)?;
        let missing = || Error::entry(&key, "an open command has no record");
        recovered.open.push(record.ok_or_else(missing)?);
    }
    recovered.outbox = outbox(entries).collect::<Result<_, _>>()?;
    recovered.nonce_entries = nonce_entries(entries)?;
    recovered.nonces_of_commands = nonces_of_commands(entries, archive, floor)?;
    Ok(recovered)
}

/// The updates that the broker has not got.
///
/// # Errors
/// Not readable or damaged.
pub fn outbox(entries: &Entries) -> impl Iterator<Item = Result<(OutboxNumber, Record), Error>> {
    entries.scan(OUTBOX).map(|entry| {
        let (key, value) = entry?;
        Ok((number_of(&key)?, decode(&key, &value)?))
    })
}

/// Nonces with an entry of their own.
///
/// # Errors
/// Not readable or damaged.
pub fn nonce_entries(entries: &Entries) -> Result<Vec<(NonceKey, Timestamp)>, Error> {
    let nonces = entries.scan(NONCES).map(|entry| {
        let (key, value) = entry?;
        Ok((nonce_of(&key)?, decode(&key, &value)?))
    });
    nonces.collect()
}

/// The nonces of commands that expire at `floor` or later.
///
/// # Errors
/// Not readable or damaged.
pub fn nonces_of_commands(
    entries: &Entries,
    archive: &Archive,
    floor: Timestamp,
) -> Result<Vec<(NonceKey, Timestamp)>, Error> {
    let mut nonces = Vec::new();
    let mut look = |key: &[u8], value: &[u8]| {
        let Record { nonce, nonce_expires, .. } = decode(key, value)?;
        nonces.extend(nonce.zip(nonce_expires).filter(|(_, expires)| *expires >= floor));
        Ok(())
    };
    for entry in entries.scan(RECORDS) {
        let (key, value) = entry?;
        look(&key, &value)?;
    }
    for (first, summary) in archive.segments() {
        if summary.has_nonces_in_use(floor) {
            segment::read_values(&archive.path(*first), summary, &mut look)?;
        }
    }
    Ok(nonces)
}
