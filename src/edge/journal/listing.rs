//! The newest commands of a running daemon's journal, a few at a time, so that the caller can do
//! something else in between.

use std::collections::BinaryHeap;
use std::ops::Bound;

use super::archive::Archive;
use super::entries::Entries;
use super::entry::{RECORDS, decode, record_key};
use super::error::Error;
use super::segment::{self, Place};
use super::writer::Contents;
use crate::lifecycle::record::Record;
use crate::lifecycle::selection::Selection;

/// Commands that are read in one go: well under a millisecond, unless the disk has to move.
const STEP: usize = 16;
/// Commands that are read in all to find those that are wanted.
const MAX_READ: usize = 100_000;

/// A list that is being made.
#[derive(Debug)]
pub struct Listing {
    selection: Selection,
    /// The newest first.
    records: Vec<Record>,
    complete: bool,
    /// Commands from this number on have been looked at.
    below: u64,
    read: usize,
    /// Those below, by number and then segment, the largest on top; as of this revision.
    archived: BinaryHeap<(u64, u64, Place)>,
    revision: Option<u64>,
}

impl Listing {
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            records: Vec::new(),
            complete: false,
            below: u64::MAX,
            read: 0,
            archived: BinaryHeap::new(),
            revision: None,
        }
    }

    /// What was found; whether there is nothing else.
    pub fn finish(self) -> (Vec<Record>, bool) {
        (self.records, self.complete)
    }

    /// Reads on; true when the list is made. `present`: a command as it stands now, given what the
    /// journal holds of it.
    pub(super) fn step(
        &mut self,
        contents: &Contents,
        present: impl Fn(Record) -> Record,
    ) -> Result<bool, Error> {
        let Contents { entries, archive } = contents;
        self.follow(archive);
        for _ in 0..STEP {
            if self.records.len() >= self.selection.limit || self.read >= MAX_READ {
                return Ok(true);
            }
            let stored = newest_below(entries, self.below)?;
            let archived = self.archived.peek().map(|(number, ..)| *number);
            let record = if stored.as_ref().map(|record| record.number) > archived {
                stored
            } else if let Some((_, first, place)) = self.archived.pop() {
                Some(segment::read(&archive.path(first), place)?)
            } else {
                None
            };
            let Some(record) = record else {
                self.complete = true;
                return Ok(true);
            };
            self.below = record.number;
            self.read += 1;
            let record = present(record);
            if self.selection.takes(&record) {
                self.records.push(record);
            }
        }
        Ok(false)
    }

    /// Commands may have moved since the last step.
    fn follow(&mut self, archive: &Archive) {
        if self.revision == Some(archive.revision()) {
            return;
        }
        self.revision = Some(archive.revision());
        let places = archive.places().map(|(first, place)| (place.number, first, place));
        self.archived = places.filter(|(number, ..)| *number < self.below).collect();
    }
}

fn newest_below(entries: &Entries, number: u64) -> Result<Option<Record>, Error> {
    let (from, to) = (record_key(0), record_key(number));
    let entry = entries.backward((Bound::Included(&from), Bound::Excluded(&to))).next();
    let entry = entry.transpose()?.filter(|(key, _)| key.starts_with(RECORDS));
    entry.map(|(key, value)| decode(&key, &value)).transpose()
}
