mod archive;
mod damage;
mod generations;
mod listing;
mod nonces;
mod reader;
mod values;
mod write_ahead_logs;

use std::fs;

use super::entry::{Writes, id_key, record_key};
use super::*;
use crate::guard::nonces::NonceKey;
use crate::lifecycle::request::command_id;
use crate::lifecycle::time::Timestamp;
use crate::wire::mavlink::SigningTime;

const NOW: Timestamp = Timestamp::from_secs(1_781_481_600);
const RETENTION: Retention =
    Retention { age: std::time::Duration::from_secs(7 * 86_400), max_commands: 100_000 };

fn record(number: u64, closed: bool) -> Record {
    let mut record = Record::example();
    record.command_id = command_id("px4-real-1", "cloud", &number.to_string());
    record.number = number;
    record.closed = closed;
    // Numbers that do not survive a careless round trip.
    record.content.params[0] = Some(0.1);
    record.content.params[2] = Some(-1.0 / 3.0);
    record.content.params[4] = Some(47.397_742_1);
    record
}

/// With a nonce that tells the number.
fn signed(record: Record, nonce_expires: Timestamp) -> Record {
    let nonce = NonceKey(u128::from(record.number).to_be_bytes());
    Record { nonce: Some(nonce), nonce_expires: Some(nonce_expires), ..record }
}

/// The commands, without updates.
fn batch(records: impl IntoIterator<Item = Record>) -> Batch {
    let records = records.into_iter().map(|record| (record.command_id, record.into())).collect();
    Batch { records, ..Batch::default() }
}

/// The commands, and an update of each under its number.
fn announced(records: impl IntoIterator<Item = Record>) -> Batch {
    let mut batch = batch(records);
    batch.outbox = batch.records.values().map(|record| (record.number, record.clone())).collect();
    batch
}

fn context(last_number: u64) -> CommitContext {
    CommitContext {
        last_number,
        clock_floor: NOW,
        trusted_now: Some(NOW),
        set_aside: None,
        signing_bound: SigningTime::default(),
    }
}

fn commit(journal: &Journal, batch: Batch, last_number: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(journal.commit(batch, context(last_number))).unwrap();
}

/// A value as journals before format 5 have it.
fn json_value(key: &[u8], content: &impl serde::Serialize) -> sled::IVec {
    let body = serde_json::to_vec(content).unwrap();
    let crc = crc32fast::hash(&[key, &body].concat()).to_le_bytes();
    [&[entry::JSON_VALUE_FORMAT], &crc[..], &body].concat().into()
}

/// Makes the journal in `dir` one of before.
fn set_format(dir: &Path, format: u64) {
    let path = dir.join("current");
    let current = fs::read_to_string(&path).unwrap();
    let now = format!("\"format\":{JOURNAL_FORMAT}");
    assert!(current.contains(&now));
    fs::write(&path, current.replace(&now, &format!("\"format\":{format}"))).unwrap();
}

/// As the journal's thread does it: the commit, and what may come after it.
fn commit_by(writer: &mut Writer, batch: &Batch, context: CommitContext) {
    writer.commit(batch, context).unwrap();
    writer.after_commit(batch.records.len(), false).unwrap();
}

fn open_journal(dir: &Path) -> Result<(Journal, Recovered), Error> {
    Journal::open(dir, RETENTION)
}

/// A copy, as a crash at this moment leaves it to the next process.
fn copy(from: &Path) -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_into(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

/// All entries but the meta.
fn entries(writer: &Writer) -> Writes {
    let contents = writer.shared.read();
    let entries = contents.entries.scan(b"").map(Result::unwrap);
    entries
        .filter(|(key, _)| &**key != entry::META)
        .map(|(key, value)| (key, Some(value)))
        .collect()
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = open_journal(dir.path()).unwrap();
    assert!(recovered.open.is_empty() && recovered.outbox.is_empty());
    assert_eq!((recovered.last_number, recovered.clock_floor), (0, None));
    let (open, closed) = (record(1, false), record(2, true));
    commit(&journal, announced([open.clone(), closed.clone()]), 2);
    drop(journal);

    let (journal, recovered) = open_journal(dir.path()).unwrap();
    assert_eq!(recovered.open, std::slice::from_ref(&open));
    assert_eq!(recovered.outbox, [(1, open.clone()), (2, closed.clone())]);
    assert_eq!((recovered.last_number, recovered.clock_floor), (2, Some(NOW)));
    assert_eq!(journal.get(open.command_id).unwrap(), Some(open.clone()));
    assert_eq!(journal.get(closed.command_id).unwrap(), Some(closed));
    assert_eq!(journal.get(record(3, false).command_id).unwrap(), None);

    let (kept, gone) = (NonceKey([1; 16]), NonceKey([2; 16]));
    let nonces = Batch { nonces: [(kept, NOW), (gone, NOW)].into(), ..Batch::default() };
    commit(&journal, nonces, 2);

    let mut update = batch([Record { closed: true, ..open }]);
    update.published = [1].into();
    update.expired_nonces = [gone].into();
    commit(&journal, update, 2);
    drop(journal);
    let (_, recovered) = open_journal(dir.path()).unwrap();
    assert!(recovered.open.is_empty());
    assert_eq!(recovered.outbox.len(), 1);
    assert_eq!(recovered.nonce_entries, [(kept, NOW)]);
}

#[test]
fn what_a_set_aside_journal_leaves_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_journal(dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for left in [Some(SetAside::UntilClockTrusted), None] {
        let context = CommitContext { set_aside: left, ..context(0) };
        runtime.block_on(journal.commit(Batch::default(), context)).unwrap();
        let copied = copy(dir.path());
        let (_, recovered) = open_journal(copied.path()).unwrap();
        assert_eq!(recovered.set_aside, left);
    }
}

#[test]
fn the_bound_of_signatures_outlives_everything_and_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let commit = |bound: u64| {
        let (mut writer, recovered) = open(dir.path(), RETENTION).unwrap();
        let bound = SigningTime::from_ticks(bound);
        writer
            .commit(&Batch::default(), CommitContext { signing_bound: bound, ..context(0) })
            .unwrap();
        recovered.signing_bound.ticks()
    };
    assert_eq!(commit(1000), 0);
    assert_eq!(commit(2000), 1000);
    // An agent without a key knows of none.
    assert_eq!(commit(0), 2000);
    // A crash while it was written, and a journal whose content is lost.
    fs::write(dir.path().join("signing.new"), b"{").unwrap();
    fs::remove_dir_all(dir.path().join("generation-1")).unwrap();
    assert!(open_journal(dir.path()).is_err());
    set_aside(dir.path(), "now").unwrap();
    assert_eq!(commit(0), 2000);

    fs::write(dir.path().join("signing"), b"{").unwrap();
    let error = open_journal(dir.path()).unwrap_err();
    assert_eq!(error.trouble(), Trouble::Damage);
    assert!(error.to_string().contains("delete the file"), "{error}");
}

#[test]
fn a_second_process_is_refused_in_every_generation() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    for _ in 0..2 {
        // flock(2) is per open file, so a second open in this process stands for another one's.
        let Err(error) = open_journal(dir.path()) else { panic!("opened twice") };
        assert_eq!(error.trouble(), Trouble::InUse, "{error}");
        generations::rewrite(&mut writer);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = open_journal(&file.join("journal")).unwrap_err();
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert_eq!(error.trouble(), Trouble::Disk);
}

#[test]
fn creating_it_can_be_interrupted_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::create(dir.path()).unwrap();
    let mut stops = vec![copy(dir.path())];
    let mut current = Current::empty(true);
    fs::write(dir.path().join("current.new"), b"{\"for").unwrap();
    stops.push(copy(dir.path()));
    directory.set_current(&current).unwrap();
    stops.push(copy(dir.path()));
    directory.fresh_generation(1).unwrap();
    stops.push(copy(dir.path()));
    generation::create_store(&directory.generation(1)).unwrap();
    stops.push(copy(dir.path()));
    fs::write(directory.generation(1).join("checkpoint"), b"").unwrap();
    stops.push(copy(dir.path()));
    let meta = Meta::first(current.journal, None);
    Generation::first(&directory, &mut current, &meta).unwrap();
    stops.push(copy(dir.path()));
    for stop in stops {
        let (journal, _) = open_journal(stop.path()).unwrap();
        commit(&journal, batch([record(1, false)]), 1);
        drop(journal);
        assert_eq!(open_journal(stop.path()).unwrap().1.open.len(), 1);
    }
}
