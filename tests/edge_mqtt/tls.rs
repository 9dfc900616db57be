//! TLS against mosquitto: who is believed, who is not, what the log says, and that a fault that is
//! mended is over without a restart.

use std::fs;
use std::path::Path;

use downlinkd::edge::mqtt::{self, ClientCertificate, Options, Tls};
use rcgen::date_time_ymd;
use tempfile::TempDir;

use crate::agent::{Agent, options};
use crate::broker::Broker;
use crate::certificates::{Authority, Certified};
use crate::soon;

const SERVER: &str =
    "cafile {dir}/clients.pem\ncertfile {dir}/server.pem\nkeyfile {dir}/server.key";
const MUTUAL: &str = "require_certificate true\nallow_anonymous true";

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
        Self::start_as(configuration, |servers| servers.issue(&["localhost", "127.0.0.1"])).await
    }

    async fn start_as(configuration: &str, issue: impl FnOnce(&Authority) -> Certified) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("ca.pem"), &servers.pem).unwrap();
        let prepare = |dir: &Path| {
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

fn set_password(dir: &Path, password: &str) {
    let file = dir.join("users");
    let mut command = std::process::Command::new("mosquitto_passwd");
    let status = command.arg("-c").arg("-b").arg(file).args(["px4-real-1", password]).status();
    assert!(status.unwrap().success());
}

/// The reason of a failed attempt, after one more: it is tried again.
async fn refused(agent: &mut Agent) -> String {
    agent.disconnected().await;
    agent.disconnected().await
}

fn has(reason: &str, parts: &[&str]) {
    for part in parts {
        assert!(reason.contains(part), "{part:?} is not in: {reason}");
    }
}

#[tokio::test]
async fn a_broker_is_believed_by_name_and_by_address_with_tls_1_2_and_1_3() {
    for version in ["tlsv1.2", "tlsv1.3"] {
        let configuration = format!("tls_version {version}\nallow_anonymous true");
        let world = World::start(&configuration).await;
        for host in ["localhost", "127.0.0.1"] {
            let (mut agent, _) = Agent::connect(world.options_at(host)).await;
            agent.settle().await;
        }
    }
}

#[tokio::test]
async fn a_broker_of_an_unknown_authority_is_not_believed() {
    let world = World::start("allow_anonymous true").await;
    let ca_file = world.files.path().join("ca.pem");
    fs::write(&ca_file, Authority::new("somebody").pem).unwrap();
    let mut agent = Agent::start(world.options());
    let reason = refused(&mut agent).await;
    let url = format!("failed to connect to mqtts://localhost:{}: ", world.broker.port);
    has(&reason, &[&url, "certificate is signed by nobody in ca_file", "ca.pem"]);
    // The right one among others: a bundle.
    fs::write(&ca_file, Authority::new("other").pem + &world.servers.pem).unwrap();
    agent.connected().await;
}

#[tokio::test]
async fn a_broker_whose_certificate_is_out_of_date_is_not_believed() {
    let expired = |servers: &Authority| {
        servers.issue_with(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 2))
    };
    let world = World::start_as("allow_anonymous true", expired).await;
    let mut agent = Agent::start(world.options());
    let reason = refused(&mut agent).await;
    has(&reason, &["certificate has expired at 2020-01-02T00:00:00Z; the clock here says 2"]);

    let early =
        |params: &mut rcgen::CertificateParams| params.not_before = date_time_ymd(3000, 1, 2);
    world.replace_server(&world.servers.issue_with(&["localhost"], early));
    let told = "certificate is valid only from 3000-01-02T00:00:00Z; the clock here says 2";
    let reason = soon(async {
        loop {
            let reason = agent.disconnected().await;
            if reason.contains("valid only") {
                return reason;
            }
        }
    });
    has(&reason.await, &[told, "may be wrong"]);

    world.replace_server(&world.servers.issue(&["localhost"]));
    agent.connected().await;
}

#[tokio::test]
async fn a_broker_of_another_name_is_not_believed() {
    let other = |servers: &Authority| servers.issue(&["broker.example", "10.0.0.1"]);
    let world = World::start_as("allow_anonymous true", other).await;
    let mut agent = Agent::start(world.options());
    let reason = refused(&mut agent).await;
    has(&reason, &["certificate is for", "broker.example", "10.0.0.1", "not for localhost"]);
    world.replace_server(&world.servers.issue(&["localhost"]));
    agent.connected().await;
}

#[tokio::test]
async fn a_client_is_told_that_its_certificate_is_missing() {
    for version in ["tlsv1.2", "tlsv1.3"] {
        let world = World::start(&format!("{MUTUAL}\ntls_version {version}")).await;
        let mut agent = Agent::start(world.options());
        let reason = refused(&mut agent).await;
        has(&reason, &["failed to connect to mqtts://localhost", "client certificate"]);
    }
}

#[tokio::test]
async fn a_client_is_told_that_its_authority_is_unknown() {
    for version in ["tlsv1.2", "tlsv1.3"] {
        let world = World::start(&format!("{MUTUAL}\ntls_version {version}")).await;
        let mut agent =
            Agent::start(world.options_as(&Authority::new("somebody").issue(&["px4-real-1"])));
        let reason = refused(&mut agent).await;
        has(&reason, &["our certificate", "client.pem is refused by the broker", "unknown there"]);
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
    let reason = soon(async {
        loop {
            let reason = agent.disconnected().await;
            if reason.contains("our certificate") {
                return reason;
            }
        }
    });
    has(&reason.await, &["client.pem is refused by the broker: it is revoked"]);
    world.clients.issue(&["px4-real-1"]).write(world.files.path(), "client");
    agent.connected().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_is_named_and_tried_again() {
    let mut world = World::start(MUTUAL).await;
    let (mut agent, _) =
        Agent::connect(world.options_as(&world.clients.issue(&["px4-real-1"]))).await;
    let (key, away) = (world.files.path().join("client.key"), world.files.path().join("away"));
    fs::rename(&key, &away).unwrap();
    // A connection that is there needs no file.
    agent.settle().await;
    world.broker.stop().await;
    world.broker.start_again().await;
    agent.disconnected().await;
    let reason = refused(&mut agent).await;
    has(
        &reason,
        &["failed to connect to mqtts://", "failed to read", "client.key", "No such file"],
    );
    fs::rename(&away, &key).unwrap();
    agent.connected().await;
}

#[tokio::test]
async fn tls_to_a_plain_port_and_the_other_way_round_are_told() {
    let world = World::start("allow_anonymous true").await;
    let mut agent = Agent::start(options(world.broker.port));
    let reason = refused(&mut agent).await;
    has(&reason, &["failed to connect to mqtt://127.0.0.1", "(mqtts://)"]);

    let plain = Broker::start().await;
    let mut options = world.options();
    options.brokers[0].port = plain.port;
    let mut agent = Agent::start(options);
    let reason = refused(&mut agent).await;
    has(&reason, &["failed to connect to mqtts://localhost", "(mqtt://)"]);
}

#[tokio::test]
async fn a_user_whose_password_is_changed_is_told_and_comes_back_when_it_is_right_again() {
    let world = World::start("password_file {dir}/users").await;
    let mut options = world.options();
    options.username = Some("px4-real-1".into());
    options.password = Some(PASSWORD.into());
    let (mut agent, _) = Agent::connect(options).await;
    set_password(world.broker.dir(), "another");
    world.broker.reload();
    // mosquitto ends the connections of users who would not get in now.
    agent.disconnected().await;
    let reason = refused(&mut agent).await;
    has(
        &reason,
        &["refused by the broker: the user name or the password is wrong", "NotAuthorized"],
    );
    assert!(!reason.contains(PASSWORD), "{reason}");
    set_password(world.broker.dir(), PASSWORD);
    world.broker.reload();
    agent.connected().await;
}
