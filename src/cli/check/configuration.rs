//! Whether the configuration can be read and is right.

use std::path::Path;

use super::finding::Finding;
use crate::config::{self, Config};

const ITEM: &str = "configuration";

pub fn judge(path: &Path, loaded: &Result<Config, config::Error>) -> Finding {
    match loaded {
        Ok(config) => Finding::ok(
            ITEM,
            format!(
                "{}: device {}, {} mode",
                path.display(),
                config.device_id,
                config.guard.mode().as_str()
            ),
        ),
        Err(error) => {
            let text = error.to_string();
            let advice = match text.contains("ermission denied") {
                true => "run this as the agent's user: sudo -u downlinkd downlinkd check",
                false => "correct it, or name another file with --config",
            };
            Finding::failure(ITEM, text, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_mistake_is_told_with_what_to_do() {
        for (message, advice) in [
            ("failed to read /x: Permission denied (os error 13)", "sudo -u downlinkd"),
            ("[mqtt] url is missing", "correct it"),
        ] {
            let error = config::Error::Invalid { origin: "f".into(), message: message.into() };
            let finding = judge(Path::new("f"), &Err(error));
            assert_eq!(finding.level, Level::Failure);
            assert!(finding.found.contains(message));
            assert!(finding.advice.unwrap().contains(advice));
        }
    }
}
