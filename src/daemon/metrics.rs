//! What has happened since the start, in numbers, for Prometheus and for the status.
//!
//! Counting takes no lock that anybody else holds and, once a label is known, no memory. Labels are
//! bounded: no name that a sender chooses is one.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::catalog;
use crate::code::Code;
use crate::edge::link;
use crate::guard::vehicle::LinkState;
use crate::lifecycle::record::Record;
use crate::lifecycle::request::{CommandId, Origin};
use crate::lifecycle::status::{Cause, Status};
use crate::lifecycle::time::Stamp;

/// Seconds. A command takes milliseconds, or a timeout; times are known to the millisecond.
const COMMAND_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 300.0];
/// Seconds. A flush takes less than a millisecond, or what a tired SD card needs.
const COMMIT_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What is true at the moment of the question.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    pub link: LinkState,
    /// Since the start.
    pub heard: link::Counters,
    pub broker_connected: bool,
    pub clock_trusted: bool,
    pub queued: usize,
    pub outstanding: usize,
    pub unpublished: usize,
    pub grants: usize,
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    accepted: ByWay,
    duplicates: ByWay,
    outcomes: IntCounterVec,
    /// In the order of [`Code::ALL`].
    refusals: Vec<IntCounter>,
    delivery: Histogram,
    acknowledgement: Histogram,
    duration: Histogram,
    /// When the frame of a command left that waits for its COMMAND_ACK.
    written: HashMap<CommandId, Stamp>,
    unmatched: IntCounter,
    commits: Histogram,
    link: IntGaugeVec,
    link_losses: IntCounter,
    frames: IntCounter,
    bad_checksums: IntCounter,
    skipped_bytes: IntCounter,
    link_was_ready: bool,
    broker_connected: IntGauge,
    broker_reconnects: IntCounter,
    was_connected: bool,
    clock_trusted: IntGauge,
    queued: IntGauge,
    outstanding: IntGauge,
    unpublished: IntGauge,
    grants: IntGauge,
}

/// One counter for each way in.
#[derive(Debug)]
struct ByWay {
    mqtt: IntCounter,
    http: IntCounter,
}

impl Metrics {
    pub fn new() -> Self {
        let make = Maker { registry: Registry::new() };
        let refusals = make.counters("refusals_total", "Requests and commands refused.", &["code"]);
        let info = make.gauges("build_info", "Always 1.", &["version", "catalog_hash"]);
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), catalog::HASH]).set(1);
        Self {
            accepted: make.by_way("commands_accepted_total", "Commands journaled as ACCEPTED."),
            duplicates: make.by_way("duplicates_total", "Requests that found their own command."),
            outcomes: make.counters(
                "commands_total",
                "Terminal statuses that commands came to; a late answer brings another one.",
                &["status", "code"],
            ),
            refusals: Code::ALL
                .iter()
                .map(|it| refusals.with_label_values(&[it.as_str()]))
                .collect(),
            delivery: make.histogram(
                "command_delivery_seconds",
                "From ACCEPTED until the first frame left (DELIVERED).",
                &COMMAND_BUCKETS,
            ),
            acknowledgement: make.histogram(
                "command_ack_seconds",
                "From the frame that left to its COMMAND_ACK.",
                &COMMAND_BUCKETS,
            ),
            duration: make.histogram(
                "command_duration_seconds",
                "From ACCEPTED to a terminal status.",
                &COMMAND_BUCKETS,
            ),
            written: HashMap::new(),
            unmatched: make.counter("unmatched_acks_total", "COMMAND_ACKs of no command."),
            commits: make.histogram(
                "journal_commit_seconds",
                "Commits of the journal, flush included.",
                &COMMIT_BUCKETS,
            ),
            link: make.gauges("link_state", "1 for the state that the link is in.", &["state"]),
            link_losses: make
                .counter("link_losses_total", "How often the link was ready and lost."),
            frames: make.counter("link_frames_total", "Intact MAVLink frames."),
            bad_checksums: make
                .counter("link_bad_checksums_total", "MAVLink frames whose checksum did not fit."),
            skipped_bytes: make
                .counter("link_skipped_bytes_total", "Bytes of the link that are no intact frame."),
            link_was_ready: false,
            broker_connected: make.gauge("broker_connected", "1 while connected to the broker."),
            broker_reconnects: make
                .counter("broker_reconnects_total", "Connections to the broker after the first."),
            was_connected: false,
            clock_trusted: make.gauge("clock_trusted", "1 while the wall clock can be trusted."),
            queued: make.gauge("queued_commands", "Accepted, waiting for their turn."),
            outstanding: make.gauge("outstanding_commands", "Sent, waiting for the vehicle."),
            unpublished: make
                .gauge("outbox_updates", "Lifecycle updates that the broker has not acknowledged."),
            grants: make.gauge("grants", "Open and pending grants."),
            registry: make.registry,
        }
    }

    pub fn accepted(&self, origin: &Origin) {
        self.accepted.of(origin).inc();
    }

    pub fn duplicate(&self, origin: &Origin) {
        self.duplicates.of(origin).inc();
    }

    pub fn refused(&self, code: Code) {
        self.refusals[code as usize].inc();
    }

    pub fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    pub fn unmatched(&self) {
        self.unmatched.inc();
    }

    pub fn broker_connected(&mut self) {
        if self.was_connected {
            self.broker_reconnects.inc();
        }
        self.was_connected = true;
    }

    pub fn link_changed(&mut self, state: LinkState) {
        let is_ready = state == LinkState::Ready;
        if self.link_was_ready && !is_ready {
            self.link_losses.inc();
        }
        self.link_was_ready = is_ready;
    }

    /// A command has taken a step.
    pub fn step(&mut self, record: &Record) {
        let sent = record.dispatch.as_ref().filter(|dispatch| dispatch.sent_at.is_some());
        if let (Status::Delivered, None, Some(dispatch)) = (record.status, record.cause, sent) {
            if !dispatch.other_form {
                observe(&self.delivery, &record.accepted, &record.updated);
            }
            if !record.is_terminal() {
                self.written.insert(record.command_id, record.updated);
            }
        } else if let Some(written) = self.written.remove(&record.command_id)
            && let Some(Cause::Result(_)) = record.cause
            // An answer of another component, told at the deadline.
            && record.status != Status::UnmatchedResponse
        {
            observe(&self.acknowledgement, &written, &record.updated);
        }
        if record.is_terminal() {
            self.outcomes.with_label_values(&[record.status.as_str(), code(record)]).inc();
            observe(&self.duration, &record.accepted, &record.updated);
        }
        if let (Status::Failed, Some(false), Some(Cause::Agent(code))) =
            (record.status, record.frame_sent(), record.cause)
        {
            self.refused(code);
        }
    }

    /// How often something was refused, where it was.
    pub fn refusals(&self) -> impl Iterator<Item = (Code, u64)> {
        let counts = self.refusals.iter().map(IntCounter::get);
        Code::ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn text(&self, present: Present) -> String {
        for state in [LinkState::Closed, LinkState::Open, LinkState::Ready] {
            let is_it = i64::from(state == present.link);
            self.link.with_label_values(&[state.as_str()]).set(is_it);
        }
        for (counter, count) in [
            (&self.frames, present.heard.framed.frames),
            (&self.bad_checksums, present.heard.framed.bad_checksum),
            (&self.skipped_bytes, present.heard.framed.skipped_bytes),
        ] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        self.broker_connected.set(present.broker_connected.into());
        self.clock_trusted.set(present.clock_trusted.into());
        self.queued.set(present.queued as i64);
        self.outstanding.set(present.outstanding as i64);
        self.unpublished.set(present.unpublished as i64);
        self.grants.set(present.grants as i64);
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).expect("every metric is well formed")
    }
}

impl ByWay {
    fn of(&self, origin: &Origin) -> &IntCounter {
        match origin {
            Origin::Mqtt { .. } => &self.mqtt,
            Origin::Http(_) => &self.http,
        }
    }
}

/// Makes and registers.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(opts(name, help), labels))
    }

    fn by_way(&self, name: &str, help: &str) -> ByWay {
        let counters = self.counters(name, help, &["way"]);
        let of = |way| counters.with_label_values(&[way]);
        ByWay { mqtt: of("mqtt"), http: of("http") }
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(opts(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
        self.register(Histogram::with_opts(opts))
    }

    fn register<M>(&self, made: prometheus::Result<M>) -> M
    where
        M: prometheus::core::Collector + Clone + 'static,
    {
        let metric = made.expect("names, labels and buckets are valid");
        self.registry.register(Box::new(metric.clone())).expect("every name is given once");
        metric
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("downlinkd")
}

/// Nothing, where the time between cannot be known.
fn observe(histogram: &Histogram, from: &Stamp, to: &Stamp) {
    if let Some(took) = to.since(from) {
        histogram.observe(took.as_secs_f64());
    }
}

/// One of few: a vehicle may answer any number.
fn code(record: &Record) -> &'static str {
    use std::borrow::Cow;
    match record.cause.map(Cause::response_code) {
        None => "none",
        Some(Cow::Borrowed(code)) => code,
        Some(Cow::Owned(_)) => "MAV_RESULT_other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::effect::CallId;
    use crate::lifecycle::record::Dispatch;
    use crate::wire::mavlink;

    const HEARD: link::Counters = link::Counters {
        framed: mavlink::Counters {
            bytes: 1,
            frames: 5,
            mavlink_1: 2,
            bad_checksum: 6,
            unknown_message: 7,
            unknown_flags: 3,
            skipped_bytes: 8,
        },
        foreign: 9,
        unsigned: 10,
        bad_signature: 11,
        replayed: 12,
        stale: 13,
    };

    const PRESENT: Present = Present {
        link: LinkState::Ready,
        heard: HEARD,
        broker_connected: true,
        clock_trusted: false,
        queued: 1,
        outstanding: 2,
        unpublished: 3,
        grants: 4,
    };

    fn step(record: &Record, status: Status, cause: Option<Cause>, at_ms: u64) -> Record {
        let mut record = Record { status, cause, ..record.clone() };
        record.updated.boot_ms = at_ms;
        record
    }

    #[track_caller]
    fn has(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.text(PRESENT);
        for line in lines {
            assert!(text.lines().any(|it| it == *line), "{line} is not in:\n{text}");
        }
    }

    fn sent() -> Record {
        let accepted = Record::example();
        let dispatch = Dispatch {
            transport: accepted.content.transport,
            delivered_seq: 2,
            at: accepted.accepted,
            sent_at: Some(accepted.accepted.wall),
            other_form: false,
        };
        Record { dispatch: Some(dispatch), ..accepted }
    }

    #[test]
    fn the_way_of_a_command_in_numbers() {
        let mut metrics = Metrics::new();
        let record = sent();
        let started = record.accepted.boot_ms;
        metrics.accepted(&Origin::Http(CallId(1)));
        metrics.step(&Record::example());
        metrics.step(&step(&record, Status::Delivered, None, started + 20));
        let in_progress = Some(Cause::Result(5));
        metrics.step(&step(&record, Status::Delivered, in_progress, started + 60));
        metrics.step(&step(&record, Status::Succeeded, Some(Cause::Result(0)), started + 2000));
        has(
            &metrics,
            &[
                "downlinkd_commands_accepted_total{way=\"http\"} 1",
                "downlinkd_commands_accepted_total{way=\"mqtt\"} 0",
                "downlinkd_commands_total{code=\"MAV_RESULT_ACCEPTED\",status=\"SUCCEEDED\"} 1",
                "downlinkd_command_delivery_seconds_sum 0.02",
                "downlinkd_command_ack_seconds_sum 0.04",
                "downlinkd_command_ack_seconds_count 1",
                "downlinkd_command_duration_seconds_sum 2",
                "downlinkd_command_duration_seconds_count 1",
                "downlinkd_refusals_total{code=\"guard.disabled\"} 0",
            ],
        );
        assert!(metrics.written.is_empty());
    }

    #[test]
    fn what_no_answer_ended_is_no_answer_and_what_nobody_waits_for_is_not_kept() {
        let mut metrics = Metrics::new();
        let record = sent();
        metrics.step(&step(&record, Status::Delivered, None, 10));
        let timeout = Some(Cause::Agent(Code::TimeoutAck));
        metrics.step(&step(&record, Status::TimedOut, timeout, 30_000));
        metrics.step(&step(&record, Status::UnmatchedResponse, Some(Cause::Result(99)), 31_000));
        let forgotten = Record { timeout_seconds: 0, ..record };
        metrics.step(&step(&forgotten, Status::Delivered, None, 10));
        assert!(metrics.written.is_empty());
        has(
            &metrics,
            &[
                "downlinkd_command_ack_seconds_count 0",
                "downlinkd_commands_total{code=\"timeout.ack\",status=\"TIMED_OUT\"} 1",
                "downlinkd_commands_total{code=\"MAV_RESULT_other\",status=\"UNMATCHED_RESPONSE\"} 1",
                "downlinkd_commands_total{code=\"none\",status=\"DELIVERED\"} 1",
            ],
        );
    }

    #[test]
    fn counting_a_known_command_takes_no_memory() {
        let mut metrics = Metrics::new();
        let record = sent();
        let way = [
            record.clone(),
            step(&record, Status::Delivered, None, 20),
            step(&record, Status::Succeeded, Some(Cause::Result(0)), 60),
        ];
        let mut count = || {
            metrics.accepted(&Origin::Http(CallId(1)));
            metrics.committed(Duration::from_millis(3));
            way.iter().for_each(|record| metrics.step(record));
        };
        count();
        assert_eq!(allocation_counter::measure(count).count_total, 0);
    }

    #[test]
    fn every_metric_is_documented() {
        let page = include_str!("../../docs/interface.md");
        let metrics = Metrics::new();
        metrics.outcomes.with_label_values(&["FAILED", "none"]).inc();
        let text = metrics.text(PRESENT);
        let told: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        assert_eq!(told.len(), page.matches("| `downlinkd_").count());
        for (name, kind) in told {
            let row = page.lines().find(|line| {
                let name_of =
                    line.strip_prefix("| `").and_then(|rest| rest.split(['`', '{']).next());
                name_of == Some(name)
            });
            assert!(row.is_some_and(|row| row.contains(&format!("| {kind} |"))), "{name}: {row:?}");
        }
    }

    #[test]
    fn refusals_count_by_code_and_the_rest_is_as_it_is() {
        let mut metrics = Metrics::new();
        let refused = Record {
            status: Status::Failed,
            cause: Some(Cause::Agent(Code::GuardDisabled)),
            ..Record::example()
        };
        metrics.step(&refused);
        metrics.refused(Code::AuthFailed);
        metrics.refused(Code::AuthFailed);
        let counted: Vec<_> = metrics.refusals().collect();
        assert_eq!(counted, [(Code::AuthFailed, 2), (Code::GuardDisabled, 1)]);
        for code in Code::ALL {
            assert_eq!(Code::ALL[*code as usize], *code);
        }
        metrics.broker_connected();
        metrics.broker_connected();
        for state in [LinkState::Ready, LinkState::Open, LinkState::Closed, LinkState::Ready] {
            metrics.link_changed(state);
        }
        metrics.committed(Duration::from_millis(3));
        metrics.unmatched();
        metrics.duplicate(&Origin::Http(CallId(1)));
        let build = format!(
            "downlinkd_build_info{{catalog_hash=\"{}\",version=\"{}\"}} 1",
            catalog::HASH,
            env!("CARGO_PKG_VERSION")
        );
        has(
            &metrics,
            &[
                &build,
                "downlinkd_refusals_total{code=\"auth.failed\"} 2",
                "downlinkd_refusals_total{code=\"guard.disabled\"} 1",
                "downlinkd_broker_reconnects_total 1",
                "downlinkd_link_losses_total 1",
                "downlinkd_link_state{state=\"ready\"} 1",
                "downlinkd_link_state{state=\"open\"} 0",
                // However often it is asked.
                "downlinkd_link_frames_total 5",
                "downlinkd_link_bad_checksums_total 6",
                "downlinkd_link_skipped_bytes_total 8",
                "downlinkd_journal_commit_seconds_count 1",
                "downlinkd_unmatched_acks_total 1",
                "downlinkd_duplicates_total{way=\"http\"} 1",
                "downlinkd_outbox_updates 3",
                "downlinkd_clock_trusted 0",
                "downlinkd_grants 4",
            ],
        );
    }
}
