//! The newest commands come first, wherever they are kept and whatever happens in between.

use super::super::retention::SEGMENT_COMMANDS;
use super::*;
use crate::lifecycle::selection::Selection;
use crate::lifecycle::status::Status;

const SEGMENT: u64 = SEGMENT_COMMANDS as u64;

fn all() -> Selection {
    Selection { limit: usize::MAX, ..Selection::default() }
}

/// Step by step, with something done in between.
fn list(
    writer: &mut Writer,
    selection: Selection,
    mut between: impl FnMut(&mut Writer),
) -> (Vec<u64>, bool) {
    let mut listing = Listing::new(selection);
    while !listing.step(&writer.shared.read(), |record| record).unwrap() {
        between(writer);
    }
    let (records, complete) = listing.finish();
    (records.iter().map(|record| record.number).collect(), complete)
}

fn write(writer: &mut Writer, number: u64, closed: bool) {
    let last = number.max(writer.meta.last_number);
    commit_by(writer, &batch([record(number, closed)]), context(last));
}

#[test]
fn the_newest_first_from_store_and_archive() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    assert_eq!(list(&mut writer, all(), |_| ()), (vec![], true));
    let last = 4 * SEGMENT;
    for number in 1..=last {
        // Some stay in the store, between those that leave it.
        write(&mut writer, number, number % 100 != 0);
    }
    assert!(writer.shared.read().archive.commands() > 0);
    let every: Vec<u64> = (1..=last).rev().collect();
    assert_eq!(list(&mut writer, all(), |_| ()), (every.clone(), true));
    let few = Selection { limit: 3, ..Selection::default() };
    assert_eq!(list(&mut writer, few, |_| ()), (vec![last, last - 1, last - 2], false));
}

#[test]
fn what_is_archived_meanwhile_is_neither_missed_nor_listed_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    for number in 1..2 * SEGMENT {
        write(&mut writer, number, true);
    }
    let before = writer.shared.read().archive.commands();
    let mut next = 2 * SEGMENT;
    let (listed, complete) = list(&mut writer, all(), |writer| {
        write(writer, next, true);
        next += 1;
    });
    assert!(writer.shared.read().archive.commands() > before, "nothing was archived");
    assert_eq!((listed, complete), ((1..2 * SEGMENT).rev().collect(), true));
}

#[test]
fn a_selection_is_of_what_stands_now() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let other = Record { api_id: "ops".to_owned(), ..record(2, true) };
    let failed = Record { status: Status::Failed, ..record(3, true) };
    let command_type = "nav_land".to_owned();
    let landing = Record { command_type, ..record(4, false) };
    commit_by(&mut writer, &batch([record(1, true), other, failed, landing]), context(4));
    let mut selects = |selection: Selection| list(&mut writer, selection, |_| ()).0;
    assert_eq!(selects(Selection { api_id: Some("ops".to_owned()), ..all() }), [2]);
    assert_eq!(selects(Selection { status: Some(Status::Failed), ..all() }), [3]);
    assert_eq!(selects(Selection { command_type: Some("nav_land".to_owned()), ..all() }), [4]);
    assert_eq!(selects(Selection { api_id: Some("cloud".to_owned()), ..all() }), [4, 3, 1]);

    // What the engine knows counts more than what is journaled.
    let mut listing = Listing::new(Selection { status: Some(Status::Delivered), ..all() });
    let present = |record: Record| match record.number {
        4 => Record { status: Status::Delivered, ..record },
        _ => record,
    };
    assert!(listing.step(&writer.shared.read(), present).unwrap());
    assert_eq!(listing.finish().0[0].number, 4);
}
