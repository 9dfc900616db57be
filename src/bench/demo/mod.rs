//! `downlink-bench demo`: the way of five commands from publish to outcome and across a kill -9,
//! with the real agent between an embedded broker and a simulated PX4.
//!
//! One task on a current-thread runtime plays the scenario and reads a single channel, which the
//! publisher's task and the vehicle's thread fill. Waiting on it is cancel-safe.

mod by_hand;
mod commands;
mod ledger;
mod message;
mod screen;
mod stage;

use std::io;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use rumqttc::v5::ConnectionError;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::mpsc::UnboundedReceiver;

use commands::{COMMANDS, topic};
use ledger::{Ledger, Verdict, Violation};
use message::{Message, MessageError, Presence};
use screen::{Colour, Screen};
use stage::{Incoming, Stage, StageError, What};

use crate::bench::INTERRUPTED;
use crate::bench::signals::Signals;
use crate::bench::vehicle::Event;

/// A debug build opens its journal and connects; the vehicle's heartbeat comes once a second.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Longer than the requests' own 30 s, so that the agent's TIMED_OUT is seen first.
const OUTCOME_LIMIT: Duration = Duration::from_secs(40);
const REPLY_LIMIT: Duration = Duration::from_secs(10);
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);
const AGENT_CHECK: Duration = Duration::from_millis(100);
/// The command that is repeated: a camera would take a second picture.
const REPEATED: usize = 2;

#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("{what} did not come within {} s", limit.as_secs())]
    Timeout { what: String, limit: Duration },
    #[error("the agent ended by itself: {0}")]
    AgentEnded(ExitStatus),
    #[error("the connection to the broker broke: {0}")]
    BrokerLost(String),
    #[error("failed to handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error("failed to start the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("failed to print: {0}")]
    Print(#[from] io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// Plays the demo; with `keep` everything stays up afterwards, until a signal ends it.
///
/// Exit code 0 only when every expectation held, 130 when interrupted before that was known.
pub fn main(keep: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(DemoError::Runtime).and_then(|runtime| {
        runtime.block_on(async {
            let mut screen = Screen::stdout();
            let text = "downlinkd demo: an MQTT broker, the agent and a simulated PX4 on a pty";
            screen.line(Some(Colour::Bold), text)?;
            let (stage, events) = Stage::set().await?;
            let mut demo = Demo { screen, stage, events, seen: Seen::default() };
            let result = demo.run(keep).await;
            if let Err(error) = &result {
                demo.show_log(error)?;
            }
            result
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(DemoError::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    screen: Screen,
    stage: Stage,
    events: UnboundedReceiver<Incoming>,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    ledger: Ledger,
    /// The agent's session, while it is online and its link ready.
    session: Option<String>,
    /// Of the agent's presence, to sign with.
    challenge: Option<String>,
    /// When the vehicle last received a heartbeat of the agent.
    heartbeat: Option<Instant>,
}

impl Seen {
    /// A last will says nothing about a session that has begun since.
    fn on_presence(&mut self, presence: &Presence) {
        if let Some(challenge) = &presence.challenge {
            self.challenge = Some(challenge.clone());
        }
        match presence.ready_session() {
            Some(session) => self.session = Some(session.to_owned()),
            None if presence.session == self.session => self.session = None,
            None => {}
        }
    }
}

impl Demo {
    async fn run(&mut self, keep: bool) -> Result<(), DemoError> {
        let mut signals = Signals::new().map_err(DemoError::Signals)?;
        let stop = signals.recv();
        tokio::pin!(stop);

        let verdict = tokio::select! {
            verdict = self.play(keep) => verdict?,
            () = &mut stop => return Err(DemoError::Interrupted),
        };
        self.screen.line(None, "")?;
        self.screen.line(Some(Colour::Green), &verdict.to_string())?;
        if keep {
            self.show_how_to_continue()?;
            tokio::select! {
                result = self.watch() => result?,
                () = &mut stop => {}
            }
        }
        Ok(())
    }

    async fn play(&mut self, keep: bool) -> Result<Verdict, DemoError> {
        let broker = self.stage.broker();
        self.screen.note(
            Instant::now(),
            &format!("broker on {broker}, vehicle on a pty, a key to sign with"),
        )?;
        let first = self.start_agent(None).await?;
        self.screen.line(None, "")?;
        self.screen.header()?;
        for index in 0..COMMANDS.len() {
            self.command(index).await?;
        }

        self.screen.line(None, "")?;
        let at = Instant::now();
        self.screen.note(at, &format!("{}: same key again", COMMANDS[REPEATED].command_type))?;
        self.duplicate(REPEATED).await?;

        self.screen.line(None, "")?;
        self.stage.kill_agent()?;
        self.seen.ledger.killed();
        self.seen.session = None;
        self.screen.note(Instant::now(), "kill -9")?;
        self.start_agent(Some(&first)).await?;
        self.duplicate(REPEATED).await?;

        if !keep {
            self.stage.kill_agent()?;
            self.stage.stop_vehicle()?;
        }
        while let Ok(incoming) = self.events.try_recv() {
            self.take(incoming)?;
        }
        Ok(self.seen.ledger.verdict()?)
    }

    /// Starts the agent and waits until it is online, in a session other than `previous`, and has
    /// heard the vehicle. Returns the session.
    async fn start_agent(&mut self, previous: Option<&str>) -> Result<String, DemoError> {
        let id = self.stage.start_agent()?;
        self.screen.note(Instant::now(), &format!("agent started, process {id}, guarded mode"))?;
        let what = "presence with \"online\":true and \"link\":{\"state\":\"ready\"}";
        self.until(what, READY_LIMIT, |seen| {
            seen.session.is_some() && seen.session.as_deref() != previous
        })
        .await?;
        let session = self.seen.session.clone().unwrap_or_default();
        self.screen
            .note(Instant::now(), &format!("agent online, link ready, session {session}"))?;
        Ok(session)
    }

    /// Publishes a command for the first time and follows it to its end.
    async fn command(&mut self, index: usize) -> Result<(), DemoError> {
        let command = &COMMANDS[index];
        self.publish(index).await?;
        let what = format!("the outcome of {}", command.command_type);
        self.until(&what, OUTCOME_LIMIT, |seen| seen.ledger.is_finished(index)).await?;
        if let Some(remark) = command.remark {
            self.screen.remark(remark)?;
        }
        Ok(())
    }

    /// Publishes a command again and waits for the reply, and then for the agent's next heartbeat:
    /// a frame that the duplicate had caused would have reached the vehicle before it.
    async fn duplicate(&mut self, index: usize) -> Result<(), DemoError> {
        let command = &COMMANDS[index];
        self.publish(index).await?;
        let what = format!("the reply to a duplicate of {}", command.command_type);
        self.until(&what, REPLY_LIMIT, |seen| seen.ledger.duplicates_answered(index)).await?;
        let replied = Instant::now();
        self.until("a heartbeat of the agent", HEARTBEAT_LIMIT, |seen| {
            seen.heartbeat.is_some_and(|at| at > replied)
        })
        .await?;
        let id = self.seen.ledger.command_id(index).unwrap_or_default();
        self.screen.remark(&format!("no frame; still command_id {id}"))?;
        Ok(())
    }

    async fn publish(&mut self, index: usize) -> Result<(), DemoError> {
        let command = &COMMANDS[index];
        self.seen.ledger.requested(index);
        let body = command.body(&command.idempotency_key());
        Ok(self.stage.request(&body, self.seen.challenge.as_deref()).await?)
    }

    /// Takes what comes until `done`.
    async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Seen) -> bool,
    ) -> Result<(), DemoError> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut look_after_agent = tokio::time::interval(AGENT_CHECK);
        while !done(&self.seen) {
            tokio::select! {
                // The demo's own vehicle and publisher hold the other end as long as it runs.
                Some(incoming) = self.events.recv() => self.take(incoming)?,
                _ = look_after_agent.tick() => self.check_agent()?,
                () = tokio::time::sleep_until(deadline) => {
                    return Err(DemoError::Timeout { what: what.to_owned(), limit });
                }
            }
        }
        Ok(())
    }

    /// Shows and judges one thing that happened.
    fn take(&mut self, Incoming { at, what }: Incoming) -> Result<(), DemoError> {
        match what {
            What::Vehicle(event) => {
                self.screen.event(at, &event)?;
                self.seen.ledger.on_event(&event)?;
                if let Event::Heartbeat { .. } = event {
                    self.seen.heartbeat = Some(at);
                }
            }
            What::Mqtt(publish) => {
                let message = parse(&publish)?;
                if let Message::Presence(presence) = &message {
                    self.seen.on_presence(presence);
                }
                let fresh = self.seen.ledger.on_message(&message);
                if !matches!(fresh, Ok(false)) {
                    self.screen.message(at, &message)?;
                }
                fresh?;
            }
            What::BrokerLost(error) => return Err(broker_lost(&error)),
        }
        Ok(())
    }

    /// Shows what happens and judges nothing, as long as the agent lives.
    async fn watch(&mut self) -> Result<(), DemoError> {
        let mut look_after_agent = tokio::time::interval(AGENT_CHECK);
        loop {
            tokio::select! {
                Some(Incoming { at, what }) = self.events.recv() => match what {
                    What::Vehicle(event) => self.screen.event(at, &event)?,
                    What::Mqtt(publish) => match parse(&publish) {
                        Ok(message) => self.screen.message(at, &message)?,
                        Err(error) => self.screen.note(at, &error.to_string())?,
                    },
                    What::BrokerLost(error) => return Err(broker_lost(&error)),
                },
                _ = look_after_agent.tick() => self.check_agent()?,
            }
        }
    }

    fn check_agent(&mut self) -> Result<(), DemoError> {
        self.stage.agent_ended().map_or(Ok(()), |status| Err(DemoError::AgentEnded(status)))
    }

    fn show_how_to_continue(&mut self) -> io::Result<()> {
        let broker = self.stage.broker();
        let (host, port) = (broker.ip(), broker.port());
        let everything = topic("#");
        let body = COMMANDS[REPEATED].body("by-hand-1");
        let (folder, script) = (self.stage.folder().display(), self.stage.script());
        let script = script.display();
        let text = format!(
            "\nStill up, until Ctrl-C. The agent's configuration, log and journal: {folder}\n\n\
             Watch:\n  mosquitto_sub -V 5 -h {host} -p {port} -q 1 -v -t '{everything}'\n\n\
             Sign a command and publish it (a new idempotency_key is a new command):\n  \
             sh {script} '{body}'\n"
        );
        self.screen.line(None, &text)
    }

    fn show_log(&mut self, error: &DemoError) -> io::Result<()> {
        let log = self.stage.log_tail();
        if matches!(error, DemoError::Interrupted) || log.is_empty() {
            return Ok(());
        }
        self.screen.line(None, &format!("\nThe agent's log ends with:\n{log}\n"))
    }
}

fn parse(publish: &Publish) -> Result<Message, MessageError> {
    Message::parse(&String::from_utf8_lossy(&publish.topic), &publish.payload)
}

fn broker_lost(error: &ConnectionError) -> DemoError {
    DemoError::BrokerLost(error.to_string())
}
