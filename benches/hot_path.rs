//! The pieces that every command, or every frame of the vehicle, goes through.
//!
//! `cargo bench --bench hot_path` measures their time. `tests/run counts` has callgrind count their
//! instructions, which a busy machine does not change, and compares them with `benches/hot_path.txt`;
//! `tests/run counts --write` writes that file anew. That is `count` of a build with the profile of the
//! same name.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use divan::{Bencher, black_box};
use downlinkd::catalog;
use downlinkd::config::Config;
use downlinkd::edge::journal::{CommitContext, Journal, Retention};
use downlinkd::guard::Guard;
use downlinkd::guard::authentication::signer::{Occasion, Signer};
use downlinkd::guard::authentication::{Authenticated, Clock, Freshness};
use downlinkd::guard::extra_link::LinkId;
use downlinkd::guard::nonces::{Nonce, NonceKey};
use downlinkd::lifecycle::effect::{DeliveryId, Effect, Input};
use downlinkd::lifecycle::engine::{Engine, Settings};
use downlinkd::lifecycle::outbox::MAX_UPDATES;
use downlinkd::lifecycle::record::Record;
use downlinkd::lifecycle::request::{CommandRequest, Origin, ReplyTo, command_id};
use downlinkd::lifecycle::time::{Now, Timestamp};
use downlinkd::wire::mavlink::{
    Address, Body, CommandAck, CommandFrame, Framer, Heartbeat, SigningTime, command, decode,
};
use downlinkd::wire::request_body::RequestBody;
use downlinkd::wire::signature::MQTT;
use downlinkd::wire::{inbound, outbound, signature};
use mavlink::dialects::development::{ATTITUDE_DATA, COMMAND_ACK_DATA, MavCmd, MavMessage};
use mavlink::{MAVLinkV2MessageRaw, MavHeader, MessageData};
use serde_json::{Map, Value};
use tempfile::TempDir;
use uuid::Uuid;

const DEVICE: &str = "px4-real-1";
const ISSUER: &str = "cloud";
const TOPIC: &str = "downlink/v1/px4/px4-real-1/commands/cloud";
const COMMAND_TYPE: &str = "do_digicam_control";
const BODY: &str = r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"do_digicam_control","payload":{"session_control":0,"zoom_absolute":0,"zoom_relative":0,"focus":0,"shoot_command":1,"command_identity":0,"shot_id":0},"idempotency_key":"photo-1","timeout_seconds":30}"#;
const US: Address = Address { system: 1, component: 191 };
const AUTOPILOT: Address = Address { system: 1, component: 1 };
/// Seconds since 1970.
const TIME: u64 = 1_781_481_600;

type Step = Box<dyn FnMut()>;

/// Its name, and how one is made.
type Piece = (&'static str, fn() -> Step);

const PIECES: [Piece; 9] = [
    ("verify_signature", verify_signature),
    ("parse_and_validate", parse_and_validate),
    ("encode", encode),
    ("frame", frame),
    ("engine_whole_lifecycle", engine_whole_lifecycle),
    ("update_as_json", update_as_json),
    ("decode_ack", decode_ack),
    ("skip_stream_frame", skip_stream_frame),
    ("journal_two_commits", journal_two_commits),
];

/// Measured but not counted: the store's threads spin while they wait, on a busy machine 25 times as long.
const NOT_COUNTED: [&str; 1] = ["journal_two_commits"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count"] => count::compare(),
        ["count", "--write"] => count::write(),
        ["repeat", name, times] => {
            let mut step = piece(name)();
            for _ in 0..times.parse().expect("a number") {
                step();
            }
            ExitCode::SUCCESS
        }
        _ => {
            divan::main();
            ExitCode::SUCCESS
        }
    }
}

fn piece(name: &str) -> fn() -> Step {
    PIECES.iter().find(|it| it.0 == name).expect("one of the pieces").1
}

#[divan::bench(args = PIECES.map(|it| it.0))]
fn time(bencher: Bencher, name: &str) {
    let mut step = piece(name)();
    bencher.bench_local(&mut step);
}

/// A signed envelope: taken apart, hashed, compared.
fn verify_signature() -> Step {
    let (_folder, guard, signer) = guarded();
    let occasion =
        Occasion { method: MQTT, path: TOPIC, timestamp: TIME, nonce: "n", challenge: None };
    let envelope = signer.sign(BODY.as_bytes(), occasion).envelope(BODY);
    let clock = Clock { wall: Timestamp::from_secs(TIME), trusted: true, challenge: "4f2c" };
    Box::new(move || {
        let unwrapped = signature::unwrap(black_box(envelope.as_bytes()), &[]).unwrap();
        let credentials = unwrapped.credentials.as_ref();
        let verdict = guard.authenticate(ISSUER, MQTT, TOPIC, &unwrapped.body, credentials, &clock);
        black_box(verdict.unwrap());
    })
}

/// A body that was hashed for its signature.
fn parse_and_validate() -> Step {
    let body = RequestBody::new(BODY.as_bytes());
    body.sha256();
    Box::new(move || {
        black_box(inbound::read_request(black_box(&body), ISSUER, DEVICE, None).unwrap());
    })
}

/// From the parsed payload to the numbers.
fn encode() -> Step {
    let body: Map<String, Value> = serde_json::from_str(BODY).unwrap();
    let payload = body["payload"].as_object().unwrap().clone();
    Box::new(move || {
        let command = catalog::find(black_box(COMMAND_TYPE)).unwrap();
        black_box(command.encode(black_box(&payload), None).unwrap());
    })
}

fn frame() -> Step {
    let content = request(1, Timestamp::from_secs(TIME)).content;
    let frame = CommandFrame {
        target: AUTOPILOT,
        command: content.command,
        confirmation: 0,
        body: Body::Long(content.long()),
    };
    Box::new(move || {
        black_box(command(7, US, black_box(&frame)));
    })
}

/// Request, frame sent, COMMAND_ACK, and every update acknowledged by the broker.
fn engine_whole_lifecycle() -> Step {
    let mut world = World::new();
    Box::new(move || world.command(|_| {}))
}

fn update_as_json() -> Step {
    let record = records().pop().unwrap();
    Box::new(move || {
        black_box(outbound::update(DEVICE, black_box(&record)));
    })
}

fn decode_ack() -> Step {
    let ack = COMMAND_ACK_DATA {
        command: MavCmd::MAV_CMD_DO_DIGICAM_CONTROL,
        target_system: US.system,
        target_component: US.component,
        ..COMMAND_ACK_DATA::DEFAULT
    };
    read_one(bytes(&ack), true)
}

/// One of the many that say nothing to the agent.
fn skip_stream_frame() -> Step {
    let attitude = ATTITUDE_DATA { yaw: 1.5, yawspeed: 0.5, ..ATTITUDE_DATA::DEFAULT };
    read_one(bytes(&attitude), false)
}

fn read_one(bytes: Vec<u8>, says_something: bool) -> Step {
    let mut framer = Framer::new();
    Box::new(move || {
        framer.push(black_box(&bytes));
        let frame = framer.next().unwrap();
        assert_eq!(black_box(decode(&frame)).is_some(), says_something);
        assert!(framer.next().is_none());
    })
}

/// What one command's way to its outcome costs, with the disk's part of the work.
fn journal_two_commits() -> Step {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let retention = Retention { age: Duration::from_secs(7 * 86_400), max_commands: 100_000 };
    let (journal, _) = Journal::open(&folder.path().join("journal"), retention).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut world = World::new();
    Box::new(move || {
        // The folder goes when the journal has.
        let _ = &folder;
        let mut batches = Vec::new();
        world.command(|effect| {
            if let Effect::Persist(batch) = effect {
                batches.push(batch.clone());
            }
        });
        for batch in batches {
            let context = CommitContext {
                last_number: world.engine.last_number(),
                clock_floor: world.now.wall,
                trusted_now: Some(world.now.wall),
                set_aside: None,
                signing_bound: SigningTime::default(),
            };
            runtime.block_on(journal.commit(batch, context)).unwrap();
        }
    })
}

/// An engine whose vehicle and broker answer at once.
struct World {
    engine: Engine,
    now: Now,
    commands: u64,
}

impl World {
    fn new() -> Self {
        let (_folder, guard, _) = guarded();
        let settings = Settings {
            source: US,
            target: AUTOPILOT.into(),
            extra_links: Vec::new(),
            default_timeout_seconds: 30,
            max_outstanding: 3,
            max_queue: 256,
            late_ack_window: Duration::from_secs(300),
            max_progress: Duration::from_secs(600),
            session: 1,
            max_updates: MAX_UPDATES,
            forwards: false,
        };
        let now = Now {
            boot: Duration::from_secs(1000),
            boot_id: Uuid::from_u128(1),
            wall: Timestamp::from_secs(TIME),
            wall_trusted: true,
        };
        let mut world = Self { engine: Engine::new(settings, guard, 0), now, commands: 0 };
        world.handle(Input::BrokerConnected, &mut |_| {});
        world.handle(Input::LinkOpened(LinkId::MAIN), &mut |_| {});
        world
    }

    /// One a second, so that nonces come and go.
    fn command(&mut self, mut on_effect: impl FnMut(&Effect)) {
        self.commands += 1;
        self.now.boot += Duration::from_secs(1);
        self.now.wall = self.now.wall.saturating_add(Duration::from_secs(1));
        let heartbeat = Heartbeat {
            source: AUTOPILOT,
            autopilot: 12,
            vehicle_type: 2,
            base_mode: 1,
            custom_mode: 0,
            system_status: 3,
        };
        self.handle(Input::Heartbeat(LinkId::MAIN, heartbeat, Duration::ZERO), &mut on_effect);
        let request = request(self.commands, self.now.wall);
        let delivery = DeliveryId(self.commands);
        let origin = Origin::Mqtt { reply_to: ReplyTo::default(), delivery };
        let request = Input::Request { request: Box::new(request), stored: None, origin };
        self.handle(request, &mut on_effect);
    }

    /// What an effect leads to is handled when those before it have been carried out.
    fn handle(&mut self, input: Input, on_effect: &mut dyn FnMut(&Effect)) {
        self.engine.handle(&self.now, input);
        let mut later = Vec::new();
        loop {
            while let Some(effect) = self.engine.poll_effect() {
                on_effect(&effect);
                match effect {
                    Effect::Publish { number, .. } => {
                        later.push(Input::Published { number, accepted: true });
                    }
                    Effect::Send { ticket, frame, .. } => {
                        later.push(Input::Sent { ticket });
                        later.push(Input::CommandAck(LinkId::MAIN, accepted(frame.command)));
                    }
                    _ => {}
                }
            }
            if later.is_empty() {
                break;
            }
            for input in later.drain(..) {
                self.engine.handle(&self.now, input);
            }
        }
    }
}

fn accepted(command: u16) -> CommandAck {
    CommandAck {
        source: AUTOPILOT,
        command,
        result: 0,
        progress: 0,
        result_param2: 0,
        target_system: US.system,
        target_component: US.component,
    }
}

/// What one command's updates are made of; the last one is terminal.
fn records() -> Vec<Record> {
    let mut records = Vec::new();
    World::new().command(|effect| {
        if let Effect::Publish { record, .. } = effect {
            records.push((**record).clone());
        }
    });
    assert!(records.last().is_some_and(|record| record.status.as_str() == "SUCCEEDED"));
    records
}

fn request(number: u64, wall: Timestamp) -> CommandRequest {
    let key = format!("photo-{number}");
    let body = RequestBody::new(BODY.as_bytes());
    let mut request = inbound::read_request(&body, ISSUER, DEVICE, None).unwrap();
    let nonce = Nonce {
        key: NonceKey::new(ISSUER, &key),
        timestamp: wall,
        expires: wall.saturating_add(Duration::from_secs(120)),
        durable: true,
    };
    request.authenticated = Some(Authenticated { nonce, freshness: Freshness::Fresh });
    request.command_id = command_id(DEVICE, ISSUER, &key);
    // A body that was seen before would be a repetition.
    request.request_sha256 = format!("{number:064x}");
    request.idempotency_key = key;
    request
}

/// A guard that lets everything of ours through, as a configuration makes it, and who signs for it.
fn guarded() -> (TempDir, Guard, Signer) {
    let folder = tempfile::tempdir().unwrap();
    let secret = format!("hex:{}\n", "5a".repeat(32));
    let (key, path) = (folder.path().join("key"), folder.path().join("downlinkd.toml"));
    fs::write(&key, &secret).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[device]\nid = \"{DEVICE}\"\n[mqtt]\nurl = \"mqtt://127.0.0.1\"\n\
         [link]\nendpoint = \"serial:/dev/null:921600\"\n[guard]\nmode = \"guarded\"\n\
         [[guard.issuer]]\nid = \"{ISSUER}\"\ncommands = [\"*\"]\n\
         [[guard.issuer.key]]\nkid = \"1\"\nhmac_key_file = \"{}\"\n\
         [[guard.command]]\ntype = \"{COMMAND_TYPE}\"\n",
        key.display()
    );
    fs::write(&path, text).unwrap();
    let guard = Config::load(Path::new(&path)).unwrap().guard;
    let signer = Signer::from_text(ISSUER, Some("1"), &secret).unwrap();
    (folder, guard, signer)
}

fn bytes(message: &impl MessageData<Message = MavMessage>) -> Vec<u8> {
    let mut raw = MAVLinkV2MessageRaw::new();
    let header = MavHeader { system_id: 1, component_id: 1, sequence: 7 };
    raw.serialize_message_data(header, message);
    raw.raw_bytes().to_vec()
}

/// Instructions, counted by callgrind.
mod count {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/hot_path.txt");
    /// Percent. Hash tables with random keys and the allocator's state leave some room.
    const TOLERANCE: f64 = 3.0;
    /// The difference is free of what happens once, but for what random keys change in that: 1 % of 500.
    const TIMES: [u32; 2] = [100, 2100];

    /// Compares; more and less are both told, since less is to be kept.
    pub fn compare() -> ExitCode {
        let Some(surroundings) = surroundings() else {
            return skipped("valgrind is not installed");
        };
        let file = fs::read_to_string(FILE).expect("the file with the counts");
        let mut lines = file.lines().filter(|line| !line.starts_with('#'));
        let counted_with = lines.next().unwrap_or_default();
        if counted_with != surroundings {
            return skipped(&format!("counted with {counted_with}, and here is {surroundings}"));
        }
        let mut failed = false;
        for line in lines {
            let (name, expected) = line.rsplit_once(' ').expect("a name and a number");
            let expected: f64 = expected.parse().expect("a number");
            let counted = instructions(name.trim_end());
            let percent = 100.0 * (counted / expected - 1.0);
            let fits = percent.abs() <= TOLERANCE;
            let word = if fits { "" } else { "  <- differs" };
            println!("{line:40}{counted:10.0}{percent:+8.1} %{word}");
            failed |= !fits;
        }
        if failed {
            println!(
                "some counts differ by over {TOLERANCE} %; if that is meant: tests/run counts --write"
            );
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    pub fn write() -> ExitCode {
        let surroundings = surroundings().expect("valgrind is installed");
        let mut text = format!(
            "# Instructions of each piece of the hot path; see benches/hot_path.rs. They hold for this\n\
             # compiler and C library only:\n{surroundings}\n"
        );
        for (name, _) in PIECES.iter().filter(|piece| !NOT_COUNTED.contains(&piece.0)) {
            text += &format!("{name:24} {:.0}\n", instructions(name));
        }
        fs::write(FILE, &text).expect("the file can be written");
        print!("{text}");
        ExitCode::SUCCESS
    }

    fn skipped(why: &str) -> ExitCode {
        println!("skipped: {why}");
        ExitCode::SUCCESS
    }

    /// What the counts depend on; `None` without valgrind.
    fn surroundings() -> Option<String> {
        output("valgrind", &["--version"])?;
        let compiler = output("rustc", &["--version"])?;
        let library = output("getconf", &["GNU_LIBC_VERSION"])?;
        Some(format!("{compiler}, {library}, {}", std::env::consts::ARCH))
    }

    fn output(program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Of one step.
    fn instructions(name: &str) -> f64 {
        let [few, many] = TIMES.map(|times| {
            let program = std::env::current_exe().expect("this program");
            let output = Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(program)
                .args(["repeat", name, &times.to_string()])
                .output()
                .expect("valgrind runs");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{told}");
            let collected = told.lines().find_map(|line| line.split_once("Collected : "));
            collected.expect("callgrind tells a sum").1.parse::<f64>().expect("a number")
        });
        (many - few) / f64::from(TIMES[1] - TIMES[0])
    }
}
