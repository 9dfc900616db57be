//! The local API over a real Unix socket and real TCP, with the test as the daemon's loop.

use std::fs;
use std::future::Future;
use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use downlinkd::edge::api::{self, Call, Error, Handle, MAX_BODY_BYTES, Request, Response};
use downlinkd::guard::grants::{Grants, Limits, Opener, TwoPerson};
use downlinkd::lifecycle::effect::Reply;
use downlinkd::wire::grant::Grant;
use downlinkd::wire::inbound::{read_query, read_request};
use downlinkd::wire::request_body::RequestBody;
use downlinkd::wire::status::{
    AgentStatus, BrokerStatus, ClockStatus, CommandCounts, LinkCounters, LinkStatus,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// For whatever takes milliseconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// When nothing happens in the tests.
const NOW: Duration = Duration::from_secs(1000);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"))
}

/// Holds the paused clock where it is until it is dropped: tokio would move it on whenever a socket is
/// not ready at once, and TCP takes its time. After a minute it lets go, so that what hangs fails.
fn freeze() -> std::sync::mpsc::Sender<()> {
    let (thaw, thawed) = std::sync::mpsc::channel();
    // While such a task runs tokio leaves the clock alone.
    tokio::task::spawn_blocking(move || thawed.recv_timeout(DEADLINE));
    thaw
}

/// What can be done without waiting is done.
async fn take_turns() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// The API with a stand-in for the daemon's loop, whose grants are real.
struct Rig {
    socket: PathBuf,
    api: Handle,
    address: SocketAddr,
    by_tcp: Handle,
    _dir: TempDir,
}

impl Rig {
    fn start() -> Self {
        let (rig, requests) = Self::new();
        tokio::spawn(stand_in(requests));
        rig
    }

    /// Without anybody who takes the requests.
    fn new() -> (Self, mpsc::Receiver<Request>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let (sender, requests) = mpsc::channel(16);
        let api = api::spawn(&socket, agent(sender.clone())).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let (address, by_tcp) = api::spawn_tcp(any, agent(sender)).unwrap();
        (Self { socket, api, address, by_tcp, _dir: dir }, requests)
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// The status and the JSON of the answer.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        json_of(exchange(self.connect().await, method, path, body).await)
    }

    async fn visit(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The same by TCP.
    async fn ask_by_tcp(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        json_of(exchange(self.visit().await, method, path, body).await)
    }
}

/// The status, the head and the body of the answer.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String, String) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer may come before the whole body is read.
    let _ = stream.write_all(body.as_bytes()).await;
    // Every connection ends with its answer.
    let mut answer = Vec::new();
    soon("answer", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn json_of((status, head, body): (u16, String, String)) -> (u16, Value) {
    assert!(head.contains("content-type: application/json"), "{head}");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn agent(requests: mpsc::Sender<Request>) -> api::Agent {
    api::Agent { device_id: "px4-real-1".to_owned(), requests }
}

/// The daemon's loop, as far as the API can tell.
async fn stand_in(mut requests: mpsc::Receiver<Request>) {
    let two_person = TwoPerson { commands: ["nav_land"].into(), ..TwoPerson::default() };
    let mut grants = Grants::new(Limits { two_person, ..Limits::default() }, 0x7f3a_9c21);
    while let Some(Request { call, reply }) = requests.recv().await {
        let shown = |grants: &Grants| grants.views(NOW).iter().map(Grant::of).collect();
        let response = match call {
            Call::Grant { uid, action } => {
                Response::Grant(grants.act(NOW, Opener::Operator { uid }, action))
            }
            Call::Explain(rehearsal) => {
                let body = RequestBody::new(rehearsal.request.as_bytes());
                let error = read_request(&body, "cloud", "px4-real-1", None).unwrap_err();
                Response::Explanation(Err(error))
            }
            Call::Submit(submission) => {
                let body = RequestBody::new(&submission.body[..]);
                let read = read_request(&body, "cloud", "px4-real-1", None);
                Response::Reply(Reply::Error(read.unwrap_err()))
            }
            Call::Find(_) => {
                let read = read_query(b"{}", "cloud", "px4-real-1");
                Response::Reply(Reply::Error(read.unwrap_err()))
            }
            Call::List(selection) => {
                Response::Commands { records: Vec::new(), complete: selection.limit == 20 }
            }
            Call::Metrics => Response::Metrics("up 1\n".to_owned()),
            Call::Grants => Response::Grants(shown(&grants)),
            Call::Status => Response::Status(Box::new(status(shown(&grants)))),
        };
        reply.send(response).expect("the caller waits");
    }
}

fn status(grants: Vec<Grant>) -> AgentStatus {
    AgentStatus {
        vendor: "px4".to_owned(),
        device_id: "px4-real-1".to_owned(),
        version: "0.1.0".to_owned(),
        session: Default::default(),
        guard_mode: "guarded".to_owned(),
        link: LinkStatus {
            state: "ready".to_owned(),
            endpoint: "udpin:0.0.0.0:14540".to_owned(),
            signed: false,
            counters: LinkCounters { frames: 7, ..LinkCounters::default() },
            autopilot: Some("1/1".to_owned()),
            other_autopilots: vec!["2/1".to_owned()],
        },
        links: Vec::new(),
        forwards: Vec::new(),
        broker: BrokerStatus { connected: true, address: "127.0.0.1:1883".to_owned() },
        clock: ClockStatus { trusted: true, time: Default::default() },
        challenge: "7c1e".to_owned(),
        commands: CommandCounts { queued: 1, outstanding: 2, unpublished: 3 },
        grants,
        refusals: Default::default(),
        catalog_hash: "abc".to_owned(),
    }
}

const CAMERA: &str = r#"{"scope":{"risk":"payload"},"duration_seconds":60,"count":2}"#;
const LANDING: &str = r#"{"scope":{"command":"nav_land"},"duration_seconds":60,"count":1}"#;

#[tokio::test]
async fn a_grant_over_http() {
    let rig = Rig::start();
    let uid = our_uid();
    let (status, opened) = rig.ask("POST", "/api/v1/grants", CAMERA).await;
    assert_eq!(status, 201);
    assert_eq!(
        opened,
        json!({"grant": {
            "grant_id": "7f3a9c21-1",
            "state": "open",
            "scope": [{"risk": "payload"}],
            "issuer": null,
            "reason": null,
            "opened_by": {"operator": {"uid": uid}},
            "approved_by": null,
            "seconds_left": 60,
            "count_left": 2,
        }})
    );
    let expected = json!({"grants": [opened["grant"]]});
    assert_eq!(rig.ask("GET", "/api/v1/grants", "").await, (200, expected));
    let (_, told) = rig.ask("GET", "/api/v1/status", "").await;
    assert_eq!(told["grants"], json!([opened["grant"]]));

    let (status, pending) = rig.ask("POST", "/api/v1/grants", LANDING).await;
    assert_eq!((status, &pending["grant"]["state"]), (201, &json!("pending")));
    let path = "/api/v1/grants/7f3a9c21-2/approve";
    let (status, refused) = rig.ask("POST", path, "").await;
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("auth.not_permitted")));

    let revoke = "/api/v1/grants/7f3a9c21-1";
    let revoked = json!({"revoked": ["7f3a9c21-1"]});
    assert_eq!(rig.ask("DELETE", revoke, "").await, (200, revoked));
    let (status, refused) = rig.ask("DELETE", revoke, "").await;
    assert_eq!((status, &refused["error"]["code"]), (404, &json!("grant.missing")));
    let rest = json!({"revoked": ["7f3a9c21-2"]});
    assert_eq!(rig.ask("DELETE", "/api/v1/grants", "").await, (200, rest));
    let none = json!({"revoked": []});
    assert_eq!(rig.ask("DELETE", "/api/v1/grants", "").await, (200, none));
}

#[tokio::test]
async fn the_status_is_what_the_daemon_says() {
    let rig = Rig::start();
    let (code, told) = rig.ask("GET", "/api/v1/status?pretty=1", "").await;
    assert_eq!(code, 200);
    assert_eq!(serde_json::from_value::<AgentStatus>(told).unwrap(), status(Vec::new()));
}

#[tokio::test]
async fn wrong_requests_are_answered_and_change_nothing() {
    let rig = Rig::start();
    let too_long = format!("{{\"reason\":\"{}\"}}", "x".repeat(MAX_BODY_BYTES));
    let too_much = r#"{"scope":{"risk":"flight"},"duration_seconds":3600,"count":1}"#;
    for (method, path, body, status, code) in [
        ("GET", "/", "", 404, "request.invalid"),
        ("GET", "/api/v1", "", 404, "request.invalid"),
        ("GET", "/api/v1/status/", "", 404, "request.invalid"),
        ("GET", "/api/v2/status", "", 404, "request.invalid"),
        ("POST", "/api/v1/commands", "{}", 405, "request.invalid"),
        ("GET", "/api/v1/command", "", 404, "request.invalid"),
        ("GET", "/api/v1/commands/1", "", 400, "request.invalid"),
        ("GET", "/api/v1/commands/1/2", "", 404, "request.invalid"),
        ("GET", "/api/v1/commands?limit=501", "", 400, "request.invalid"),
        ("GET", "/api/v1/open/downlink/commands", "", 405, "request.invalid"),
        ("GET", "/api/v1/open/downlink/commands/", "", 400, "request.invalid"),
        ("GET", "/api/v1/open/downlink/commands/1", "", 400, "request.invalid"),
        ("GET", "/api/v1/open/downlink", "", 404, "request.invalid"),
        ("PUT", "/api/v1/open/downlink/commands", "{}", 405, "request.invalid"),
        ("DELETE", "/metrics", "", 405, "request.invalid"),
        ("GET", "/metrics/", "", 404, "request.invalid"),
        ("POST", "/api/v1/open/downlink/commands", &too_long, 413, "envelope.too_large"),
        ("POST", "/api/v1/status", "", 405, "request.invalid"),
        ("PUT", "/api/v1/grants", CAMERA, 405, "request.invalid"),
        ("GET", "/api/v1/grants/7f3a9c21-1", "", 405, "request.invalid"),
        ("DELETE", "/api/v1/grants/7f3a9c21-1/approve", "", 405, "request.invalid"),
        ("DELETE", "/api/v1/grants/1", "", 400, "request.invalid"),
        ("POST", "/api/v1/grants/..%2F1/approve", "", 400, "request.invalid"),
        ("POST", "/api/v1/grants", "", 400, "envelope.malformed"),
        ("POST", "/api/v1/grants", "[]", 400, "envelope.malformed"),
        ("POST", "/api/v1/grants", "{}", 400, "request.invalid"),
        (
            "POST",
            "/api/v1/grants",
            r#"{"action":"revoke","all":true}"#,
            400,
            "request.out_of_range",
        ),
        ("POST", "/api/v1/grants", &too_long, 413, "envelope.too_large"),
        ("POST", "/api/v1/grants", too_much, 403, "policy.out_of_bounds"),
        ("POST", "/api/v1/grants/7f3a9c21-1/approve", "", 404, "grant.missing"),
    ] {
        let (got, body) = rig.ask(method, path, body).await;
        assert_eq!((got, &body["error"]["code"]), (status, &json!(code)), "{method} {path} {body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(rig.ask("GET", "/api/v1/grants", "").await, (200, json!({"grants": []})));
}

#[tokio::test]
async fn visitors_get_what_is_open_and_operators_all() {
    let rig = Rig::start();
    let command = "/api/v1/open/downlink/commands/8cdb5bf3-8902-c5f7-f9aa-dc7fa0af1de0";
    for (method, path, body, visitors, operators) in [
        ("GET", "/api/v1/status", "", 200, 200),
        ("POST", "/api/v1/open/downlink/commands", "{}", 400, 400),
        ("GET", command, "", 400, 400),
        ("POST", "/api/v1/grants", CAMERA, 403, 201),
        ("GET", "/api/v1/grants", "", 403, 200),
        ("DELETE", "/api/v1/grants", "", 403, 200),
        ("POST", "/api/v1/grants/7f3a9c21-1/approve", "", 403, 404),
        ("POST", "/api/v1/guard/explain", "{\"request\":\"{}\"}", 403, 400),
        ("GET", "/api/v1/commands", "", 403, 200),
        ("GET", "/api/v1/nothing", "", 404, 404),
    ] {
        let (status, answer) = rig.ask_by_tcp(method, path, body).await;
        assert_eq!(status, visitors, "{method} {path}: {answer}");
        if status == 403 {
            assert_eq!(answer["error"]["code"], "auth.not_permitted");
            assert!(answer["error"]["message"].as_str().unwrap().contains("Unix socket"));
        }
        let (status, answer) = rig.ask(method, path, body).await;
        assert_eq!(status, operators, "{method} {path}: {answer}");
    }
    let (status, listed) = rig.ask("GET", "/api/v1/commands", "").await;
    assert_eq!((status, listed), (200, json!({"commands": [], "complete": true})));
    let (status, head, body) = exchange(rig.visit().await, "GET", "/metrics", "").await;
    assert_eq!((status, body.as_str()), (200, "up 1\n"));
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn slow_visitors_cost_the_others_nothing() {
    let rig = Rig::start();
    let _frozen = freeze();
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = rig.visit().await;
        stream.write_all(b"POST /api/v1/open/downlink/commands HT").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(rig.ask_by_tcp("GET", "/api/v1/status", "").await.0, 200);
    assert_eq!(rig.ask("GET", "/api/v1/status", "").await.0, 200);
    // Nobody waits longer for the rest of it.
    tokio::time::advance(Duration::from_secs(6)).await;
    for mut stream in slow {
        let _ = soon("end of a slow connection", stream.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn a_hundred_visitors_at_once() {
    let rig = Rig::start();
    let address = rig.address;
    let visitors: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                exchange(stream, "POST", "/api/v1/open/downlink/commands", "{}").await.0
            })
        })
        .collect();
    for visitor in visitors {
        assert_eq!(visitor.await.unwrap(), 400);
    }
}

#[tokio::test(start_paused = true)]
async fn visitors_read_so_much_and_no_more_and_commands_do_not_count() {
    let rig = Rig::start();
    let _frozen = freeze();
    let mut answered = 0;
    loop {
        let (status, answer) = rig.ask_by_tcp("GET", "/api/v1/status", "").await;
        if status == 429 {
            assert_eq!(answer["error"]["code"], "policy.rate_limited");
            break;
        }
        assert_eq!(status, 200);
        answered += 1;
        assert!(answered <= 200, "there is no limit");
    }
    assert_eq!(answered, 200);
    assert_eq!(rig.ask_by_tcp("POST", "/api/v1/open/downlink/commands", "{}").await.0, 400);
    assert_eq!(rig.ask("GET", "/api/v1/status", "").await.0, 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(rig.ask_by_tcp("GET", "/api/v1/status", "").await.0, 200);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let rig = Rig::start();
    let taken = api::spawn_tcp(rig.address, agent(mpsc::channel(1).0));
    let Err(error) = taken else { panic!("{taken:?}") };
    assert!(error.to_string().contains(&rig.address.to_string()), "{error}");
    let nowhere = "192.0.2.1:8080".parse().unwrap();
    assert!(api::spawn_tcp(nowhere, agent(mpsc::channel(1).0)).is_err());
}

#[tokio::test]
async fn closing_waits_for_those_who_are_still_answered() {
    let (rig, mut requests) = Rig::new();
    let address = rig.address;
    let visitor = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        json_of(exchange(stream, "GET", "/api/v1/status", "").await)
    });
    let request = soon("request", requests.recv()).await.unwrap();
    let mut closing = tokio::spawn(rig.by_tcp.close());
    assert!(timeout(Duration::from_millis(100), &mut closing).await.is_err());
    request.reply.send(Response::Status(Box::new(status(Vec::new())))).unwrap();
    assert_eq!(visitor.await.unwrap().0, 200);
    soon("end of the listener", closing).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_not_http_is_turned_away() {
    let rig = Rig::start();
    for noise in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], b"hello\r\n\r\n"] {
        let mut stream = rig.connect().await;
        stream.write_all(noise).await.unwrap();
        let mut answer = Vec::new();
        soon("end of the connection", stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    }
    assert_eq!(rig.ask("GET", "/api/v1/grants", "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn connections_that_do_not_go_on_are_closed() {
    let rig = Rig::start();
    let _frozen = freeze();
    let half_a_body = "POST /api/v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
    for (start, seconds) in [("", 5), ("GET /api/v1/sta", 5), (half_a_body, 10)] {
        let mut stream = rig.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        // By its answer the one before has been taken up, too.
        assert_eq!(rig.ask("GET", "/api/v1/grants", "").await.0, 200);
        tokio::time::advance(Duration::from_secs(seconds - 1)).await;
        assert_eq!(rig.ask("GET", "/api/v1/grants", "").await.0, 200);
        let read = stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "{start:?}");
        tokio::time::advance(Duration::from_secs(2)).await;
        let _ = soon("end of the connection", stream.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_too_many_waits_for_a_place() {
    let rig = Rig::start();
    let _frozen = freeze();
    let mut idle = Vec::new();
    for _ in 0..15 {
        idle.push(rig.connect().await);
    }
    assert_eq!(rig.ask("GET", "/api/v1/grants", "").await.0, 200);
    idle.push(rig.connect().await);
    take_turns().await;
    let one_too_many = rig.ask("GET", "/api/v1/grants", "");
    tokio::pin!(one_too_many);
    tokio::select! {
        biased;
        answer = &mut one_too_many => panic!("there was a place: {answer:?}"),
        () = take_turns() => {}
    }
    // Until the idle ones are closed.
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(one_too_many.await.0, 200);
}

#[tokio::test]
async fn a_daemon_that_stops_says_so() {
    let (rig, mut requests) = Rig::new();
    // One that is dropped unanswered, one that nobody takes.
    let unanswered = async {
        drop(soon("request", requests.recv()).await);
        requests.close();
    };
    let (first, ()) = tokio::join!(rig.ask("GET", "/api/v1/status", ""), unanswered);
    let second = rig.ask("GET", "/api/v1/status", "").await;
    for (status, body) in [first, second] {
        assert_eq!((status, &body["error"]["code"]), (503, &json!("busy.queue_full")));
    }
}

#[tokio::test]
async fn the_socket_is_for_the_operators_group_and_goes_with_the_daemon() {
    let rig = Rig::start();
    let metadata = fs::symlink_metadata(&rig.socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    drop(rig.api);
    assert!(!rig.socket.exists());
}

#[tokio::test]
async fn a_socket_of_a_dead_process_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("made/api.sock");
    let spawn = || api::spawn(&socket, agent(mpsc::channel(1).0));
    let live = spawn().unwrap();
    assert!(matches!(spawn(), Err(Error::InUse(path)) if path == socket));
    assert!(socket.exists());
    drop(live);

    // As a crash leaves it.
    drop(UnixListener::bind(&socket).unwrap());
    let replaced = spawn().unwrap();
    drop(UnixStream::connect(&socket).await.unwrap());

    // What somebody else has put there since is not ours to remove.
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    drop(replaced);
    assert_eq!(fs::read(&socket).unwrap(), b"precious");
    assert!(matches!(spawn(), Err(Error::NotASocket(path)) if path == socket));
    assert_eq!(fs::read(&socket).unwrap(), b"precious");

    let nowhere = api::spawn(&dir.path().join("a/b/api.sock"), agent(mpsc::channel(1).0));
    let Err(Error::Listen { source, .. }) = nowhere else { panic!("{nowhere:?}") };
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
}

/// Our own, as the kernel tells it of every file that we make.
fn our_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    tempfile::tempfile().unwrap().metadata().unwrap().uid()
}
