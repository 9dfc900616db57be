//! Many commands, and when each of them came how far.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::craft::Seen;
use super::site::{Incoming, Message, RigError, Site, What};

const AGENT_CHECK: Duration = Duration::from_millis(200);
/// Twice the requests' own timeout, so that the agent's TIMED_OUT is seen first.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Before a request is repeated that found no room.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// How fast commands are published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many are under way at a time.
    Window(usize),
    /// So many in a second, whatever becomes of the earlier ones.
    Rate(f64),
}

/// What is to be sent: the site's kinds in turn, to the stations in turn.
#[derive(Clone, Debug)]
pub struct Plan {
    pub commands: usize,
    pub stations: Vec<usize>,
    pub pace: Pace,
}

/// One command. `None`: it did not come so far.
#[derive(Clone, Debug)]
pub struct Sample {
    /// In the site's kinds.
    pub kind: usize,
    pub station: usize,
    /// When it was to be published; without a rate, when it first was. Time that it waits for room
    /// counts.
    pub due: Instant,
    /// Its create reply arrived.
    pub journaled: Option<Instant>,
    /// Its frame was at the vehicle.
    pub framed: Option<Instant>,
    /// The vehicle's COMMAND_ACK went out.
    pub answered: Option<Instant>,
    /// A terminal update arrived.
    pub ended: Option<(Instant, String)>,
    /// How often it was published again, because the agent had no room for it.
    pub repeated: usize,
    /// Of its frame.
    pub frame_bytes: usize,
}

struct Run<'a> {
    site: &'a mut Site,
    plan: &'a Plan,
    /// What every idempotency key of the run begins with.
    prefix: String,
    begun: Instant,
    /// One for each of the plan's stations.
    lanes: Vec<Lane>,
    published: usize,
    /// Frames tell a command by nothing but its number, and those of one number keep their order.
    unframed: HashMap<(usize, u16), VecDeque<usize>>,
    unanswered: HashMap<(usize, u16), VecDeque<usize>>,
    ended: usize,
}

/// The commands of one station.
#[derive(Default)]
struct Lane {
    samples: Vec<Sample>,
    /// Those that found no room, and when to try again.
    busy: VecDeque<(Instant, usize)>,
}

impl Site {
    /// Sends what `plan` says and waits for every outcome; `progress` hears how many have come.
    ///
    /// # Errors
    /// Also when a request is refused for anything but lack of room.
    pub async fn run(
        &mut self,
        plan: &Plan,
        progress: impl FnMut(usize),
    ) -> Result<Vec<Sample>, RigError> {
        self.runs += 1;
        let run = Run {
            prefix: format!("{}-{}-", std::process::id(), self.runs),
            site: self,
            plan,
            begun: Instant::now(),
            lanes: plan.stations.iter().map(|_| Lane::default()).collect(),
            published: 0,
            unframed: HashMap::new(),
            unanswered: HashMap::new(),
            ended: 0,
        };
        run.all(progress).await
    }

    /// One command of the first kind to this station, with nothing else under way.
    pub async fn one(&mut self, station: usize) -> Result<Sample, RigError> {
        let plan = Plan { commands: 1, stations: vec![station], pace: Pace::Window(1) };
        let mut samples = self.run(&plan, |_| {}).await?;
        Ok(samples.remove(0))
    }
}

impl Run<'_> {
    async fn all(mut self, mut progress: impl FnMut(usize)) -> Result<Vec<Sample>, RigError> {
        let mut look_after_agents = tokio::time::interval(AGENT_CHECK);
        let mut heard = Instant::now();
        while self.ended < self.plan.commands {
            while let Some(index) = self.due() {
                self.publish(index).await?;
            }
            let until = tokio::time::Instant::from_std(self.next_due());
            tokio::select! {
                // The site holds a sender itself.
                Some(incoming) = self.site.events.recv() => {
                    heard = Instant::now();
                    self.take(incoming)?;
                    progress(self.ended);
                }
                () = tokio::time::sleep_until(until) => {}
                _ = look_after_agents.tick() => {
                    self.site.check_agents()?;
                    let missing = self.published - self.ended;
                    if heard.elapsed() > STALLED_AFTER && missing > 0 {
                        return Err(RigError::Stalled(missing, STALLED_AFTER));
                    }
                }
            }
        }
        Ok(self.lanes.into_iter().flat_map(|lane| lane.samples).collect())
    }

    /// The next command to publish now.
    fn due(&mut self) -> Option<usize> {
        let now = Instant::now();
        for lane in &mut self.lanes {
            if lane.busy.front().is_some_and(|(at, _)| *at <= now) {
                return lane.busy.pop_front().map(|(_, index)| index);
            }
        }
        let next = self.next()?;
        let is_due = match self.plan.pace {
            Pace::Window(window) => self.published - self.ended < window,
            Pace::Rate(rate) => self.rate_due(rate, next) <= now,
        };
        is_due.then_some(next)
    }

    fn next_due(&self) -> Instant {
        let again = self.lanes.iter().filter_map(|lane| lane.busy.front().map(|(at, _)| *at));
        let next = match self.plan.pace {
            Pace::Rate(rate) => self.next().map(|next| self.rate_due(rate, next)),
            Pace::Window(_) => None,
        };
        again.chain(next).min().unwrap_or_else(|| Instant::now() + STALLED_AFTER)
    }

    /// The first command that has not been published, of the stations that have room: where one has
    /// found none, others would not either.
    fn next(&self) -> Option<usize> {
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.busy.is_empty());
        let next = lanes.map(|(number, lane)| lane.samples.len() * self.lanes.len() + number).min();
        next.filter(|next| *next < self.plan.commands)
    }

    fn rate_due(&self, rate: f64, index: usize) -> Instant {
        self.begun + Duration::from_secs_f64(index as f64 / rate)
    }

    async fn publish(&mut self, index: usize) -> Result<(), RigError> {
        let stations = &self.plan.stations;
        let station = stations[index % stations.len()];
        // Each station gets every kind, whatever their numbers are.
        let kind = (index / stations.len()) % self.site.kinds.len();
        let key = format!("{}{index}", self.prefix);
        let body = self.site.kinds[kind].body(&self.site.stations[station].device_id, &key);
        let due = match self.plan.pace {
            Pace::Window(_) => Instant::now(),
            Pace::Rate(rate) => self.rate_due(rate, index),
        };
        match self.sample(index) {
            Some(sample) => sample.repeated += 1,
            None => {
                self.published += 1;
                self.lanes[index % stations.len()].samples.push(Sample {
                    kind,
                    station,
                    due,
                    journaled: None,
                    framed: None,
                    answered: None,
                    ended: None,
                    repeated: 0,
                    frame_bytes: 0,
                });
            }
        }
        let slot = (station, self.site.kinds[kind].command.mavlink_command_id);
        self.unframed.entry(slot).or_default().push_back(index);
        self.unanswered.entry(slot).or_default().push_back(index);
        self.site.request(station, &body).await
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), RigError> {
        let at = incoming.at;
        if let What::Vehicle { station, seen } = incoming.what {
            self.seen(at, station, seen);
            return Ok(());
        }
        let Some((_, message)) = self.site.note(incoming)? else { return Ok(()) };
        // Others may be late updates of an earlier run.
        let key = message.idempotency_key.as_deref();
        let index = key.and_then(|key| key.strip_prefix(&self.prefix)?.parse::<usize>().ok());
        match index.filter(|index| self.sample(*index).is_some()) {
            Some(index) => self.told(at, index, message),
            None => match message.error {
                Some(refusal) => Err(refused(&refusal.code, &refusal.message)),
                None => Ok(()),
            },
        }
    }

    fn told(&mut self, at: Instant, index: usize, message: Message) -> Result<(), RigError> {
        let lane = index % self.lanes.len();
        let Some(sample) = self.sample(index) else { return Ok(()) };
        if let Some(refusal) = message.error {
            if !refusal.code.starts_with("busy.") {
                return Err(refused(&refusal.code, &refusal.message));
            }
            self.forget(index);
            self.lanes[lane].busy.push_back((Instant::now() + BUSY_PAUSE, index));
        } else if message.duplicate.is_some() {
            sample.journaled.get_or_insert(at);
        } else if message.terminal == Some(true) && sample.ended.is_none() {
            sample.ended = Some((at, message.status.unwrap_or_default()));
            self.ended += 1;
            // No frame of it will come any more; most have gone through already.
            self.forget(index);
        }
        Ok(())
    }

    fn seen(&mut self, at: Instant, station: usize, seen: Seen) {
        match seen {
            Seen::Frame { command, bytes } => {
                let waiting = self.unframed.get_mut(&(station, command));
                let index = waiting.and_then(VecDeque::pop_front);
                if let Some(sample) = index.and_then(|index| self.sample(index)) {
                    sample.framed = Some(at);
                    sample.frame_bytes = bytes;
                }
            }
            Seen::Answered { command } => {
                let waiting = self.unanswered.get_mut(&(station, command));
                let index = waiting.and_then(VecDeque::pop_front);
                if let Some(sample) = index.and_then(|index| self.sample(index)) {
                    sample.answered = Some(at);
                }
            }
        }
    }

    /// Of a command that has been published.
    fn sample(&mut self, index: usize) -> Option<&mut Sample> {
        let lanes = self.lanes.len();
        self.lanes[index % lanes].samples.get_mut(index / lanes)
    }

    fn forget(&mut self, index: usize) {
        let Some(&mut Sample { station, kind, .. }) = self.sample(index) else { return };
        let slot = (station, self.site.kinds[kind].command.mavlink_command_id);
        for waiting in [&mut self.unframed, &mut self.unanswered] {
            if let Some(waiting) = waiting.get_mut(&slot) {
                waiting.retain(|it| *it != index);
            }
        }
    }
}

fn refused(code: &str, message: &str) -> RigError {
    RigError::Refused(format!("{code}: {message}"))
}
