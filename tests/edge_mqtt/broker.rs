//! A mosquitto of the test's own: a free loopback port, a temporary folder, gone with the value.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use crate::within;

pub struct Broker {
    pub port: u16,
    dir: TempDir,
    process: Child,
}

impl Broker {
    /// Persistence into the temporary folder, plus `configuration` lines, in which `{dir}` stands for
    /// that folder. `prepare` may put files there; `openssl.cnf` is OpenSSL's configuration.
    pub async fn start_with(configuration: &str, prepare: impl FnOnce(&Path)) -> Self {
        let [port] = free_ports();
        let configuration = format!(
            "listener {port} 127.0.0.1\npersistence true\npersistence_location {{dir}}/\n\
             {configuration}"
        );
        Self::start_as(&configuration, port, prepare).await
    }

    /// With nothing but `configuration`, whose listener is at `port`.
    pub async fn start_as(configuration: &str, port: u16, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let configuration = configuration.replace("{dir}", &dir.path().display().to_string());
        let file = dir.path().join("mosquitto.conf");
        std::fs::write(file, format!("{configuration}\nuser root\n")).unwrap();
        let process = launch(dir.path());
        let mut broker = Self { port, dir, process };
        broker.wait_until_up().await;
        broker
    }

    pub async fn start() -> Self {
        Self::start_with("allow_anonymous true", |_| ()).await
    }

    /// SIGTERM: mosquitto writes its sessions to the folder.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        within(Duration::from_secs(20), async || self.process.try_wait().unwrap()).await;
    }

    /// After [`Broker::stop`]: again on the same port and folder.
    pub async fn start_again(&mut self) {
        self.process = launch(self.dir.path());
        self.wait_until_up().await;
    }

    /// After [`Broker::stop`]: every session and message is lost.
    pub fn lose_sessions(&self) {
        std::fs::remove_file(self.dir.path().join("mosquitto.db")).unwrap();
    }

    /// Its configuration, certificates and data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// SIGHUP: mosquitto reads passwords, access lists and certificates again.
    pub fn reload(&self) {
        self.signal("HUP");
    }

    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.process.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    async fn wait_until_up(&mut self) {
        within(Duration::from_secs(20), async || {
            assert_eq!(self.process.try_wait().unwrap(), None, "mosquitto ended");
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.ok()
        })
        .await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails only when it has ended already. SIGKILL also ends a frozen one.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port on which nobody listens for as long as the value lives: bound, so that no one else gets it.
pub struct ClosedPort {
    pub port: u16,
    _socket: TcpSocket,
}

impl ClosedPort {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { port: socket.local_addr().unwrap().port(), _socket: socket }
    }
}

/// Each another one.
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn launch(dir: &Path) -> Child {
    // Debian installs it where only root's PATH leads.
    let installed = Path::new("/usr/sbin/mosquitto");
    Command::new(if installed.exists() { installed } else { Path::new("mosquitto") })
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        .env("OPENSSL_CONF", dir.join("openssl.cnf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("failed to start mosquitto (apt install mosquitto)")
}
