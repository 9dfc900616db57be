//! The finished commands that have left the store: segments, and in memory where each command stands.

use std::collections::{BTreeMap, HashMap, HashSet};
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
    places: HashMap<CommandId, (u64, Place)>,
    commands: u64,
    /// Counts the changes.
    revision: u64,
}

impl Archive {
    /// What the store says that there is; every segment must be there.
    ///
    /// # Errors
    /// Damaged, or the disk's.
    pub fn open(directory: &Directory, entries: &Entries) -> Result<Self, Error> {
        let dir = directory.archive();
        let (segments, places) = (BTreeMap::new(), HashMap::new());
        let mut it = Self { dir, segments, places, commands: 0, revision: 0 };
        for entry in entries.scan(SEGMENTS) {
            let (key, value) = entry?;
            let (first, summary) = (number_of(&key)?, decode::<Summary>(&key, &value)?);
            let index = segment::read_index(&it.path(first), &summary)?;
            it.add(first, summary, &index);
        }
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

    /// Every command: its number, and where it stands.
    pub fn places(&self) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.places.values().copied()
    }

    /// # Errors
    /// Not readable or damaged.
    pub fn get(&self, id: CommandId) -> Result<Option<Record>, Error> {
        let Some((first, place)) = self.places.get(&id) else { return Ok(None) };
        segment::read(&self.path(*first), *place).map(Some)
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

    pub fn add(&mut self, first: u64, summary: Summary, index: &Index) {
        self.commands += summary.commands;
        self.places.extend(index.iter().map(|(id, place)| (*id, (first, *place))));
        self.segments.insert(first, summary);
        self.revision += 1;
    }

    /// Deletes a segment that the store no longer knows.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&mut self, first: u64) -> Result<(), Error> {
        if let Some(summary) = self.segments.remove(&first) {
            self.commands -= summary.commands;
            self.places.retain(|_, (segment, _)| *segment != first);
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
}
