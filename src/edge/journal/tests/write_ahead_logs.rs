//! What is only written ahead is there after a crash, and damage of it is told.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use sled::IVec;
use uuid::Uuid;

use super::super::store::{Store, Write};
use super::super::write_ahead_log::{read, write};
use super::*;

const LOG: &str = "generation-1/write-ahead";
const OTHER_LOG: &str = "generation-1/write-ahead-2";
/// So few that it takes several steps.
const WRITES: usize = 3;
const CHECKPOINT: &str = "generation-1/checkpoint";

fn found(dir: &Path) -> Result<(u64, Writes), Error> {
    let copied = copy(dir);
    let (writer, _) = open(copied.path(), RETENTION)?;
    Ok((writer.meta.commit, entries(&writer)))
}

/// Commits that nobody flushed, what is found after each of them, and where each begins.
fn three_commits(dir: &Path) -> (Vec<(u64, Writes)>, Vec<u64>) {
    let (mut writer, _) = open(dir, RETENTION).unwrap();
    let (mut found, mut begins) = (vec![(1, Writes::new())], Vec::new());
    for number in 1..=3 {
        begins.push(log_end(dir));
        commit_by(&mut writer, &announced([record(number, false)]), context(number));
        found.push((writer.meta.commit, entries(&writer)));
    }
    begins.push(log_end(dir));
    (found, begins)
}

fn ahead(writer: &Writer) -> Vec<Write> {
    writer.shared.read().entries.ahead().unwrap()
}

/// The file is longer than what is written, with zeroes.
fn log_end(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join(LOG)).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (end as u64).next_multiple_of(8)
}

#[test]
fn a_crash_may_come_anywhere_while_everything_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    commit_by(&mut writer, &announced([record(1, false), record(2, false)]), context(2));
    writer.flush_all().unwrap();
    let mut batch = announced([record(1, true), record(3, false)]);
    batch.published = [2].into();
    commit_by(&mut writer, &batch, context(3));
    let expected = (writer.meta.commit, entries(&writer));
    let store = Arc::clone(&writer.generation.store);
    let writes = ahead(&writer);
    assert!(writes.len() >= 6);
    for write in &writes {
        assert!(found(dir.path()).unwrap() == expected);
        store.apply([write.clone()]).unwrap();
        store.sync().unwrap();
    }
    assert!(found(dir.path()).unwrap() == expected);
    let meta: Write = (entry::META.into(), Some(entry::encode(entry::META, &writer.meta)));
    store.apply([meta]).unwrap();
    store.sync().unwrap();
    assert!(found(dir.path()).unwrap() == expected, "it has all, but the log has not begun anew");
    writer.flush_all().unwrap();
    assert!(ahead(&writer).is_empty());
    assert!(found(dir.path()).unwrap() == expected);
    commit_by(&mut writer, &batch, context(3));
    assert_eq!(found(dir.path()).unwrap(), (expected.0 + 1, entries(&writer)));
}

#[test]
fn what_came_and_went_never_reaches_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    commit_by(&mut writer, &announced([record(1, false)]), context(1));
    let published = Batch { published: [1].into(), ..batch([record(1, true)]) };
    commit_by(&mut writer, &published, context(1));
    let keys: Vec<_> = ahead(&writer).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [record_key(1), id_key(record(1, true).command_id)]);
}

#[test]
fn a_torn_last_commit_is_told_only_as_far_as_it_was_promised() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), RETENTION).unwrap());
    let before = copy(dir.path());
    let (after, begins) = three_commits(dir.path());
    let power_cut = copy(dir.path());
    // Its own number had not reached the disk.
    fs::copy(before.path().join(CHECKPOINT), power_cut.path().join(CHECKPOINT)).unwrap();
    assert!(found(power_cut.path()).unwrap() == after[3]);
    let good = fs::read(dir.path().join(LOG)).unwrap();
    for (begin, after) in begins.iter().zip(&after) {
        let mut bytes = good.clone();
        bytes[usize::try_from(*begin).unwrap()..].fill(0);
        fs::write(dir.path().join(LOG), &bytes).unwrap();
        fs::write(power_cut.path().join(LOG), &bytes).unwrap();
        assert!(found(power_cut.path()).unwrap() == *after);
        match found(dir.path()) {
            Ok(_) => assert_eq!(*begin, begins[3]),
            Err(error) => assert!(error.to_string().contains("its end is lost"), "{error}"),
        }
    }
}

const JOURNAL: Uuid = Uuid::from_u128(7);

/// Zeroes at the end of each commit of [`log_of_three`].
const PADDING: usize = 5;

/// Commits 5, 6 and 7, and where the last one begins and ends.
fn log_of_three() -> (Vec<u8>, usize, usize) {
    let mut bytes = Vec::new();
    let mut begins = Vec::new();
    for number in 5..=7_u64 {
        begins.push(bytes.len());
        let written =
            vec![(record_key(number), Some(vec![0xa5; 700].into())), (b"gone".into(), None)];
        write(&mut bytes, JOURNAL, number, &written);
    }
    let end = bytes.len();
    bytes.resize(end + 8192, 0);
    (bytes, begins[2], end)
}

/// Made with Python's struct and zlib: what was written must be read by every later version.
#[test]
fn a_commit_is_laid_out_as_ever() {
    let layout = concat!(
        "19000000b90239b50500000000000000",
        "01040000006d616263",
        "0400000000676f6e65",
        "02010000007531",
        "00000000000000"
    );
    let writes: Writes = vec![
        (b"m".into(), Some(b"abc".into())),
        (b"gone".into(), None),
        (b"u1".into(), Some((&[]).into())),
    ];
    let mut bytes = Vec::new();
    write(&mut bytes, JOURNAL, 5, &writes);
    assert_eq!(data_encoding::HEXLOWER.encode(&bytes), layout);
    assert_eq!(read(&bytes, JOURNAL, 4).unwrap(), (vec![(5, writes)], bytes.len()));
}

#[test]
fn whatever_happens_to_the_last_commit_it_is_whole_or_not_there() {
    let (good, last, end) = log_of_three();
    let (all, _) = read(&good, JOURNAL, 4).unwrap();
    assert_eq!(all.len(), 3);
    for at in last..end {
        // The pages of a write may reach the disk in any order, and some not at all.
        for length in [1, 8, 512, 4096] {
            let mut bytes = good.clone();
            bytes[at..(at + length).min(end)].fill(0xff);
            let found = read(&bytes, JOURNAL, 4).unwrap();
            if at < end - PADDING {
                assert_eq!(found, (all[..2].to_vec(), last), "byte {at}");
            } else {
                assert_eq!(found, (all.clone(), end), "byte {at}");
            }
        }
    }
}

#[test]
fn damage_before_the_last_commit_is_told() {
    let (good, last, _) = log_of_three();
    let whole = read(&good, JOURNAL, 4).unwrap();
    for at in 0..last {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            match read(&bytes, JOURNAL, 4) {
                Err(told) => assert!(told.starts_with("commit "), "{told}"),
                // Of the zeroes that fill a commit up.
                Ok(found) => assert!(found == whole, "byte {at}"),
            }
        }
    }
}

#[test]
fn what_is_left_from_before_a_log_was_reused_does_not_count() {
    let (old, ..) = log_of_three();
    for stored in 7..10 {
        assert_eq!(read(&old, JOURNAL, stored).unwrap(), (Vec::new(), 0));
        let mut new = Vec::new();
        // As long as one of the old ones, so that the next one of these is read as well.
        let written = vec![(record_key(1), Some(vec![0x5a; 700].into())), (b"more".into(), None)];
        write(&mut new, JOURNAL, stored + 1, &written);
        let end = new.len();
        let mut bytes = old.clone();
        bytes[..end].copy_from_slice(&new);
        assert_eq!(read(&bytes, JOURNAL, stored).unwrap(), (vec![(stored + 1, written)], end));
        // Torn.
        bytes[20] ^= 1;
        assert_eq!(read(&bytes, JOURNAL, stored).unwrap(), (Vec::new(), 0));
    }
}

#[test]
fn what_is_missing_or_of_another_journal_is_told() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    three_commits(dir.path());
    three_commits(other.path());
    let gap = |dir: &Path| {
        let (mut writer, _) = open(dir, RETENTION).unwrap();
        let next = writer.meta.commit + 2;
        writer.generation.write_ahead_logs.append(next, &vec![(b"x".into(), None)]).unwrap();
    };
    let foreign = |dir: &Path| {
        fs::copy(other.path().join(LOG), dir.join(LOG)).unwrap();
    };
    for (damage, told) in [
        (&gap as &dyn Fn(&Path), "commit 6 follows on commit 4"),
        (&foreign, "its end is lost"),
        (&|dir| fs::remove_file(dir.join(LOG)).unwrap(), "there is none"),
        (&|dir| fs::write(dir.join(LOG), b"").unwrap(), "its end is lost"),
    ] {
        let copied = copy(dir.path());
        damage(copied.path());
        let error = open_journal(copied.path()).unwrap_err();
        assert_eq!(error.trouble(), Trouble::Damage);
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn a_commit_larger_than_the_log_is_taken_and_the_file_shrinks_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let length = || fs::metadata(dir.path().join(LOG)).unwrap().len();
    let ordinary = length();
    let updates = (0..20_000).map(|number| (number, record(1, false).into())).collect();
    let large = Batch { outbox: updates, ..Batch::default() };
    writer.commit(&large, context(1)).unwrap();
    assert!(length() > ordinary);
    assert_eq!(found(dir.path()).unwrap().1.len(), 20_000);
    writer.after_commit(1, false).unwrap();
    while writer.flush.is_some() {
        writer.flush_some(WRITES).unwrap();
    }
    assert_eq!(length(), ordinary);
    commit_by(&mut writer, &batch([record(1, false)]), context(1));
    assert_eq!(found(dir.path()).unwrap(), (writer.meta.commit, entries(&writer)));
}

#[test]
fn a_journal_of_the_format_without_it_is_read_and_goes_on_in_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_journal(dir.path()).unwrap();
    commit(&journal, announced([record(1, false)]), 1);
    drop(journal);
    fs::remove_file(dir.path().join(LOG)).unwrap();
    set_format(dir.path(), 1);
    // Reading changes nothing, nor does a crash before the format is noted.
    assert_eq!(Reader::open(dir.path()).unwrap().check().problems, Vec::<String>::new());
    assert_eq!(found(dir.path()).unwrap().1.len(), 4);
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    commit_by(&mut writer, &announced([record(2, false)]), context(2));
    set_format(dir.path(), JOURNAL_FORMAT);
    assert_eq!(found(dir.path()).unwrap().1.len(), 8);
}

#[test]
fn a_journal_of_the_format_with_one_log_is_read_and_goes_on_in_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (expected, _) = three_commits(dir.path());
    fs::remove_file(dir.path().join(OTHER_LOG)).unwrap();
    let current = fs::read_to_string(dir.path().join("current")).unwrap();
    set_format(dir.path(), 2);
    assert!(found(dir.path()).unwrap() == expected[3]);
    drop(open(dir.path(), RETENTION).unwrap());
    assert_eq!(fs::read_to_string(dir.path().join("current")).unwrap(), current);
    assert!(found(dir.path()).unwrap() == expected[3]);
    fs::remove_file(dir.path().join(OTHER_LOG)).unwrap();
    let error = found(dir.path()).unwrap_err();
    assert!(error.to_string().contains("there is none"), "{error}");
}

/// Switches to the other log, which gets another commit; nothing is flushed.
fn switched(dir: &Path) -> (Writer, Vec<(u64, Writes)>) {
    let (mut found, _) = three_commits(dir);
    let (mut writer, _) = open(dir, RETENTION).unwrap();
    writer.switch().unwrap();
    // Without what a commit is followed by.
    let batch = Batch { published: [2].into(), ..announced([record(1, true), record(4, false)]) };
    writer.commit(&batch, context(4)).unwrap();
    found.push((writer.meta.commit, entries(&writer)));
    (writer, found)
}

#[test]
fn a_crash_may_come_anywhere_while_one_log_is_flushed_and_commits_go_to_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, committed) = switched(dir.path());
    let expected = &committed[4];
    let old = |writer: &Writer| writer.shared.read().entries.old(b"", 1000).unwrap().0;
    let writes = old(&writer);
    assert!(writes.len() >= 6);
    for write in writes {
        assert!(found(dir.path()).unwrap() == *expected);
        writer.generation.store.apply([write]).unwrap();
        writer.generation.store.sync().unwrap();
    }
    assert!(found(dir.path()).unwrap() == *expected);
    writer.flush_some(1000).unwrap();
    assert!(writer.flush.is_none() && old(&writer).is_empty());
    assert!((writer.meta.commit, entries(&writer)) == *expected);
    assert!(found(dir.path()).unwrap() == *expected);
    // The log that is free now gets commits again; what it had counts no more.
    writer.switch().unwrap();
    commit_by(&mut writer, &announced([record(5, false)]), context(5));
    assert!(found(dir.path()).unwrap() == (writer.meta.commit, entries(&writer)));
}

#[test]
fn what_is_lost_of_one_of_two_logs_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, committed) = switched(dir.path());
    // As a power cut leaves it: what a process does at its end is not done.
    let power_cut = copy(dir.path());
    writer.generation.checkpoint.write(writer.meta.commit).unwrap();
    let (log, other) = (power_cut.path().join(LOG), power_cut.path().join(OTHER_LOG));
    assert!(found(power_cut.path()).unwrap() == committed[4]);
    // Of the first one nothing may be torn, since there is a commit behind it.
    let good = fs::read(&log).unwrap();
    let end = good.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (0..=end).step_by(97).chain([end]) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let error = found(power_cut.path()).unwrap_err();
        assert!(error.to_string().contains("commit "), "byte {at}: {error}");
    }
    fs::write(&log, &good).unwrap();
    // The other's only commit may be torn, unless it was promised.
    let mut torn = fs::read(&other).unwrap();
    torn[20] ^= 1;
    fs::write(&other, &torn).unwrap();
    assert!(found(power_cut.path()).unwrap() == committed[3]);
    fs::copy(dir.path().join(CHECKPOINT), power_cut.path().join(CHECKPOINT)).unwrap();
    let error = found(power_cut.path()).unwrap_err();
    assert!(error.to_string().contains("its end is lost"), "{error}");
}

#[test]
fn commits_that_come_faster_than_they_are_flushed_wait_for_that() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = switched(dir.path());
    assert!(writer.flush.is_some());
    writer.switch().unwrap();
    assert!(writer.flush.is_none() && ahead(&writer).is_empty());
    assert!(writer.generation.write_ahead_logs.is_empty());
    assert!(found(dir.path()).unwrap() == (writer.meta.commit, entries(&writer)));
}

/// A step in a journal's life.
#[derive(Clone, Copy, Debug)]
enum Step {
    Commit { number: u64, closed: bool, published: u64 },
    FlushAll,
    Switch,
    FlushSome,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = (1..30_u64, any::<bool>(), 1..30_u64);
    let commit =
        commit.prop_map(|(number, closed, published)| Step::Commit { number, closed, published });
    let step = prop_oneof![
        6 => commit,
        1 => Just(Step::FlushAll),
        2 => Just(Step::Switch),
        2 => Just(Step::FlushSome),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_at_any_time_finds_what_was_committed(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
        let mut model = BTreeMap::new();
        let mut commits = 1;
        for step in steps {
            match step {
                Step::Commit { number, closed, published } => {
                    let mut batch = announced([record(number, closed)]);
                    batch.published.extend(Some(published).filter(|it| *it != number));
                    let last = writer.meta.last_number.max(number);
                    // What follows on a commit has its own steps here.
                    writer.commit(&batch, context(last)).unwrap();
                    writer.generation.checkpoint.write(writer.meta.commit).unwrap();
                    for (key, value) in entry::writes_of(&batch) {
                        match value {
                            Some(value) => model.insert(key, Some(value)),
                            None => model.remove(&key),
                        };
                    }
                    commits += 1;
                }
                Step::FlushAll => writer.flush_all().unwrap(),
                Step::Switch => writer.switch().unwrap(),
                Step::FlushSome => writer.flush_some(WRITES).unwrap(),
                Step::Restart => {
                    drop(writer);
                    writer = open(dir.path(), RETENTION).unwrap().0;
                }
            }
            let expected: Writes = model.clone().into_iter().collect();
            prop_assert_eq!((writer.meta.commit, entries(&writer)), (commits, expected));
        }
        prop_assert_eq!(found(dir.path()).unwrap(), (writer.meta.commit, entries(&writer)));
    }

    #[test]
    fn the_store_and_what_is_ahead_of_it_read_as_one(
        stored in prop::collection::btree_map(0..20_u8, any::<u8>(), 0..12),
        ahead in prop::collection::btree_map(0..20_u8, any::<Option<u8>>(), 0..12),
        from in 0..20_u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(dir.path()).unwrap());
        let key = |key: u8| IVec::from(&[b'k', key]);
        let value = |of: u8, value: u8| entry::encode(&key(of), &value);
        store.apply(stored.iter().map(|(it, is)| (key(*it), Some(value(*it, *is))))).unwrap();
        let mut entries = Entries::new(store);
        entries.follow(ahead.iter().map(|(it, is)| (key(*it), is.map(|is| value(*it, is)))).collect());

        let mut model: BTreeMap<u8, u8> = stored;
        for (it, is) in ahead {
            match is {
                Some(is) => model.insert(it, is),
                None => model.remove(&it),
            };
        }
        let numbers = |read: &mut dyn Iterator<Item = Result<super::super::store::Entry, Error>>| {
            read.map(|entry| entry.unwrap()).map(|(key, value)| {
                (key[1], entry::decode::<u8>(&key, &value).unwrap())
            }).collect::<Vec<_>>()
        };
        let of = |range: &mut dyn Iterator<Item = (&u8, &u8)>| {
            range.map(|(key, value)| (*key, *value)).collect::<Vec<_>>()
        };
        prop_assert_eq!(numbers(&mut entries.scan(b"k")), of(&mut model.iter()));
        prop_assert!(entries.scan(b"j").next().is_none() && entries.scan(b"l").next().is_none());
        prop_assert_eq!(
            numbers(&mut entries.range(Bound::Excluded(&key(from)))),
            of(&mut model.range((Bound::Excluded(from), Bound::Unbounded)))
        );
        for it in 0..20 {
            prop_assert_eq!(entries.get::<u8>(&key(it)).unwrap(), model.get(&it).copied());
        }
    }
}
