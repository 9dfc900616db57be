//! ModemManager opens new USB ports and asks them whether they are modems.

use std::path::Path;

use super::finding::Finding;
use super::program;

const ITEM: &str = "ModemManager";

/// `None` for a port that it leaves alone. Asks systemd; blocks for a moment.
pub fn gather(path: &Path) -> Option<bool> {
    let device = std::fs::canonicalize(path).ok()?;
    let is_usb_modem = device.file_name()?.to_string_lossy().starts_with("ttyACM");
    is_usb_modem.then(|| program::is_active("ModemManager.service") == Some(true))
}

pub fn judge(is_active: bool) -> Finding {
    match is_active {
        false => Finding::ok(ITEM, "does not run"),
        true => Finding::warning(
            ITEM,
            "runs, and writes to an autopilot on USB that was just plugged in",
            "sudo systemctl disable --now ModemManager, or mark the port with \
             ID_MM_DEVICE_IGNORE=1, as 70-downlinkd.rules does for known autopilots",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn only_usb_modems_are_its_business() {
        assert_eq!(gather(Path::new("/dev/null")), None);
        assert_eq!(gather(Path::new("/nonexistent")), None);
        assert_eq!(judge(false).level, Level::Ok);
        assert_eq!(judge(true).level, Level::Warning);
    }
}
