//! MAVLink's own signatures on the line (mavlink.io, "Message Signing").

use super::finding::Finding;

const ITEM: &str = "MAVLink signing";

/// `signed_frames`: the autopilot's.
pub fn judge(signed_frames: u64) -> Finding {
    match signed_frames {
        0 => Finding::ok(ITEM, "off: the autopilot's frames carry no signature"),
        signed => Finding::failure(
            ITEM,
            format!("on: {signed} of the autopilot's frames are signed"),
            "it drops unsigned commands without a word, and downlinkd does not sign on the link yet: \
             remove the signing key from the autopilot",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn one_signed_frame_says_it() {
        assert_eq!(judge(0).level, Level::Ok);
        assert_eq!(judge(1).level, Level::Failure);
    }
}
