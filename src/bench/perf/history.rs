//! A journal full of finished commands, written by the journal's own code: what round trips would
//! leave behind, in a hundredth of their time.

use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use crate::bench::clock::unix_time;
use crate::catalog;
use crate::edge::journal::{CommitContext, Error, Journal, Retention};
use crate::lifecycle::effect::Batch;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::command_id;
use crate::lifecycle::status::Status;
use crate::lifecycle::time::{Stamp, Timestamp};
use crate::wire::mavlink::{Address, SigningTime};

/// The configuration's own.
const RETENTION: Retention =
    Retention { age: Duration::from_secs(7 * 86_400), max_commands: 100_000 };
const PER_COMMIT: u64 = 64;
/// A boot before this one.
const BOOT: Uuid = Uuid::from_u128(7);

/// Fills the journal in `dir`, which is empty, with so many commands of this device that have ended and
/// been published.
pub async fn fill(dir: &Path, device_id: &str, commands: u64) -> Result<(), Error> {
    let now = unix_time().as_secs();
    let now = Timestamp::from_secs(now);
    let (journal, _) = Journal::open(dir, RETENTION)?;
    for first in (1..=commands).step_by(PER_COMMIT as usize) {
        let last = (first + PER_COMMIT - 1).min(commands);
        let records = (first..=last).map(|number| record(device_id, number, now));
        let records = records.map(|record| (record.command_id, record.into())).collect();
        let context = CommitContext {
            last_number: last,
            clock_floor: now,
            trusted_now: None,
            set_aside: None,
            signing_bound: SigningTime::default(),
        };
        journal.commit(Batch { records, ..Batch::default() }, context).await?;
    }
    Ok(())
}

fn record(device_id: &str, number: u64, now: Timestamp) -> Record {
    let stamp = Stamp { boot_id: BOOT, boot_ms: number, wall: now, wall_trusted: true };
    let command = catalog::find("image_stop_capture").expect("it is in the catalogue");
    let key = format!("history-{number}");
    Record {
        command_id: command_id(device_id, "history", &key),
        number,
        api_id: "history".to_owned(),
        idempotency_key: key,
        request_sha256: "5a".repeat(32),
        nonce: None,
        nonce_expires: None,
        command_type: command.command_type.to_owned(),
        content: command.encode(&serde_json::Map::new(), None).expect("it needs no field"),
        target: Address { system: 1, component: 1 },
        timeout_seconds: 30,
        accepted: stamp,
        deadline_ms: number + 30_000,
        status: Status::Succeeded,
        seq: 3,
        updated: stamp,
        cause: None,
        message: Some("the vehicle accepted the command and will attempt it".to_owned()),
        dispatch: None,
        ack: None,
        stray: None,
        closed: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_journal_knows_every_command_and_has_nothing_left_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("journal");
        fill(&dir, "bench-1", 100).await.unwrap();
        let (journal, recovered) = Journal::open(&dir, RETENTION).unwrap();
        assert_eq!(recovered.last_number, 100);
        assert!(recovered.open.is_empty() && recovered.outbox.is_empty());
        for number in 1..=100 {
            let id = command_id("bench-1", "history", &format!("history-{number}"));
            assert_eq!(journal.get(id).unwrap().unwrap().number, number);
        }
    }
}
