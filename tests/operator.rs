//! The built daemon and its own command line, as an operator at the vehicle uses them.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use downlinkd::wire::mavlink::{Address, heartbeat};
use downlinkd::wire::status::AgentStatus;
use tempfile::TempDir;

/// For whatever takes milliseconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The built daemon without a broker, and the test as its vehicle.
struct Agent {
    process: Child,
    dir: TempDir,
    endpoint: String,
}

impl Agent {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = free.local_addr().unwrap().to_string();
        drop(free);
        let config = format!(
            r#"
[device]
id = "px4-real-1"
[mqtt]
url = "mqtt://127.0.0.1:1"
[link]
endpoint = "udpin:{endpoint}"
[guard]
mode = "guarded"
[[guard.issuer]]
id = "cloud"
commands = ["*"]
[[guard.issuer.key]]
kid = "1"
hmac_key_file = "{0}/key"
[guard.grant]
two_person = ["critical"]
[journal]
dir = "{0}/journal"
[api]
socket = "{0}/api.sock"
"#,
            dir.path().display()
        );
        fs::write(dir.path().join("downlinkd.toml"), config).unwrap();
        fs::write(dir.path().join("key"), format!("hex:{}", "42".repeat(32))).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = command()
            .arg("run")
            .arg("--config")
            .arg(dir.path().join("downlinkd.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let agent = Self { process, dir, endpoint };
        agent.wait_for(|status| status.device_id == "px4-real-1");
        agent
    }

    /// `downlinkd` with these arguments, and with this agent's configuration.
    fn call(&self, arguments: &[&str]) -> Output {
        let config = self.dir.path().join("downlinkd.toml");
        command().args(arguments).arg("--config").arg(config).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: &str) {
        let output = self.call(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(&format!("({code})")) && output.stdout.is_empty(), "{told}");
    }

    /// Asks until the status is as wanted; before the socket is there it is not.
    #[track_caller]
    fn wait_for(&self, wanted: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        let begin = Instant::now();
        loop {
            let output = self.call(&["status", "--output", "json"]);
            let status = serde_json::from_slice(&output.stdout).ok();
            if let Some(status) = status.filter(&wanted) {
                return status;
            }
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(begin.elapsed() < DEADLINE, "{output:?}\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already where the test made it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Heartbeats of an autopilot, until dropped.
struct Vehicle {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Vehicle {
    fn start(agent: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(agent).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for sequence in (0..=u8::MAX).cycle() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let frame = heartbeat(sequence, Address { system: 1, component: 1 });
                // The agent may have ended.
                let _ = socket.send(frame.as_slice());
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Vehicle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downlinkd"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("DOWNLINKD_") || name == "NOTIFY_SOCKET" || name == "WATCHDOG_USEC" {
            command.env_remove(name.as_ref());
        }
    }
    command.stdin(Stdio::null());
    command
}

#[test]
fn an_operator_at_the_vehicle() {
    let mut agent = Agent::start();
    let flight = ["grant", "--risk", "flight", "--for", "10min", "--count", "5"];
    let screen = agent.succeeds(&["status"]);
    assert!(screen.contains("broker       not connected (mqtt://127.0.0.1:1)\n"), "{screen}");
    assert!(screen.ends_with("grants       none\nrefused      none\n"), "{screen}");
    agent.refuses(&flight, "transport.not_ready");

    let vehicle = Vehicle::start(&agent.endpoint);
    agent.wait_for(|status| status.link.state == "ready");
    agent.refuses(&["grant", "--risk", "flight", "--for", "16min"], "policy.out_of_bounds");
    agent.refuses(&["grant", "--command", "fly", "--for", "1min"], "request.unknown_command");

    let opened = agent.succeeds(&[&flight[..], &["--issuer", "cloud"]].concat());
    assert!(opened.contains(" open: risk flight; 5 commands of cloud, 10m left"), "{opened}");
    let both = ["grant", "--domain", "gimbal", "--command", "nav_takeoff", "--for", "30s"];
    agent.succeeds(&[&both[..], &["--reason", "a look around"]].concat());
    let pending = agent.succeeds(&["grant", "--risk", "critical", "--for", "60s"]);
    assert!(pending.contains(" pending: risk critical; 1 commands"), "{pending}");
    let approve = pending.lines().nth(1).unwrap().rsplit(' ').next().unwrap();
    // One and the same person.
    agent.refuses(&["grant", "--approve", approve], "auth.not_permitted");

    let shown = agent.wait_for(|status| status.grants.len() == 3).grants;
    assert_eq!(shown[1].reason.as_deref(), Some("a look around"));
    assert_eq!(shown[2].grant_id, approve);
    let first = &shown[0].grant_id;
    assert_eq!(agent.succeeds(&["revoke", first]), format!("revoked {first}\n"));
    agent.refuses(&["revoke", first], "grant.missing");

    let request = agent.dir.path().join("request.json");
    let takeoff = r#"{"vendor":"px4","device_id":"px4-real-1","command_type":"nav_takeoff",
        "payload":{},"idempotency_key":"a"}"#;
    fs::write(&request, takeoff).unwrap();
    let explain = ["guard", "explain", request.to_str().unwrap()];
    agent.refuses(&explain, "request.invalid");
    let output = agent.call(&[&explain[..], &["--issuer", "cloud"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    for line in [
        "nav_takeoff of cloud\n",
        "  authentication  refuses: ",
        "  mode            passes\n",
        "  policy          refuses: no policy rule allows nav_takeoff (policy.command_denied)\n",
        "  grant           not asked\n",
        "  transport       passes\n",
        "it would be refused: auth.failed\n",
    ] {
        assert!(told.contains(line), "{line:?} is not in:\n{told}");
    }

    // The link is lost: nothing stays open.
    drop(vehicle);
    agent.wait_for(|status| status.link.state == "open" && status.grants.is_empty());
    assert_eq!(agent.succeeds(&["revoke", "--all"]), "there was no grant\n");
    let log = agent.log();
    for told in
        ["is open, by operator ", "is pending", "was revoked", "ended when the link was lost"]
    {
        assert!(log.contains(told), "{told:?} is not in the log:\n{log}");
    }

    let vehicle = Vehicle::start(&agent.endpoint);
    agent.wait_for(|status| status.link.state == "ready" && status.grants.is_empty());
    agent.succeeds(&flight);
    let socket = agent.dir.path().join("api.sock");
    terminate(&agent.process);
    assert!(agent.process.wait().unwrap().success());
    drop(vehicle);
    assert!(!socket.exists());
    let output = agent.call(&["status"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("nobody listens on") && told.contains("api.sock"), "{told}");
}

#[test]
fn whoever_reads_the_answer_may_go_away() {
    let agent = Agent::start();
    for (arguments, code) in [
        (&["query", "--output", "json"][..], 0),
        (&["query"], 0),
        (&["revoke", "7f3a9c21-1", "--output", "json"], 1),
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = command();
        command.args(arguments).arg("--config").arg(agent.dir.path().join("downlinkd.toml"));
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

fn terminate(process: &Child) {
    let killed = Command::new("kill").arg(process.id().to_string()).status().unwrap();
    assert!(killed.success());
}

#[test]
fn where_the_agent_is_and_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let status = |arguments: &[&Path]| {
        let output = command().arg("status").args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = status(&["--socket".as_ref(), &socket]);
    assert!(code == 1 && told.contains("nobody listens on"), "{told}");
    // As a crash leaves it.
    drop(UnixListener::bind(&socket).unwrap());
    let (code, told) = status(&["--socket".as_ref(), &socket]);
    assert!(code == 1 && told.contains("nobody listens on"), "{told}");

    let config = dir.path().join("downlinkd.toml");
    let (code, told) = status(&["--config".as_ref(), &config]);
    assert!(code == 78 && told.contains("downlinkd.toml"), "{told}");
    fs::write(&config, "[api]\nsoket = \"x\"\n").unwrap();
    let (code, told) = status(&["--config".as_ref(), &config]);
    assert!(code == 78 && told.contains("soket"), "{told}");
    // Enough to find the agent, though nothing to run it with.
    fs::write(&config, format!("[api]\nsocket = \"{}\"\n", socket.display())).unwrap();
    let (code, told) = status(&["--config".as_ref(), &config]);
    assert!(code == 1 && told.contains(&socket.display().to_string()), "{told}");
}

#[test]
fn wrong_usage() {
    for (arguments, told) in [
        (&["grant"][..], "required arguments"),
        (&["grant", "--for", "1min"], "required arguments"),
        (&["grant", "--risk", "flight"], "--for"),
        (&["grant", "--risk", "flight", "--for", "1"], "'1' for '--for"),
        (&["grant", "--risk", "flight", "--for", "1500ms"], "'1500ms' for '--for"),
        (&["grant", "--risk", "flight", "--for", "0s"], "'0s' for '--for"),
        (&["grant", "--risk", "flight", "--for", "1min", "--count", "-1"], "'-1'"),
        (&["grant", "--approve", "7f3a9c21-1", "--risk", "flight"], "cannot be used with"),
        (&["grant", "--approve", "7f3a9c21-1", "--for", "1min"], "required arguments"),
        (&["grant", "--approve", "7f3a9c21-1", "--reason", "x"], "required arguments"),
        (&["grant", "--approve", "../status"], "not the id of a grant, such as 7f3a9c21-1"),
        (&["revoke"], "required arguments"),
        (&["revoke", "7f3a9c21"], "not the id of a grant, such as 7f3a9c21-1"),
        (&["revoke", "7f3a9c21-1", "--all"], "cannot be used with"),
        (&["status", "--output", "yaml"], "'yaml' for '--output"),
        (&["status", "now"], "'now'"),
    ] {
        let output = command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}
