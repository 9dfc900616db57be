//! Whether the system talks on the vehicle's line itself: a login prompt or the kernel's messages.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use super::program;

const ITEM: &str = "console";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The device's name, such as ttyAMA0.
    pub device: String,
    /// A login prompt runs on it; `None`: systemd did not say.
    pub has_login: Option<bool>,
    /// It is named as a console when the kernel starts.
    pub is_kernel_console: bool,
}

/// Asks systemd. Blocks for a moment.
pub fn gather(path: &Path) -> Facts {
    let device = name(path);
    let unit = format!("serial-getty@{device}.service");
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let is_kernel_console =
        consoles(&command_line).any(|console| name(&Path::new("/dev").join(console)) == device);
    Facts { has_login: program::is_active(&unit), is_kernel_console, device }
}

pub fn judge(facts: &Facts) -> Finding {
    let device = &facts.device;
    if facts.has_login == Some(true) {
        return Finding::failure(
            ITEM,
            format!("a login prompt runs on {device}"),
            format!("sudo systemctl disable --now serial-getty@{device}.service"),
        );
    }
    if facts.is_kernel_console {
        return Finding::failure(
            ITEM,
            format!("the kernel writes its messages to {device}"),
            format!(
                "take console={device} (or its alias, such as serial0) off the kernel's command \
                     line (Raspberry Pi: cmdline.txt), then reboot"
            ),
        );
    }
    match facts.has_login {
        Some(_) => Finding::ok(ITEM, format!("no login prompt and no kernel messages on {device}")),
        None => Finding::ok(
            ITEM,
            format!("no kernel messages on {device}; there is no systemd to ask about logins"),
        ),
    }
}

/// `console=ttyAMA0,115200` names ttyAMA0.
fn consoles(command_line: &str) -> impl Iterator<Item = &str> {
    command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("console="))
        .filter_map(|console| console.split(',').next())
}

/// Behind all symlinks, such as those of /dev/serial.
fn name(path: &Path) -> String {
    let device = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    device.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn both_who_may_talk() {
        let facts = |has_login, is_kernel_console| Facts {
            device: "ttyAMA0".to_owned(),
            has_login,
            is_kernel_console,
        };
        for (facts, level, said) in [
            (facts(Some(false), false), Level::Ok, "no login"),
            (facts(None, false), Level::Ok, "no systemd"),
            (facts(Some(true), false), Level::Failure, "login"),
            (facts(Some(false), true), Level::Failure, "kernel writes"),
            (facts(None, true), Level::Failure, "kernel writes"),
        ] {
            let finding = judge(&facts);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(said), "{finding:?}");
        }
    }

    #[test]
    fn consoles_of_a_command_line() {
        let line = "root=/dev/sda1 console=serial0,115200 console=tty1 quiet\n";
        assert_eq!(consoles(line).collect::<Vec<_>>(), ["serial0", "tty1"]);
        assert_eq!(consoles("").count(), 0);
    }

    #[test]
    fn names_are_those_of_devices() {
        let dir = tempfile::tempdir().unwrap();
        let alias = dir.path().join("serial0");
        std::os::unix::fs::symlink("/dev/null", &alias).unwrap();
        assert_eq!(name(&alias), "null");
        assert_eq!(name(Path::new("/nonexistent/ttyX0")), "ttyX0");
    }
}
