//! What the engine must take up again after a restart. It reads nothing else, so the number of
//! finished commands does not matter.

use super::entries::Entries;
use super::entry::{NONCES, OPEN, OUTBOX, decode, nonce_of, number_of, record_key};
use super::error::Error;
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
    /// Used up, and until when.
    pub nonces: Vec<(NonceKey, Timestamp)>,
    /// The highest [`Record::number`] ever given.
    pub last_number: u64,
    /// The wall clock was here when it could last be trusted.
    pub clock_floor: Option<Timestamp>,
    /// Another journal was set aside for this one.
    pub set_aside: Option<SetAside>,
    /// Earlier timestamps may have been used in MAVLink signatures.
    pub signing_bound: SigningTime,
}

/// # Errors
/// Not readable or damaged.
pub fn read(entries: &Entries) -> Result<Recovered, Error> {
    let mut recovered = Recovered::default();
    for entry in entries.scan(OPEN) {
        let key = record_key(number_of(&entry?.0)?);
        let record = entries.get(&key)?;
        let missing = || Error::entry(&key, "an open command has no record");
        recovered.open.push(record.ok_or_else(missing)?);
    }
    for entry in entries.scan(OUTBOX) {
        let (key, value) = entry?;
        recovered.outbox.push((number_of(&key)?, decode(&key, &value)?));
    }
    for entry in entries.scan(NONCES) {
        let (key, value) = entry?;
        recovered.nonces.push((nonce_of(&key)?, decode(&key, &value)?));
    }
    Ok(recovered)
}
