//! The files with secrets: readable by the agent, and by nobody else.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use super::finding::Finding;
use crate::config::secrets::SecretFile;

const ITEM: &str = "secrets";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub file: SecretFile,
    /// The permission bits; `None`: it is not there, or cannot be seen.
    pub mode: Option<u32>,
    /// Why this user cannot read it.
    pub trouble: Option<String>,
}

pub fn gather(files: Vec<SecretFile>) -> Vec<Facts> {
    let facts = |file: SecretFile| Facts {
        mode: fs::metadata(&file.path).ok().map(|it| it.mode() & 0o777),
        trouble: File::open(&file.path).err().map(|error| error.to_string()),
        file,
    };
    files.into_iter().map(facts).collect()
}

/// The worst of them decides.
pub fn judge(all: &[Facts]) -> Finding {
    let worst = all.iter().map(judge_one).max_by_key(|finding| finding.level);
    match (worst, all.len()) {
        (None, _) => Finding::ok(ITEM, "no file holds one"),
        (Some(finding), 1) => finding,
        (Some(finding), count) if finding.advice.is_none() => {
            Finding::ok(ITEM, format!("{count} files, each for the agent alone"))
        }
        (Some(finding), _) => finding,
    }
}

fn judge_one(facts: &Facts) -> Finding {
    let Facts { file: SecretFile { what, path }, mode, trouble } = facts;
    let file = format!("{what} in {}", path.display());
    if let Some(trouble) = trouble {
        return Finding::failure(
            ITEM,
            format!("{file} cannot be read by this user: {trouble}"),
            "it must belong to the agent's user, which checks it with sudo -u downlinkd downlinkd \
             check",
        );
    }
    let mode = mode.unwrap_or_default();
    let advice =
        format!("sudo chmod 600 {}; who may have read it can sign as its owner", path.display());
    match mode {
        mode if mode & 0o007 != 0 => {
            Finding::failure(ITEM, format!("{file} is open to everybody (mode {mode:03o})"), advice)
        }
        mode if mode & 0o020 != 0 => {
            Finding::warning(ITEM, format!("{file} can be written by its group"), advice)
        }
        _ => Finding::ok(ITEM, format!("{file} is for the agent alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn facts(mode: u32) -> Facts {
        let file = SecretFile { what: "the password".to_owned(), path: "/k".into() };
        Facts { file, mode: Some(mode), trouble: None }
    }

    #[test]
    fn a_secret_is_for_the_agent_alone() {
        for (mode, level) in [
            (0o600, Level::Ok),
            (0o400, Level::Ok),
            (0o640, Level::Ok),
            (0o660, Level::Warning),
            (0o644, Level::Failure),
            (0o602, Level::Failure),
        ] {
            assert_eq!(judge(&[facts(mode)]).level, level, "{mode:o}");
        }
        let missing = Facts { mode: None, trouble: Some("No such file".into()), ..facts(0) };
        assert_eq!(judge(&[missing]).level, Level::Failure);
    }

    #[test]
    fn the_worst_decides() {
        assert_eq!(judge(&[]).level, Level::Ok);
        assert!(judge(&[facts(0o600), facts(0o400)]).found.contains("2 files"));
        let finding = judge(&[facts(0o660), facts(0o644), facts(0o600)]);
        assert_eq!(finding.level, Level::Failure);
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = SecretFile { what: "it".to_owned(), path: file.path().to_owned() };
        assert_eq!(judge(&gather(vec![own])).level, Level::Ok);
    }
}
