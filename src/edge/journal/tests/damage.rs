//! Damage is told, never taken for less content.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::entry::decode;
use super::*;

/// A journal of 300 commits, and where its store and its checkpoint are.
fn filled() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_journal(dir.path()).unwrap();
    for number in 1..=300 {
        commit(&journal, announced([record(number, false)]), number);
    }
    drop(journal);
    let store = "generation-1/store/db".into();
    let checkpoint = "generation-1/checkpoint".into();
    (dir, store, checkpoint)
}

fn recover(writer: &Writer) -> Result<Recovered, Error> {
    let contents = writer.shared.read();
    recover::read(&contents.entries, &contents.archive, NOW)
}

#[test]
fn a_damaged_value_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let open = record(1, false);
    commit_by(&mut writer, &batch([open.clone()]), context(1));
    let store = Arc::clone(&writer.generation.store);
    let key = record_key(1);
    writer.flush_all().unwrap();
    let put =
        |value: Option<&[u8]>| store.apply([(key[..].into(), value.map(Into::into))]).unwrap();
    let stored = || entries(&writer).into_iter().find(|(it, _)| *it == key);
    let raw = || stored().unwrap().1.unwrap();
    let good = raw();
    let look_up = || writer.shared.read().get(open.command_id);
    for (at, told) in [(0, "format 3 "), (3, "checksum"), (good.len() - 1, "checksum")] {
        let mut bad = good.clone();
        bad[at] = bad[at].wrapping_add(1);
        put(Some(&bad));
        let error = look_up().unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(error.trouble(), Trouble::Damage);
        assert!(recover(&writer).is_err());
        assert_eq!(raw(), bad);
    }
    // A good value under another's key.
    assert!(decode::<Record>(&record_key(2), &good).is_err());
    // An open command without its record.
    put(None);
    let error = recover(&writer).unwrap_err().to_string();
    assert!(error.contains("no record"), "{error}");
    assert!(look_up().unwrap_err().to_string().contains("no record"));
}

/// sled reads a log with a damaged end as one that ends there.
#[test]
fn no_damage_of_the_store_is_taken_for_less_content() {
    let (dir, store, _) = filled();
    let good = fs::read(dir.path().join(&store)).unwrap();
    let (whole, _) = open(dir.path(), RETENTION).unwrap();
    let expected = entries(&whole);
    drop(whole);
    let (mut told, mut panics, mut harmless) = (0, 0, 0);
    let mut check = |bytes: Vec<u8>, what: String| {
        let copied = copy(dir.path());
        fs::write(copied.path().join(&store), bytes).unwrap();
        let result = catch_unwind(|| open(copied.path(), RETENTION)).unwrap_or_else(|_| {
            panics += 1;
            Err(store::error_of_panic().expect("a panic of sled's"))
        });
        match result {
            Err(error) => {
                assert_eq!(error.trouble(), Trouble::Damage, "{what}: {error}");
                told += 1;
            }
            // Damage in space that was not in use, or in values that only a check reads.
            Ok((writer, recovered)) => {
                assert_eq!(recovered.open.len(), 300, "{what}");
                assert_eq!(recovered.last_number, 300, "{what}");
                let found = catch_unwind(AssertUnwindSafe(|| entries(&writer)));
                if let Ok(found) = found {
                    assert!(found == expected, "{what}");
                }
                harmless += 1;
            }
        }
    };
    for part in 1..8 {
        let length = good.len() * part / 8;
        check(good[..length].to_vec(), format!("cut at {length} of {}", good.len()));
    }
    for part in 0..24 {
        let at = good.len() * part / 24 + 1234;
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        check(flipped, format!("a bit at {at}"));
        let mut zeroed = good.clone();
        let end = (at + 4096).min(good.len());
        zeroed[at..end].fill(0);
        check(zeroed, format!("zeroes at {at}"));
    }
    // How much of the file is in use is sled's affair, and differs from run to run.
    assert!(told >= 5, "{told} were told, {panics} of them by panics, {harmless} did no harm");
}

#[test]
fn an_older_store_is_told_from_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_journal(dir.path()).unwrap();
    commit(&journal, batch([record(1, false)]), 1);
    let older = copy(dir.path());
    commit(&journal, batch([record(2, false)]), 2);
    drop(journal);
    let checkpoint = "generation-1/checkpoint";
    fs::copy(dir.path().join(checkpoint), older.path().join(checkpoint)).unwrap();
    let error = open_journal(older.path()).unwrap_err();
    assert!(error.to_string().contains("ends with commit 2, but commit 3 was durable"), "{error}");
}

/// After a power cut the checkpoint may be behind; that is no damage.
#[test]
fn an_older_checkpoint_does() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_journal(dir.path()).unwrap();
    let older = copy(dir.path());
    for number in 1..=300 {
        commit(&journal, batch([record(number, false)]), number);
    }
    drop(journal);
    let checkpoint = "generation-1/checkpoint";
    fs::copy(older.path().join(checkpoint), dir.path().join(checkpoint)).unwrap();
    assert_eq!(open_journal(dir.path()).unwrap().1.open.len(), 300);
}

#[test]
fn what_is_missing_or_foreign_is_told_and_left_alone() {
    let (dir, store, checkpoint) = filled();
    let (other, ..) = filled();
    let from_other = |name: &Path| fs::read(other.path().join(name)).unwrap();
    for (name, content, told) in [
        ("current".into(), None, "there is no `current`"),
        ("current".into(), Some(b"generation 7".to_vec()), "not what downlinkd writes"),
        ("current".into(), Some(Vec::new()), "not what downlinkd writes"),
        ("current".into(), Some(b"{\"format\":6,\"what\":1}".to_vec()), "a newer downlinkd"),
        ("current".into(), Some(from_other("current".as_ref())), "another journal"),
        (checkpoint.clone(), None, "damaged"),
        (checkpoint.clone(), Some(Vec::new()), "no checkpoint"),
        (checkpoint.clone(), Some(from_other(&checkpoint)), "another journal"),
        (store.clone(), None, "missing"),
        (store.clone(), Some(Vec::new()), "missing"),
        (store.clone(), Some(b"no log of sled's".repeat(1000)), "damaged"),
        (store.with_file_name("conf"), Some(b"not sled's".to_vec()), "damaged"),
    ] {
        let copied = copy(dir.path());
        let path = copied.path().join(&name);
        match &content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = open_journal(copied.path()).unwrap_err();
        assert_eq!(error.trouble(), Trouble::Damage, "{}: {error}", name.display());
        assert!(error.to_string().contains(told), "{}: {error}", name.display());
        let is_log = name.ends_with("db");
        if let Some(content) = content.filter(|_| !is_log) {
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
}
