//! The newest commands of a running daemon's journal, a few at a time, so that the caller can do
//! something else in between.

use std::collections::BinaryHeap;

use super::contents::Contents;
use super::entry::{RECORDS, number_of, record_key};
use super::error::Error;
use super::segment::{self, Place};
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
    /// Those below, by number, the largest on top; the archive's with segment and place. As of this
    /// revision of the archive.
    left: BinaryHeap<(u64, Option<(u64, Place)>)>,
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
            left: BinaryHeap::new(),
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
        self.follow(contents)?;
        for _ in 0..STEP {
            if self.records.len() >= self.selection.limit || self.read >= MAX_READ {
                return Ok(true);
            }
            let Some((number, archived)) = self.left.pop() else {
                self.complete = true;
                return Ok(true);
            };
            let record = match archived {
                Some((first, place)) => Some(segment::read(&contents.archive.path(first), place)?),
                None => contents.entries.get(&record_key(number))?,
            };
            let Some(record) = record else { continue };
            self.below = number;
            self.read += 1;
            let record = present(record);
            if self.selection.takes(&record) {
                self.records.push(record);
            }
        }
        Ok(false)
    }

    /// Commands may have been archived since the last step.
    fn follow(&mut self, contents: &Contents) -> Result<(), Error> {
        let Contents { entries, archive } = contents;
        if self.revision == Some(archive.revision()) {
            return Ok(());
        }
        let archived =
            archive.places().map(|(first, place)| Ok((place.number, Some((first, place)))));
        let stored = entries.scan(RECORDS).map(|entry| Ok((number_of(&entry?.0)?, None)));
        let below = self.below;
        let left = archived.chain(stored).filter(|it| it.as_ref().map_or(true, |it| it.0 < below));
        self.left = left.collect::<Result<_, Error>>()?;
        self.revision = Some(archive.revision());
        Ok(())
    }
}
