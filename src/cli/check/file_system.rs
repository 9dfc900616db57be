//! Whether what the journal makes durable survives a power cut: the file system under it.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::journal::nearest;

const ITEM: &str = "file system";

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub point: PathBuf,
    pub kind: String,
    /// Of the mount and of the file system.
    pub options: Vec<String>,
}

/// The mount that a folder is on, or will be. `None`: the system does not say.
pub fn gather(dir: &Path) -> Option<Mount> {
    let path = nearest(dir).canonicalize().ok()?;
    mount_of(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

pub fn judge(mount: Option<&Mount>) -> Finding {
    let Some(Mount { point, kind, options }) = mount else {
        return Finding::warning(
            ITEM,
            "which file system the journal is on is not known",
            "put it on ext4, on a disk of this machine",
        );
    };
    let on = format!("{kind} on {}", point.display());
    let elsewhere = "set [journal] dir to a disk of this machine with ext4, f2fs, btrfs or xfs";
    if has(options, &["ro"]) {
        return Finding::failure(ITEM, format!("{on} is read-only"), "mount it writable");
    }
    match kind.as_str() {
        "tmpfs" | "ramfs" | "overlay" | "aufs" | "squashfs" => Finding::failure(
            ITEM,
            format!("{on}: what is written there may be gone after a restart"),
            elsewhere,
        ),
        "vfat" | "msdos" | "exfat" | "ntfs" | "ntfs3" | "fuseblk" => {
            Finding::failure(ITEM, format!("{on}: a power cut can damage it"), elsewhere)
        }
        network if is_network(network) => {
            Finding::failure(ITEM, format!("{on} needs the network for every commit"), elsewhere)
        }
        "ext4" | "ext3" | "f2fs" | "btrfs" | "xfs" | "zfs" => {
            let without_barriers = ["nobarrier", "barrier=0", "fsync_mode=nobarrier"];
            let careless = ["data=writeback"];
            let named = |bad: &[&str]| {
                options.iter().filter(|it| bad.contains(&it.as_str())).cloned().collect::<Vec<_>>()
            };
            let bad = named(&[&without_barriers[..], &careless].concat());
            match bad.is_empty() {
                true => Finding::ok(ITEM, format!("{on}, with barriers")),
                false => Finding::warning(
                    ITEM,
                    format!("{on} with {}: a power cut can undo what was durable", bad.join(", ")),
                    "take that option out of /etc/fstab and mount again",
                ),
            }
        }
        _ => Finding::warning(
            ITEM,
            format!("{on}: whether it survives a power cut is not known here"),
            elsewhere,
        ),
    }
}

fn is_network(kind: &str) -> bool {
    matches!(
        kind,
        "nfs"
            | "nfs4"
            | "cifs"
            | "smb3"
            | "9p"
            | "ceph"
            | "afs"
            | "glusterfs"
            | "fuse.sshfs"
            | "fuse.glusterfs"
            | "virtiofs"
    )
}

fn has(options: &[String], wanted: &[&str]) -> bool {
    options.iter().any(|option| wanted.contains(&option.as_str()))
}

/// The longest mount point that the path lies below; of several at one point the last.
fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(read)
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`, with any number
/// of optional fields before the dash.
fn read(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let point = unescape(mount.next()?);
    let of_mount = mount.next()?;
    let mut file_system = file_system.split(' ');
    let kind = file_system.next()?.to_owned();
    let of_file_system = file_system.nth(1).unwrap_or_default();
    let options = of_mount.split(',').chain(of_file_system.split(',')).map(str::to_owned).collect();
    Some(Mount { point: point.into(), kind, options })
}

/// The kernel writes these four in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const MOUNTINFO: &str = "\
22 28 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
31 28 0:25 / /var/lib rw - overlay overlay rw,lowerdir=/a
32 28 0:26 / /var/lib/downlinkd rw,relatime shared:2 master:1 - ext4 /dev/sda1 rw,data=writeback
33 28 8:1 / /mnt/a\\040b ro - vfat /dev/sdb1 ro
34 28 8:2 / /var/library rw - tmpfs tmpfs rw
broken line
";

    #[test]
    fn the_mount_under_a_folder() {
        for (path, point, kind) in [
            ("/home/x", "/", "ext4"),
            ("/var/lib/other", "/var/lib", "overlay"),
            ("/var/lib/downlinkd/journal", "/var/lib/downlinkd", "ext4"),
            ("/var/library/x", "/var/library", "tmpfs"),
            ("/var/libx", "/", "ext4"),
            ("/mnt/a b/c", "/mnt/a b", "vfat"),
        ] {
            let mount = mount_of(MOUNTINFO, Path::new(path)).unwrap();
            assert_eq!((mount.point.as_path(), &*mount.kind), (Path::new(point), kind), "{path}");
        }
        let mount = mount_of(MOUNTINFO, Path::new("/var/lib/downlinkd")).unwrap();
        assert_eq!(mount.options, ["rw", "relatime", "rw", "data=writeback"]);
        assert_eq!(mount_of("", Path::new("/")), None);
        assert!(gather(Path::new("/nonexistent")).is_some());
    }

    #[test]
    fn which_survive_a_power_cut() {
        for (kind, options, level) in [
            ("ext4", "rw,noatime,rw", Level::Ok),
            ("f2fs", "rw,fsync_mode=posix", Level::Ok),
            ("btrfs", "rw", Level::Ok),
            ("xfs", "rw", Level::Ok),
            ("ext4", "rw,data=writeback", Level::Warning),
            ("ext4", "rw,nobarrier", Level::Warning),
            ("ext4", "rw,barrier=0", Level::Warning),
            ("f2fs", "rw,fsync_mode=nobarrier", Level::Warning),
            ("ext4", "ro", Level::Failure),
            ("tmpfs", "rw", Level::Failure),
            ("ramfs", "rw", Level::Failure),
            ("overlay", "rw", Level::Failure),
            ("vfat", "rw", Level::Failure),
            ("exfat", "rw", Level::Failure),
            ("nfs4", "rw", Level::Failure),
            ("fuse.sshfs", "rw", Level::Failure),
            ("ext2", "rw", Level::Warning),
            ("bcachefs", "rw", Level::Warning),
        ] {
            let mount = Mount {
                point: "/".into(),
                kind: kind.to_owned(),
                options: options.split(',').map(str::to_owned).collect(),
            };
            assert_eq!(judge(Some(&mount)).level, level, "{kind} {options}");
        }
        assert_eq!(judge(None).level, Level::Warning);
    }
}
