//! What can be wrong with a journal, in words for the operator.

use std::io;
use std::path::{Path, PathBuf};

/// Whatever it is: nothing of the journal was deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the journal in {} is in use by another process (a running downlinkd?)", .0.display())]
    InUse(PathBuf),
    /// Files of another user in there would lock the daemon out.
    #[error(
        "the journal in {} belongs to user id {owner}, and this process runs as {user}; run it as \
         the owner, such as with sudo -u '#{owner}'",
        dir.display()
    )]
    NotOwner { dir: PathBuf, owner: u32, user: u32 },
    #[error("failed to {what} {}: {source}{}", path.display(), hint(source))]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to {what} the journal in {}: {message}", dir.display())]
    Store { what: &'static str, dir: PathBuf, message: String },
    #[error("there is no journal in {}", .0.display())]
    Missing(PathBuf),
    #[error(
        "the journal in {} has format {format}, of a newer downlinkd; this one knows up to {known}",
        dir.display()
    )]
    Newer { dir: PathBuf, format: u64, known: u64 },
    #[error("the journal in {} is damaged: {message}; {ADVICE}", dir.display())]
    Damaged { dir: PathBuf, message: String },
    #[error("the journal's entry {key} is damaged: {message}; {ADVICE}")]
    Entry { key: String, message: String },
    #[error(
        "{} is not what downlinkd writes: which timestamps MAVLink signatures have used is not known; \
         once this machine's clock is right, delete the file", .0.display()
    )]
    Signing(PathBuf),
    #[error("the journal's thread has ended")]
    Ended,
}

const ADVICE: &str = "nothing was deleted; `downlinkd journal check` says more, and `downlinkd \
                      journal set-aside` keeps it and begins a new one";

/// What kind of trouble it is, for exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another process has it.
    InUse,
    /// This user must not.
    Permission,
    /// There is none.
    Missing,
    /// The disk or the file system.
    Disk,
    /// The content.
    Damage,
}

impl Error {
    pub fn trouble(&self) -> Trouble {
        match self {
            Error::InUse(_) => Trouble::InUse,
            Error::NotOwner { .. } => Trouble::Permission,
            Error::Missing(_) => Trouble::Missing,
            Error::Io { .. } | Error::Store { .. } | Error::Ended => Trouble::Disk,
            Error::Newer { .. }
            | Error::Damaged { .. }
            | Error::Entry { .. }
            | Error::Signing(_) => Trouble::Damage,
        }
    }

    pub(super) fn damaged(dir: &Path, message: impl Into<String>) -> Self {
        Error::Damaged { dir: dir.to_owned(), message: message.into() }
    }

    pub(super) fn entry(key: &[u8], message: impl Into<String>) -> Self {
        let kind = key.first().map_or('?', |byte| char::from(*byte));
        let rest = data_encoding::HEXLOWER.encode(key.get(1..).unwrap_or_default());
        Error::Entry { key: format!("{kind}{rest}"), message: message.into() }
    }
}

/// For `map_err`: `what` is a verb, `path` its object.
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

/// For `map_err` where a file is opened that must be there: if it is not, that is damage.
pub(super) fn open_error(path: &Path, missing: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => Error::damaged(path, missing),
        _ => io_error("open", path)(source),
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room there and start again"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; mount it writable and start again",
        io::ErrorKind::PermissionDenied => "; it must belong to the user that runs downlinkd",
        _ => "",
    }
}
