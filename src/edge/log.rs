//! The log: records go to journald as structured fields, or to stderr as one line each.
//!
//! journald makes a sender wait when it does not read, and a terminal or pipe does too. So a record
//! is copied into a bounded queue, which never waits, and a thread of its own (`log`) writes. When
//! the queue is full the record is dropped and counted, and the count is logged later. Records come
//! in bursts, so the thread gathers for a moment what follows the first: waking it costs more than
//! the record. Neither a panic nor the process's end loses what is gathered, SIGKILL does.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use ::log::kv::{Error as KvError, Key, Value, VisitSource};
use ::log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::lifecycle::time::Timestamp;

/// About one second of the busiest log, and at most a few hundred kilobytes.
const QUEUE: usize = 1024;
/// What is logged within this time is written together.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for the last records.
const FLUSH: Duration = Duration::from_secs(1);
/// Other crates may warn, but their chatter hides ours.
const FOREIGN_LEVEL: LevelFilter = LevelFilter::Warn;
/// The crates of this package, as they stand in a record's target.
const OWN: &[&str] = &["downlinkd", "downlink_bench"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to start the log's thread: {0}")]
    Thread(#[source] std::io::Error),
    #[error("failed to install the log: {0}")]
    Install(#[from] ::log::SetLoggerError),
}

/// Sends the process's log to journald if stderr is connected to it, else to stderr.
///
/// `level` is for this package; other crates are limited to warnings. Once per process.
pub fn install(level: LevelFilter) -> Result<Guard, Error> {
    let journal = if connected_to_journal() { JournalLog::new().ok() } else { None };
    let (logger, counters) = start(level, move |entries| match &journal {
        Some(journal) => {
            let unsent = entries.iter().filter(|entry| entry.send_to(journal).is_err());
            write_to_stderr(unsent);
        }
        None => write_to_stderr(entries),
    })
    .map_err(Error::Thread)?;
    ::log::set_boxed_logger(Box::new(logger))?;
    ::log::set_max_level(level);
    Ok(Guard { counters })
}

/// Keeps the log complete: dropping it waits, for at most 1 s, until all records are written.
#[must_use = "dropping the guard ends the wait for the last records"]
pub struct Guard {
    counters: Arc<Counters>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.counters.wait_until_written();
    }
}

#[derive(Default)]
struct Counters {
    queued: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    fn wait_until_written(&self) {
        let queued = self.queued.load(Ordering::Acquire);
        let deadline = Instant::now() + FLUSH;
        while self.written.load(Ordering::Acquire) < queued && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Logger {
    level: LevelFilter,
    queue: SyncSender<Box<Entry>>,
    counters: Arc<Counters>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = OWN.contains(&metadata.target().split("::").next().unwrap_or_default());
        metadata.level() <= if own { self.level } else { self.level.min(FOREIGN_LEVEL) }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Counted before it is queued: a flush must never miss a record that is in the queue.
        self.counters.queued.fetch_add(1, Ordering::AcqRel);
        if self.queue.try_send(Box::new(Entry::copy(record))).is_err() {
            self.counters.queued.fetch_sub(1, Ordering::AcqRel);
            self.counters.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn flush(&self) {
        self.counters.wait_until_written();
    }
}

/// The thread lives as long as the logger, which for an installed one is the whole process.
fn start(
    level: LevelFilter,
    mut write: impl FnMut(&[Entry]) + Send + 'static,
) -> std::io::Result<(Logger, Arc<Counters>)> {
    // Boxed, since the queue is in memory at its full length from the start.
    let (queue, entries): (_, Receiver<Box<Entry>>) = sync_channel(QUEUE);
    let counters = Arc::new(Counters::default());
    let shared = Arc::clone(&counters);
    std::thread::Builder::new().name("log".into()).spawn(move || {
        while let Ok(first) = entries.recv() {
            std::thread::sleep(GATHER);
            let mut gathered = vec![*first];
            gathered.extend(entries.try_iter().take(QUEUE).map(|entry| *entry));
            let count = gathered.len() as u64;
            let dropped = shared.dropped.swap(0, Ordering::AcqRel);
            if dropped > 0 {
                gathered.push(Entry::dropped(dropped));
            }
            write(&gathered);
            shared.written.fetch_add(count, Ordering::AcqRel);
        }
    })?;
    Ok((Logger { level, queue, counters: Arc::clone(&counters) }, counters))
}

/// A record that owns all that it says, in few pieces: another thread frees them, and that is dear.
#[derive(Clone, Debug)]
struct Entry {
    time: SystemTime,
    level: Level,
    module: Option<&'static str>,
    file: Option<&'static str>,
    line: Option<u32>,
    text: Text,
}

impl Entry {
    fn copy(record: &Record<'_>) -> Self {
        let mut text = Text::new();
        text.push(record.target());
        text.push(record.args());
        // Collecting strings cannot fail, and a record is worth more than its fields.
        let _ = record.key_values().visit(&mut text);
        Self {
            time: SystemTime::now(),
            level: record.level(),
            module: record.module_path_static(),
            file: record.file_static(),
            line: record.line(),
            text,
        }
    }

    fn dropped(count: u64) -> Self {
        Self::copy(
            &Record::builder()
                .level(Level::Warn)
                .target(module_path!())
                .module_path_static(Some(module_path!()))
                .args(format_args!(
                    "log records were dropped because they could not be written fast enough"
                ))
                .key_values(&[("DROPPED", count)])
                .build(),
        )
    }

    fn send_to(&self, journal: &JournalLog) -> std::io::Result<()> {
        journal.journal_send(
            &Record::builder()
                .level(self.level)
                .target(self.text.target())
                .module_path(self.module)
                .file(self.file)
                .line(self.line)
                .key_values(&self.text.fields().collect::<Vec<_>>())
                .args(format_args!("{}", self.text.message()))
                .build(),
        )
    }

    /// `2026-11-21T01:02:03.456Z INFO message KEY=value KEY="two words"`, always one line.
    fn push_line(&self, lines: &mut String) {
        push(lines, format_args!("{} {} ", Timestamp::from(self.time), self.level));
        push_escaped(lines, self.text.message());
        for (key, value) in self.text.fields() {
            lines.push(' ');
            push_escaped(lines, key);
            lines.push('=');
            if value.is_empty() || value.contains([' ', '"', '=']) {
                lines.push('"');
                push_escaped(lines, &value.replace('\\', "\\\\").replace('"', "\\\""));
                lines.push('"');
            } else {
                push_escaped(lines, value);
            }
        }
        lines.push('\n');
    }
}

/// The target, the message, and the names and values of the fields, one behind the other.
#[derive(Clone, Debug)]
struct Text {
    all: String,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Text {
    /// Room for what most records say.
    fn new() -> Self {
        Self { all: String::with_capacity(256), ends: Vec::with_capacity(16) }
    }

    fn push(&mut self, piece: impl Display) {
        push(&mut self.all, piece);
        self.ends.push(self.all.len());
    }

    fn target(&self) -> &str {
        self.piece(0)
    }

    fn message(&self) -> &str {
        self.piece(1)
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        (2..self.ends.len()).step_by(2).map(|at| (self.piece(at), self.piece(at + 1)))
    }

    fn piece(&self, index: usize) -> &str {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[begin..self.ends[index]]
    }
}

impl<'kvs> VisitSource<'kvs> for Text {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        self.push(key);
        self.push(value);
        Ok(())
    }
}

fn push(to: &mut String, piece: impl Display) {
    write!(to, "{piece}").expect("a String can be written to");
}

/// A line break in a message from outside must not forge a record.
fn push_escaped(lines: &mut String, text: &str) {
    for piece in text.split_inclusive(char::is_control) {
        let plain = piece.trim_end_matches(char::is_control);
        lines.push_str(plain);
        push(lines, piece[plain.len()..].escape_default());
    }
}

fn write_to_stderr<'a>(entries: impl IntoIterator<Item = &'a Entry>) {
    let mut lines = String::new();
    entries.into_iter().for_each(|entry| entry.push_line(&mut lines));
    // There is no place left to report this to.
    let _ = std::io::stderr().write_all(lines.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard};
    use std::time::UNIX_EPOCH;

    use super::*;

    /// Collects what the thread writes; while the test holds `gate` the thread is stuck in a write.
    #[derive(Clone, Default)]
    struct Sink {
        gate: Arc<Mutex<()>>,
        lines: Arc<Mutex<Vec<Entry>>>,
    }

    impl Sink {
        fn start(&self, level: LevelFilter) -> (Logger, Guard) {
            let sink = self.clone();
            let (logger, counters) = start(level, move |entries| {
                let _open = sink.gate.lock().unwrap();
                sink.lines.lock().unwrap().extend_from_slice(entries);
            })
            .unwrap();
            (logger, Guard { counters })
        }

        fn lines(&self) -> MutexGuard<'_, Vec<Entry>> {
            self.lines.lock().unwrap()
        }
    }

    fn log(logger: &Logger, level: Level, target: &str, message: &str) {
        logger.log(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{message}"))
                .key_values(&[("COMMAND_ID", "8cdb5bf3"), ("CODE", "guard.disabled")])
                .build(),
        );
    }

    #[test]
    fn a_record_is_copied_with_its_fields() {
        let sink = Sink::default();
        let (logger, guard) = sink.start(LevelFilter::Info);
        log(&logger, Level::Info, "downlinkd::daemon", "refused");
        drop(guard);
        let lines = sink.lines();
        assert_eq!(lines.len(), 1);
        let text = &lines[0].text;
        assert_eq!(text.target(), "downlinkd::daemon");
        assert_eq!(text.message(), "refused");
        let fields: Vec<_> = text.fields().collect();
        assert_eq!(fields, [("COMMAND_ID", "8cdb5bf3"), ("CODE", "guard.disabled")]);
    }

    #[test]
    fn other_crates_may_only_warn() {
        let sink = Sink::default();
        let (logger, guard) = sink.start(LevelFilter::Debug);
        for target in ["downlinkd", "downlinkd::edge", "rumqttc::v5::state", "downlinkd_other"] {
            for level in [Level::Warn, Level::Info, Level::Debug, Level::Trace] {
                log(&logger, level, target, target);
            }
        }
        drop(guard);
        let count =
            |target: &str| sink.lines().iter().filter(|e| e.text.target() == target).count();
        assert_eq!(count("downlinkd"), 3);
        assert_eq!(count("downlinkd::edge"), 3);
        assert_eq!(count("rumqttc::v5::state"), 1);
        assert_eq!(count("downlinkd_other"), 1);
    }

    #[test]
    fn our_own_level_also_limits_other_crates() {
        let sink = Sink::default();
        let (logger, guard) = sink.start(LevelFilter::Error);
        log(&logger, Level::Warn, "rumqttc", "");
        log(&logger, Level::Error, "rumqttc", "");
        drop(guard);
        assert_eq!(sink.lines().len(), 1);
    }

    #[test]
    fn a_full_queue_drops_and_says_so_later() {
        let sink = Sink::default();
        let (logger, guard) = sink.start(LevelFilter::Info);
        let closed = sink.gate.lock().unwrap();
        // The thread may have gathered as many as the queue holds before it was stuck.
        let sent = 3 * QUEUE as u64;
        for _ in 0..sent {
            log(&logger, Level::Info, "downlinkd", "line");
        }
        drop(closed);
        drop(guard);
        let entries = sink.lines();
        let (lines, notices): (Vec<_>, Vec<_>) =
            entries.iter().partition(|e| e.text.message() == "line");
        assert!(notices.iter().all(|notice| notice.level == Level::Warn));
        let dropped = |notice: &&Entry| match notice.text.fields().collect::<Vec<_>>()[..] {
            [("DROPPED", count)] => count.parse::<u64>().unwrap(),
            ref fields => panic!("{fields:?}"),
        };
        let dropped: u64 = notices.iter().map(dropped).sum();
        let full = QUEUE as u64;
        assert!((full - 1..=2 * full).contains(&dropped), "{dropped}");
        assert_eq!(lines.len() as u64 + dropped, sent);
    }

    #[test]
    fn the_end_does_not_wait_for_a_log_that_hangs() {
        let sink = Sink::default();
        let (logger, guard) = sink.start(LevelFilter::Info);
        let closed = sink.gate.lock().unwrap();
        log(&logger, Level::Info, "downlinkd", "line");
        let begin = Instant::now();
        drop(guard);
        assert!(begin.elapsed() >= FLUSH);
        drop(closed);
    }

    /// Runs in a child process, since a log is installed once.
    #[test]
    #[ignore = "started by another test"]
    fn child() {
        let guard = install(LevelFilter::Info).unwrap();
        assert!(matches!(install(LevelFilter::Info), Err(Error::Install(_))));
        ::log::info!(API_ID = "fleet", CODE = "guard.disabled"; "command {} refused", 7);
        ::log::debug!("not at this level");
        ::log::info!(target: "rumqttc", "chatter");
        drop(guard);
    }

    #[test]
    fn an_installed_log_writes_to_stderr() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "edge::log::tests::child", "--ignored", "--nocapture"])
            .env_remove("JOURNAL_STREAM")
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{printed}");
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines.len(), 1, "{printed}");
        let (time, line) = lines[0].split_once(' ').unwrap();
        assert!(time.parse::<Timestamp>().is_ok(), "{time}");
        assert_eq!(line, "INFO command 7 refused API_ID=fleet CODE=guard.disabled");
    }

    #[test]
    fn stderr_gets_one_line_with_quoted_values() {
        let mut entry = Entry::copy(
            &Record::builder()
                .level(Level::Info)
                .target("downlinkd")
                .args(format_args!("first\nsecond"))
                .key_values(&[
                    ("A", "plain"),
                    ("B", "two words"),
                    ("C", "a\"b\\c"),
                    ("D", ""),
                    ("E", "x\ty\r\n"),
                ])
                .build(),
        );
        entry.time = UNIX_EPOCH + Duration::from_millis(1_795_222_923_456);
        let mut lines = String::new();
        entry.push_line(&mut lines);
        assert_eq!(
            lines,
            "2026-11-21T01:02:03.456Z INFO first\\nsecond A=plain B=\"two words\" \
             C=\"a\\\"b\\\\c\" D=\"\" E=x\\ty\\r\\n\n"
        );
    }
}
