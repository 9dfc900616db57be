//! What a bench writes: text for a reader who may go, and files that are opened before anything is
//! measured, since a run whose report is lost is lost, too.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("failed to write {}: {source}", path.display())]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// A file for the end.
pub struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    /// What was there is gone.
    pub fn open(path: &Path) -> Result<Self, OutputError> {
        let failed = |source| OutputError { path: path.to_owned(), source };
        Ok(Self { path: path.to_owned(), file: File::create(path).map_err(failed)? })
    }

    /// None where none is named.
    pub fn open_named(path: Option<&Path>) -> Result<Option<Self>, OutputError> {
        path.map(Self::open).transpose()
    }

    pub fn write(mut self, text: &str) -> Result<(), OutputError> {
        let Self { file, path } = &mut self;
        file.write_all(text.as_bytes()).map_err(|source| OutputError { path: path.clone(), source })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A text on standard output. False: nobody reads it any more, which is no failure.
pub fn print(text: &str) -> io::Result<bool> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_named_at_once() {
        let error = Output::open(Path::new("/nowhere/plot.svg")).err().unwrap().to_string();
        assert!(error.contains("/nowhere/plot.svg: No such file"), "{error}");
    }

    #[test]
    fn a_file_holds_what_was_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        std::fs::write(&path, "a longer one of yesterday").unwrap();
        Output::open(&path).unwrap().write("today").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "today");
    }
}
