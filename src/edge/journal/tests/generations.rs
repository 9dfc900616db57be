//! A new generation holds what the old one did, whenever a crash comes.

use super::super::rewrite::Rewrite;
use super::*;

/// Through all steps, without commits between them.
pub fn rewrite(writer: &mut Writer) {
    let generation = writer.current.generation;
    writer.begin_rewrite().unwrap();
    while writer.current.generation == generation {
        writer.rewrite_step().unwrap();
    }
}

fn generations_in(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("generation-")).count()
}

/// What a process finds that starts on a copy.
fn found(dir: &Path) -> (Recovered, Writes) {
    let copied = copy(dir);
    let (writer, recovered) = open(copied.path(), RETENTION).unwrap();
    assert_eq!(generations_in(copied.path()), 1, "leftovers go");
    (recovered, entries(&writer))
}

#[test]
fn commits_go_on_during_a_rewrite_and_a_crash_may_come_at_any_step() {
    const BEFORE: u64 = 1500;
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    for number in 1..=BEFORE {
        let nonces = [(NonceKey([number as u8; 16]), NOW)].into();
        let batch = Batch { nonces, ..announced([record(number, number % 3 == 0)]) };
        commit_by(&mut writer, &batch, context(number));
    }
    writer.flush_all().unwrap();
    writer.begin_rewrite().unwrap();
    let (mut number, mut steps) = (BEFORE, 0);
    while writer.current.generation == 1 {
        // A new command, the end of an old one, and of its updates: on both sides of what is copied.
        number += 1;
        let old = number - BEFORE + 7 * steps;
        let mut batch = announced([record(number, false), record(old, true)]);
        batch.outbox.remove(&old);
        batch.published = [old, number - 1].into();
        batch.expired_nonces = [NonceKey([old as u8; 16])].into();
        commit_by(&mut writer, &batch, context(number));
        let (recovered, found) = found(dir.path());
        assert_eq!(recovered.last_number, number);
        assert!(found == entries(&writer), "after step {steps}");
        // What is flushed during the rewrite, at once or bit by bit, and what only at its end.
        match steps % 4 {
            0 => writer.flush_all().unwrap(),
            1 => writer.switch().unwrap(),
            2 => writer.flush_some(64).unwrap(),
            _ => (),
        }
        writer.rewrite_step().unwrap();
        steps += 1;
    }
    assert!(steps >= 4, "{steps} steps prove little");
    let (recovered, after) = found(dir.path());
    assert_eq!(recovered.last_number, number);
    assert!(after == entries(&writer));
    assert_eq!(generations_in(dir.path()), 1);

    // The first commit to the new one.
    commit_by(&mut writer, &announced([record(number + 1, false)]), context(number + 1));
    let (recovered, _) = found(dir.path());
    assert_eq!(recovered.last_number, number + 1);
}

#[test]
fn a_crash_may_come_between_any_two_steps_of_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    commit_by(&mut writer, &announced([record(1, false)]), context(1));
    let expected = entries(&writer);
    writer.flush_all().unwrap();
    let mut rewrite = Rewrite::begin(&writer.directory, &writer.current).unwrap();
    while !rewrite.step(&writer.generation.store).unwrap() {}
    assert!(found(dir.path()).1 == expected, "copied");
    let (number, generation) = rewrite.finish(&writer.meta).unwrap();
    assert!(found(dir.path()).1 == expected, "durable, not current");
    let current = Current { generation: number, ..writer.current.clone() };
    fs::write(dir.path().join("current.new"), b"{\"form").unwrap();
    assert!(found(dir.path()).1 == expected, "a torn new `current`");
    writer.directory.set_current(&current).unwrap();
    assert!(found(dir.path()).1 == expected, "current");
    drop(generation);
    fs::remove_file(dir.path().join("generation-1/checkpoint")).unwrap();
    assert!(found(dir.path()).1 == expected, "the old one half removed");
}

#[test]
fn damage_is_not_carried_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    commit_by(&mut writer, &batch([record(1, false)]), context(1));
    writer.flush_all().unwrap();
    writer.generation.store.apply([(record_key(1), Some(b"bad".into()))]).unwrap();
    writer.begin_rewrite().unwrap();
    let error = writer.rewrite_step().unwrap_err();
    assert_eq!(error.trouble(), Trouble::Damage);
    assert_eq!(writer.current.generation, 1);
}

#[test]
fn a_copy_that_differs_is_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    for number in 1..=3 {
        commit_by(&mut writer, &batch([record(number, false)]), context(number));
    }
    writer.flush_all().unwrap();
    for (key, value) in [(record_key(2), None), (b"z".into(), Some(b"more".into()))] {
        writer.begin_rewrite().unwrap();
        writer.rewrite_step().unwrap();
        writer.rewrite.as_ref().unwrap().follow([(key, value)]).unwrap();
        writer.rewrite_step().unwrap();
        assert!(writer.rewrite.is_none());
        assert_eq!((writer.current.generation, generations_in(dir.path())), (1, 1));
        commit_by(&mut writer, &Batch::default(), context(3));
    }
}

/// A backlog of updates that was published leaves a large file with little in it.
#[test]
fn a_file_that_has_grown_is_made_small_between_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    writer.min_bytes = 1_000_000;
    let (journal, before) = {
        let updates = |numbers: std::ops::Range<u64>| Batch {
            outbox: numbers.map(|number| (number, record(1, false).into())).collect(),
            ..Batch::default()
        };
        let mut largest = 0;
        for first in (0..4000).step_by(100) {
            commit_by(&mut writer, &updates(first..first + 100), context(1));
            writer.flush_all().unwrap();
            largest = writer.generation.store.bytes().unwrap();
        }
        let published = Batch { published: (0..4000).collect(), ..Batch::default() };
        // Only written ahead.
        commit_by(&mut writer, &published, context(1));
        let contents = writer.shared.clone();
        let (jobs, receiver) = mpsc::channel();
        let thread = thread::spawn(move || writer.run(&receiver));
        (Journal { contents, jobs: Some(jobs), thread: Some(thread) }, largest)
    };
    let bytes = || journal.contents.read().entries.store.bytes().unwrap();
    let since = std::time::Instant::now();
    while bytes() > before / 3 {
        assert!(since.elapsed().as_secs() < 60, "{} of {before} bytes", bytes());
        thread::sleep(std::time::Duration::from_millis(10));
    }
    commit(&journal, batch([record(1, false)]), 1);
    drop(journal);
    assert_eq!(open_journal(dir.path()).unwrap().1.open.len(), 1);
}
