//! The journal of a stopped daemon, for people: reading, checking, setting aside. It runs on the
//! caller's thread, and holds the lock meanwhile.

use std::collections::HashSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::archive::Archive;
use super::contents::Contents;
use super::directory::{Current, Directory};
use super::entry::{
    IDS, META, Meta, NONCES, OPEN, OUTBOX, RECORDS, SEGMENTS, decode, id_key, nonce_of, number_of,
    open_key, record_key,
};
use super::error::Error;
use super::generation::Generation;
use super::segment::{self, Place, Summary};
use super::store::{Entry, reading};
use super::{open_or_begin, recover};
use crate::guard::nonces::NonceKey;
use crate::lifecycle::effect::OutboxNumber;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;
use crate::lifecycle::time::Timestamp;

/// A stopped daemon's journal, locked as long as this lives.
#[derive(Debug)]
pub struct Reader {
    contents: Contents,
    meta: Meta,
    directory: Directory,
}

/// What [`Reader::check`] found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Commits since the journal was made.
    pub commits: u64,
    /// Commands that were ever accepted.
    pub accepted: u64,
    pub removed: u64,
    /// Commands that are there, and of these, how many are finished and archived.
    pub commands: u64,
    pub archived: u64,
    pub open: u64,
    pub outbox: u64,
    pub nonces: u64,
    pub problems: Vec<String>,
}

impl Reader {
    /// # Errors
    /// In use, not there, or its frame is damaged: what [`super::Journal::open`] would refuse.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let directory = Directory::open(dir)?;
        let current = directory.current()?.filter(|current| current.generation > 0);
        let current = current.ok_or_else(|| Error::Missing(dir.to_owned()))?;
        let (_, entries, meta) = Generation::open(&directory, &current)?;
        let archive = reading(dir, || Archive::open(&directory, &entries))?;
        Ok(Self { contents: Contents { entries, archive }, meta, directory })
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// # Errors
    /// Not readable or damaged.
    pub fn get(&self, id: CommandId) -> Result<Option<Record>, Error> {
        reading(self.directory.path(), || self.contents.get(id))
    }

    /// Every command, in order of acceptance.
    ///
    /// # Errors
    /// Not readable or damaged; with the first error it ends.
    pub fn commands(&self) -> impl Iterator<Item = Result<Record, Error>> + '_ {
        let Contents { entries, archive } = &self.contents;
        let mut archived: Vec<(u64, Place)> = archive.places().collect();
        archived.sort_by_key(|(_, place)| place.number);
        let mut archived = archived.into_iter().peekable();
        let mut next = 0;
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let from = record_key(next);
            let in_store = reading(self.directory.path(), || {
                let entry = entries.range(Bound::Included(&from)).next().transpose()?;
                let entry = entry.filter(|(key, _)| key.starts_with(RECORDS));
                entry.map(|(key, value)| decode::<Record>(&key, &value)).transpose()
            });
            let record = match in_store {
                Ok(record) => {
                    let is_first = |place: &(u64, Place)| {
                        record.as_ref().is_none_or(|record| place.1.number < record.number)
                    };
                    match archived.next_if(is_first) {
                        Some((first, place)) => {
                            Some(segment::read(&archive.path(first), place)).transpose()
                        }
                        None => {
                            next = record.as_ref().map_or(next, |record| record.number + 1);
                            Ok(record)
                        }
                    }
                }
                Err(error) => Err(error),
            };
            failed = record.is_err();
            record.transpose()
        })
    }

    /// The updates that the broker has not got.
    ///
    /// # Errors
    /// Not readable or damaged.
    pub fn outbox(&self) -> impl Iterator<Item = Result<(OutboxNumber, Record), Error>> + '_ {
        recover::outbox(&self.contents.entries)
    }

    /// The nonces in use, and until when.
    ///
    /// # Errors
    /// Not readable or damaged.
    pub fn nonces(&self) -> Result<Vec<(NonceKey, Timestamp)>, Error> {
        let Contents { entries, archive } = &self.contents;
        reading(self.directory.path(), || {
            let mut nonces = recover::nonces_of_commands(entries, archive, self.meta.floor())?;
            nonces.extend(recover::nonce_entries(entries)?);
            Ok(nonces)
        })
    }

    /// Reads everything, and sees that it fits together.
    pub fn check(&self) -> Report {
        let mut check = Check {
            contents: &self.contents,
            meta: &self.meta,
            numbers: HashSet::new(),
            report: Report {
                commits: self.meta.commit,
                accepted: self.meta.last_number,
                removed: self.meta.removed,
                ..Report::default()
            },
        };
        reading(self.directory.path(), || {
            check.entries();
            check.archive();
        });
        let mut report = check.report;
        let expected = self.meta.commands();
        if report.commands != expected {
            report.problems.push(format!(
                "{} commands are there, but of {} that were accepted {} were removed, so there must \
                 be {expected}",
                report.commands, report.accepted, report.removed
            ));
        }
        report
    }
}

/// Keeps the journal in `dir` beside a new, empty one, under `name`. The new one knows that it replaces
/// another: see [`crate::guard::set_aside`]. Tells where the old one is.
///
/// # Errors
/// In use, not there, or the disk's; it can be tried again.
pub fn set_aside(dir: &Path, name: &str) -> Result<PathBuf, Error> {
    let directory = Directory::open(dir)?;
    let kept = directory.set_aside(name)?;
    directory.set_current(&Current::empty(true))?;
    open_or_begin(&directory)?;
    Ok(kept)
}

struct Check<'journal> {
    contents: &'journal Contents,
    meta: &'journal Meta,
    numbers: HashSet<u64>,
    report: Report,
}

impl Check<'_> {
    fn entries(&mut self) {
        let contents = self.contents;
        for entry in contents.entries.scan(b"") {
            let checked = entry.and_then(|(key, value)| self.entry(&(key, value)));
            self.note(checked);
        }
    }

    fn entry(&mut self, (key, value): &Entry) -> Result<(), Error> {
        let entries = &self.contents.entries;
        match &key[..1] {
            RECORDS => {
                let record: Record = decode(key, value)?;
                self.command(number_of(key)?, &record)?;
                if entries.get(&id_key(record.command_id))? != Some(record.number) {
                    return Err(Error::entry(key, "its command id does not lead to it"));
                }
                let is_open = entries.scan(&open_key(record.number)).next().transpose()?.is_some();
                if is_open == record.closed {
                    return Err(Error::entry(key, "it is not marked as it is, open or closed"));
                }
            }
            IDS => {
                let number = decode(key, value)?;
                let record: Option<Record> = entries.get(&record_key(number))?;
                if record.is_none_or(|record| record.command_id.as_bytes() != &key[1..]) {
                    return Err(Error::entry(key, format!("command {number} is missing")));
                }
            }
            OPEN => {
                let number = number_of(key)?;
                self.report.open += 1;
                if entries.get::<Record>(&record_key(number))?.is_none() {
                    return Err(Error::entry(key, "an open command has no record"));
                }
            }
            OUTBOX => {
                number_of(key)?;
                self.report.outbox += 1;
                decode::<Record>(key, value)?;
            }
            NONCES => {
                nonce_of(key)?;
                self.report.nonces += 1;
                decode::<Timestamp>(key, value)?;
            }
            SEGMENTS => known::<Summary>(key, value)?,
            META => known::<Meta>(key, value)?,
            _ => return Err(Error::entry(key, "no such kind of entry is known")),
        }
        Ok(())
    }

    fn archive(&mut self) {
        let archive = &self.contents.archive;
        for (first, place) in archive.places() {
            let read = segment::read(&archive.path(first), place);
            self.report.archived += 1;
            let checked = read.and_then(|record| self.command(place.number, &record));
            self.note(checked);
        }
    }

    fn command(&mut self, number: u64, record: &Record) -> Result<(), Error> {
        let key = record_key(number);
        self.report.commands += 1;
        let is_nonce_in_use = record.nonce_expires >= Some(self.meta.floor());
        self.report.nonces += u64::from(is_nonce_in_use);
        if record.number != number || number > self.meta.last_number {
            return Err(Error::entry(&key, format!("it holds command {}", record.number)));
        }
        if !self.numbers.insert(number) {
            return Err(Error::entry(&key, format!("command {number} is there twice")));
        }
        Ok(())
    }

    fn note(&mut self, checked: Result<(), Error>) {
        self.report.problems.extend(checked.err().map(|error| error.to_string()));
    }
}

fn known<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<(), Error> {
    decode::<T>(key, value).map(|_| ())
}
