//! A vehicle whose clock does what it likes, and an attacker who recorded everything and plays it
//! back at every opportunity. Layer 1 as a whole: nothing may be let in twice.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::guard::authentication::{Clock, Freshness, Key, Keys};
use crate::wire::request_body::RequestBody;
use crate::wire::signature::{Credentials, MQTT, signed_text};

const SECRET: [u8; 32] = [7; 32];
const TOPIC: &str = "downlink/v1/px4/px4-real-1/grants/cloud";
const START: i64 = 1_781_481_600;

#[derive(Clone, Debug)]
enum Event {
    /// Real time passes, in seconds.
    Pass(u32),
    /// The system clock is set to so many seconds beside real time.
    SetClock(i64),
    /// Somebody says that the system clock is synchronized, or no longer.
    Synchronized(bool),
    /// The issuer signs by a clock that is so many seconds off, and covers the challenge or not.
    Sign { off: i64, challenge: bool },
    /// The attacker plays one recording back, however old it is.
    Replay(prop::sample::Index),
    /// The agent looks for what it may forget, and commits.
    Expire,
    /// The process ends and comes back; the journal and its floor of the clock survive.
    Restart,
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop_oneof![0..10_u32, 0..200_u32, 0..100_000_u32].prop_map(Event::Pass),
        1 => prop_oneof![-3_i64..=3, -300_i64..=300, -200_000_i64..=200_000, Just(-START)]
            .prop_map(Event::SetClock),
        2 => any::<bool>().prop_map(Event::Synchronized),
        6 => (prop_oneof![Just(0), -80_i64..=80, -200_000_i64..=200_000], any::<bool>())
            .prop_map(|(off, challenge)| Event::Sign { off, challenge }),
        8 => any::<prop::sample::Index>().prop_map(Event::Replay),
        3 => Just(Event::Expire),
        1 => Just(Event::Restart),
    ]
}

struct World {
    keys: Keys,
    real: i64,
    /// The system clock's error.
    off: i64,
    synchronized: bool,
    /// What the process has read last.
    latest: i64,
    process: u32,
    nonces: Nonces,
    /// In entries of their own.
    entries: BTreeMap<NonceKey, Timestamp>,
    /// In the records of commands, which stay.
    records: BTreeMap<NonceKey, Timestamp>,
    floor: i64,
    recorded: Vec<Credentials>,
    accepted: Vec<u32>,
}

impl World {
    fn new() -> Self {
        let key = Key::hmac_from_text("k", &format!("hex:{}", HEXLOWER.encode(&SECRET)), None);
        let keys = Keys::new(BTreeMap::from([("cloud".to_owned(), vec![key.unwrap()])])).unwrap();
        Self {
            keys,
            real: START,
            off: 0,
            synchronized: false,
            latest: START - 1_000_000,
            process: 0,
            nonces: Nonces::new(usize::MAX),
            entries: BTreeMap::new(),
            records: BTreeMap::new(),
            floor: START - 1_000_000,
            recorded: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// The rules of the agent's clock: it never goes back, and is not trusted while that holds it up.
    fn now(&mut self) -> Now {
        let system = self.real + self.off;
        self.latest = self.latest.max(system);
        let trusted = self.synchronized && self.latest - system <= 1;
        now(self.latest.try_into().unwrap(), trusted)
    }

    fn challenge(&self) -> String {
        format!("challenge-{}", self.process)
    }

    fn sign(&mut self, off: i64, challenge: bool) {
        let mut credentials = Credentials {
            api_id: "cloud".to_owned(),
            timestamp: (self.real + off).try_into().unwrap(),
            nonce: format!("nonce-{}", self.recorded.len()),
            signature: String::new(),
            kid: None,
            challenge: challenge.then(|| self.challenge()),
        };
        let Credentials { timestamp, nonce, .. } = &credentials;
        let challenge = credentials.challenge.as_deref();
        let text = signed_text(MQTT, TOPIC, *timestamp, nonce, &RequestBody::new(b"{}"), challenge);
        let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
        mac.update(text.as_bytes());
        credentials.signature = HEXLOWER.encode(&mac.finalize().into_bytes());
        self.recorded.push(credentials);
        self.accepted.push(0);
        self.receive(self.recorded.len() - 1);
    }

    fn receive(&mut self, number: usize) {
        let now = self.now();
        let challenge = self.challenge();
        let clock = Clock { wall: now.wall, trusted: now.wall_trusted, challenge: &challenge };
        let credentials = Some(&self.recorded[number]);
        let body = RequestBody::new(b"{}");
        let genuine = self.keys.verify("cloud", MQTT, TOPIC, &body, credentials, &clock).unwrap();
        if genuine.freshness != Freshness::Fresh || self.nonces.remember(&genuine.nonce).is_err() {
            return;
        }
        if genuine.nonce.durable {
            let makes_a_command = number.is_multiple_of(2);
            let kept = if makes_a_command { &mut self.records } else { &mut self.entries };
            kept.insert(genuine.nonce.key, genuine.nonce.expires);
        }
        self.commit(&now);
        self.accepted[number] += 1;
    }

    fn expire(&mut self) {
        let now = self.now();
        for key in self.nonces.expire(&now) {
            self.entries.remove(&key);
        }
        self.commit(&now);
    }

    fn commit(&mut self, now: &Now) {
        if now.wall_trusted {
            self.floor = now.wall.as_secs().try_into().unwrap();
        }
    }

    fn restart(&mut self) {
        self.process += 1;
        self.latest = self.floor;
        self.nonces = Nonces::new(usize::MAX);
        let floor = Timestamp::from_secs(self.floor.try_into().unwrap());
        let of_commands = self.records.iter().filter(|(_, expires)| **expires >= floor);
        let stored = self.entries.iter().chain(of_commands);
        self.nonces.restore(stored.map(|(key, expires)| (*key, *expires)));
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pass(seconds) => self.real += i64::from(*seconds),
            Event::SetClock(off) => self.off = (*off).max(-self.real),
            Event::Synchronized(synchronized) => self.synchronized = *synchronized,
            Event::Sign { off, challenge } => self.sign(*off, *challenge),
            Event::Replay(_) if self.recorded.is_empty() => {}
            Event::Replay(index) => self.receive(index.index(self.recorded.len())),
            Event::Expire => self.expire(),
            Event::Restart => self.restart(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_is_let_in_twice(events in proptest::collection::vec(events(), 1..80)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            prop_assert!(world.accepted.iter().all(|times| *times <= 1), "{event:?}");
        }
    }

    /// Whatever happened before: with a right and trusted clock a new request passes.
    #[test]
    fn a_right_clock_lets_the_issuer_in(events in proptest::collection::vec(events(), 0..80)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        // Past everything that a wrong clock may have made the floor.
        world.real += 400_000;
        world.off = 0;
        world.synchronized = true;
        for challenge in [false, true] {
            world.expire();
            world.sign(0, challenge);
            prop_assert_eq!(world.accepted.last(), Some(&1));
        }
    }
}

/// The clock is trusted for a while, and what it forgets then comes back under the challenge.
#[test]
fn a_challenge_does_not_outlive_what_was_forgotten() {
    let mut world = World::new();
    for event in [
        Event::Sign { off: -100_000, challenge: true },
        Event::Synchronized(true),
        Event::Pass(1_000),
        Event::Expire,
        Event::Synchronized(false),
    ] {
        world.happen(&event);
    }
    world.receive(0);
    assert_eq!(world.accepted, [1]);
    assert!(!world.nonces.seen(&NonceKey::new("cloud", "nonce-0")), "it was not forgotten");
}
