//! TLS against mosquitto: who is believed, who is not, what the log says, and that a fault that is
//! mended is over without a restart.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use downlinkd::edge::mqtt::{self, ClientCertificate, Options, Reason, Tls};
use rcgen::date_time_ymd;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::agent::{Agent, options};
use crate::broker::Broker;
use crate::certificates::{Authority, Certified};
use crate::soon;

const SERVER: &str =
    "cafile {dir}/clients.pem\ncertfile {dir}/server.pem\nkeyfile {dir}/server.key";
const ANYBODY: &str = "allow_anonymous true";
const MUTUAL: &str = "require_certificate true\nallow_anonymous true";

const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];
const PASSWORD: &str = "our-secret";

/// A mosquitto with TLS, the authorities of both sides, and the agent's folder.
struct World {
    servers: Authority,
    clients: Authority,
    broker: Broker,
    files: TempDir,
}

impl World {
    async fn start(configuration: &str) -> Self {
        Self::start_with("TLSv1.3", configuration, server).await
    }

    async fn start_as(issue: impl FnOnce(&Authority) -> Certified) -> Self {
        Self::start_with("TLSv1.3", ANYBODY, issue).await
    }

    /// `version`: the newest TLS that the broker speaks. mosquitto itself knows only the oldest.
    async fn start_with(
        version: &str,
        configuration: &str,
        issue: impl FnOnce(&Authority) -> Certified,
    ) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("ca.pem"), &servers.pem).unwrap();
        let openssl = format!(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n\
             MaxProtocol = {version}\n"
        );
        let prepare = |dir: &Path| {
            fs::write(dir.join("openssl.cnf"), openssl).unwrap();
            fs::write(dir.join("clients.pem"), &clients.pem).unwrap();
            fs::write(dir.join("revoked.pem"), clients.revoke(&[])).unwrap();
            issue(&servers).write(dir, "server");
            set_password(dir, PASSWORD);
        };
        let broker = Broker::start_with(&format!("{SERVER}\n{configuration}"), prepare).await;
        Self { servers, clients, broker, files }
    }

    fn options(&self) -> Options {
        self.options_at("localhost")
    }

    fn options_at(&self, host: &str) -> Options {
        Options {
            brokers: vec![mqtt::Broker { host: host.into(), port: self.broker.port, tls: true }],
            tls: Tls { ca_file: self.files.path().join("ca.pem"), client: None },
            ..options(self.broker.port)
        }
    }

    /// As a client that shows `certified`.
    fn options_as(&self, certified: &Certified) -> Options {
        certified.write(self.files.path(), "client");
        let client = Some(ClientCertificate {
            cert_file: self.files.path().join("client.pem"),
            key_file: self.files.path().join("client.key"),
        });
        let options = self.options();
        Options { tls: Tls { client, ..options.tls }, ..options }
    }

    /// Gives the broker another certificate.
    fn replace_server(&self, certified: &Certified) {
        certified.write(self.broker.dir(), "server");
        self.broker.reload();
    }
}

fn server(servers: &Authority) -> Certified {
    servers.issue(&["localhost", "127.0.0.1"])
}

fn set_password(dir: &Path, password: &str) {
    let file = dir.join("users");
    let mut command = std::process::Command::new("mosquitto_passwd");
    let status = command.arg("-c").arg("-b").arg(file).args(["px4-real-1", password]).status();
    assert!(status.unwrap().success());
}

/// Waits for two attempts, so it is tried again, that fail with all of `parts` in the reason: what
/// was before may have ended otherwise, and a broker's last word is lost when it resets the connection.
async fn refused(agent: &mut Agent, parts: &[&str]) -> Reason {
    let mut times = 0;
    let refused = async {
        loop {
            let reason = agent.ended().await;
            println!("{reason}");
            let text = reason.to_string();
            times += usize::from(parts.iter().all(|part| text.contains(part)));
            if times == 2 {
                return reason;
            }
        }
    };
    soon(refused).await
}

#[tokio::test]
async fn a_broker_is_believed_by_name_and_by_address() {
    for version in VERSIONS {
        let world = World::start_with(version, ANYBODY, server).await;
        for host in ["localhost", "127.0.0.1"] {
            let (mut agent, _) = Agent::connect(world.options_at(host)).await;
            agent.settle().await;
        }
    }
}

#[tokio::test]
async fn a_broker_of_an_unknown_authority_is_not_believed() {
    let world = World::start(ANYBODY).await;
    let ca_file = world.files.path().join("ca.pem");
    fs::write(&ca_file, Authority::new("somebody").pem).unwrap();
    let mut agent = Agent::start(world.options());
    let told = format!(
        "failed to connect to mqtts://localhost:{}: the broker's certificate is signed by nobody in \
         ca_file {}",
        world.broker.port,
        ca_file.display()
    );
    let reason = refused(&mut agent, &[&told]).await;
    assert!(matches!(reason, Reason::Tls { .. }), "{reason:?}");
    // The right one among others: a bundle.
    fs::write(&ca_file, Authority::new("other").pem + &world.servers.pem).unwrap();
    agent.connected().await;
}

#[tokio::test]
async fn a_broker_whose_certificate_is_out_of_date_is_not_believed() {
    let world = World::start_as(|servers| {
        servers.issue_with(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 2))
    });
    let world = world.await;
    let mut agent = Agent::start(world.options());
    let told = "certificate has expired at 2020-01-02T00:00:00Z; the clock here says 2";
    refused(&mut agent, &[told]).await;

    world.replace_server(&world.servers.issue_with(&["localhost"], |params| {
        params.not_before = date_time_ymd(3000, 1, 2);
    }));
    let told = "certificate is valid only from 3000-01-02T00:00:00Z; the clock here says 2";
    refused(&mut agent, &[told, "may be wrong"]).await;

    world.replace_server(&world.servers.issue(&["localhost"]));
    agent.connected().await;
}

#[tokio::test]
async fn a_broker_of_another_name_is_not_believed() {
    let world = World::start_as(|servers| servers.issue(&["broker.example", "10.0.0.1"])).await;
    let mut agent = Agent::start(world.options());
    let told = ["certificate is for", "broker.example", "10.0.0.1", "not for localhost"];
    refused(&mut agent, &told).await;
    world.replace_server(&world.servers.issue(&["localhost"]));
    agent.connected().await;
}

#[tokio::test]
async fn a_client_is_told_that_its_certificate_is_missing() {
    for (version, alert) in VERSIONS.into_iter().zip(["HandshakeFailure", "CertificateRequired"]) {
        let world = World::start_with(version, MUTUAL, server).await;
        let mut agent = Agent::start(world.options());
        let reason =
            refused(&mut agent, &["failed to connect to", "wants a client certificate", alert])
                .await;
        assert!(matches!(reason, Reason::Tls { .. }), "{reason:?}");
    }
}

#[tokio::test]
async fn a_client_is_told_that_its_authority_is_unknown() {
    for version in VERSIONS {
        let world = World::start_with(version, MUTUAL, server).await;
        let foreign = Authority::new("somebody").issue(&["px4-real-1"]);
        let mut agent = Agent::start(world.options_as(&foreign));
        let told = ["our certificate", "client.pem is refused by the broker", "unknown there"];
        refused(&mut agent, &told).await;
        // Rotated: the next attempt shows the new one.
        world.clients.issue(&["px4-real-1"]).write(world.files.path(), "client");
        agent.connected().await;
        agent.settle().await;
    }
}

#[tokio::test]
async fn a_client_is_told_that_its_certificate_is_revoked() {
    let mut world = World::start(&format!("{MUTUAL}\ncrlfile {{dir}}/revoked.pem")).await;
    let mine = world.clients.issue(&["px4-real-1"]);
    let (mut agent, _) = Agent::connect(world.options_as(&mine)).await;
    world.broker.stop().await;
    let revoked = world.clients.revoke(&[&mine]);
    fs::write(world.broker.dir().join("revoked.pem"), revoked).unwrap();
    world.broker.start_again().await;
    refused(&mut agent, &["client.pem is refused by the broker: it is revoked"]).await;
    world.clients.issue(&["px4-real-1"]).write(world.files.path(), "client");
    agent.connected().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_is_named_and_tried_again() {
    let mut world = World::start(MUTUAL).await;
    let mine = world.clients.issue(&["px4-real-1"]);
    let (mut agent, _) = Agent::connect(world.options_as(&mine)).await;
    let (key, away) = (world.files.path().join("client.key"), world.files.path().join("away"));
    fs::rename(&key, &away).unwrap();
    // A connection that is there needs no file.
    agent.settle().await;
    world.broker.stop().await;
    world.broker.start_again().await;
    let told = format!("failed to read {}: No such file", key.display());
    let reason = refused(&mut agent, &["failed to connect to mqtts://localhost", &told]).await;
    assert!(matches!(reason, Reason::Tls { .. }), "{reason:?}");
    fs::rename(&away, &key).unwrap();
    agent.connected().await;
}

#[tokio::test]
async fn tls_to_a_plain_port_and_the_other_way_round_are_told() {
    let world = World::start(ANYBODY).await;
    let mut agent = Agent::start(options(world.broker.port));
    refused(&mut agent, &["failed to connect to mqtt://127.0.0.1", "(mqtts://)"]).await;

    let plain = Broker::start().await;
    let mut options = world.options();
    options.brokers[0].port = plain.port;
    let mut agent = Agent::start(options.clone());
    let reason =
        refused(&mut agent, &["failed to connect to mqtts://localhost", "(mqtt://)"]).await;
    assert!(matches!(reason, Reason::Unreachable { .. }), "{reason:?}");

    // mosquitto hangs up; others answer.
    let answering = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    options.brokers[0].port = answering.local_addr().unwrap().port();
    let mut agent = Agent::start(options);
    let (mut stream, _) = soon(answering.accept()).await.unwrap();
    stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let reason = agent.ended().await;
    assert!(matches!(reason, Reason::Unreachable { .. }), "{reason:?}");
    assert!(reason.to_string().contains("what answers does not speak TLS"), "{reason}");
}

#[tokio::test]
async fn a_user_whose_password_is_changed_is_told_and_comes_back_when_it_is_right_again() {
    let world = World::start("password_file {dir}/users").await;
    let mut options = world.options();
    options.username = Some("px4-real-1".into());
    options.password = Some(PASSWORD.into());
    let (mut agent, _) = Agent::connect(options).await;
    set_password(world.broker.dir(), "another");
    // mosquitto ends the connections of users who would not get in now.
    world.broker.reload();
    let told = ["refused by the broker: the user name or the password is wrong", "NotAuthorized"];
    let reason = refused(&mut agent, &told).await;
    assert!(matches!(reason, Reason::Refused { .. }), "{reason:?}");
    assert!(!reason.to_string().contains(PASSWORD), "{reason}");
    set_password(world.broker.dir(), PASSWORD);
    world.broker.reload();
    agent.connected().await;
}
