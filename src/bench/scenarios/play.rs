//! Plays one scenario: one task that does the steps in turn and reads a single channel, which the
//! publisher's task and the vehicle's thread fill. Waiting on it is cancel-safe.

use std::fmt;
use std::time::Duration;

use mavlink::dialects::development::MavResult;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::file::Scenario;
use super::stage::{Incoming, Stage, StageError};
use super::step::{GrantStep, LinkState, Publish, QueryStep, Sign, Step};
use super::value::Within;
use super::world::{Look, World};
use super::{AGENT, API_ID, Bench, DEVICE_ID};
use crate::bench::issuer::envelope;
use crate::bench::vehicle::{Px4, Reply};
use crate::wire::topic::VENDOR;

/// What it has to say it says at once; what it still waits for is no matter any more.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(5);
/// Longer than the agent's own limit for a stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);
const AGENT_CHECK: Duration = Duration::from_millis(50);
/// No MAV_CMD, so no scenario can send it.
const MARK: u16 = u16::MAX;
/// What is on its way when a HEARTBEAT is asked for may be one already.
const FENCE_HEARTBEATS: u64 = 2;

/// Why a scenario failed, and where.
#[derive(Clone, Debug)]
pub struct Failure {
    pub place: Place,
    pub expected: String,
    pub came: String,
    /// The end of the agent's log.
    pub log: String,
    /// No agent came to hear the vehicle.
    pub is_deaf: bool,
}

/// A point in a scenario.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Start,
    /// Its number, from 1, and what it is to do.
    Step(usize, &'static str),
    End,
}

/// What a step that did not do says.
struct Miss {
    expected: String,
    came: String,
    /// Nothing came that was wrong: what was expected did not come.
    timed_out: bool,
}

struct Player<'a> {
    bench: &'a Bench,
    stage: Stage,
    events: UnboundedReceiver<Incoming>,
    world: World,
    /// Nobody has killed or stopped it.
    agent_is_up: bool,
    /// The session before the last start.
    last_session: Option<String>,
}

/// Plays the scenario to its end. Everything it has started has ended when this returns.
pub async fn play(bench: &Bench, scenario: &Scenario) -> Result<(), Failure> {
    let (stage, events) = Stage::set(bench, scenario).await.map_err(|error| Failure {
        place: Place::Start,
        expected: "a stage to play on".to_owned(),
        came: error.to_string(),
        log: String::new(),
        is_deaf: false,
    })?;
    let mut player = Player {
        bench,
        stage,
        events,
        world: World::new(DEVICE_ID, API_ID),
        agent_is_up: false,
        last_session: None,
    };
    let Err((place, miss)) = player.run(scenario).await else { return Ok(()) };
    player.hear_last_words().await;
    let Miss { expected, came, timed_out } = miss;
    let is_deaf = timed_out && matches!(place, Place::Start);
    Err(Failure { place, expected, came, log: player.stage.log_tail(), is_deaf })
}

impl Player<'_> {
    async fn run(&mut self, scenario: &Scenario) -> Result<(), (Place, Miss)> {
        self.start().await.map_err(|miss| (Place::Start, miss))?;
        for (index, step) in scenario.steps.iter().enumerate() {
            if self.bench.endpoint.is_some() && step.looks_at_the_line() {
                continue;
            }
            let place = Place::Step(index + 1, step.name());
            self.step(step).await.map_err(|miss| (place, miss))?;
        }
        self.finish().await.map_err(|miss| (Place::End, miss))
    }

    async fn step(&mut self, step: &Step) -> Result<(), Miss> {
        match step {
            Step::Publish(publish) => self.publish(publish).await?,
            Step::PublishRaw { body } => {
                let topic = self.stage.topics.commands(API_ID);
                self.stage.publish(&topic, body.clone()).await?;
            }
            Step::Reply(step) => {
                let came = |world: &World| world.updates_of(&step.key);
                self.until(step, step.within, |world| world.reply(step), came).await?;
            }
            Step::Error(step) => {
                self.until(step, step.within, |world| world.error(step), nothing).await?;
            }
            Step::Status(step) => {
                let came = |world: &World| world.updates_of(&step.key);
                self.until(step, step.within, |world| world.status(step), came).await?;
            }
            Step::Query(step) => self.query(step).await?,
            Step::Grant(step) => self.grant(step).await?,
            Step::Frame(step) => {
                let came = |world: &World| world.frames_of(step.command.mavlink_command_id);
                self.until(step, step.within, |world| world.frame(step), came).await?;
            }
            Step::NoFrame {} => self.no_stray_frame().await?,
            Step::Unmatched(step) => {
                self.until(step, step.within, |world| world.unmatched(step), nothing).await?;
            }
            Step::Link(step) => {
                let expected = format!("presence with the link {:?}", step.state);
                let look = |world: &mut World| found_if(world.presence().link == Some(step.state));
                self.until(expected, step.within, look, presence).await?;
            }
            Step::Answer(step) => {
                let (number, behaviour) = (step.command.mavlink_command_id, step.behaviour());
                self.order(move |px4, _| px4.set_behaviour(number.into(), behaviour));
            }
            Step::Ack(step) => {
                let (number, reply) = (step.command.mavlink_command_id, step.reply());
                self.order(move |px4, now| px4.acknowledge(now, number, AGENT, reply));
            }
            Step::Arm {} => self.arm(true).await?,
            Step::Disarm {} => self.arm(false).await?,
            &Step::Stream { on } => self.order(move |px4, now| px4.set_streaming(now, on)),
            Step::Unplug {} => self.stage.unplug()?,
            Step::Plug {} => self.stage.plug()?,
            &Step::Noise { on } => {
                if let Some(vehicle) = self.stage.vehicle() {
                    vehicle.set_noise(on);
                }
            }
            Step::Kill {} => {
                self.agent_is_up = false;
                self.stage.kill_agent()?;
            }
            Step::Stop {} => self.stop().await?,
            Step::Start {} => self.start().await?,
            Step::CutBroker {} => self.stage.cut_broker(),
            Step::RestoreBroker {} => self.stage.restore_broker(),
            &Step::Pause { seconds } => sleep(seconds.duration()).await,
        }
        Ok(())
    }

    async fn publish(&mut self, publish: &Publish) -> Result<(), Miss> {
        let mut body = json!({
            "vendor": VENDOR,
            "device_id": DEVICE_ID,
            "command_type": publish.command.command_type,
            "payload": publish.payload,
            "idempotency_key": publish.key(),
            "timeout_seconds": publish.timeout,
        });
        if let Some(frame) = &publish.frame {
            body["frame"] = frame.as_str().into();
        }
        if let Some(component) = publish.target_component {
            body["target_component"] = component.into();
        }
        let topic = self.stage.topics.commands(API_ID);
        let message = self.sealed(&topic, &body, publish.sign, publish.nonce.as_deref());
        Ok(self.stage.publish(&topic, message).await?)
    }

    async fn query(&mut self, step: &QueryStep) -> Result<(), Miss> {
        let topic = self.stage.topics.queries(API_ID);
        let body = json!({ "idempotency_key": step.key });
        self.stage.publish(&topic, body.to_string()).await?;
        let Some(status) = step.status else { return Ok(()) };
        let expected = format!("the answer {} for {}", status.as_str(), step.key);
        self.until(expected, step.within, |world| world.answer(&step.key, status), nothing).await
    }

    async fn grant(&mut self, step: &GrantStep) -> Result<(), Miss> {
        let topic = self.stage.topics.grants(API_ID);
        let body = json!({
            "action": "open",
            "scope": { "command": step.command.command_type },
            "duration_seconds": step.seconds,
            "count": step.count,
        });
        let message = self.sealed(&topic, &body, Sign::Genuine, None);
        let before = self.world.grants();
        self.stage.publish(&topic, message).await?;
        let expected = format!("a grant of {}", step.command.command_type);
        let look = |world: &mut World| found_if(world.grants() > before);
        self.until(expected, step.within, look, nothing).await
    }

    fn sealed(&self, topic: &str, body: &Value, sign: Sign, nonce: Option<&str>) -> String {
        let signer = match sign {
            Sign::Genuine => &self.bench.signer,
            Sign::Forged => &self.bench.forger,
            Sign::None => return body.to_string(),
        };
        let challenge = self.world.presence().challenge.as_deref();
        envelope(signer, topic, &body.to_string(), nonce, challenge)
    }

    /// Waits until the agent knows, by what it tells of a COMMAND_ACK that follows on the line.
    async fn arm(&mut self, armed: bool) -> Result<(), Miss> {
        self.order(move |px4, now| {
            px4.set_armed(now, armed);
            px4.acknowledge(now, MARK, AGENT, Reply::new(MavResult::MAV_RESULT_ACCEPTED));
        });
        let look = |world: &mut World| world.unmatched_mark(MARK);
        self.until("an agent that reads on", Within::default(), look, nothing).await
    }

    /// Starts the agent and waits until it is online, in a new session, and has heard the vehicle.
    async fn start(&mut self) -> Result<(), Miss> {
        let last = self.last_session.take();
        self.stage.start_agent()?;
        self.agent_is_up = true;
        let look = |world: &mut World| {
            let presence = world.presence();
            let is_new = presence.session.is_some() && presence.session != last;
            found_if(is_new && presence.link == Some(LinkState::Ready))
        };
        let expected = "presence of an agent that hears the vehicle".to_owned();
        self.wait(expected, self.bench.ready_limit, look, presence).await?;
        self.last_session.clone_from(&self.world.presence().session);
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), Miss> {
        self.agent_is_up = false;
        self.stage.terminate_agent()?;
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            match self.stage.agent_ended() {
                Some(status) if status.success() => break,
                Some(status) => return Err(miss("an agent that stops", status)),
                None if Instant::now() > deadline => {
                    return Err(miss("an agent that stops", "it runs on after SIGTERM"));
                }
                None => sleep(AGENT_CHECK).await,
            }
        }
        self.stage.forget_agent();
        Ok(())
    }

    /// The agent gathers its log's lines for some milliseconds: only one that ends has written them all.
    async fn hear_last_words(&mut self) {
        // One that cannot be told to end has none.
        if !self.stage.is_agent_running() || self.stage.terminate_agent().is_err() {
            return;
        }
        let deadline = Instant::now() + LAST_WORDS_LIMIT;
        while self.stage.is_agent_running() && Instant::now() < deadline {
            sleep(AGENT_CHECK).await;
        }
    }

    /// What the agent sent before has arrived when two more of its HEARTBEATs have.
    async fn no_stray_frame(&mut self) -> Result<(), Miss> {
        let until = self.world.heartbeats() + FENCE_HEARTBEATS;
        let look = |world: &mut World| found_if(world.heartbeats() >= until);
        self.until("HEARTBEATs of the agent", Within::default(), look, nothing).await?;
        self.judge(self.world.stray_frames(), "only the frames that steps have told")
    }

    /// After the last step: nothing has come that nobody expected.
    async fn finish(&mut self) -> Result<(), Miss> {
        if self.agent_is_up
            && self.stage.is_connected()
            && self.world.presence().link == Some(LinkState::Ready)
        {
            self.no_stray_frame().await?;
        }
        self.stage.end().await?;
        while let Ok(incoming) = self.events.try_recv() {
            self.take(incoming)?;
        }
        self.judge(self.world.stray_frames(), "only the frames that steps have told")?;
        self.judge(self.world.leftovers(), "only the messages that steps have told")
    }

    fn judge(&self, stray: Option<String>, expected: &str) -> Result<(), Miss> {
        stray.map_or(Ok(()), |came| Err(miss(expected, came)))
    }

    fn order(&self, order: impl FnOnce(&mut Px4, std::time::Instant) + Send + 'static) {
        if let Some(vehicle) = self.stage.vehicle() {
            vehicle.order(order);
        }
    }

    async fn until(
        &mut self,
        expected: impl fmt::Display,
        within: Within,
        look: impl FnMut(&mut World) -> Look,
        came: impl Fn(&World) -> String,
    ) -> Result<(), Miss> {
        self.wait(expected.to_string(), within.duration(), look, came).await
    }

    /// Takes what comes until `look` finds what it looks for. `came`: what there was, when that was
    /// not found in time.
    async fn wait(
        &mut self,
        expected: String,
        limit: Duration,
        mut look: impl FnMut(&mut World) -> Look,
        came: impl Fn(&World) -> String,
    ) -> Result<(), Miss> {
        let deadline = Instant::now() + limit;
        let mut look_after_agent = interval(AGENT_CHECK);
        look_after_agent.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match look(&mut self.world) {
                Look::Found => return Ok(()),
                Look::Wrong(came) => return Err(Miss { expected, came, timed_out: false }),
                Look::NotYet => {}
            }
            tokio::select! {
                // The vehicle and the publisher hold the other end as long as the stage is there.
                Some(incoming) = self.events.recv() => self.take(incoming)?,
                _ = look_after_agent.tick() => self.check_agent(&expected)?,
                () = sleep_until(deadline) => {
                    let came = format!("{} within {} s", came(&self.world), limit.as_secs());
                    return Err(Miss { expected, came, timed_out: true });
                }
            }
        }
    }

    fn check_agent(&mut self, expected: &str) -> Result<(), Miss> {
        match self.stage.agent_ended().filter(|_| self.agent_is_up) {
            Some(status) => Err(miss(expected, format!("the agent ended by itself: {status}"))),
            None => Ok(()),
        }
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), Miss> {
        match incoming {
            Incoming::Vehicle(event) => self.world.on_event(event),
            Incoming::Mqtt(publish) => {
                let topic = String::from_utf8_lossy(&publish.topic);
                self.world.on_message(&self.stage.topics, &topic, &publish.payload);
            }
            Incoming::BrokerLost(error) => {
                return Err(miss("a broker", format!("the connection to it broke: {error}")));
            }
        }
        let fault = self.world.faulty().map(str::to_owned);
        self.judge(fault, "nothing that contradicts itself")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Start => f.write_str("before the first step"),
            Place::Step(number, kind) => write!(f, "step {number} ({kind})"),
            Place::End => f.write_str("after the last step"),
        }
    }
}

fn miss(expected: &str, came: impl fmt::Display) -> Miss {
    Miss { expected: expected.to_owned(), came: came.to_string(), timed_out: false }
}

fn found_if(found: bool) -> Look {
    if found { Look::Found } else { Look::NotYet }
}

fn nothing(_: &World) -> String {
    "nothing".to_owned()
}

fn presence(world: &World) -> String {
    match world.presence().link {
        Some(link) => format!("only the link {link:?}"),
        None => "no agent online".to_owned(),
    }
}

impl From<StageError> for Miss {
    fn from(error: StageError) -> Self {
        miss("a stage to play on", error)
    }
}
