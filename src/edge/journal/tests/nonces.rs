//! A command's nonce is in its record, wherever that is, and is found there for as long as it counts.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use super::super::entry::record_key;
use super::super::retention::SEGMENT_COMMANDS;
use super::*;

const SEGMENT: u64 = SEGMENT_COMMANDS as u64;

fn expires(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

/// Whose nonces a process finds that starts on a copy.
fn remembered(dir: &Path) -> BTreeSet<u64> {
    let (_, recovered) = open(copy(dir).path(), RETENTION).unwrap();
    let number = |(key, expires): (NonceKey, Timestamp)| {
        let number = u128::from_be_bytes(key.0) as u64;
        assert_eq!(expires, self::expires(number));
        number
    };
    let found: Vec<u64> = recovered.nonces_of_commands.into_iter().map(number).collect();
    let numbers: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(numbers.len(), found.len(), "each once");
    numbers
}

#[test]
fn they_are_found_in_the_archive_the_store_and_the_logs_until_the_floor_has_passed_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let last = 3 * SEGMENT;
    for number in 1..=last {
        // Every third is open; these stay out of the archive.
        let record = signed(record(number, number % 3 != 0), expires(number));
        commit_by(&mut writer, &batch([record]), context(number));
        if number == last - 100 {
            writer.flush_all().unwrap();
        }
        if number % 64 == 0 {
            assert_eq!(remembered(dir.path()), (1..=number).collect());
        }
    }
    let mut stored = writer.generation.store.range(Bound::Included(entry::RECORDS));
    assert!(stored.next().unwrap().unwrap().0.starts_with(entry::RECORDS));
    drop(stored);
    assert!(writer.shared.read().archive.commands() > 0);
    assert!(!writer.generation.write_ahead_logs.is_empty());
    for floor in [1, 2, 100, SEGMENT, 2 * SEGMENT, last, last + 1] {
        let context = CommitContext { clock_floor: expires(floor), ..context(last) };
        commit_by(&mut writer, &Batch::default(), context);
        assert_eq!(remembered(dir.path()), (floor..=last).collect(), "floor {floor}");
    }
}

#[test]
fn one_that_no_later_process_needs_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let challenged = Record { nonce_expires: None, ..signed(record(1, false), NOW) };
    commit_by(&mut writer, &batch([challenged]), context(1));
    assert_eq!(remembered(dir.path()), [].into());
}

#[test]
fn a_nonce_that_cannot_be_read_stops_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let last = 2 * SEGMENT;
    for number in 1..=last {
        let record = signed(record(number, true), expires(number));
        commit_by(&mut writer, &batch([record]), context(number));
    }
    let segment = writer.shared.read().archive.path(1);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let error = open(copy(dir.path()).path(), RETENTION).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    // Nothing depends on it when all of them are forgotten.
    let context = CommitContext { clock_floor: expires(SEGMENT + 1), ..context(last) };
    commit_by(&mut writer, &Batch::default(), context);
    assert_eq!(remembered(dir.path()), (SEGMENT + 1..=last).collect());
}

#[test]
fn a_record_of_format_3_has_an_entry_for_its_nonce() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let signed = signed(record(1, false), NOW);
    let key = signed.nonce.unwrap();
    let nonces = [(key, expires(1))].into();
    let of_before = Batch { nonces, ..batch([signed.clone()]) };
    commit_by(&mut writer, &of_before, context(1));
    let mut json = serde_json::to_value(&signed).unwrap();
    json.as_object_mut().unwrap().remove("nonce_expires").unwrap();
    let record_key = record_key(1);
    let value = json_value(&record_key, &json);
    writer.flush_all().unwrap();
    writer.generation.store.apply([(record_key, Some(value))]).unwrap();
    writer.generation.store.sync().unwrap();
    drop(writer);
    let current = fs::read_to_string(dir.path().join("current")).unwrap();
    set_format(dir.path(), 3);
    let (_, recovered) = open(dir.path(), RETENTION).unwrap();
    assert_eq!(recovered.open, [Record { nonce_expires: None, ..signed }]);
    assert_eq!(recovered.nonce_entries, [(key, expires(1))]);
    assert_eq!(recovered.nonces_of_commands, []);
    assert_eq!(fs::read_to_string(dir.path().join("current")).unwrap(), current);
}
