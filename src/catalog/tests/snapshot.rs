//! The whole table as facts, without prose: an upgrade of the dialect shows here what it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::*;

const UPDATE: &str = "DOWNLINKD_UPDATE_SNAPSHOTS";

#[test]
fn the_table_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/catalog.txt");
    let facts = facts();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &facts).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == facts,
        "the table differs from {}:\n{}\nif this is meant, run the test again with {UPDATE}=1 and commit the file",
        path.display(),
        difference(&committed, &facts)
    );
}

#[test]
fn the_hash_is_over_the_facts() {
    let digest = Sha256::digest(facts());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(HASH, hash);
}

#[test]
fn a_difference_names_what_went_and_what_came() {
    assert_eq!(difference("a\nb\nc\n", "a\nd\nc\n"), "-b\n+d\n");
}

fn facts() -> String {
    let mut facts = String::new();
    let mut enumerations = BTreeMap::from([("MAV_FRAME", table::MAV_FRAME)]);
    for command in all() {
        let defaults =
            command.defaults.map(|value| or((!value.is_nan()).then_some(value), "unset"));
        writeln!(
            facts,
            "command {} {} {} {} {} domain={} risk={} repeatable={} status={} mission_only={} location={} int_scale={} sends={}",
            command.command_type,
            command.mavlink_command,
            command.mavlink_command_id,
            command.transport,
            command.source_xml,
            command.domain,
            command.risk,
            command.repeatable,
            command.status,
            command.mission_only,
            format!("{:?}", command.location).to_lowercase(),
            command.int_scale,
            defaults.join(","),
        )
        .unwrap();
        for field in command.fields {
            writeln!(
                facts,
                "field {}.{} param={} units={} enum={} min={} max={} increment={} default={}",
                command.command_type,
                field.name,
                field.param,
                field.units.unwrap_or("-"),
                field.enumeration.map_or("-", |enumeration| enumeration.name),
                or(field.minimum, "-"),
                or(field.maximum, "-"),
                or(field.increment, "-"),
                or(field.default, "unset"),
            )
            .unwrap();
            enumerations
                .extend(field.enumeration.map(|enumeration| (enumeration.name, enumeration)));
        }
    }
    for (name, enumeration) in enumerations {
        let kind = if enumeration.bitmask { "bitmask" } else { "values" };
        write!(facts, "enum {name} {kind}").unwrap();
        for entry in enumeration.entries {
            write!(facts, " {}={}", entry.name, entry.value).unwrap();
        }
        facts.push('\n');
    }
    facts
}

fn or(value: Option<f32>, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |value| value.to_string())
}

/// Lines that only one side has; every line names its command, so their order says nothing.
fn difference(old: &str, new: &str) -> String {
    let [old, new]: [BTreeSet<&str>; 2] = [old, new].map(|text| text.lines().collect());
    let gone = old.difference(&new).map(|line| format!("-{line}\n"));
    gone.chain(new.difference(&old).map(|line| format!("+{line}\n"))).collect()
}
