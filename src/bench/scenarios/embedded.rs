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

    use super::*;

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
