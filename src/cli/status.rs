//! `downlinkd status`

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use super::CONFIGURATION;
use super::api::{Agent, Error};
use super::grant::describe;
use crate::edge::api::client::{Answer, Method};
use crate::wire::status::{AgentStatus, LinkCounters, LinkStatus};

/// Top left, and nothing below (ECMA-48, CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[J";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show it again every so many seconds, 1 to 3600, until interrupted
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
    #[command(flatten)]
    agent: Agent,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let Arguments { watch, agent } = arguments;
    match watch {
        Some(seconds) => watch_until_interrupted(agent, Duration::from_secs(*seconds)),
        None => agent.show(ask(agent), |status: AgentStatus| screen(&status)),
    }
}

fn ask(agent: &Agent) -> Result<Answer, Error> {
    agent.call(Method::GET, "status", None)
}

/// Goes on without the agent, too: it may be restarting. Ends by a signal, or when nobody reads.
fn watch_until_interrupted(agent: &Agent, interval: Duration) -> ExitCode {
    let mut output = io::stdout().lock();
    loop {
        let block = match ask(agent) {
            Err(error @ Error::Configuration(_)) => {
                eprintln!("downlinkd: {error}");
                return ExitCode::from(CONFIGURATION);
            }
            Err(error) if agent.prints_json() => {
                eprintln!("downlinkd: {error}");
                String::new()
            }
            Err(error) => format!("{error}\n"),
            Ok(answer) if agent.prints_json() => String::from_utf8_lossy(&answer.body).into(),
            Ok(answer) => match serde_json::from_slice(&answer.body) {
                Ok(status) => screen(&status),
                Err(error) => format!("the agent's answer is not understood: {error}\n"),
            },
        };
        if show(&mut output, &block, agent.prints_json()).is_err() {
            // The reader has seen enough, as `head` does.
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(interval);
    }
}

/// In place of what was there on a terminal, else below it.
fn show(output: &mut io::StdoutLock<'_>, block: &str, is_json: bool) -> io::Result<()> {
    match (is_json, output.is_terminal()) {
        (true, _) => output.write_all(block.as_bytes())?,
        (false, true) => write!(output, "{CLEAR}{block}")?,
        (false, false) => writeln!(output, "{block}")?,
    }
    output.flush()
}

/// One line for each thing, in columns.
fn screen(status: &AgentStatus) -> String {
    let connected = if status.broker.connected { "connected" } else { "not connected" };
    let trusted = if status.clock.trusted { "trusted" } else { "not trusted" };
    let counts = &status.commands;
    let mut lines = vec![
        ("vehicle", format!("{}, downlinkd {}", status.device_id, status.version)),
        ("guard", status.guard_mode.clone()),
        ("link", link(&status.link)),
        ("received", received(&status.link.counters)),
        ("broker", format!("{connected} ({})", status.broker.address)),
        ("clock", format!("{trusted} ({})", status.clock.time)),
        ("queue", format!("{} commands", counts.queued)),
        ("outstanding", format!("{} commands", counts.outstanding)),
        ("outbox", format!("{} updates", counts.unpublished)),
    ];
    if status.grants.is_empty() {
        lines.push(("grants", "none".to_owned()));
    }
    for (index, grant) in status.grants.iter().enumerate() {
        lines.push((if index == 0 { "grants" } else { "" }, describe(grant)));
    }
    let refused = status.refusals.iter().map(|(code, count)| format!("{count} {code}"));
    let refused: Vec<String> = refused.collect();
    lines.push(("refused", if refused.is_empty() { "none".into() } else { refused.join(", ") }));
    lines.iter().fold(String::new(), |mut screen, (name, value)| {
        let _ = writeln!(screen, "{name:<12} {value}");
        screen
    })
}

fn link(link: &LinkStatus) -> String {
    let LinkStatus { state, endpoint, signed, other_autopilots, .. } = link;
    let signed = if *signed { ", signed" } else { "" };
    let others = match &other_autopilots[..] {
        [] => String::new(),
        others => format!(", beside the autopilots {}", others.join(", ")),
    };
    format!("{state} ({endpoint}){signed}{others}")
}

/// The totals, and of the rest what is not 0.
fn received(counters: &LinkCounters) -> String {
    let totals = format!("{} frames, {} bytes", counters.frames, counters.bytes);
    let classes = counters.classes().into_iter().filter(|(_, count)| *count > 0);
    let classes: Vec<String> = classes.map(|(name, count)| format!("{count} {name}")).collect();
    if classes.is_empty() { totals } else { format!("{totals}; {}", classes.join(", ")) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::lifecycle::time::Timestamp;
    use crate::wire::grant::{Grant, GrantOpener, GrantScope};
    use crate::wire::status::{BrokerStatus, ClockStatus, CommandCounts};

    #[test]
    fn one_screen() {
        let grant = Grant {
            grant_id: "7f3a9c21-1".to_owned(),
            state: "open".to_owned(),
            scope: vec![
                GrantScope::Risk("flight".to_owned()),
                GrantScope::Command("do_flighttermination".to_owned()),
            ],
            issuer: Some("cloud".to_owned()),
            reason: Some("survey".to_owned()),
            opened_by: GrantOpener::Operator { uid: 1000 },
            approved_by: Some(GrantOpener::Issuer("ops".to_owned())),
            seconds_left: 552,
            count_left: 5,
        };
        let pending = Grant {
            grant_id: "7f3a9c21-2".to_owned(),
            state: "pending".to_owned(),
            scope: vec![GrantScope::Domain("gimbal".to_owned())],
            issuer: None,
            reason: None,
            approved_by: None,
            ..grant.clone()
        };
        let status = AgentStatus {
            vendor: "px4".to_owned(),
            device_id: "px4-real-1".to_owned(),
            version: "0.1.0".to_owned(),
            session: Uuid::nil(),
            guard_mode: "guarded".to_owned(),
            link: LinkStatus {
                state: "ready".to_owned(),
                endpoint: "serial:/dev/ttyAMA0:921600".to_owned(),
                signed: true,
                counters: LinkCounters {
                    bytes: 12_345,
                    frames: 678,
                    skipped_bytes: 90,
                    unsigned: 1,
                    ..LinkCounters::default()
                },
                other_autopilots: vec!["2/1".to_owned(), "3/1".to_owned()],
            },
            broker: BrokerStatus { connected: false, address: "127.0.0.1:1883".to_owned() },
            clock: ClockStatus { trusted: true, time: Timestamp::from_secs(1_781_481_600) },
            challenge: "7c1e".to_owned(),
            commands: CommandCounts { queued: 1, outstanding: 2, unpublished: 3 },
            grants: vec![grant, pending],
            refusals: [("auth.failed".to_owned(), 12), ("grant.missing".to_owned(), 1)].into(),
            catalog_hash: String::new(),
        };
        assert_eq!(
            screen(&status),
            "\
vehicle      px4-real-1, downlinkd 0.1.0
guard        guarded
link         ready (serial:/dev/ttyAMA0:921600), signed, beside the autopilots 2/1, 3/1
received     678 frames, 12345 bytes; 90 skipped_bytes, 1 unsigned
broker       not connected (127.0.0.1:1883)
clock        trusted (2026-06-15T00:00:00.000Z)
queue        1 commands
outstanding  2 commands
outbox       3 updates
grants       7f3a9c21-1 open: risk flight, do_flighttermination; 5 commands of cloud, 9m 12s left; by operator 1000 and issuer ops; survey
             7f3a9c21-2 pending: domain gimbal; 5 commands, 9m 12s left; by operator 1000
refused      12 auth.failed, 1 grant.missing
"
        );
        let link = LinkStatus {
            counters: LinkCounters::default(),
            other_autopilots: Vec::new(),
            ..status.link.clone()
        };
        let idle = AgentStatus { link, grants: Vec::new(), refusals: Default::default(), ..status };
        assert!(screen(&idle).contains("received     0 frames, 0 bytes\n"));
        let end = "outbox       3 updates\ngrants       none\nrefused      none\n";
        assert!(screen(&idle).ends_with(end));
    }
}
