use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::lifecycle::status::Status;

const ONE: CommandId = Uuid::from_u128(1);
const OTHER: CommandId = Uuid::from_u128(2);

fn update(command_id: CommandId, seq: u64, status: Status) -> Record {
    Record { command_id, seq, status, ..Record::example() }
}

fn numbers(outbox: &Outbox) -> Vec<OutboxNumber> {
    outbox.waiting.keys().copied().collect()
}

#[test]
fn what_the_broker_refuses_holds_back_its_command_only() {
    let mut outbox = Outbox::new(MAX_UPDATES);
    outbox.connected();
    for (seq, command) in [(1, ONE), (2, ONE), (1, OTHER)] {
        outbox.push(update(command, seq, Status::Accepted));
    }
    assert_eq!(outbox.take_next(OutboxNumber::MAX).map(|(number, _)| number), Some(1));
    outbox.refused(1);
    assert_eq!(outbox.take_next(OutboxNumber::MAX).map(|(number, _)| number), Some(3));
    assert_eq!(outbox.take_next(OutboxNumber::MAX), None);
    outbox.retry();
    assert_eq!(outbox.take_next(OutboxNumber::MAX).map(|(number, _)| number), Some(1));
    assert_eq!(outbox.take_next(OutboxNumber::MAX).map(|(number, _)| number), Some(2));
    assert!(outbox.published(1) && outbox.published(2) && outbox.published(3));
    assert!(outbox.is_empty());
}

#[test]
fn finished_commands_give_way_before_those_under_way() {
    let mut outbox = Outbox::new(24);
    for (seq, status) in [(1, Status::Accepted), (2, Status::Delivered), (3, Status::Delivered)] {
        outbox.push(update(ONE, seq, status));
    }
    for (seq, status) in [(1, Status::Accepted), (2, Status::Delivered), (3, Status::Succeeded)] {
        outbox.push(update(OTHER, seq, status));
    }
    for command in 3..21 {
        outbox.push(update(Uuid::from_u128(command), 1, Status::Accepted));
    }
    assert_eq!(outbox.collapse(), [0; 0], "not before the limit is passed");
    outbox.push(update(Uuid::from_u128(21), 1, Status::Accepted));
    // To 21, an eighth below the limit; 4 and 5 are of a command that has ended.
    assert_eq!(outbox.collapse(), [4, 5, 1, 2]);
    assert_eq!(numbers(&outbox), [3].into_iter().chain(6..=25).collect::<Vec<_>>());
}

#[test]
fn a_late_answer_replaces_the_timeout() {
    let mut outbox = Outbox::new(WINDOW + 1);
    for (seq, status) in [(1, Status::TimedOut), (2, Status::UnmatchedResponse)] {
        outbox.push(update(ONE, seq, status));
    }
    for command in 2..18 {
        outbox.push(update(Uuid::from_u128(command), 1, Status::Failed));
    }
    assert_eq!(outbox.collapse(), [1]);
}

#[test]
fn what_is_in_flight_stays() {
    let mut outbox = Outbox::new(WINDOW + 1);
    outbox.connected();
    for seq in 1..=WINDOW as u64 {
        outbox.push(update(ONE, seq, Status::Delivered));
        assert!(outbox.take_next(OutboxNumber::MAX).is_some());
    }
    for (seq, status) in [(17, Status::Delivered), (18, Status::Succeeded)] {
        outbox.push(update(ONE, seq, status));
    }
    assert_eq!(outbox.collapse(), [17]);
    // On the next connection it may go as well.
    outbox.disconnected();
    outbox.connected();
    outbox.push(update(OTHER, 1, Status::Accepted));
    assert_eq!(outbox.collapse(), [1, 2, 3]);
}

#[test]
fn the_collapsed_outbox_has_room_for_every_command_it_let_in() {
    let mut outbox = Outbox::new(WINDOW + 2);
    assert!(outbox.has_room([ONE].into_iter()));
    assert!(!outbox.has_room([ONE, OTHER].into_iter()));
    // Updates of the same command count once.
    for seq in 1..=9 {
        outbox.push(update(ONE, seq, Status::Delivered));
    }
    assert!(outbox.has_room([ONE].into_iter()));
    outbox.push(update(OTHER, 1, Status::Failed));
    assert!(!outbox.has_room([].into_iter()));
}

/// What happens to an outbox, as the engine lets it.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A new command, if it has room.
    Accept,
    /// The next update of one of the open commands.
    Update(usize),
    Finish(usize),
    Reconnect,
    Disconnect,
    /// The broker takes, or refuses, one of those in flight.
    Answer(usize, bool),
    Retry,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Accept),
        4 => any::<usize>().prop_map(Step::Update),
        4 => any::<usize>().prop_map(Step::Finish),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Disconnect),
        3 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(at, ok)| Step::Answer(at, ok)),
        1 => Just(Step::Retry),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    /// Whatever happens, the outbox stays within its limit, the last update of every command gets
    /// through, and those of one command go out in order.
    #[test]
    fn the_limit_holds_and_no_outcome_is_lost(limit in WINDOW + 1..WINDOW + 24, steps in steps()) {
        let mut outbox = Outbox::new(limit);
        // The last number of each command, and whether it is open.
        let mut made: BTreeMap<CommandId, (u64, bool)> = BTreeMap::new();
        let mut seen: BTreeMap<CommandId, u64> = BTreeMap::new();
        let mut push = |outbox: &mut Outbox, id: CommandId, status| {
            let entry = made.entry(id).or_insert((0, true));
            *entry = (entry.0 + 1, status != Status::Succeeded);
            outbox.push(update(id, entry.0, status));
            outbox.collapse();
            made.clone()
        };
        let mut commands = 0;
        let mut known = BTreeMap::new();
        for step in steps {
            let open: Vec<CommandId> =
                known.iter().filter(|(_, (_, open))| *open).map(|(id, _)| *id).collect();
            match step {
                Step::Accept if outbox.has_room(open.iter().copied()) => {
                    commands += 1;
                    known = push(&mut outbox, Uuid::from_u128(commands), Status::Accepted);
                }
                Step::Update(at) if !open.is_empty() => {
                    known = push(&mut outbox, open[at % open.len()], Status::Delivered);
                }
                Step::Finish(at) if !open.is_empty() => {
                    known = push(&mut outbox, open[at % open.len()], Status::Succeeded);
                }
                Step::Reconnect => outbox.connected(),
                Step::Disconnect => outbox.disconnected(),
                Step::Answer(at, accepted) if !outbox.in_flight.is_empty() => {
                    let number = *outbox.in_flight.keys().nth(at % outbox.in_flight.len()).unwrap();
                    if accepted {
                        let record = &outbox.in_flight[&number];
                        let last = seen.entry(record.command_id).or_default();
                        *last = record.seq.max(*last);
                        outbox.published(number);
                    } else {
                        outbox.refused(number);
                    }
                }
                Step::Retry => outbox.retry(),
                _ => {}
            }
            prop_assert!(outbox.len() <= limit, "{} of {limit}", outbox.len());
            while outbox.take_next(OutboxNumber::MAX).is_some() {}
        }
        // The broker comes back and takes everything.
        outbox.connected();
        let mut before = BTreeMap::new();
        while let Some((number, record)) = outbox.take_next(OutboxNumber::MAX) {
            outbox.published(number);
            let last = before.insert(record.command_id, record.seq);
            prop_assert!(last < Some(record.seq), "{last:?} before {}", record.seq);
            let last = seen.entry(record.command_id).or_default();
            *last = record.seq.max(*last);
        }
        for (id, (last, _)) in known {
            prop_assert_eq!(seen.get(&id), Some(&last));
        }
    }
}
