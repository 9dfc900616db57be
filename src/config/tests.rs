mod shipped;
mod types;

use std::fs;

use serde_json::json;

use super::*;
use crate::catalog::Risk;
use crate::code::Code;
use crate::guard::explain::{Layer, Verdict};
use crate::guard::extra_link::LinkId;
use crate::guard::grants::{Grants, Limits, TwoPerson};
use crate::guard::rate::Rates;
use crate::guard::vehicle::Vehicle;
use crate::guard::{Candidate, Mode};
use crate::wire::mavlink::{Heartbeat, Report, Telemetry};

mod mqtt;

const GOOD: &str = r#"
[device]
id = "px4-real-1"
[mqtt]
url = "mqtt://127.0.0.1:1883"
[link]
endpoint = "serial:/dev/ttyAMA0:921600"
"#;

fn load(files: &[(&str, &str)]) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    Config::load(&dir.path().join("downlinkd.toml"))
}

fn message(text: &str) -> String {
    load(&[("downlinkd.toml", text)]).expect_err(text).to_string()
}

#[test]
fn the_defaults_are_the_contract() {
    let config = load(&[("downlinkd.toml", GOOD)]).unwrap();
    assert_eq!(config.guard.mode(), Mode::Disabled);
    assert_eq!(config.link.source, Address { system: 1, component: 191 });
    assert_eq!(config.link.target, Address { system: 1, component: 1 }.into());
    assert_eq!(config.delivery.default_timeout_seconds, 30);
    assert_eq!(config.delivery.max_outstanding, 3);
    assert_eq!(config.delivery.late_ack_window, Duration::from_secs(300));
    assert_eq!(config.delivery.max_progress, Duration::from_secs(600));
    assert_eq!(config.delivery.stop_timeout, Duration::from_secs(5));
    assert_eq!(config.mqtt.prefix, "downlink/v1");
    assert_eq!(config.mqtt.client_id, "downlinkd-px4-real-1");
    assert_eq!(*config.guard.grant_limits(), Limits::default());
    assert_eq!(config.api.socket, Path::new("/run/downlinkd/api.sock"));
    assert_eq!(config.api.listen, None);
}

#[test]
fn the_key_of_mavlink_signing_comes_from_its_file() {
    assert!(load(&[("downlinkd.toml", GOOD)]).unwrap().link.signing.is_none());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mavlink.key");
    let signing = |content: &[u8], more: &str| {
        fs::write(&file, content).unwrap();
        load(&[("downlinkd.toml", &format!("{GOOD}signing_key_file = {file:?}\n{more}"))])
    };
    let with_default = signing(&[7; 32], "").unwrap().link.signing.unwrap();
    assert_eq!(with_default.link_id, 0);
    let text = "passphrase:not the best one";
    let with_id = signing(text.as_bytes(), "signing_link_id = 255").unwrap().link.signing.unwrap();
    assert_eq!(with_id.link_id, 255);

    let error = signing(b"hex:secret", "").unwrap_err().to_string();
    assert!(error.contains("[link] signing_key_file: failed to read"), "{error}");
    assert!(error.contains("not valid hex") && !error.contains("secret"), "{error}");
    assert!(signing(&[7; 32], "signing_link_id = 256").is_err());
    let error = message(&format!("{GOOD}signing_link_id = 1"));
    assert!(error.contains("means nothing without signing_key_file"), "{error}");
    let error = message(&format!("{GOOD}signing_key_file = \"/nonexistent/key\""));
    assert!(error.contains("/nonexistent/key"), "{error}");
}

#[test]
fn the_target_system_is_a_number_or_learned() {
    for (text, system) in [("255", Some(255)), ("\"3\"", Some(3)), ("\"auto\"", None)] {
        let config = load(&[("downlinkd.toml", &format!("{GOOD}target_system = {text}\n"))]);
        assert_eq!(config.unwrap().link.target, Autopilot { system, component: 1 });
    }
    for text in ["0", "256", "-1", "\"0\"", "\"Auto\"", "\"\"", "1.5", "true"] {
        let error = message(&format!("{GOOD}target_system = {text}\n"));
        assert!(error.contains("downlinkd.toml: ") && error.contains("target_system"), "{error}");
        assert!(error.contains("expected \"auto\" or 1 to 255"), "{error}");
    }
    // Any system may be the autopilot's, ours too.
    let auto = format!("{GOOD}target_system = \"auto\"\nsystem_id = 9\n");
    let error = message(&format!("{auto}component_id = 1\n"));
    assert!(error.contains("[link] component_id: with target_system = \"auto\""), "{error}");
    let camera =
        "[[link.extra]]\nname = \"a\"\nendpoint = \"udpin:0.0.0.0:1\"\ncomponents = [191]\n";
    assert!(message(&format!("{auto}{camera}")).contains("191 is our own"));
    let known = auto.replace("\"auto\"", "3");
    assert!(load(&[("downlinkd.toml", &format!("{known}{camera}"))]).is_ok());
}

#[test]
fn drop_ins_come_later_in_order_of_name() {
    let config = load(&[
        ("downlinkd.toml", GOOD),
        ("conf.d/20-b.toml", "[delivery]\nmax_queue = 20\n"),
        ("conf.d/10-a.toml", "[delivery]\nmax_queue = 10\nmax_outstanding = 1\n"),
        ("conf.d/30-not-read.conf", "nonsense"),
    ])
    .unwrap();
    assert_eq!((config.delivery.max_queue, config.delivery.max_outstanding), (20, 1));
}

#[test]
fn what_is_no_toml_is_told_in_one_line() {
    for (text, told) in [
        ("[device]\nid = \"a\n", "line 2, column 8: invalid basic string, expected `\"`"),
        ("[device\nid = 1\n", "line 1, column 8: unclosed table, expected `]`"),
        ("\n\n[a]\n| = 1\n", "line 4, column 1: "),
        ("[device]\nid = \"a\"\nid = \"b\"\n", "line 3, column 1: duplicate key"),
    ] {
        let message = message(text);
        let (_, reason) = message.split_once("downlinkd.toml: ").unwrap();
        assert!(reason.starts_with(&format!("TOML parse error at {told}")), "{message}");
        assert_eq!(reason.lines().count(), 1, "{message}");
    }
}

/// Emacs marks a file that is being edited with a link to nowhere.
#[test]
fn a_hidden_file_is_no_drop_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("downlinkd.toml");
    fs::write(&path, GOOD).unwrap();
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    fs::write(dir.path().join("conf.d/.10-vehicle.toml"), "nonsense").unwrap();
    let lock = dir.path().join("conf.d/.#10-vehicle.toml");
    std::os::unix::fs::symlink("user@host.1234:1700000000", lock).unwrap();
    Config::load(&path).unwrap();
}

#[test]
fn a_mistake_names_its_file_and_key() {
    let error = load(&[("downlinkd.toml", GOOD), ("conf.d/10-a.toml", "[mqtt]\nurll = \"x\"\n")]);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("10-a.toml") && message.contains("urll"), "{message}");

    // Also where only the whole shows it, and for a list of tables.
    for drop_in in ["[delivery]\nmax_outstanding = 9\n", "[[guard.command]]\ntype = \"fly\"\n"] {
        let error = load(&[("downlinkd.toml", GOOD), ("conf.d/10-a.toml", drop_in)]);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("10-a.toml"), "{message}");
    }
    let forward = "[[forward]]\nendpoint = \"udpin:127.0.0.1:1\"\n";
    let error = load(&[("downlinkd.toml", GOOD), ("conf.d/20-b.toml", &forward.repeat(2))]);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("20-b.toml: [forward] endpoint: "), "{message}");

    // A later file with the section, but without the key, has no part in it.
    let error = load(&[
        ("downlinkd.toml", GOOD),
        ("conf.d/10-a.toml", "[guard.grant]\nmax_count = 0\n"),
        ("conf.d/20-b.toml", "[guard.grant]\nmax_duration = 60\n"),
    ]);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("10-a.toml: [guard.grant] max_count: 0"), "{message}");

    let error = load(&[("downlinkd.toml", "[device]\n"), ("conf.d/10-a.toml", "[mqtt]\n")]);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("downlinkd.toml: [device] id"), "{message}");

    let error = load(&[("downlinkd.toml", "[link]\nendpoint = 7\n")]).unwrap_err().to_string();
    assert!(error.contains("downlinkd.toml") && error.contains("endpoint"), "{error}");
}

#[test]
fn forwards_are_off_and_read_only_by_default() {
    assert_eq!(load(&[("downlinkd.toml", GOOD)]).unwrap().forwards, []);
    let forwards = "[[forward]]\nendpoint = \"udpin:127.0.0.1:14560\"\n\
                    [[forward]]\nendpoint = \"udpout:10.0.0.2:14550\"\ndirection = \"both\"\n";
    let config = load(&[("downlinkd.toml", GOOD), ("conf.d/1.toml", forwards)]).unwrap();
    let told: Vec<_> = config
        .forwards
        .iter()
        .map(|it| (it.endpoint.to_string(), it.direction.as_str(), it.endpoint.is_loopback()))
        .collect();
    assert_eq!(
        told,
        [
            ("udpin:127.0.0.1:14560".to_owned(), "out", true),
            ("udpout:10.0.0.2:14550".to_owned(), "both", false)
        ]
    );
}

#[test]
fn extra_links_lead_to_components() {
    assert!(load(&[("downlinkd.toml", GOOD)]).unwrap().link.extra.is_empty());
    let extra = "[[link.extra]]\nname = \"camera\"\nendpoint = \"serial:/dev/ttyUSB0:115200\"\n\
                 components = [100, 101]\n\
                 [[link.extra]]\nname = \"gimbal-1\"\nendpoint = \"udpin:0.0.0.0:14540\"\n\
                 components = [154]\n";
    let config = load(&[("downlinkd.toml", GOOD), ("conf.d/1.toml", extra)]).unwrap();
    let told: Vec<_> = config
        .link
        .extra
        .iter()
        .map(|it| (it.link.name.as_str(), it.endpoint.to_string(), it.link.components.clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("camera", "serial:/dev/ttyUSB0:115200".to_owned(), [100, 101].into()),
            ("gimbal-1", "udpin:0.0.0.0:14540".to_owned(), [154].into())
        ]
    );
}

#[test]
fn mistakes_of_extra_links() {
    let link = |name: &str, endpoint: &str, components: &str| {
        format!(
            "[[link.extra]]\nname = \"{name}\"\nendpoint = \"{endpoint}\"\ncomponents = {components}\n"
        )
    };
    let udp = |port: u32| format!("udpin:0.0.0.0:{port}");
    let five: String =
        (1..6).map(|n| link(&format!("n{n}"), &udp(n), &format!("[10{n}]"))).collect();
    for (text, key, told) in [
        (link("", &udp(1), "[100]"), "name", "1 to 32"),
        (link("a b", &udp(1), "[100]"), "name", "a b"),
        (link(&"a".repeat(33), &udp(1), "[100]"), "name", "1 to 32"),
        (link("a", &udp(1), "[100]") + &link("a", &udp(2), "[101]"), "name", "twice"),
        (link("a", &udp(1), "[100]") + &link("b", &udp(1), "[101]"), "endpoint", "two links"),
        // Whatever the baud rate.
        (link("a", "serial:/dev/ttyAMA0:57600", "[100]"), "endpoint", "two links"),
        (link("a", "serial:/dev/ttyAMA1", "[100]"), "link.extra.endpoint", "baud"),
        (link("a", &udp(1), "[]"), "components", "1 to 4"),
        (link("a", &udp(1), "[100, 101, 102, 103, 104]"), "components", "1 to 4"),
        (link("a", &udp(1), "[0]"), "components", "broadcast"),
        (link("a", &udp(1), "[1]"), "components", "autopilot"),
        (link("a", &udp(1), "[191]"), "components", "our own"),
        (link("a", &udp(1), "[100, 100]"), "components", "twice"),
        (link("a", &udp(1), "[100]") + &link("b", &udp(2), "[101, 100]"), "components", "twice"),
        (five, "name", "at most 4"),
        ("[[link.extra]]\nname = \"a\"\n".to_owned(), "endpoint", "missing"),
    ] {
        let error = load(&[("downlinkd.toml", GOOD), ("conf.d/10-a.toml", &text)]).unwrap_err();
        let message = error.to_string();
        for part in ["10-a.toml", key, told] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
}

#[test]
fn each_link_signs_on_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mavlink.key");
    fs::write(&file, [7; 32]).unwrap();
    let key = format!("signing_key_file = {file:?}\n");
    let camera = "[[link.extra]]\nname = \"camera\"\nendpoint = \"udpin:0.0.0.0:1\"\n\
                  components = [100]\n";
    let gimbal = "[[link.extra]]\nname = \"gimbal\"\nendpoint = \"udpin:0.0.0.0:2\"\n\
                  components = [154]\n";
    let load = |main: &str, more: &str| {
        load(&[("downlinkd.toml", &format!("{GOOD}{main}{camera}{more}"))])
    };
    let ids = |main: &str, more: &str| {
        let link = load(main, more).unwrap().link;
        let all = std::iter::once(link.signing).chain(link.extra.into_iter().map(|it| it.signing));
        all.map(|it| it.map(|it| it.link_id)).collect::<Vec<_>>()
    };
    assert_eq!(ids(&key, ""), [Some(0), None]);
    assert_eq!(ids("", &format!("{key}{gimbal}{key}")), [None, Some(1), Some(2)]);
    assert_eq!(ids(&key, &format!("{key}signing_link_id = 9")), [Some(0), Some(9)]);

    for (main, more, told) in [
        (format!("{key}signing_link_id = 1\n"), key.clone(), "camera has 1"),
        (key.clone(), format!("{key}{gimbal}{key}signing_link_id = 1"), "gimbal has 1"),
        (String::new(), "signing_link_id = 1".to_owned(), "means nothing"),
        (String::new(), "signing_key_file = \"/nonexistent/key\"".to_owned(), "/nonexistent/key"),
    ] {
        let message = load(&main, &more).unwrap_err().to_string();
        for part in ["[link.extra] signing_", told] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
}

#[test]
fn two_person_grants_are_by_risk_and_by_command() {
    let text = "two_person = [\"critical\", \"nav_land\"]";
    let config = load(&[("downlinkd.toml", &with_section("guard.grant", text))]).unwrap();
    let expected = TwoPerson { risks: [Risk::Critical].into(), commands: ["nav_land"].into() };
    assert_eq!(config.guard.grant_limits().two_person, expected);
}

#[test]
fn a_grant_is_required_for_the_risks_that_are_named() {
    for (text, expected) in [
        ("", Limits::default().required_for),
        ("required_for = []", [].into()),
        ("required_for = [\"query\", \"critical\"]", [Risk::Query, Risk::Critical].into()),
    ] {
        let config = load(&[("downlinkd.toml", &with_section("guard.grant", text))]).unwrap();
        assert_eq!(config.guard.grant_limits().required_for, expected, "{text}");
    }
}

#[test]
fn the_socket_is_found_without_the_secrets() {
    let text = format!(
        "{}\n[api]\nsocket = \"/tmp/a.sock\"\n",
        with_section("mqtt", "url = \"mqtt://x\"\npassword_file = \"/nonexistent\"")
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("downlinkd.toml");
    assert!(matches!(Config::api_socket(&path), Err(Error::Read { .. })));
    fs::write(&path, text).unwrap();
    assert_eq!(Config::api_socket(&path).unwrap(), Path::new("/tmp/a.sock"));
    assert!(Config::load(&path).is_err());
}

#[test]
fn mistakes() {
    for (section, text, told) in [
        ("device", "id = \"a/b\"", "device"),
        ("device", "id = \"a\"\nvendor = \"dji\"", "\"dji\""),
        ("mqtt", "url = \"http://x\"", "mqtt"),
        ("mqtt", "url = \"mqtt://user:secret@x\"", "password_file"),
        ("mqtt", "url = \"mqtt://x\"\nprefix = \"a/#\"", "prefix"),
        ("mqtt", "url = \"mqtt://x\"\nprefix = \"$share/a/b\"", "not begin with $"),
        ("mqtt", "url = \"mqtt://x\"\nkeep_alive = 1", "5 to 3600"),
        ("mqtt", "url = \"mqtt://x\"\npassword_file = \"/nonexistent\"", "/nonexistent"),
        ("link", "endpoint = \"serial:/dev/ttyAMA0\"", "endpoint"),
        ("link", "endpoint = \"udpin:0.0.0.0:14540\"\ntarget_component = 0", "target_component"),
        ("link", "endpoint = \"udpin:0.0.0.0:14540\"\ncomponent_id = 1", "component_id"),
        (
            "link",
            "endpoint = \"udpin:0.0.0.0:14540\"\ncomponent_by_domain = {cameras = 100}",
            "cameras",
        ),
        (
            "link",
            "endpoint = \"udpin:0.0.0.0:14540\"\ncomponent_by_domain = {gimbal = 0}",
            "broadcast",
        ),
        ("[forward]", "endpoint = \"serial:/dev/ttyAMA0:921600\"", "forward.endpoint"),
        ("[forward]", "endpoint = \"udpin:127.0.0.1:0\"", "127.0.0.1:0"),
        ("[forward]", "endpoint = \"udpin:127.0.0.1:1\"\ndirection = \"in\"", "both"),
        ("[forward]", "direction = \"both\"", "endpoint"),
        (
            "[forward]",
            "endpoint = \"udpin:127.0.0.1:1\"\n[[forward]]\nendpoint = \"udpin:127.0.0.1:1\"",
            "twice",
        ),
        ("guard", "command = [{type = \"nav_roi\", target_component = 0}]", "target_component"),
        (
            "guard",
            "mode = \"open\"",
            "[guard] mode: \"open\" is not known; it must be \"disabled\" or \"guarded\"",
        ),
        ("guard", "mode = \"Guarded\"", "\"Guarded\" is not known"),
        ("guard", "mode = \"guarded\"", "issuer"),
        (
            "guard",
            "issuer = [{id = \"a\", commands = [\"*\"]}, {id = \"a\", commands = [\"*\"]}]",
            "twice",
        ),
        ("guard", "issuer = [{id = \"a\"}]", "may do nothing"),
        // In either mode, and even if another one has a key.
        ("guard", "issuer = [{id = \"a\", commands = [\"*\"]}]", "downlinkd keygen"),
        (
            "guard",
            "mode = \"guarded\"\nissuer = [{id = \"a\", commands = [\"*\"]}]",
            "[guard.issuer] key: issuer \"a\" has no key",
        ),
        (
            "guard",
            "issuer = [{id = \"a\", commands = [\"*\"], key = [{kid = \"k\", \
             ed25519_public_key = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"}]}, \
             {id = \"b\", commands = [\"*\"]}]",
            "issuer \"b\" has no key",
        ),
        ("guard", "issuer = [{id = \"a\", commands = [\"fly_away\"]}]", "fly_away"),
        ("guard", "issuer = [{id = \"a\", domains = [\"cameras\"]}]", "cameras"),
        (
            "guard",
            "issuer = [{id = \"a\", commands = [\"*\"], key = [{kid = \"k\"}]}]",
            "either hmac_key_file or ed25519_public_key",
        ),
        (
            "guard",
            "issuer = [{id = \"a\", commands = [\"*\"], key = [{kid = \"k\", hmac_key_file = \"/no\"}]}]",
            "/no",
        ),
        (
            "guard",
            "issuer = [{id = \"a\", commands = [\"*\"], key = [{kid = \"k\", ed25519_public_key = \"x\"}]}]",
            "\"k\"",
        ),
        ("guard", "command = [{type = \"fly_away\"}]", "fly_away"),
        ("guard", "command = [{type = \"nav_roi\"}, {type = \"nav_roi\"}]", "twice"),
        (
            "guard",
            "command = [{type = \"nav_roi\", retransmit = {times = 1, interval = \"1s\"}}]",
            "repeatable",
        ),
        ("guard", "command = [{type = \"nav_roi\", max_timeout = 0}]", "1 to 300"),
        ("guard", "command = [{type = \"nav_roi\", max_timeout = \"6min\"}]", "1 to 300"),
        ("guard.grant", "max_duration = \"25h\"", "86400"),
        ("guard.grant", "max_count = 0", "1 to 1000"),
        (
            "guard.grant",
            "two_person = [\"criticl\"]",
            "two_person: \"criticl\" is neither a risk (query, payload, flight, critical) nor a command",
        ),
        (
            "guard.grant",
            "required_for = [\"flight\", \"all\"]",
            "[guard.grant] required_for: \"all\" is no risk; it must be of query, payload, flight, \
             critical",
        ),
        ("api", "port = 1", "port"),
        ("api", "listen = \"localhost:8080\"", "ADDRESS:PORT"),
        ("api", "listen = \"65536\"", "65535"),
        ("delivery", "default_timeout = \"soon\"", "soon"),
        ("delivery", "default_timeout = 301", "1 to 300"),
        ("delivery", "default_timeout = \"1500ms\"", "whole seconds"),
        ("delivery", "max_outstanding = 9", "1 to 8"),
        ("delivery", "stop_timeout = 11", "0 to 10"),
    ] {
        let message = message(&with_section(section, text));
        assert!(message.contains(told), "{section}: {text}: {message}");
    }
    assert!(message("[device]\n").contains("[device] id"));
    assert!(message("not toml").contains("downlinkd.toml"));
}

#[test]
fn mistakes_in_a_rule_name_command_key_and_what_is_allowed() {
    let reboot = "preflight_reboot_shutdown";
    for (command, rule, told) in [
        // Fields and their bounds.
        (reboot, "fields = {autopilt = {min = 0}}", &["fields", "autopilt", "companion"][..]),
        (reboot, "fields = {param1 = {min = 0}}", &["fields", "param1", "autopilot"]),
        (reboot, "fields = {autopilot = {}}", &["autopilot", "allowed, min or max"]),
        (reboot, "fields = {autopilot = {allow_unset = true}}", &["allowed, min or max"]),
        (reboot, "fields = {autopilot = {allowed = []}}", &["autopilot", "empty"]),
        (reboot, "fields = {autopilot = {allowed = [1], max = 3}}", &["autopilot", "not both"]),
        (reboot, "fields = {autopilot = {min = 0, max = 1}}", &["enumeration", "allowed"]),
        (reboot, "fields = {autopilot = {allowed = [99]}}", &["99", "REBOOT_SHUTDOWN_ACTION"]),
        (reboot, "fields = {autopilot = {allowed = [\"REBOOT\"]}}", &["\"REBOOT\"", "(1)"]),
        (reboot, "fields = {autopilot = {allow = [1]}}", &["allow"]),
        (reboot, "fields = {component_id = {min = -1}}", &["component_id", "-1", "0 to 255"]),
        (reboot, "fields = {component_id = {max = 256}}", &["component_id", "256", "0 to 255"]),
        (
            reboot,
            "fields = {component_id = {max = 1.5}}",
            &["component_id", "1.5", "whole numbers"],
        ),
        (reboot, "fields = {component_id = {min = 9, max = 8}}", &["min 9 is above max 8"]),
        (reboot, "fields = {component_id = {max = inf}}", &["component_id", "no bounds"]),
        (reboot, "fields = {component_id = {max = \"many\"}}", &["component_id", "0 to 255"]),
        // Frames.
        (reboot, "frames = [\"MAV_FRAME_GLOBAL\"]", &["frames", "no location"]),
        ("nav_roi", "frames = [\"GLOBAL\"]", &["frames", "GLOBAL", "MAV_FRAME_LOCAL_NED"]),
        ("nav_roi", "fields = {x = {max = 91}}", &["x", "91", "-90 to 90"]),
        (
            "nav_roi",
            "frames = [\"MAV_FRAME_GLOBAL\", \"MAV_FRAME_LOCAL_NED\"], fields = {x = {max = 9}}",
            &["degrees and metres"],
        ),
        // Preconditions.
        (reboot, "require = {armd = false}", &["armd"]),
        (reboot, "require = {armed = false, landed = false}", &["require", "landed"]),
        (reboot, "require = {home_set = false}", &["home_set", "true"]),
        (reboot, "require = {modes = []}", &["modes", "empty"]),
        (reboot, "require = {modes = [\"LOITER\"]}", &["LOITER", "auto.loiter", "posctl"]),
        (reboot, "require = {min_gps_fix = 1}", &["min_gps_fix", "3 (3D)"]),
        (reboot, "require = {min_gps_fix = 7}", &["min_gps_fix", "6 (RTK fixed)"]),
        (reboot, "require = {min_battery = 0}", &["min_battery", "1 to 100"]),
        (reboot, "require = {min_battery = 101}", &["min_battery", "1 to 100"]),
        (reboot, "require = {max_heartbeat_age = \"4s\"}", &["max_heartbeat_age", "1 to 3"]),
        (reboot, "require = {max_heartbeat_age = 0}", &["max_heartbeat_age", "1 to 3"]),
    ] {
        let text = format!("command = [{{type = {command:?}, {rule}}}]");
        let message = message(&with_section("guard", &text));
        for told in told {
            assert!(message.contains(told), "{rule}: {message} does not say {told}");
        }
    }
}

#[test]
fn a_mistake_in_a_rule_names_its_drop_in() {
    let drop_in = "[[guard.command]]\ntype = \"nav_roi\"\n[guard.command.fields]\nx = {max = 91}\n";
    let error = load(&[("downlinkd.toml", GOOD), ("conf.d/10-a.toml", drop_in)]);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("10-a.toml: [guard.command] fields: nav_roi"), "{message}");
}

#[test]
fn a_rule_becomes_what_the_guard_judges_by() {
    let text = r#"
mode = "guarded"
[[guard.issuer]]
id = "cloud"
commands = ["*"]
[[guard.issuer.key]]
kid = "k"
ed25519_public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
[[guard.command]]
type = "preflight_reboot_shutdown"
grant = false
max_timeout = "60s"
[guard.command.fields]
autopilot = { allowed = ["REBOOT_SHUTDOWN_ACTION_REBOOT", 3] }
component_id = { max = 10, allow_unset = true }
[guard.command.require]
armed = false
landed = true
modes = ["auto.loiter", "posctl"]
home_set = true
min_gps_fix = 3
min_battery = 30
max_heartbeat_age = "2s"
[[guard.command]]
type = "nav_roi"
grant = false
[guard.command.fields]
x = { min = 47.3, max = 47.4 }
[[guard.command]]
type = "do_set_roi_location"
grant = false
frames = ["MAV_FRAME_GLOBAL_RELATIVE_ALT", "MAV_FRAME_GLOBAL"]
"#;
    let config = load(&[("downlinkd.toml", &with_section("guard", text))]).unwrap();
    let judge = |command: &str, payload: serde_json::Value, frame, timeout_seconds| {
        let command = catalog::find(command).unwrap();
        let content = command.encode(payload.as_object().unwrap(), frame).unwrap();
        let component = config.link.target.component;
        let candidate =
            Candidate { api_id: "cloud", command, content: &content, component, timeout_seconds };
        let grants = Grants::new(Limits::default(), 1);
        let now = Duration::from_secs(1000);
        config.guard.permit(candidate, &grants, None, now).map_err(|refusal| refusal.message)
    };
    let reboot = "preflight_reboot_shutdown";
    let global = "payload.x: 47.5 is outside of the policy's bounds; allowed: 47.3 to 47.4";
    for (command, payload, frame, timeout, told) in [
        (reboot, json!({"autopilot": 1}), None, 60, None),
        (reboot, json!({"autopilot": 3, "component_id": null}), None, 60, None),
        (reboot, json!({"autopilot": 3}), None, 61, Some("at most 60")),
        (reboot, json!({"autopilot": 2}), None, 60, Some("allowed: 1, 3")),
        (
            reboot,
            json!({"autopilot": 1, "component_id": 11}),
            None,
            60,
            Some("at most 10, or unset"),
        ),
        ("nav_roi", json!({"x": 47.35, "y": 8.5, "z": 1}), None, 30, None),
        ("nav_roi", json!({"x": 47.5, "y": 8.5, "z": 1}), None, 30, Some(global)),
        // Bounds in degrees say nothing of metres.
        (
            "nav_roi",
            json!({"x": 47.35, "y": 8.5, "z": 1}),
            Some("MAV_FRAME_LOCAL_NED"),
            30,
            Some("MAV_FRAME 1 is not allowed"),
        ),
        ("do_set_roi_location", json!({}), Some("MAV_FRAME_GLOBAL_RELATIVE_ALT"), 30, None),
        (
            "do_set_roi_location",
            json!({}),
            Some("MAV_FRAME_GLOBAL_TERRAIN_ALT"),
            30,
            Some("allowed: 0, 3"),
        ),
    ] {
        let message = judge(command, payload.clone(), frame, timeout).err();
        match (&message, told) {
            (None, None) => {}
            (Some(message), Some(told)) => assert!(message.contains(told), "{message}"),
            _ => panic!("{command} {payload}: {message:?}"),
        }
    }
    // The preconditions of the first rule, each known when the next is asked for.
    let source = config.link.target.address().unwrap();
    let now = Duration::from_secs(10);
    let mut vehicle = Vehicle::new(source);
    vehicle.opened(LinkId::MAIN);
    let refused = |vehicle: &Vehicle, now, what: &str| {
        let refusal = config.guard.check_state(reboot, vehicle, now).unwrap_err();
        assert!(refusal.message.starts_with(what), "{}", refusal.message);
    };
    refused(&vehicle, now, "whether the vehicle is still there is not known");
    let heartbeat = Heartbeat {
        source,
        autopilot: 12,
        vehicle_type: 2,
        base_mode: 1,
        custom_mode: 0x0304_0000,
        system_status: 3,
    };
    vehicle.heartbeat(LinkId::MAIN, &heartbeat, now);
    for (what, report) in [
        ("landed", Report::ExtendedSysState { landed_state: 1 }),
        ("home_set", Report::HomePosition { latitude: 1, longitude: 1 }),
        ("the GPS fix", Report::GpsRawInt { fix_type: 3 }),
        ("the battery", Report::SysStatus { voltage_battery: 0, battery_remaining: 30 }),
    ] {
        refused(&vehicle, now, what);
        vehicle.telemetry(&Telemetry { source, report }, now);
    }
    assert_eq!(config.guard.check_state(reboot, &vehicle, now), Ok(()));
    refused(&vehicle, now + Duration::from_secs(2), "whether the vehicle is still there");
    vehicle.heartbeat(LinkId::MAIN, &Heartbeat { base_mode: 129, ..heartbeat }, now);
    refused(&vehicle, now, "armed is true");
    vehicle.heartbeat(LinkId::MAIN, &Heartbeat { custom_mode: 0x0404_0000, ..heartbeat }, now);
    refused(&vehicle, now, "mode is auto.mission");
}

/// [`GOOD`] with one section replaced.
fn with_section(section: &str, text: &str) -> String {
    let mut whole = format!("[{section}]\n{text}\n");
    for part in GOOD.split("\n[").map(|part| part.trim_start_matches(['[', '\n'])) {
        if !part.is_empty() && !part.starts_with(&format!("{section}]")) {
            whole.push_str(&format!("[{part}\n"));
        }
    }
    whole
}

#[test]
fn spans_of_time_are_seconds_or_text() {
    for (text, seconds) in [("90", 90), ("\"90\"", 90), ("\"90s\"", 90), ("\"2min 30s\"", 150)] {
        let text = with_section("delivery", &format!("default_timeout = {text}"));
        let config = load(&[("downlinkd.toml", &text)]).unwrap();
        assert_eq!(config.delivery.default_timeout_seconds, seconds);
    }
}

fn guarded_example() -> Guard {
    shipped::with_drop_in(include_str!("../../config/examples/guarded.toml")).unwrap().guard
}

/// All that the guard has against a command of the issuer `cloud` while no grant is open.
fn refusals(
    guard: &Guard,
    command: &str,
    payload: serde_json::Value,
    vehicle: &Vehicle,
) -> Vec<(Layer, Code)> {
    let command = catalog::find(command).unwrap();
    let content = command.encode(payload.as_object().unwrap(), None).unwrap();
    let component = guard.component(command, None);
    let candidate =
        Candidate { api_id: "cloud", command, content: &content, component, timeout_seconds: 30 };
    let grants = Grants::new(guard.grant_limits().clone(), 1);
    let layers = guard.explain(candidate, &Rates::default(), vehicle, &grants, HEARD);
    let refusals = layers.into_iter().filter_map(|(layer, verdict)| match verdict {
        Verdict::Refuses(refusal) => Some((layer, refusal.code)),
        Verdict::Passes | Verdict::NotAsked => None,
    });
    refusals.collect()
}

const HEARD: Duration = Duration::from_secs(1000);
const AUTOPILOT: Address = Address { system: 1, component: 1 };

#[test]
fn the_example_moves_nothing_without_a_grant() {
    let guard = guarded_example();
    let mut allowed = 0;
    for command in catalog::all().iter().filter(|command| command.risk >= Risk::Flight) {
        let payload = match command.command_type {
            "do_reposition" => json!({"latitude": 47.4, "longitude": 8.54, "altitude": 450}),
            "preflight_reboot_shutdown" => json!({"autopilot": 1}),
            _ => json!({}),
        };
        let refusals = refusals(&guard, command.command_type, payload, &Vehicle::new(AUTOPILOT));
        match refusals.iter().any(|(layer, _)| *layer == Layer::Policy) {
            true => assert!(refusals.contains(&(Layer::Policy, Code::PolicyCommandDenied))),
            false => {
                allowed += 1;
                assert!(refusals.contains(&(Layer::State, Code::StateUnknown)), "{refusals:?}");
                assert!(refusals.contains(&(Layer::Grant, Code::GrantMissing)), "{refusals:?}");
            }
        }
    }
    assert_eq!(allowed, 3);
}

#[test]
fn the_example_reboots_only_disarmed_and_on_the_ground() {
    const ARMED: u8 = 0x80;
    let guard = guarded_example();
    for (base_mode, landed_state, passes) in
        [(0, 1, true), (ARMED, 1, false), (0, 2, false), (ARMED, 2, false), (0, 0, false)]
    {
        let mut vehicle = Vehicle::new(AUTOPILOT);
        vehicle.opened(LinkId::MAIN);
        let heartbeat = Heartbeat {
            source: AUTOPILOT,
            autopilot: 12,
            vehicle_type: 2,
            base_mode,
            custom_mode: 0,
            system_status: 3,
        };
        vehicle.heartbeat(LinkId::MAIN, &heartbeat, HEARD);
        let report = Report::ExtendedSysState { landed_state };
        vehicle.telemetry(&Telemetry { source: AUTOPILOT, report }, HEARD);
        for action in [1, 2] {
            let payload = json!({ "autopilot": action });
            let refusals = refusals(&guard, "preflight_reboot_shutdown", payload, &vehicle);
            let refused = refusals.iter().any(|(layer, _)| *layer == Layer::State);
            assert_eq!(refused, !passes, "{base_mode} {landed_state}: {refusals:?}");
        }
    }
}
