//! The journal's directory: the lock, and `current`, which names the generation in use.
//!
//! ```text
//! lock                 held (flock) by the process that has the journal open
//! current              one line of JSON; replaced whole, by a rename
//! generation-7/store/  sled's files
//! generation-7/write-ahead, write-ahead-2
//! generation-7/checkpoint
//! archive/             finished commands, see `segment`
//! signing              how far timestamps of MAVLink signatures may have been used
//! set-aside-…/         damaged journals of before, never touched
//! ```
//!
//! A generation takes commits only after `current` names it durably, and another one is deleted only
//! after that. So whatever `current` names is whole, and any other generation is a leftover.
//! Generation 0 stands for an empty journal. `signing` outlives all journals, those that are set aside
//! too: no journal may lead back to a timestamp that was used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{Error, io_error};
use crate::wire::mavlink::SigningTime;

/// Of the directory's layout and of the values in the store.
pub const JOURNAL_FORMAT: u64 = 5;
/// A process that was just killed may hold the lock for a moment.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const LOCK: &str = "lock";
const CURRENT: &str = "current";
const CURRENT_NEW: &str = "current.new";
const SIGNING: &str = "signing";
const SIGNING_NEW: &str = "signing.new";
const ARCHIVE: &str = "archive";
const GENERATION: &str = "generation-";
const SET_ASIDE: &str = "set-aside-";

/// What the file `current` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    pub format: u64,
    /// Names the journal through all its generations.
    pub journal: Uuid,
    pub generation: u64,
    /// It replaces a damaged one.
    pub after_set_aside: bool,
}

impl Current {
    pub fn empty(after_set_aside: bool) -> Self {
        Self { format: JOURNAL_FORMAT, journal: Uuid::new_v4(), generation: 0, after_set_aside }
    }
}

/// What the file `signing` says.
#[derive(Debug, Serialize, Deserialize)]
struct Signing {
    /// Timestamps from here on were never used.
    unused_from: SigningTime,
}

/// The directory, locked as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Locks a directory that may hold a journal; makes it if it is not there.
    ///
    /// # Errors
    /// In use, another user's, or the disk's error.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let is_new = !path.exists();
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        if is_new {
            // The entry must survive a power cut as well.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Self::lock(path)
    }

    /// Locks a directory that must be there.
    ///
    /// # Errors
    /// As [`Directory::create`], or it does not exist.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Missing(path.to_owned()))
            }
            _ => Self::lock(path),
        }
    }

    fn lock(path: &Path) -> Result<Self, Error> {
        let owner = fs::metadata(path).map_err(io_error("read", path))?.uid();
        let user = rustix::process::geteuid().as_raw();
        if owner != user {
            return Err(Error::NotOwner { dir: path.to_owned(), owner, user });
        }
        let file = path.join(LOCK);
        let options = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
        let lock = options.map_err(io_error("open", &file))?;
        let since = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < LOCK_PATIENCE => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::InUse(path.to_owned())),
                Err(error) => return Err(io_error("lock", &file)(error.into())),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `None`: nothing has ever been here.
    ///
    /// # Errors
    /// Not readable, not understood, or missing while other files are there.
    pub fn current(&self) -> Result<Option<Current>, Error> {
        let path = self.path.join(CURRENT);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.untouched(),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        parse_current(&self.path, &text).map(Some)
    }

    /// Makes `current` durable, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn set_current(&self, current: &Current) -> Result<(), Error> {
        self.replace(CURRENT, CURRENT_NEW, current)
    }

    /// The first timestamp of a MAVLink signature that was certainly never used.
    ///
    /// # Errors
    /// Not readable, or not understood.
    pub fn signing_bound(&self) -> Result<SigningTime, Error> {
        let path = self.path.join(SIGNING);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(SigningTime::default());
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let read: Result<Signing, _> = serde_json::from_slice(&text);
        read.map(|signing| signing.unused_from).map_err(|_| Error::Signing(path))
    }

    /// Makes it durable, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn set_signing_bound(&self, unused_from: SigningTime) -> Result<(), Error> {
        self.replace(SIGNING, SIGNING_NEW, &Signing { unused_from })
    }

    pub fn archive(&self) -> PathBuf {
        self.path.join(ARCHIVE)
    }

    pub fn generation(&self, number: u64) -> PathBuf {
        self.path.join(format!("{GENERATION}{number}"))
    }

    /// Makes room for a generation that is not current, whatever of it is left.
    ///
    /// # Errors
    /// The disk's.
    pub fn fresh_generation(&self, number: u64) -> Result<PathBuf, Error> {
        let path = self.generation(number);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &path)(error));
            }
            _ => {}
        }
        fs::create_dir(&path).map_err(io_error("create", &path))?;
        Ok(path)
    }

    /// Deletes every generation but the one in use.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove_leftovers(&self, current: &Current) -> Result<(), Error> {
        for name in self.names()? {
            let number = name.strip_prefix(GENERATION).and_then(|number| number.parse().ok());
            if number.is_some_and(|number: u64| number != current.generation) {
                let path = self.path.join(name);
                fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Moves all but the lock, `current`, `signing` and what was set aside before into a directory
    /// `name`, with a copy of `current`. As long as `current` still names what has gone, nothing opens.
    ///
    /// # Errors
    /// The disk's; it can be tried again.
    pub fn set_aside(&self, name: &str) -> Result<PathBuf, Error> {
        let target = self.path.join(format!("{SET_ASIDE}{name}"));
        fs::create_dir_all(&target).map_err(io_error("create", &target))?;
        for name in self.names()? {
            let from = self.path.join(&name);
            if name == CURRENT {
                if from.is_file() {
                    let to = target.join(&name);
                    fs::copy(&from, &to).map_err(io_error("copy", &from))?;
                }
            } else if !is_beside_journals(&name) {
                fs::rename(&from, target.join(&name)).map_err(io_error("rename", &from))?;
            }
        }
        sync_dir(&target)?;
        sync_dir(&self.path)?;
        Ok(target)
    }

    fn untouched(&self) -> Result<Option<Current>, Error> {
        let is_other = |name: &String| name.starts_with(SET_ASIDE) || !is_beside_journals(name);
        match self.names()?.into_iter().find(is_other) {
            None => Ok(None),
            Some(name) => Err(Error::damaged(
                &self.path,
                format!(
                    "there is no `{CURRENT}`, which says what to read, but other files ({name})"
                ),
            )),
        }
    }

    /// One line of JSON in place of what `name` was, durable, whole or not at all.
    fn replace(&self, name: &str, new: &str, content: &impl Serialize) -> Result<(), Error> {
        let new = self.path.join(new);
        let mut line = serde_json::to_vec(content).expect("plain data");
        line.push(b'\n');
        let mut file = File::create(&new).map_err(io_error("create", &new))?;
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(io_error("write", &new))?;
        fs::rename(&new, self.path.join(name)).map_err(io_error("rename", &new))?;
        sync_dir(&self.path)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let entries = fs::read_dir(&self.path).map_err(io_error("read", &self.path))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<io::Result<_>>().map_err(io_error("read", &self.path))
    }
}

/// Of no journal in particular.
fn is_beside_journals(name: &str) -> bool {
    matches!(name, LOCK | CURRENT_NEW | SIGNING | SIGNING_NEW) || name.starts_with(SET_ASIDE)
}

/// What the content of the file `current` in `dir` says.
///
/// # Errors
/// Of a newer version, or not understood.
pub fn parse_current(dir: &Path, text: &[u8]) -> Result<Current, Error> {
    let format = serde_json::from_slice(text)
        .ok()
        .and_then(|json: serde_json::Value| json.get("format")?.as_u64());
    if let Some(format) = format.filter(|format| *format > JOURNAL_FORMAT) {
        return Err(Error::Newer { dir: dir.to_owned(), format, known: JOURNAL_FORMAT });
    }
    serde_json::from_slice(text).map_err(|error| {
        Error::damaged(dir, format!("`{CURRENT}` is not what downlinkd writes ({error})"))
    })
}

/// # Errors
/// The disk's.
pub fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io_error("sync", path))
}
