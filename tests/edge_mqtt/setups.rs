//! The set-ups of `config/brokers`: mosquitto's by a mosquitto that runs with its files, the others by
//! the topics that they name.

use std::fs;
use std::path::Path;
use std::process::Command;

use downlinkd::edge::mqtt::{self, ClientCertificate, Options, Tls, Will};
use downlinkd::wire::topic::Topics;
use tempfile::TempDir;
use uuid::Uuid;

use crate::agent::{Agent, options, publish};
use crate::broker::{Broker, free_ports};
use crate::certificates::Authority;

const PREFIX: &str = "downlink/v1";

fn topics(device_id: &str) -> Topics {
    Topics::new(PREFIX, device_id)
}

fn shipped(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/brokers");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A mosquitto with the shipped files.
struct World {
    broker: Broker,
    publishers_port: u16,
    vehicles: Authority,
    files: TempDir,
}

impl World {
    async fn start() -> Self {
        let (servers, vehicles) = (Authority::new("servers"), Authority::new("vehicles"));
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("ca.pem"), &servers.pem).unwrap();
        let [port, publishers_port] = free_ports();
        let configuration = shipped("mosquitto.conf")
            .replace("/etc/mosquitto/certs/", "{dir}/")
            .replace("/etc/mosquitto/", "{dir}/")
            .replace("/var/lib/mosquitto/", "{dir}/")
            .replace("log_dest syslog", "log_dest none")
            .replace("listener 8883", &format!("listener {port} 127.0.0.1"))
            .replace("listener 8884", &format!("listener {publishers_port} 127.0.0.1"));
        let prepare = |dir: &Path| {
            fs::write(dir.join("vehicles.acl"), shipped("mosquitto-vehicles.acl")).unwrap();
            fs::write(dir.join("publishers.acl"), shipped("mosquitto-publishers.acl")).unwrap();
            fs::write(dir.join("vehicles-ca.pem"), &vehicles.pem).unwrap();
            servers.issue(&["localhost"]).write(dir, "server");
            let users = dir.join("publishers.passwd");
            fs::write(&users, "").unwrap();
            for publisher in ["cloud", "ops", "px4-real-1"] {
                let mut command = Command::new("mosquitto_passwd");
                let command = command.arg("-b").arg(&users).args([publisher, "secret"]);
                assert!(command.status().unwrap().success());
            }
        };
        let broker = Broker::start_as(&configuration, port, prepare).await;
        Self { broker, publishers_port, vehicles, files }
    }

    /// With the subscriptions and the will that the daemon has.
    fn vehicle(&self, device_id: &str) -> Options {
        self.vehicles.issue(&[device_id]).write(self.files.path(), device_id);
        let own = topics(device_id);
        let client = Some(ClientCertificate {
            cert_file: self.files.path().join(format!("{device_id}.pem")),
            key_file: self.files.path().join(format!("{device_id}.key")),
        });
        Options {
            client_id: format!("downlinkd-{device_id}"),
            subscriptions: own.subscriptions(),
            will: Some(Will { topic: own.presence(), payload: b"gone".to_vec() }),
            ..self.options(self.broker.port, client)
        }
    }

    fn publisher(&self, api_id: &str, subscriptions: &[&str]) -> Options {
        Options {
            client_id: format!("publisher-{api_id}"),
            username: Some(api_id.to_owned()),
            password: Some("secret".to_owned()),
            subscriptions: subscriptions.iter().map(|&filter| filter.to_owned()).collect(),
            will: None,
            ..self.options(self.publishers_port, None)
        }
    }

    fn options(&self, port: u16, client: Option<ClientCertificate>) -> Options {
        Options {
            brokers: vec![mqtt::Broker { host: "localhost".into(), port, tls: true }],
            tls: Tls { ca_file: self.files.path().join("ca.pem"), client },
            ..options(port)
        }
    }
}

async fn may(agent: &mut Agent, topic: &str) {
    agent.publish(1, topic, "{}");
    assert_eq!(agent.published().await, (1, Ok(())), "{topic}");
}

async fn may_not(agent: &mut Agent, topic: &str) {
    agent.publish(1, topic, "{}");
    let (_, outcome) = agent.published().await;
    assert!(outcome.as_ref().is_err_and(|it| it.contains("NotAuthorized")), "{topic}: {outcome:?}");
}

/// The next message's topic.
async fn heard(agent: &mut Agent) -> String {
    let message = agent.message().await;
    let topic = message.topic.clone();
    agent.acknowledge(message);
    topic
}

#[tokio::test]
async fn with_mosquittos_files_agent_and_publisher_can_do_all_they_need() {
    let world = World::start().await;
    let (mut agent, _) = Agent::connect(world.vehicle("px4-real-1")).await;
    let own = topics("px4-real-1");
    let presence = publish(None, &own.presence(), "here");
    agent.handle.send(mqtt::Command::Publish(mqtt::Publish { retain: true, ..presence }));
    may(&mut agent, &own.unmatched()).await;

    let filters = ["replies/cloud/#", "lifecycle/cloud/+", "presence"]
        .map(|it| format!("{PREFIX}/px4/+/{it}"));
    let filters = filters.each_ref().map(String::as_str);
    let (mut cloud, _) = Agent::connect(world.publisher("cloud", &filters)).await;
    assert_eq!(heard(&mut cloud).await, own.presence(), "the retained one");

    for topic in own.subscriptions().iter().map(|filter| filter.replace("+", "cloud")) {
        may(&mut cloud, &topic).await;
        assert_eq!(heard(&mut agent).await, topic);
    }
    let reply = own.replies("cloud");
    for topic in [format!("{reply}/17"), reply, own.lifecycle("cloud", Uuid::from_u128(1))] {
        may(&mut agent, &topic).await;
        assert_eq!(heard(&mut cloud).await, topic);
    }
    // The will.
    drop(agent);
    let will = cloud.message().await;
    assert_eq!((will.topic, will.payload), (own.presence(), b"gone".to_vec()));
}

#[tokio::test]
async fn with_mosquittos_files_an_agent_can_do_nothing_else() {
    let world = World::start().await;
    let everything = ["#", "downlink/v1/px4/+/commands/+"].map(str::to_owned).to_vec();
    let curious = Options { subscriptions: everything, ..world.vehicle("px4-real-1") };
    let (mut agent, _) = Agent::connect(curious).await;
    let (own, other) = (topics("px4-real-1"), topics("px4-real-2"));
    for topic in [
        own.commands("cloud"),
        own.commands("px4-real-1"),
        other.commands("px4-real-1"),
        other.commands("cloud"),
        other.presence(),
        other.unmatched(),
        other.replies("cloud"),
        other.lifecycle("cloud", Uuid::from_u128(1)),
        "anything".to_owned(),
    ] {
        may_not(&mut agent, &topic).await;
    }
    let (mut cloud, _) = Agent::connect(world.publisher("cloud", &[])).await;
    may(&mut cloud, &other.commands("cloud")).await;
    may(&mut cloud, &own.commands("cloud")).await;
    assert_eq!(heard(&mut agent).await, own.commands("cloud"), "the other's is not heard");
}

#[tokio::test]
async fn with_mosquittos_files_a_publisher_speaks_and_hears_under_its_own_name_alone() {
    let world = World::start().await;
    let (mut agent, _) = Agent::connect(world.vehicle("px4-real-1")).await;
    let own = topics("px4-real-1");
    let (mut ops, _) = Agent::connect(world.publisher("ops", &["#", "downlink/v1/#"])).await;
    for topic in [
        own.commands("cloud"),
        own.presence(),
        own.unmatched(),
        own.replies("ops"),
        own.lifecycle("ops", Uuid::from_u128(1)),
    ] {
        may_not(&mut ops, &topic).await;
    }
    may(&mut ops, &own.commands("ops")).await;
    assert_eq!(heard(&mut agent).await, own.commands("ops"));
    may(&mut agent, &own.replies("cloud")).await;
    may(&mut agent, &own.lifecycle("cloud", Uuid::from_u128(1))).await;
    may(&mut agent, &own.replies("ops")).await;
    assert_eq!(heard(&mut ops).await, own.replies("ops"), "cloud's are not heard");

    // Also one that has a vehicle's name.
    let (mut impostor, _) = Agent::connect(world.publisher("px4-real-1", &[])).await;
    may_not(&mut impostor, &own.presence()).await;
    may_not(&mut impostor, &own.lifecycle("cloud", Uuid::from_u128(1))).await;
}

#[tokio::test]
async fn with_mosquittos_files_nobody_takes_another_vehicles_session() {
    let world = World::start().await;
    let (mut agent, _) = Agent::connect(world.vehicle("px4-real-1")).await;
    let client_id = "downlinkd-px4-real-1".to_owned();
    let thief = Options { client_id, ..world.vehicle("px4-real-2") };
    let (mut thief, session_present) = Agent::connect(thief).await;
    assert!(!session_present);
    may(&mut agent, &topics("px4-real-1").unmatched()).await;
    may(&mut thief, &topics("px4-real-2").unmatched()).await;
    // A publisher's password is no certificate.
    let publisher = world.publisher("cloud", &[]);
    let brokers = world.vehicle("px4-real-1").brokers;
    let reason = Agent::start(Options { brokers, ..publisher }).disconnected().await;
    assert!(reason.contains("client certificate"), "{reason}");
}

#[tokio::test]
async fn with_mosquittos_files_a_command_waits_for_a_vehicle_over_a_restart() {
    let mut world = World::start().await;
    let vehicle = world.vehicle("px4-real-1");
    drop(Agent::connect(vehicle.clone()).await);
    let (mut cloud, _) = Agent::connect(world.publisher("cloud", &[])).await;
    let command = topics("px4-real-1").commands("cloud");
    may(&mut cloud, &command).await;
    world.broker.stop().await;
    world.broker.start_again().await;
    let (mut agent, session_present) = Agent::connect(vehicle).await;
    assert!(session_present);
    assert_eq!(heard(&mut agent).await, command);
}

/// What a set-up allows one vehicle or one publisher, with its name put in.
#[derive(Default)]
struct Rights {
    publish: Vec<String>,
    subscribe: Vec<String>,
}

/// Whether the rights of the vehicle px4-real-1 and the publisher cloud are what they need, and not
/// those of others. `covers`: whether a right is enough for a topic or a filter.
fn check(vehicle: &Rights, publisher: &Rights, covers: fn(&str, &str) -> bool) {
    let (own, other) = (topics("px4-real-1"), topics("px4-real-2"));
    let any = |rights: &[String], it: &str| rights.iter().any(|right| covers(right, it));
    let lifecycle = |api_id| own.lifecycle(api_id, Uuid::from_u128(1));

    for topic in [own.replies("cloud"), lifecycle("cloud"), own.presence(), own.unmatched()] {
        assert!(any(&vehicle.publish, &topic), "the vehicle publishes {topic}");
        assert!(!any(&publisher.publish, &topic), "the publisher publishes {topic}");
    }
    for filter in own.subscriptions() {
        assert!(any(&vehicle.subscribe, &filter), "the vehicle subscribes {filter}");
        let (cloud, ops) = (filter.replace('+', "cloud"), filter.replace('+', "ops"));
        assert!(any(&publisher.publish, &cloud), "the publisher publishes {cloud}");
        assert!(!any(&publisher.publish, &ops), "the publisher publishes {ops}");
        assert!(!any(&vehicle.publish, &cloud), "the vehicle publishes {cloud}");
    }
    for filter in other.subscriptions() {
        assert!(!any(&vehicle.subscribe, &filter), "the vehicle subscribes {filter}");
    }
    for topic in [other.presence(), other.replies("cloud"), other.unmatched()] {
        assert!(!any(&vehicle.publish, &topic), "the vehicle publishes {topic}");
    }
    for filter in ["replies/cloud", "lifecycle/cloud/+", "presence", "unmatched"] {
        let filter = format!("{PREFIX}/px4/+/{filter}");
        assert!(any(&publisher.subscribe, &filter), "the publisher subscribes {filter}");
        let foreign = filter.replace("cloud", "ops");
        let shared = foreign == filter;
        assert_eq!(any(&publisher.subscribe, &foreign), shared, "{foreign}");
    }
    for everything in ["#", "downlink/#", "+/+/+/+/commands/+"] {
        assert!(!any(&vehicle.subscribe, everything) && !any(&publisher.subscribe, everything));
    }
}

/// Whether everything that `it` matches is matched by `filter`.
fn filter_covers(filter: &str, it: &str) -> bool {
    let mut levels = it.split('/');
    for level in filter.split('/') {
        match (level, levels.next()) {
            ("#", _) => return true,
            ("+", Some(it)) if it != "#" => {}
            (level, Some(it)) if level == it => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// `*` is any text.
fn glob_covers(glob: &str, it: &str) -> bool {
    match glob.split_once('*') {
        None => glob == it,
        Some((start, rest)) => it.strip_prefix(start).is_some_and(|it| {
            (0..=it.len())
                .filter(|&at| it.is_char_boundary(at))
                .any(|at| glob_covers(rest, &it[at..]))
        }),
    }
}

#[test]
fn emqxs_rules_name_the_topics() {
    let text = shipped("emqx-acl.conf");
    let (mut vehicle, mut publisher) = (Rights::default(), Rights::default());
    let lines = text.lines().filter(|line| !line.starts_with("%%")).collect::<Vec<_>>().join("\n");
    let (rules, rest) = lines.rsplit_once("{deny, all}.").expect("everything else is denied");
    assert_eq!(rest.trim(), "");
    for rule in rules.split_inclusive("}.").map(str::trim).filter(|rule| !rule.is_empty()) {
        let of_vehicles = rule.contains("{re, \"^px4-\"}");
        let (rights, name) =
            if of_vehicles { (&mut vehicle, "px4-real-1") } else { (&mut publisher, "cloud") };
        let topics = rule.split('"').filter(|text| text.starts_with("downlink/"));
        let topics = topics.map(|topic| topic.replace("${username}", name));
        if rule.starts_with("{allow") && rule.contains(" publish,") {
            rights.publish.extend(topics);
        } else if rule.starts_with("{allow") && rule.contains(" subscribe,") {
            rights.subscribe.extend(topics);
        } else {
            assert_eq!(rule, "{deny, {username, {re, \"^px4-\"}}, all, [\"#\"]}.");
        }
    }
    check(&vehicle, &publisher, filter_covers);
}

#[test]
fn hivemqs_roles_name_the_topics() {
    let text = shipped("hivemq-credentials.xml");
    let xml = roxmltree::Document::parse(&text).unwrap();
    let text_of = |node: roxmltree::Node<'_, '_>, name: &str| {
        let child = node.children().find(|child| child.has_tag_name(name)).unwrap();
        child.text().unwrap().to_owned()
    };
    let rights = |role: &str, name: &str| {
        let mut roles = xml.descendants().filter(|node| node.has_tag_name("role"));
        let role = roles.find(|node| text_of(*node, "id") == role).unwrap();
        let mut rights = Rights::default();
        for permission in role.descendants().filter(|node| node.has_tag_name("permission")) {
            let topic = text_of(permission, "topic").replace("${{username}}", name);
            match text_of(permission, "activity").as_str() {
                "PUBLISH" => rights.publish.push(topic),
                "SUBSCRIBE" => rights.subscribe.push(topic),
                other => panic!("{other}"),
            }
        }
        rights
    };
    check(&rights("vehicle", "px4-real-1"), &rights("publisher", "cloud"), filter_covers);
}

#[test]
fn awss_policies_name_the_topics() {
    let resources = |file: &str, action: &str, thing: &str| -> Vec<String> {
        let policy: serde_json::Value = serde_json::from_str(&shipped(file)).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let statement = statements.iter().find(|it| it["Action"] == action).expect(action);
        assert_eq!(statement["Effect"], "Allow");
        let resources = match &statement["Resource"] {
            serde_json::Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        let own = |resource: &serde_json::Value| {
            let resource =
                resource.as_str().unwrap().replace("${iot:Connection.Thing.ThingName}", thing);
            resource
                .strip_prefix("arn:aws:iot:REGION:ACCOUNT:")
                .unwrap()
                .split_once('/')
                .unwrap()
                .1
                .to_owned()
        };
        resources.iter().map(own).collect()
    };
    let of = |file: &str, thing: &str| Rights {
        publish: resources(file, "iot:Publish", thing),
        subscribe: resources(file, "iot:Subscribe", thing),
    };
    let (vehicle, publisher) = ("aws-iot-vehicle-policy.json", "aws-iot-publisher-policy.json");
    check(&of(vehicle, "px4-real-1"), &of(publisher, "cloud"), glob_covers);

    let own = topics("px4-real-1");
    let presence = resources(vehicle, "iot:RetainPublish", "px4-real-1");
    assert_eq!(presence, [own.presence()]);
    let receive = resources(vehicle, "iot:Receive", "px4-real-1");
    assert!(receive.iter().any(|right| glob_covers(right, &own.commands("cloud"))));
    assert!(!receive.iter().any(|right| glob_covers(right, &topics("b").commands("cloud"))));
    let receive = resources(publisher, "iot:Receive", "cloud");
    assert!(receive.iter().any(|right| glob_covers(right, &own.replies("cloud"))));
    assert!(!receive.iter().any(|right| glob_covers(right, &own.replies("ops"))));
    // At most 7 slashes in a topic.
    assert!(own.lifecycle("cloud", Uuid::nil()).matches('/').count() <= 7);
}
