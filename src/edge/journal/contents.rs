//! What the journal holds as of the last commit, shared between its thread, which changes it, and those
//! who read.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::archive::Archive;
use super::entries::Entries;
use super::entry::{id_key, record_key};
use super::error::Error;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;

#[derive(Debug)]
pub struct Contents {
    pub entries: Entries,
    pub archive: Archive,
}

impl Contents {
    /// The record of a command, wherever that is.
    ///
    /// # Errors
    /// Not readable or damaged.
    pub fn get(&self, id: CommandId) -> Result<Option<Record>, Error> {
        let Some(number) = self.entries.get(&id_key(id))? else { return self.archive.get(id) };
        let key = record_key(number);
        let record = self.entries.get(&key)?;
        let missing = || Error::entry(&key, format!("command {id} has no record"));
        record.map(Some).ok_or_else(missing)
    }
}

/// The one lock; a clone is another handle of it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<RwLock<Contents>>);

impl Shared {
    pub fn new(contents: Contents) -> Self {
        Self(Arc::new(RwLock::new(contents)))
    }

    pub fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.0.read().expect("no holder panics")
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.0.write().expect("no holder panics")
    }
}
