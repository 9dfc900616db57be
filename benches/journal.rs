//! What the journal costs with many commands in it: `cargo bench --bench journal -- [COMMANDS]`.
//!
//! Fills a journal as the agent does (two commits and two updates per command, 64 commands share a
//! commit), then opens it in a process of its own, once after a kill and once after a clean stop, and
//! prints time, memory, the time of a lookup and the size on the disk. At last a backlog of updates is
//! published, which leaves a large store with little in it: it is rewritten while commits go on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use downlinkd::catalog;
use downlinkd::edge::journal::{CommitContext, Journal, Retention};
use downlinkd::lifecycle::effect::Batch;
use downlinkd::lifecycle::record::Record;
use downlinkd::lifecycle::request::command_id;
use downlinkd::lifecycle::status::Status;
use downlinkd::lifecycle::time::{Stamp, Timestamp};
use downlinkd::wire::mavlink::{Address, SigningTime};
use uuid::Uuid;

const COMMANDS: u64 = 100_000;
const PER_COMMIT: u64 = 64;
const RETENTION: Retention =
    Retention { age: Duration::from_secs(7 * 86_400), max_commands: COMMANDS };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [mode, dir, commands] = &arguments[..] {
        let commands = commands.parse().expect("a number");
        let dir = dir.as_ref();
        return match &mode[..] {
            "fill" => fill(dir, commands),
            "rewrite" => rewrite(dir, commands),
            _ => measure(dir, commands),
        };
    }
    let commands = arguments.first().map_or(COMMANDS, |count| count.parse().expect("a number"));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    for mode in ["fill", "after a kill", "after a clean stop", "rewrite"] {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program);
        child.arg(mode).arg(dir.path().join("journal")).arg(commands.to_string());
        print!("{mode}: ");
        assert!(child.status().expect("it runs").success() || mode == "fill");
    }
}

fn fill(dir: &Path, commands: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (journal, _) = Journal::open(dir, RETENTION).expect("a journal");
    let started = Instant::now();
    let (mut commits, mut slowest, mut outbox, mut largest) = (0, Duration::ZERO, 0, 0);
    let mut published = Vec::new();
    for first in (1..=commands).step_by(PER_COMMIT as usize) {
        let numbers = first..(first + PER_COMMIT).min(commands + 1);
        for closed in [false, true] {
            let mut batch = Batch { published: published.drain(..).collect(), ..Batch::default() };
            for number in numbers.clone() {
                let record = Arc::new(record(number, closed));
                outbox += 1;
                published.push(outbox);
                batch.outbox.insert(outbox, record.clone());
                batch.records.insert(record.command_id, record);
            }
            let since = Instant::now();
            runtime.block_on(journal.commit(batch, context(numbers.end - 1))).expect("a commit");
            slowest = slowest.max(since.elapsed());
            commits += 1;
        }
        if first % (PER_COMMIT * 64) == 1 {
            largest = largest.max(bytes_in(dir));
        }
    }
    let took = started.elapsed();
    println!(
        "{commands} commands in {commits} commits, {:.1?} each, the slowest {slowest:.1?}; at most {} MB on \
         the disk; {:.1} MB of memory, {:.1} MB at most",
        took / commits,
        largest.max(bytes_in(dir)) / 1_000_000,
        memory("VmRSS") as f64 / 1e6,
        memory("VmHWM") as f64 / 1e6
    );
    // As kill -9: nothing is closed.
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .expect("killed");
}

fn measure(dir: &Path, commands: u64) {
    let since = Instant::now();
    let (journal, _) = Journal::open(dir, RETENTION).expect("the journal");
    let opened = since.elapsed();
    let opened_memory = memory("VmHWM");
    let mut times: Vec<Duration> = (0..2000)
        .map(|step| {
            let number = commands.saturating_sub(RETENTION.max_commands)
                + 1
                + step * 7919 % commands.min(RETENTION.max_commands);
            let id = command_id("px4-real-1", "cloud", &format!("request-{number}"));
            let since = Instant::now();
            assert!(journal.get(id).expect("readable").is_some(), "{number}");
            since.elapsed()
        })
        .collect();
    times.sort();
    let (lookup, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "opened in {opened:.1?}, {:.1} MB of memory then, {:.1} MB after 2000 lookups of {lookup:.1?} (99 %: {p99:.1?}); {} MB on the disk",
        opened_memory as f64 / 1e6,
        memory("VmHWM") as f64 / 1e6,
        bytes_in(dir) / 1_000_000
    );
}

fn rewrite(dir: &Path, commands: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (journal, _) = Journal::open(dir, RETENTION).expect("a journal");
    let commit = |batch: Batch| {
        let since = Instant::now();
        runtime.block_on(journal.commit(batch, context(commands))).expect("a commit");
        since.elapsed()
    };
    let store = || {
        let generations = fs::read_dir(dir).expect("a directory").filter_map(Result::ok);
        let mut stores = generations.map(|it| it.path().join("store")).filter(|it| it.exists());
        stores.next().map_or(0, |store| bytes_in(&store))
    };
    let first = 1_000_000_000;
    for number in (first..first + 80_000).step_by(64) {
        let updates = (number..number + 64).map(|number| (number, record(1, true).into()));
        commit(Batch { outbox: updates.collect(), ..Batch::default() });
    }
    commit(Batch { published: (first..first + 79_000).collect(), ..Batch::default() });
    let before = store();
    let (mut times, started) = (Vec::new(), Instant::now());
    while started.elapsed() < Duration::from_secs(25) {
        times.push(commit(Batch::default()));
        std::thread::sleep(Duration::from_millis(2));
    }
    times.sort();
    println!(
        "a store of {} MB became one of {} MB; a commit meanwhile took {:.1?} (99 %: {:.1?}, the slowest {:.1?})",
        before / 1_000_000,
        store() / 1_000_000,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1]
    );
}

fn context(last_number: u64) -> CommitContext {
    CommitContext {
        last_number,
        clock_floor: Timestamp::from_secs(1_781_481_600),
        trusted_now: None,
        set_aside: None,
        signing_bound: SigningTime::default(),
    }
}

fn record(number: u64, closed: bool) -> Record {
    let stamp = Stamp {
        boot_id: Uuid::from_u128(7),
        boot_ms: number,
        wall: Timestamp::from_secs(1_781_481_600),
        wall_trusted: true,
    };
    let key = format!("request-{number}");
    let command = catalog::find("image_stop_capture").expect("in the catalogue");
    Record {
        command_id: command_id("px4-real-1", "cloud", &key),
        number,
        api_id: "cloud".to_owned(),
        idempotency_key: key,
        request_sha256: "5a".repeat(32),
        nonce: None,
        nonce_expires: None,
        command_type: command.command_type.to_owned(),
        content: command.encode(&serde_json::Map::new(), None).expect("nothing is required"),
        target: Address { system: 1, component: 1 },
        timeout_seconds: 30,
        accepted: stamp,
        deadline_ms: 30_000,
        status: if closed { Status::Succeeded } else { Status::Accepted },
        seq: if closed { 3 } else { 1 },
        updated: stamp,
        cause: None,
        message: Some("the vehicle accepted the command and has carried it out".to_owned()),
        dispatch: None,
        ack: None,
        stray: None,
        closed,
    }
}

fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir)
        .expect("a directory")
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(it) if it.is_dir() => bytes_in(&entry.path()),
            Ok(it) => it.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Bytes of this process: `VmRSS` now, `VmHWM` at most.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|it| it.starts_with(line)).expect("a line");
    let kilobytes = line.split_whitespace().nth(1).and_then(|it| it.parse::<u64>().ok());
    kilobytes.expect("a number") * 1024
}
