//! Finished commands are archived, and removed from the archive, and nothing else does.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use uuid::Uuid;

use super::super::retention::SEGMENT_COMMANDS;
use super::super::segment::Finished;
use super::*;

const SEGMENT: u64 = SEGMENT_COMMANDS as u64;

/// Commands of these numbers in one commit.
fn write(writer: &mut Writer, records: impl IntoIterator<Item = Record>) {
    let batch = batch(records);
    let last = batch.records.values().map(|record| record.number).max().unwrap_or_default();
    let last = last.max(writer.meta.last_number);
    commit_by(writer, &batch, context(last));
}

fn known(writer: &Writer, numbers: std::ops::RangeInclusive<u64>) -> BTreeSet<u64> {
    let contents = writer.shared.read();
    let find = |number: &u64| contents.get(record(*number, false).command_id).unwrap();
    numbers.filter(|number| find(number).is_some_and(|it| it.number == *number)).collect()
}

fn archived(writer: &Writer) -> BTreeSet<u64> {
    let contents = writer.shared.read();
    contents.archive.places().map(|(_, place)| place.number).collect()
}

fn settle(writer: &mut Writer) {
    for _ in 0..20 {
        commit_by(writer, &Batch::default(), context(writer.meta.last_number));
    }
}

#[test]
fn finished_commands_move_and_are_found_in_a_later_process() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    for number in 1..=3 * SEGMENT {
        write(&mut writer, [record(number, true)]);
        assert!(known(&writer, number..=number).contains(&number));
    }
    settle(&mut writer);
    assert_eq!(archived(&writer), (1..=2 * SEGMENT).collect());
    assert_eq!(known(&writer, 1..=3 * SEGMENT).len() as u64, 3 * SEGMENT);
    let in_store = writer.shared.read().entries.scan(entry::RECORDS).count() as u64;
    assert_eq!(in_store, SEGMENT);
    drop(writer);
    let (writer, _) = open(dir.path(), RETENTION).unwrap();
    assert_eq!(known(&writer, 1..=3 * SEGMENT).len() as u64, 3 * SEGMENT);
    let contents = writer.shared.read();
    let expected = record(5, true);
    assert_eq!(contents.get(expected.command_id).unwrap(), Some(expected));
}

/// Until the log was full and the store has what was in it; every tenth command stays open. Returns the
/// last number.
fn fill_log(writer: &mut Writer, bytes_per_command: usize) -> u64 {
    let message = Some("x".repeat(bytes_per_command));
    for number in 1.. {
        let closed = number % 10 != 0;
        write(writer, [Record { message: message.clone(), ..record(number, closed) }]);
        while writer.flush.is_some() {
            writer.flush_some(64).unwrap();
        }
        let in_store: Meta = writer.generation.store.get(entry::META).unwrap().unwrap();
        if in_store.commit > 1 {
            return number;
        }
    }
    unreachable!("the log is full at some time")
}

/// Without what is only written ahead.
fn in_store(writer: &Writer) -> BTreeSet<u64> {
    let entries = writer.generation.store.range(Bound::Included(entry::RECORDS));
    let keys =
        entries.map(|entry| entry.unwrap().0).take_while(|key| key.starts_with(entry::RECORDS));
    keys.map(|key| entry::number_of(&key).unwrap()).collect()
}

#[test]
fn what_is_finished_when_the_log_is_full_never_reaches_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let last = fill_log(&mut writer, 3000);
    assert!(last < SEGMENT);
    assert_eq!(in_store(&writer), (1..=last).filter(|number| number % 10 == 0).collect());
    assert_eq!(archived(&writer), (1..=last).filter(|number| number % 10 != 0).collect());
    assert_eq!(known(&writer, 1..=last).len() as u64, last);
}

#[test]
fn a_few_make_no_segment_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let last = fill_log(&mut writer, 50_000);
    assert_eq!(in_store(&writer), (1..=last).collect());
    assert!(archived(&writer).is_empty());
}

#[test]
fn ids_that_begin_alike_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    // Within a segment and across segments, just below and above others, and at both ends.
    let id = |start: u64, end: u64| Uuid::from_fields(start as u32, 0, 0, &end.to_be_bytes());
    let with_id = |number: u64| {
        let start = (number % 200).wrapping_sub(100);
        Record { command_id: id(start, number), ..record(number, true) }
    };
    let last = 4 * SEGMENT;
    for number in 1..=last {
        write(&mut writer, [with_id(number)]);
    }
    settle(&mut writer);
    assert_eq!(archived(&writer), (1..=3 * SEGMENT).collect());
    let check = |writer: &Writer| {
        let contents = writer.shared.read();
        for number in 1..=last {
            let expected = with_id(number);
            assert_eq!(contents.get(expected.command_id).unwrap(), Some(expected));
        }
        for start in [0, 99, 100, u64::MAX - 100, u64::MAX] {
            assert_eq!(contents.get(id(start, last + 1)).unwrap(), None);
        }
    };
    check(&writer);
    drop(writer);
    check(&open(dir.path(), RETENTION).unwrap().0);
}

#[test]
fn what_is_open_or_unpublished_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), Retention { max_commands: 0, ..RETENTION }).unwrap();
    let mut first = announced([record(2, true)]);
    let open_command = record(1, false);
    first.records.insert(open_command.command_id, open_command.into());
    commit_by(&mut writer, &first, context(2));
    for number in 3..=4 * SEGMENT {
        write(&mut writer, [record(number, true)]);
    }
    settle(&mut writer);
    assert_eq!(known(&writer, 1..=10), [1, 2].into(), "the others had to go");
    // A restart knows the same.
    drop(writer);
    let (mut writer, _) = open(dir.path(), Retention { max_commands: 0, ..RETENTION }).unwrap();
    let last = 4 * SEGMENT;
    for number in last + 1..=last + 2 * SEGMENT {
        write(&mut writer, [record(number, true)]);
    }
    settle(&mut writer);
    assert_eq!(known(&writer, 1..=10), [1, 2].into());

    let mut end = batch([record(1, true)]);
    end.published = [2].into();
    let last = writer.meta.last_number;
    commit_by(&mut writer, &end, context(last));
    let last = writer.meta.last_number;
    for number in last + 1..=last + SEGMENT {
        write(&mut writer, [record(number, true)]);
    }
    settle(&mut writer);
    assert!(known(&writer, 1..=10).is_empty());
}

#[test]
fn a_segment_stays_while_a_nonce_of_its_commands_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { max_commands: 0, ..RETENTION };
    let (mut writer, _) = open(dir.path(), retention).unwrap();
    let last = 2 * SEGMENT;
    let expires = |number| NOW.saturating_add(Duration::from_secs(number));
    for number in 1..=last {
        // Not the last one of the segment is the last to expire.
        let record = signed(record(number, true), expires(2000 - number));
        commit_by(&mut writer, &batch([record]), context(number));
    }
    assert_eq!(archived(&writer), (1..=SEGMENT).collect());
    let mut commit_at = |clock_floor| {
        // The summary says it after a restart too.
        let copied = copy(dir.path());
        let mut writers = [&mut writer, &mut open(copied.path(), retention).unwrap().0];
        writers.each_mut().map(|writer| {
            let context = CommitContext { clock_floor, ..context(last) };
            commit_by(writer, &Batch::default(), context);
            known(writer, 1..=last).len() as u64
        })
    };
    assert_eq!(commit_at(expires(1999)), [last; 2]);
    assert_eq!(commit_at(expires(2000)), [last - SEGMENT; 2]);
}

#[test]
fn the_count_holds_with_and_without_a_clock() {
    for trusted_now in [None, Some(NOW)] {
        let dir = tempfile::tempdir().unwrap();
        let retention = Retention { max_commands: 1000, ..RETENTION };
        let (mut writer, _) = open(dir.path(), retention).unwrap();
        let count = 5000;
        for first in (1..=count).step_by(50) {
            let records = batch((first..first + 50).map(|number| record(number, true)));
            let context = CommitContext { trusted_now, ..context(first + 49) };
            commit_by(&mut writer, &records, context);
        }
        settle(&mut writer);
        let left = writer.meta.commands();
        assert!((1000..1000 + SEGMENT).contains(&left), "{left}");
        let known = known(&writer, 1..=count);
        assert_eq!(known, (count - left + 1..=count).collect(), "the latest are kept");
        let files = fs::read_dir(dir.path().join("archive")).unwrap().count() as u64;
        assert!(files <= 1000 / SEGMENT + 2, "{files}");
    }
}

#[test]
fn age_counts_by_a_clock_that_was_trusted_then_and_is_now() {
    let week = Duration::from_secs(7 * 86_400);
    let later = |more: u64| Some(NOW.saturating_add(week + Duration::from_secs(more)));
    for (trusted_then, trusted_now, removed) in [
        (true, later(1), true),
        (true, later(0), false),
        (true, None, false),
        (false, later(1_000_000), false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
        for number in 1..=2 * SEGMENT {
            let mut record = record(number, true);
            record.updated.wall_trusted = trusted_then || number != 17;
            write(&mut writer, [record]);
        }
        settle(&mut writer);
        assert_eq!(archived(&writer).len() as u64, SEGMENT);
        let context = CommitContext { trusted_now, ..context(2 * SEGMENT) };
        commit_by(&mut writer, &Batch::default(), context);
        assert_eq!(archived(&writer).is_empty(), removed, "{trusted_then} {trusted_now:?}");
        assert_eq!(
            known(&writer, 1..=2 * SEGMENT).len() as u64,
            if removed { SEGMENT } else { 2 * SEGMENT }
        );
    }
}

#[test]
fn a_crash_may_come_at_any_moment_of_archiving() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { max_commands: 2 * SEGMENT, ..RETENTION };
    let (mut writer, _) = open(dir.path(), retention).unwrap();
    for number in 1..=4 * SEGMENT {
        write(&mut writer, [record(number, true)]);
        if number % SEGMENT > 2 && number % 64 != 0 {
            continue;
        }
        let copied = copy(dir.path());
        let (other, _) = open(copied.path(), retention).unwrap();
        assert_eq!(known(&other, 1..=number), known(&writer, 1..=number));
        assert_eq!(other.meta, writer.meta);
        // Files that nobody knows have gone.
        let files = fs::read_dir(copied.path().join("archive")).map_or(0, Iterator::count);
        assert_eq!(files, other.shared.read().archive.segments().len());
    }
    assert!(writer.meta.removed > 0);
}

#[test]
fn an_index_of_numbers_that_belong_elsewhere_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, _) = open(dir.path(), RETENTION).unwrap();
    let archive = &mut writer.shared.write().archive;
    for (first, number, fits) in [(5, 5, true), (5, 4, false), (6, 6 + (1 << 32), false)] {
        let value = entry::encode(&entry::record_key(number), &record(number, true));
        let updated = record(number, true).updated;
        let command_id = record(number, true).command_id;
        let finished = Finished { number, command_id, updated, nonce_expires: None, value };
        let (_, summary, index) = archive.write(&[finished]).unwrap();
        assert_eq!(archive.add(first, summary, &index).is_ok(), fits, "{first} {number}");
    }
}

#[test]
fn damage_of_a_segment_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    write(&mut writer, (1..=2 * SEGMENT).map(|number| record(number, true)));
    settle(&mut writer);
    drop(writer);
    let name = "archive/commands-00000000000000000001";
    let good = fs::read(dir.path().join(name)).unwrap();
    for at in [10, good.len() / 2, good.len() - 100, good.len()] {
        let copied = copy(dir.path());
        let mut bad = good.clone();
        match bad.get_mut(at) {
            Some(byte) => *byte ^= 1,
            None => bad.truncate(at - 1),
        }
        fs::write(copied.path().join(name), bad).unwrap();
        let reads = open(copied.path(), RETENTION).and_then(|(writer, _)| {
            let contents = writer.shared.read();
            (1..=SEGMENT)
                .try_for_each(|number| contents.get(record(number, true).command_id).map(|_| ()))
        });
        assert_eq!(reads.unwrap_err().trouble(), Trouble::Damage, "byte {at}");
    }
    fs::remove_file(dir.path().join(name)).unwrap();
    assert_eq!(open(dir.path(), RETENTION).unwrap_err().trouble(), Trouble::Damage);
}
