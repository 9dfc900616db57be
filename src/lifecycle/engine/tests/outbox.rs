//! The broker stays away: what is kept for it is bounded, and no outcome is lost.

use super::*;
use crate::lifecycle::outbox::WINDOW;

/// All updates of ten commands, or the outcomes of sixteen beside a full window.
const LIMIT: usize = WINDOW + 16;

/// A command from its request to SUCCEEDED; its three updates are made.
fn succeed(it: &mut Harness, key: &str) -> CommandId {
    let id = it.request_and_send("do_digicam_control", key);
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    id
}

/// The numbers of the updates that the broker got of one command.
fn published(it: &Harness, id: CommandId) -> Vec<u64> {
    let of_command = it.published.iter().filter(|(_, record)| record.command_id == id);
    of_command.map(|(_, record)| record.seq).collect()
}

#[test]
fn old_news_give_way_and_every_outcome_arrives() {
    for restarts in [false, true] {
        let mut it = Harness::without_broker(LIMIT);
        let commands: Vec<CommandId> =
            (0..10).map(|key| succeed(&mut it, &key.to_string())).collect();
        assert_eq!(it.journal.outbox.len(), 30);
        // One update more than fits, so an eighth gives way.
        let last = it.request_and_send("do_digicam_control", "last");
        it.ack(ack(AUTOPILOT, DIGICAM, 0));
        it.drain();
        assert!(it.engine.unpublished() <= LIMIT);
        assert_eq!(it.journal.outbox.len(), it.engine.unpublished());
        if restarts {
            it.crash(seconds(1));
        } else {
            it.input(Input::BrokerConnected);
        }
        it.drain();
        // The oldest gave way first, with gaps in their numbers.
        assert_eq!(published(&it, commands[0]), [3]);
        assert_eq!(published(&it, commands[9]), [1, 2, 3]);
        assert_eq!(published(&it, last), [1, 2, 3]);
        for id in commands {
            assert_eq!(published(&it, id).last(), Some(&3));
        }
        assert_eq!(it.engine.unpublished(), 0);
    }
}

#[test]
fn what_gives_way_is_gone_with_the_commit_that_takes_its_room() {
    let mut it = Harness::without_broker(LIMIT);
    for key in 0..10 {
        succeed(&mut it, &key.to_string());
    }
    let before = it.journal.outbox.clone();
    for key in ["a", "b", "c"] {
        it.request("do_digicam_control", key);
    }
    // Nothing is written yet: a crash here would find everything.
    assert_eq!(it.journal.outbox, before);
    let Some(Effect::Persist(batch)) = it.engine.poll_effect() else { panic!("no commit") };
    assert_eq!(batch.outbox.len(), 3);
    assert!(!batch.published.is_empty());
    assert!(batch.published.iter().all(|number| before.contains_key(number)));
    it.journal.commit(batch, it.engine.last_number());
    assert_eq!(it.journal.outbox.len(), it.engine.unpublished());
}

#[test]
fn a_command_is_taken_only_when_its_outcome_will_have_room() {
    let mut it = Harness::without_broker(LIMIT);
    for key in 0..16 {
        succeed(&mut it, &key.to_string());
    }
    let refused = it.request("do_digicam_control", "e");
    assert_eq!(it.drain(), ["acknowledge", "reply error busy.journal_full"]);
    assert!(!it.knows(refused));
    // A duplicate makes no updates.
    it.request("do_digicam_control", "0");
    assert_eq!(it.drain(), ["acknowledge", "reply SUCCEEDED duplicate"]);
    // Neither does it come in after a restart.
    it.crash(seconds(1));
    it.input(Input::BrokerDisconnected);
    it.link_up();
    it.request("do_digicam_control", "e");
    assert!(it.drain().contains(&"reply error busy.journal_full".to_owned()));
    // The broker takes what waits: there is room for the same key.
    it.input(Input::BrokerConnected);
    it.drain();
    it.request_and_send("do_digicam_control", "e");
    assert_eq!(it.record(refused).status, Status::Delivered);
}

#[test]
fn commands_under_way_keep_their_newest_update() {
    let mut it = Harness::without_broker(LIMIT);
    let id = it.request_and_send("do_digicam_control", "a");
    for progress in 0..=100 {
        it.ack(CommandAck { progress, ..ack(AUTOPILOT, DIGICAM, 5) });
        it.drain();
        assert!(it.engine.unpublished() <= LIMIT);
        assert!(it.journal.outbox.len() <= LIMIT);
        let newest = it.journal.outbox.last_key_value().unwrap().1;
        assert_eq!(newest.seq, it.record(id).seq);
    }
    it.ack(ack(AUTOPILOT, DIGICAM, 0));
    it.drain();
    it.input(Input::BrokerConnected);
    it.drain();
    let seen = published(&it, id);
    assert!(seen.is_sorted() && seen.len() <= LIMIT, "{seen:?}");
    assert_eq!(it.published.last().unwrap().1.status, Status::Succeeded);
}
