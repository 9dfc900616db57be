//! One vehicle with its agent.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::craft::{Craft, Make, Seen};
use super::kind::Kind;
use super::site::RigError;
use crate::bench::agent::{Agent, AgentError};
use crate::bench::pty::Pty;

const LOG: &str = "agent.log";
const CONFIG: &str = "downlinkd.toml";
const PORT: &str = "px4";
const JOURNAL: &str = "journal";
const NOTIFY: &str = "notify.sock";
const LOG_TAIL_LINES: usize = 20;
/// A debug build with a large journal.
const START_LIMIT: Duration = Duration::from_secs(60);
const AGENT_CHECK: Duration = Duration::from_millis(100);

/// Fields in the order in which they end: the agent before what it talks to.
pub struct Station {
    agent: Option<Agent>,
    pub craft: Craft,
    line: Arc<Pty>,
    pub device_id: String,
    folder: PathBuf,
    program: Option<PathBuf>,
    /// As its presence tells: online, and its link is ready.
    pub ready: bool,
    /// Of its presence, to sign with.
    pub challenge: Option<String>,
}

/// What a station's agent is told.
pub struct StationConfig<'a> {
    pub broker: SocketAddr,
    /// The lines that keygen printed.
    pub issuer: &'a str,
    pub kinds: &'a [Kind],
    /// Commands that wait for their COMMAND_ACK at a time, 1 to 8.
    pub max_outstanding: usize,
    /// The agent, if it is not this program.
    pub agent: Option<&'a Path>,
}

impl Station {
    /// The vehicle, in an empty `folder`; the agent does not run yet.
    pub fn new(
        folder: &Path,
        device_id: String,
        make: Make,
        config: &StationConfig<'_>,
        on_event: impl FnMut(Instant, Seen) + Send + 'static,
    ) -> Result<Self, RigError> {
        let line = Arc::new(Pty::open()?);
        symlink(line.path(), folder.join(PORT))
            .and_then(|()| fs::create_dir(folder.join(JOURNAL)))
            .and_then(|()| fs::write(folder.join(CONFIG), text(folder, &device_id, config)))
            .map_err(RigError::Folder)?;
        let craft = Craft::start(make, line.clone(), on_event).map_err(RigError::Vehicle)?;
        let folder = folder.to_owned();
        let program = config.agent.map(Path::to_owned);
        let (agent, ready, challenge) = (None, false, None);
        Ok(Self { agent, craft, line, device_id, folder, program, ready, challenge })
    }

    /// Where the agent's journal is to be. It does not run yet.
    pub fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// Starts the agent and waits until it tells a service manager that it is ready: its journal is
    /// open, and what a restart ended is durable. How long that took.
    pub async fn start_agent(&mut self) -> Result<Duration, RigError> {
        self.line.release()?;
        let socket = self.folder.join(NOTIFY);
        // That of an earlier start.
        let _ = fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket).map_err(RigError::Folder)?;
        let begun = Instant::now();
        let (config, log) = (self.folder.join(CONFIG), self.folder.join(LOG));
        let program = self.program.as_deref();
        self.agent = Some(Agent::start_as_service(program, &config, &log, &socket)?);
        let mut message = [0; 512];
        loop {
            if let Ok(Ok(length)) = timeout(AGENT_CHECK, notified.recv(&mut message)).await
                && message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
            {
                return Ok(begun.elapsed());
            }
            if let Some(status) = self.agent_ended() {
                return Err(self.ended(status));
            }
            if begun.elapsed() > START_LIMIT {
                return Err(RigError::NotReady(self.device_id.clone(), START_LIMIT));
            }
        }
    }

    /// SIGKILL.
    pub fn kill_agent(&mut self) -> Result<(), AgentError> {
        self.ready = false;
        self.agent.take().map_or(Ok(()), Agent::kill)
    }

    /// The process id of the agent, while it runs.
    pub fn agent_id(&self) -> Option<u32> {
        self.agent.as_ref().map(Agent::id)
    }

    pub fn agent_ended(&mut self) -> Option<ExitStatus> {
        self.agent.as_mut()?.exited()
    }

    /// That the agent has ended by itself, with what it said last.
    pub fn ended(&self, status: ExitStatus) -> RigError {
        let log = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        RigError::AgentEnded { device_id: self.device_id.clone(), status, tail }
    }
}

fn text(folder: &Path, device_id: &str, config: &StationConfig<'_>) -> String {
    let StationConfig { broker, issuer, kinds, max_outstanding, .. } = config;
    let rules: String = kinds
        .iter()
        .map(|kind| {
            let command_type = kind.command.command_type;
            format!("[[guard.command]]\ntype = \"{command_type}\"\ngrant = false\n")
        })
        .collect();
    format!(
        r#"[device]
id = "{device_id}"
[mqtt]
url = "mqtt://{broker}"
[link]
endpoint = "serial:{port}:921600"
[guard]
mode = "guarded"
{issuer}{rules}[delivery]
max_outstanding = {max_outstanding}
[journal]
dir = "{journal}"
[api]
socket = "{folder}/api.sock"
"#,
        port = folder.join(PORT).display(),
        journal = folder.join(JOURNAL).display(),
        folder = folder.display(),
    )
}
