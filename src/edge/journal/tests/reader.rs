//! The journal of a stopped daemon.

use super::super::entry::{open_key, outbox_key};
use super::super::reader::{Reader, set_aside};
use super::*;

/// 1200 commands, of which 512 are archived, one is open and one is not published.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let unpublished = announced([record(2, true)]);
    commit_by(&mut writer, &unpublished, context(2));
    let rest = (1..=1200).filter(|number| *number != 2);
    let nonces = [(NonceKey([1; 16]), NOW)].into();
    let rest = rest.map(|number| record(number, number != 1));
    // Seven have a nonce; that of command 1000 is forgotten.
    let rest = rest.map(|record| match record.number {
        1000 => signed(record, Timestamp::default()),
        4 | 100 | 200 | 301 | 400 | 1199 => signed(record, NOW),
        _ => record,
    });
    let rest = Batch { nonces, ..batch(rest) };
    commit_by(&mut writer, &rest, context(1200));
    commit_by(&mut writer, &Batch::default(), context(1200));
    dir
}

fn problems(dir: &Path) -> Vec<String> {
    Reader::open(dir).unwrap().check().problems
}

#[test]
fn commands_come_in_order_from_wherever_they_are() {
    let dir = filled();
    let reader = Reader::open(dir.path()).unwrap();
    let numbers: Vec<u64> = reader.commands().map(|record| record.unwrap().number).collect();
    assert_eq!(numbers, (1..=1200).collect::<Vec<_>>());
    for number in [1, 2, 3, 300, 1200] {
        let found = reader.get(record(number, true).command_id).unwrap();
        assert_eq!(found, Some(record(number, number != 1)));
    }
    assert_eq!(reader.outbox().map(|entry| entry.unwrap().0).collect::<Vec<_>>(), [2]);
    let nonces: Vec<NonceKey> = reader.nonces().unwrap().into_iter().map(|it| it.0).collect();
    assert_eq!(nonces.len(), 7);
    assert!(
        nonces.contains(&NonceKey([1; 16])) && nonces.contains(&NonceKey(4_u128.to_be_bytes()))
    );
    let report = reader.check();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.commands, report.archived, report.open), (1200, 512, 1));
    assert_eq!((report.outbox, report.nonces, report.removed), (1, 7, 0));
}

#[test]
fn it_holds_the_lock_and_leaves_the_rest_alone() {
    let dir = filled();
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(open_journal(dir.path()).unwrap_err().trouble(), Trouble::InUse);
    drop(reader);
    let (journal, recovered) = open_journal(dir.path()).unwrap();
    assert_eq!((recovered.open.len(), recovered.outbox.len()), (1, 1));
    assert_eq!(Reader::open(dir.path()).unwrap_err().trouble(), Trouble::InUse);
    drop(journal);
    let nothing = dir.path().join("nothing");
    assert_eq!(Reader::open(&nothing).unwrap_err().trouble(), Trouble::Missing);
    assert!(!nothing.exists());
}

#[test]
fn a_check_finds_what_is_missing_or_does_not_fit() {
    let dir = filled();
    let id = id_key(record(1000, true).command_id);
    let whole = [(record_key(1000), None), (id.clone(), None)];
    let other = entry::encode(&record_key(1000), &record(1001, true));
    let damage: [(&str, Writes); 7] = [
        ("1199 commands are there", whole.to_vec()),
        ("command 1000 is missing", vec![(record_key(1000), None)]),
        ("does not lead to it", vec![(id, None)]),
        ("holds command 1001", vec![(record_key(1000), Some(other))]),
        ("open or closed", vec![(open_key(1), None)]),
        (
            "checksum",
            vec![
                (outbox_key(2), Some(b"12345678".into())),
                (outbox_key(3), Some(vec![1; 9].into())),
            ],
        ),
        ("no such kind", vec![(b"x".into(), Some(b"?".into()))]),
    ];
    for (told, writes) in damage {
        let copied = copy(dir.path());
        let (mut writer, _) = open(copied.path(), RETENTION).unwrap();
        writer.generation.write_ahead_logs.append(writer.meta.commit + 1, &writes).unwrap();
        drop(writer);
        let problems = problems(copied.path());
        assert!(problems.iter().any(|it| it.contains(told)), "{told}: {problems:?}");
    }
    let segment = "archive/commands-00000000000000000003";
    let mut bytes = fs::read(dir.path().join(segment)).unwrap();
    bytes[100] ^= 1;
    fs::write(dir.path().join(segment), bytes).unwrap();
    assert!(problems(dir.path()).iter().any(|it| it.contains("checksum")));
}

#[test]
fn setting_aside_keeps_everything_and_may_stop_anywhere() {
    let dir = filled();
    let before = copy(dir.path());
    let kept = set_aside(dir.path(), "one").unwrap();
    for name in ["current", "generation-1/store/db", "generation-1/checkpoint"] {
        let (was, is) = (before.path().join(name), kept.join(name));
        assert_eq!(fs::read(was).unwrap(), fs::read(is).unwrap(), "{name}");
    }
    assert!(kept.join("archive/commands-00000000000000000003").exists());
    let (journal, recovered) = open_journal(dir.path()).unwrap();
    assert_eq!(recovered.set_aside, Some(SetAside::UntilClockTrusted));
    assert!(recovered.open.is_empty() && recovered.outbox.is_empty());
    drop(journal);
    // What was set aside can be read when it is given a place of its own.
    assert_eq!(Reader::open(&kept).unwrap().commands().count(), 1200);
    let again = set_aside(dir.path(), "two").unwrap();
    assert!(kept.exists() && again.exists());

    // As a crash leaves it after each of the moves.
    for moved in 0..=2 {
        let stopped = copy(before.path());
        let target = stopped.path().join("set-aside-half");
        fs::create_dir(&target).unwrap();
        for name in ["generation-1", "archive"].iter().take(moved) {
            fs::rename(stopped.path().join(name), target.join(name)).unwrap();
        }
        if moved > 0 {
            let error = open_journal(stopped.path()).unwrap_err();
            assert_eq!(error.trouble(), Trouble::Damage, "{error}");
        }
        set_aside(stopped.path(), "again").unwrap();
        let (_, recovered) = open_journal(stopped.path()).unwrap();
        assert_eq!(recovered.set_aside, Some(SetAside::UntilClockTrusted));
        assert_eq!(target.join("generation-1").exists(), moved > 0);
    }
}

#[test]
fn a_journal_without_current_can_be_set_aside() {
    let dir = filled();
    fs::remove_file(dir.path().join("current")).unwrap();
    assert!(open_journal(dir.path()).is_err());
    set_aside(dir.path(), "one").unwrap();
    assert_eq!(open_journal(dir.path()).unwrap().1.set_aside, Some(SetAside::UntilClockTrusted));
}
