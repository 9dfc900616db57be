//! MAVLink's own signatures on the line (mavlink.io, "Message Signing").

use super::finding::Finding;

const ITEM: &str = "MAVLink signing";

/// `signed_frames`: the autopilot's; `has_key`: whether `[link] signing_key_file` names one of ours.
pub fn judge(signed_frames: u64, has_key: bool) -> Finding {
    match (signed_frames, has_key) {
        (0, false) => Finding::ok(ITEM, "off: the autopilot's frames carry no signature"),
        (signed, true) if signed > 0 => {
            Finding::ok(ITEM, format!("on: {signed} of the autopilot's frames are signed"))
        }
        (signed, false) => Finding::failure(
            ITEM,
            format!("on: {signed} of the autopilot's frames are signed, and we have no key"),
            "it drops unsigned commands without a word: give its key to the agent, [link] \
             signing_key_file, or remove it from the autopilot",
        ),
        (_, true) => Finding::failure(
            ITEM,
            "off: the autopilot's frames carry no signature, and we have a key",
            "with [link] signing_key_file nothing unsigned counts: give the autopilot the key \
             (docs/mavlink-signing.md), or take it out of the configuration",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn both_ends_have_a_key_or_neither() {
        for (signed, has_key, level) in [
            (0, false, Level::Ok),
            (1, true, Level::Ok),
            (1, false, Level::Failure),
            (0, true, Level::Failure),
        ] {
            assert_eq!(judge(signed, has_key).level, level, "{signed} {has_key}");
        }
    }
}
