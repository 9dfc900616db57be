//! The scenarios that the program brings along, so that a package needs no files.

macro_rules! embedded {
    ($($name:literal,)*) => {
        /// Name and text of each, in the order in which they are listed.
        pub const EMBEDDED: &[(&str, &str)] = &[$(
            ($name, include_str!(concat!("../../../config/scenarios/", $name, ".toml"))),
        )*];
    };
}

embedded! {
    "reference-commands",
    "request-message",
    "camera-command-to-autopilot",
    "location",
    "refusals",
    "in-progress",
    "in-progress-then-failed",
    "timeout-progress",
    "timeout-ack",
    "timeout-queue",
    "one-at-a-time",
    "burst",
    "late-answer",
    "late-answer-superseded",
    "wrong-component",
    "wrong-component-then-right",
    "answer-for-somebody-else",
    "answered-twice",
    "unasked-answer",
    "half-answer",
    "long-only",
    "int-only",
    "neither-form",
    "fire-and-forget",
    "retransmit",
    "duplicate",
    "conflict",
    "bad-requests",
    "authentication",
    "guard-disabled",
    "policy",
    "permission",
    "state",
    "arm",
    "grants",
    "grant-ends-with-restart",
    "queue-full",
    "kill-outcome-unknown",
    "kill-answered",
    "restart-queued",
    "restart-expired",
    "stop-and-start",
    "broker-cut",
    "broker-cut-and-kill",
    "unplug",
    "silent-vehicle",
    "reboot",
    "reboot-armed",
    "noise",
    "baud-57600",
    "baud-115200",
    "baud-921600",
    "udp",
    "tcp",
    "signing",
    "camera-forwarded",
    "camera-unforwarded",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::super::file::select;
    use super::super::step::Step;
    use super::*;
    use crate::code::Code;
    use crate::wire::mavlink::result_name;

    #[test]
    fn every_ending_of_a_command_is_played() {
        let mut played = BTreeSet::new();
        for step in select(&[]).unwrap().into_iter().flat_map(|scenario| scenario.steps) {
            match step {
                Step::Status(status) => played.extend(status.code.map(|code| code.0.into_owned())),
                Step::Error(error) => drop(played.insert(error.code.as_str().to_owned())),
                _ => {}
            }
        }
        let codes = Code::ALL.iter().map(|code| code.as_str().to_owned());
        let all = codes.chain((0..=10).map(|result| result_name(result).into_owned()));
        let missing: Vec<String> = all.filter(|code| !played.contains(code)).collect();
        let known = [
            // Of messages that no publisher of the bench sends.
            "envelope.too_large",
            "envelope.retained",
            "envelope.expired",
            // Of a clock that the bench does not set.
            "auth.stale",
            "auth.clock_untrusted",
            // Of a kernel that takes no bytes, and of a full disk.
            "transport.write_failed",
            "busy.journal_full",
            // Answered with another form, never an end.
            "MAV_RESULT_COMMAND_INT_ONLY",
        ];
        assert_eq!(missing, known);
    }

    #[test]
    fn all_files_are_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenarios");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let embedded = EMBEDDED.iter().map(|(name, _)| format!("{name}.toml")).collect();
        assert_eq!(files, embedded);
    }
}
