//! What stands in a value, byte for byte: later versions must read it.

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::super::entry::{
    META, Meta, checked, decode, encode, id_key, nonce_key, open_key, outbox_key, record_key,
    segment_key,
};
use super::super::retention::SEGMENT_COMMANDS;
use super::super::segment::{Finished, Summary};
use super::*;
use crate::catalog::Transport;
use crate::code::Code;
use crate::lifecycle::record::{Acknowledged, Dispatch};
use crate::lifecycle::status::{Cause, Status};
use crate::wire::mavlink::{Address, CommandAck};

const KEY: &[u8] = b"key";

/// With a value in every field.
fn full() -> Record {
    let record = signed(record(7, true), NOW);
    let ack = CommandAck {
        source: Address { system: 1, component: 100 },
        command: 203,
        result: 5,
        progress: 50,
        result_param2: -2,
        target_system: 1,
        target_component: 191,
    };
    Record {
        command_id: Uuid::from_u128(9),
        api_id: "cloud".to_owned(),
        idempotency_key: "schlüssel".to_owned(),
        request_sha256: "5a".to_owned(),
        status: Status::TimedOut,
        seq: 300,
        cause: Some(Cause::Agent(Code::TimeoutAck)),
        message: Some("no answer".to_owned()),
        dispatch: Some(Dispatch {
            transport: Transport::CommandInt,
            delivered_seq: 2,
            at: record.updated,
            sent_at: Some(NOW),
            other_form: true,
        }),
        ack: Some(Acknowledged { ack, at: NOW }),
        stray: Some(Acknowledged { ack, at: NOW }),
        ..record
    }
}

/// `expected`: its parts, and what each is.
fn both_ways<T>(content: &T, expected: &[(&str, &str)])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let expected: String = expected.iter().map(|(_, part)| *part).collect();
    let value = encode(KEY, content);
    assert_eq!(HEXLOWER.encode(checked(KEY, &value).unwrap().1), expected.replace(' ', ""));
    assert_eq!(decode::<T>(KEY, &value).unwrap(), *content);
    assert_eq!(decode::<T>(KEY, &json_value(KEY, content)).unwrap(), *content);
}

#[test]
fn a_record() {
    const STAMP: &str = "10 00000000000000000000000000000007 05 80e8cfc4ec33 01";
    const ACK: &str = "01 01 64 cb01 05 32 03 01 bf 80e8cfc4ec33";
    both_ways(
        &full(),
        &[
            ("command_id", "10 00000000000000000000000000000009"),
            ("number", "07"),
            ("api_id", "05 636c6f7564"),
            ("idempotency_key", "0a 7363686cc3bc7373656c"),
            ("request_sha256", "02 3561"),
            ("nonce", "01 00000000000000000000000000000007"),
            ("nonce_expires", "01 80e8cfc4ec33"),
            ("command_type", "07 6e61765f726f69"),
            ("content: command, transport", "50 01"),
            ("frame, int_scale", "00 80ade204"),
            ("params", "01 9a9999999999b93f 01 0000000000000000 01 555555555555d5bf"),
            ("", "01 0000000000000000 01 06df8f36e9b24740 00 00"),
            ("target", "01 01"),
            ("timeout_seconds", "1e"),
            ("accepted", STAMP),
            ("deadline_ms", "b0ea01"),
            ("status TIMED_OUT", "04"),
            ("seq", "ac02"),
            ("updated", STAMP),
            ("cause: agent, timeout.ack", "01 01 0b 74696d656f75742e61636b"),
            ("message", "01 09 6e6f20616e73776572"),
            ("dispatch: transport, delivered_seq", "01 01 02"),
            ("at", STAMP),
            ("sent_at, other_form", "01 80e8cfc4ec33 01"),
            ("ack", ACK),
            ("stray", ACK),
            ("closed", "01"),
        ],
    );
}

#[test]
fn what_is_kept_beside_the_commands() {
    let meta = Meta {
        journal: Uuid::from_u128(7),
        commit: 70_000,
        last_number: 300,
        removed: 20,
        clock_floor: Some(NOW),
        set_aside: Some(SetAside::Until(NOW)),
    };
    both_ways(
        &meta,
        &[
            ("the journal", "10 00000000000000000000000000000007"),
            ("commit, last_number, removed", "f0a204 ac02 14"),
            ("clock_floor", "01 80e8cfc4ec33"),
            ("set_aside: until", "01 01 80e8cfc4ec33"),
        ],
    );
    both_ways(&SetAside::UntilClockTrusted, &[("", "00")]);
    let summary = Summary {
        commands: 256,
        bytes: 70_000,
        index_crc: u32::MAX,
        newest: Some(NOW),
        nonces_expire: None,
    };
    both_ways(
        &summary,
        &[
            ("commands, bytes, index_crc", "8002 f0a204 ffffffff0f"),
            ("newest, nonces_expire", "01 80e8cfc4ec33 00"),
        ],
    );
    both_ways(&u64::MAX, &[("a number", "ffffffffffffffffff01")]);
    both_ways(&Timestamp::MAX, &[("a time", "ffb7ff90fdce39")]);
    both_ways(&NonceKey([0xff; 16]), &[("a nonce", "ffffffffffffffffffffffffffffffff")]);
}

#[test]
fn variants() {
    let statuses = Status::ALL.map(|status| encode(KEY, &status)[5..].to_vec());
    assert_eq!(statuses, [0, 1, 2, 3, 4, 5].map(|number| vec![number]));
    let names = Status::ALL.map(Status::as_str);
    assert_eq!(names[..3], ["ACCEPTED", "DELIVERED", "SUCCEEDED"]);
    assert_eq!(names[3..], ["FAILED", "TIMED_OUT", "UNMATCHED_RESPONSE"]);
    both_ways(&[Transport::CommandLong, Transport::CommandInt], &[("", "00 01")]);
    both_ways(&Cause::Result(255), &[("", "00 ff")]);
    for code in Code::ALL {
        let value = encode(KEY, code);
        assert!(value.ends_with(code.as_str().as_bytes()), "by name: {value:?}");
        assert_eq!(decode::<Code>(KEY, &value).unwrap(), *code);
    }
}

#[test]
fn what_cannot_be_is_damage() {
    let late = encode(KEY, &(Timestamp::MAX.as_millis() + 1));
    assert!(decode::<Timestamp>(KEY, &late).is_err());
    let unknown = encode(KEY, &"timeout.unheard_of");
    assert!(decode::<Code>(KEY, &unknown).is_err());
    let too_long = encode(KEY, &(7_u64, 0_u8));
    let error = decode::<u64>(KEY, &too_long).unwrap_err();
    assert!(error.to_string().contains("1 bytes too many"), "{error}");
}

#[test]
fn a_journal_of_format_4_is_read_and_goes_on_in_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), RETENTION).unwrap();
    let finished = [1, 2].map(|number| signed(record(number, true), NOW));
    let open_ones = [3, 4].map(|number| record(number, false));
    let segment = finished.each_ref().map(|record| Finished {
        number: record.number,
        command_id: record.command_id,
        updated: record.updated,
        nonce_expires: record.nonce_expires,
        value: json_value(&record_key(record.number), record),
    });
    let (first, summary, _) = writer.shared.read().archive.write(&segment).unwrap();
    let mut writes: [Writes; 2] = open_ones.each_ref().map(|record| {
        let (record_key, id_key) = (record_key(record.number), id_key(record.command_id));
        let (of_record, of_id) =
            (json_value(&record_key, record), json_value(&id_key, &record.number));
        let mark = (open_key(record.number), Some(sled::IVec::default()));
        vec![(record_key, Some(of_record)), (id_key, Some(of_id)), mark]
    });
    let mut add =
        |at: usize, key: sled::IVec, value: sled::IVec| writes[at].push((key, Some(value)));
    let [of_segment, of_update, of_nonce] =
        [segment_key(first), outbox_key(1), nonce_key(&NonceKey([9; 16]))];
    add(0, of_segment.clone(), json_value(&of_segment, &summary));
    add(0, of_update.clone(), json_value(&of_update, &full()));
    add(1, of_nonce.clone(), json_value(&of_nonce, &NOW));
    for (commit, last_number) in [(writer.meta.commit, 3), (writer.meta.commit + 1, 4)] {
        let meta = Meta { commit, last_number, ..writer.meta.clone() };
        add(usize::from(last_number == 4), META.into(), json_value(META, &meta));
    }
    let [stored, ahead] = writes;
    writer.generation.store.apply(stored).unwrap();
    writer.generation.store.sync().unwrap();
    writer.generation.write_ahead_logs.append(writer.meta.commit + 1, &ahead).unwrap();
    drop(writer);
    set_format(dir.path(), 4);

    assert_eq!(Reader::open(dir.path()).unwrap().check().problems, Vec::<String>::new());
    let (mut writer, recovered) = open(dir.path(), RETENTION).unwrap();
    assert_eq!(recovered.open, open_ones);
    assert_eq!(recovered.outbox, [(1, full())]);
    assert_eq!(recovered.nonce_entries, [(NonceKey([9; 16]), NOW)]);
    assert_eq!(recovered.nonces_of_commands.len(), 2);
    assert_eq!(recovered.last_number, 4);
    for record in finished.iter().chain(&open_ones) {
        let found = writer.shared.read().get(record.command_id).unwrap();
        assert_eq!(found.as_ref(), Some(record));
    }
    // Old values and new ones stand side by side, also in a segment and in another generation.
    let closed = Record { closed: true, ..open_ones[0].clone() };
    let last = 4 + 3 * SEGMENT_COMMANDS as u64;
    commit_by(&mut writer, &batch([closed.clone(), record(5, true)]), context(5));
    generations::rewrite(&mut writer);
    for number in 6..=last {
        commit_by(&mut writer, &batch([record(number, true)]), context(number));
    }
    let archived = writer.shared.read().archive.commands();
    assert!(archived > 2 + SEGMENT_COMMANDS as u64, "{archived}");
    drop(writer);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.check().problems, Vec::<String>::new());
    assert_eq!(reader.get(closed.command_id).unwrap(), Some(closed));
    assert_eq!(reader.commands().count() as u64, last);
}
