//! The serial port: there, of the right kind, ours to open, nobody else's.

use std::fs;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, major, minor};

use super::finding::Finding;

const ITEM: &str = "port";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub path: PathBuf,
    pub kind: Kind,
    /// This user may read and write it.
    pub is_permitted: bool,
    /// Its group's name, or number.
    pub group: String,
    /// Other processes that have it open, as far as this user may see.
    pub holders: Vec<String>,
    /// Serial ports that are there.
    pub others: Vec<String>,
    /// Why it could not be opened or read when that was tried.
    pub trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Missing,
    /// A file, a folder, or a device that is no terminal.
    NoPort,
    Port,
}

impl Facts {
    /// Whether there is any use in trying to open it.
    pub fn is_promising(&self) -> bool {
        self.kind == Kind::Port && self.is_permitted && self.holders.is_empty()
    }
}

pub fn gather(path: &Path) -> Facts {
    let metadata = fs::metadata(path).ok();
    let kind = match &metadata {
        None => Kind::Missing,
        Some(metadata) if is_terminal(metadata) => Kind::Port,
        Some(_) => Kind::NoPort,
    };
    Facts {
        path: path.to_owned(),
        kind,
        is_permitted: access(path, Access::READ_OK | Access::WRITE_OK).is_ok(),
        group: metadata.map(|it| group_name(it.gid())).unwrap_or_default(),
        holders: holders(path),
        others: others(),
        trouble: None,
    }
}

pub fn judge(facts: &Facts) -> Finding {
    let path = facts.path.display();
    match facts.kind {
        Kind::Missing => {
            let there = match facts.others.is_empty() {
                true => "there is no serial port at all".to_owned(),
                false => format!("there are {}", facts.others.join(", ")),
            };
            Finding::failure(
                ITEM,
                format!("{path} is not there"),
                format!(
                    "plug the autopilot in, or enable the UART (Raspberry Pi: enable_uart=1 and \
                     dtoverlay=disable-bt in config.txt), or set [link] endpoint; {there}"
                ),
            )
        }
        Kind::NoPort => Finding::failure(
            ITEM,
            format!("{path} is not a serial port"),
            "set [link] endpoint to a device such as /dev/ttyAMA0",
        ),
        Kind::Port if !facts.is_permitted => Finding::failure(
            ITEM,
            format!("{path} may not be read and written by this user"),
            format!(
                "add the agent's user to its group: sudo usermod -aG {} downlinkd (for yourself: \
                 \"$USER\", then log in again)",
                facts.group
            ),
        ),
        Kind::Port if !facts.holders.is_empty() => Finding::failure(
            ITEM,
            format!("{path} is held by {}", facts.holders.join(", ")),
            "stop that process",
        ),
        Kind::Port => match &facts.trouble {
            Some(trouble) => Finding::failure(
                ITEM,
                trouble.clone(),
                "it must be a serial port that no other process has open (as root, fuser -v names \
                 who has it)",
            ),
            None => Finding::ok(ITEM, format!("{path} can be opened")),
        },
    }
}

/// By the kernel's name for what drives it; ptys have none.
fn is_terminal(metadata: &Metadata) -> bool {
    let device = metadata.rdev();
    let subsystem = format!("/sys/dev/char/{}:{}/subsystem", major(device), minor(device));
    let subsystem = fs::read_link(subsystem).ok();
    let is_tty = subsystem.is_none_or(|it| it.file_name().is_some_and(|name| name == "tty"));
    metadata.file_type().is_char_device() && is_tty
}

/// From /etc/group; the number for one that has no name there.
fn group_name(gid: u32) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| gid.to_string())
}

/// By /proc: other users' processes can be seen by root only.
fn holders(path: &Path) -> Vec<String> {
    let Ok(device) = fs::canonicalize(path) else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let holds = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files.flat_map(|file| fs::read_link(file.path())).any(|target| target == device)
    };
    processes
        .flatten()
        .filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter(|process| holds(&process.path()))
        .map(|process| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (process {})", name.trim(), process.file_name().to_string_lossy())
        })
        .collect()
}

fn others() -> Vec<String> {
    let by_id = fs::read_dir("/dev/serial/by-id").into_iter().flatten().flatten();
    let mut names: Vec<String> = by_id.map(|it| it.path().display().to_string()).collect();
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    let kinds = ["ttyAMA", "ttyTHS", "ttyUSB", "ttyACM"];
    names.extend(
        devices
            .filter(|it| {
                kinds.iter().any(|kind| it.file_name().to_string_lossy().starts_with(kind))
            })
            .map(|it| it.path().display().to_string()),
    );
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn good() -> Facts {
        Facts {
            path: "/dev/ttyAMA0".into(),
            kind: Kind::Port,
            is_permitted: true,
            group: "dialout".to_owned(),
            holders: Vec::new(),
            others: Vec::new(),
            trouble: None,
        }
    }

    #[test]
    fn each_trouble_and_what_to_do() {
        assert_eq!(judge(&good()), Finding::ok(ITEM, "/dev/ttyAMA0 can be opened"));
        let others = vec!["/dev/ttyACM0".to_owned()];
        for (facts, said) in [
            (Facts { kind: Kind::Missing, others, ..good() }, "there are /dev/ttyACM0"),
            (Facts { kind: Kind::Missing, ..good() }, "no serial port at all"),
            (Facts { kind: Kind::NoPort, ..good() }, "set [link] endpoint"),
            (Facts { is_permitted: false, ..good() }, "usermod -aG dialout"),
            (Facts { holders: vec!["ModemManager (process 7)".into()], ..good() }, "stop that"),
            (Facts { trouble: Some("failed to open: busy".into()), ..good() }, "fuser"),
        ] {
            let finding = judge(&facts);
            assert_eq!(finding.level, Level::Failure);
            assert!(finding.advice.as_ref().unwrap().contains(said), "{finding:?}");
        }
    }

    #[test]
    fn this_process_holds_what_it_has_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = format!("(process {})", std::process::id());
        assert!(holders(file.path()).iter().any(|it| it.ends_with(&own)));
        assert_eq!(gather(file.path()).kind, Kind::NoPort);
        assert_eq!(gather(Path::new("/nonexistent")).kind, Kind::Missing);
        assert_eq!(gather(Path::new("/dev/null")).kind, Kind::NoPort);
        assert_eq!(gather(Path::new("/dev/ptmx")).kind, Kind::Port);
    }

    #[test]
    fn groups_have_names() {
        assert_eq!(group_name(0), "root");
        assert_eq!(group_name(4_000_000_000), "4000000000");
    }
}
