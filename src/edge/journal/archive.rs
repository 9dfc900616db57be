//! The finished commands that have left the store: segments, and in memory where each command stands.
//!
//! That is 20 bytes per command, in one list: the rest of the id is in the command itself, which is
//! read anyway.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use super::directory::{Directory, sync_dir};
use super::entries::Entries;
use super::entry::{SEGMENTS, decode, number_of};
use super::error::{Error, io_error};
use super::segment::{self, Finished, Index, Place, Summary};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::CommandId;

#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    /// By the number of the first command.
    segments: BTreeMap<u64, Summary>,
    /// The first command of the segment that slots know by this name.
    named: BTreeMap<u32, u64>,
    /// In order of [`Slot::id`].
    slots: Vec<Slot>,
    commands: u64,
    /// Counts the changes.
    revision: u64,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// See [`id_start`].
    id: u32,
    /// The segment's name.
    segment: u32,
    /// How far from the segment's first command.
    number: u32,
    offset: u32,
    length: u32,
}

impl Archive {
    /// What the store says that there is; every segment must be there.
    ///
    /// # Errors
    /// Damaged, or the disk's.
    pub fn open(directory: &Directory, entries: &Entries) -> Result<Self, Error> {
        let dir = directory.archive();
        let mut it = Self {
            dir,
            segments: BTreeMap::new(),
            named: BTreeMap::new(),
            slots: Vec::new(),
            commands: 0,
            revision: 0,
        };
        for entry in entries.scan(SEGMENTS) {
            let (key, value) = entry?;
            let (first, summary) = (number_of(&key)?, decode::<Summary>(&key, &value)?);
            let index = segment::read_index(&it.path(first), &summary)?;
            it.append(first, summary, &index)?;
        }
        it.slots.sort_by_key(|slot| slot.id);
        Ok(it)
    }

    pub fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("commands-{first:020}"))
    }

    /// How many are in it.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Another one than before: commands have come or gone.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn segments(&self) -> &BTreeMap<u64, Summary> {
        &self.segments
    }

    /// Every command, in no order: its segment, and where it stands there.
    pub fn places(&self) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.slots.iter().map(|slot| self.place(slot))
    }

    /// # Errors
    /// Not readable or damaged.
    pub fn get(&self, id: CommandId) -> Result<Option<Record>, Error> {
        let start = id_start(id);
        let from = self.slots.partition_point(|slot| slot.id < start);
        let alike = self.slots[from..].iter().take_while(|slot| slot.id == start);
        for slot in alike {
            let (first, place) = self.place(slot);
            let record = segment::read(&self.path(first), place)?;
            if record.command_id == id {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Writes a segment that counts when the store knows it; then comes [`Archive::add`].
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, commands: &[Finished]) -> Result<(u64, Summary, Index), Error> {
        if !self.dir.exists() {
            fs::create_dir(&self.dir).map_err(io_error("create", &self.dir))?;
            sync_dir(self.dir.parent().expect("it lies in the journal's directory"))?;
        }
        let first = commands[0].number;
        let (summary, index) = segment::write(&self.path(first), commands)?;
        Ok((first, summary, index))
    }

    /// # Errors
    /// Its numbers are too far apart.
    pub fn add(&mut self, first: u64, summary: Summary, index: &Index) -> Result<(), Error> {
        self.append(first, summary, index)?;
        // The stable sort merges what is sorted already: a pass, not a sort of everything.
        self.slots.sort_by_key(|slot| slot.id);
        Ok(())
    }

    /// Deletes a segment that the store no longer knows.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&mut self, first: u64) -> Result<(), Error> {
        let name = self.named.iter().find(|(_, named)| **named == first).map(|(name, _)| *name);
        if let (Some(summary), Some(name)) = (self.segments.remove(&first), name) {
            self.commands -= summary.commands;
            self.named.remove(&name);
            self.slots.retain(|slot| slot.segment != name);
            self.revision += 1;
        }
        let path = self.path(first);
        fs::remove_file(&path).map_err(io_error("remove", &path))
    }

    /// Deletes the files that the store does not know: a crash came before the store knew them, or
    /// after it forgot them.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove_leftovers(&self) -> Result<(), Error> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("read", &self.dir)(error)),
        };
        let known: HashSet<PathBuf> = self.segments.keys().map(|first| self.path(*first)).collect();
        for entry in entries {
            let path = entry.map_err(io_error("read", &self.dir))?.path();
            if !known.contains(&path) {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Without bringing the slots into order; no more memory than they need.
    fn append(&mut self, first: u64, summary: Summary, index: &Index) -> Result<(), Error> {
        self.commands += summary.commands;
        // Beyond all that slots know.
        let segment = self.named.last_key_value().map_or(0, |(last, _)| last + 1);
        self.slots.reserve_exact(index.len());
        for (id, Place { number, offset, length }) in index.iter().copied() {
            let number = number.checked_sub(first).and_then(|it| u32::try_from(it).ok());
            let number = number.ok_or_else(|| {
                Error::damaged(&self.path(first), "its index names what belongs elsewhere")
            })?;
            self.slots.push(Slot { id: id_start(id), segment, number, offset, length });
        }
        self.segments.insert(first, summary);
        self.named.insert(segment, first);
        self.revision += 1;
        Ok(())
    }

    fn place(&self, slot: &Slot) -> (u64, Place) {
        let first = self.named[&slot.segment];
        let Slot { number, offset, length, .. } = *slot;
        (first, Place { number: first + u64::from(number), offset, length })
    }
}

/// Enough of an id to find it by: ids are hashes, so another one seldom begins with the same bytes.
fn id_start(id: CommandId) -> u32 {
    id.as_fields().0
}
