//! The journal's folder: ours to write, with room, in nobody else's hands.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock, statvfs};
use rustix::io::Errno;

use super::finding::Finding;

const ITEM: &str = "journal";
const MIB: u64 = 1024 * 1024;
/// A journal that is kept at its limit of 100 000 commands, and its rewriting, fit into this.
const AMPLE: u64 = 512 * MIB;
const SCARCE: u64 = 64 * MIB;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub dir: PathBuf,
    /// `None`: it is not there.
    pub owner: Option<u32>,
    pub user: u32,
    /// This user may write there; where it is not there, to the folder around it.
    pub is_writable: bool,
    /// Bytes, for this user; `None`: the file system does not say.
    pub free: Option<u64>,
    /// A process has it open.
    pub is_held: bool,
    /// An agent that runs has it open.
    pub agent_runs: bool,
}

pub fn gather(dir: &Path, agent_runs: bool) -> Facts {
    let there = nearest(dir);
    let space = statvfs(there).ok();
    Facts {
        dir: dir.to_owned(),
        owner: fs::metadata(dir).ok().map(|it| it.uid()),
        user: rustix::process::geteuid().as_raw(),
        is_writable: access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        free: space.map(|it| it.f_bavail.saturating_mul(it.f_frsize)),
        is_held: is_held(dir),
        agent_runs,
    }
}

pub fn judge(facts: &Facts) -> Finding {
    let dir = facts.dir.display();
    if facts.agent_runs {
        return judge_space(facts, &format!("{dir} is the running agent's"));
    }
    if facts.is_held {
        return Finding::failure(
            ITEM,
            format!("{dir} is in use by another process, and no agent answers on the socket"),
            "is a second downlinkd running, or one with another [api] socket?",
        );
    }
    match facts.owner {
        Some(owner) if owner != facts.user => Finding::warning(
            ITEM,
            format!("{dir} belongs to user id {owner}, and this is {}", facts.user),
            "the agent must run as its owner; check as that user: sudo -u downlinkd downlinkd check",
        ),
        _ if !facts.is_writable => Finding::failure(
            ITEM,
            format!("{dir} cannot be written by this user"),
            "make it the agent's: sudo install -d -o downlinkd -m 700 /var/lib/downlinkd; or check as \
             the agent's user: sudo -u downlinkd downlinkd check",
        ),
        Some(_) => judge_space(facts, &format!("{dir} is writable")),
        None => judge_space(facts, &format!("{dir} will be made")),
    }
}

fn judge_space(facts: &Facts, found: &str) -> Finding {
    let Some(free) = facts.free else { return Finding::ok(ITEM, found) };
    let found = format!("{found}, {} MiB free", free / MIB);
    let advice = "make room: without it no command is taken";
    match free {
        ..SCARCE => Finding::failure(ITEM, found, advice),
        SCARCE..AMPLE => Finding::warning(ITEM, found, advice),
        AMPLE.. => Finding::ok(ITEM, found),
    }
}

/// The folder, or what is there of the way to it.
pub fn nearest(dir: &Path) -> &Path {
    dir.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"))
}

/// A lock that is shared and given back at once; an agent that starts now waits longer than that.
fn is_held(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join("lock")) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn good() -> Facts {
        Facts {
            dir: "/var/lib/downlinkd/journal".into(),
            owner: Some(7),
            user: 7,
            is_writable: true,
            free: Some(AMPLE),
            is_held: false,
            agent_runs: false,
        }
    }

    #[test]
    fn each_trouble_of_a_journal() {
        for (facts, level, said) in [
            (good(), Level::Ok, "is writable, 512 MiB free"),
            (Facts { owner: None, ..good() }, Level::Ok, "will be made"),
            (Facts { free: None, ..good() }, Level::Ok, "is writable"),
            (Facts { agent_runs: true, is_held: true, user: 8, ..good() }, Level::Ok, "running"),
            (Facts { agent_runs: true, free: Some(0), ..good() }, Level::Failure, "0 MiB"),
            (Facts { free: Some(AMPLE - 1), ..good() }, Level::Warning, "511 MiB"),
            (Facts { free: Some(SCARCE - 1), ..good() }, Level::Failure, "63 MiB"),
            (Facts { is_held: true, ..good() }, Level::Failure, "in use"),
            (Facts { user: 8, ..good() }, Level::Warning, "belongs to user id 7"),
            (Facts { is_writable: false, ..good() }, Level::Failure, "cannot be written"),
            (Facts { is_writable: false, owner: None, ..good() }, Level::Failure, "cannot be"),
        ] {
            let finding = judge(&facts);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(said), "{finding:?}");
        }
    }

    #[test]
    fn a_lock_is_seen_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path()));
        let file = File::create(dir.path().join("lock")).unwrap();
        assert!(!is_held(dir.path()));
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_held(dir.path()));
        let facts = gather(&dir.path().join("a/b"), false);
        assert_eq!((facts.owner, facts.is_writable), (None, true));
    }
}
