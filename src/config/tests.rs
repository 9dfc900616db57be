use std::fs;

use super::*;

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
    assert_eq!(config.link.target, Address { system: 1, component: 1 });
    assert_eq!(config.delivery.default_timeout_seconds, 30);
    assert_eq!(config.delivery.max_outstanding, 3);
    assert_eq!(config.delivery.late_ack_window, Duration::from_secs(300));
    assert_eq!(config.delivery.max_progress, Duration::from_secs(600));
    assert_eq!(config.mqtt.prefix, "downlink/v1");
    assert_eq!(config.mqtt.client_id, "downlinkd-px4-real-1");
    assert_eq!(config.grants, Limits::default());
    assert_eq!(config.api_socket, Path::new("/run/downlinkd/api.sock"));
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
    let error = load(&[("downlinkd.toml", "[device]\n"), ("conf.d/10-a.toml", "[mqtt]\n")]);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("downlinkd.toml: [device] id"), "{message}");

    let error = load(&[("downlinkd.toml", "[link]\nendpoint = 7\n")]).unwrap_err().to_string();
    assert!(error.contains("downlinkd.toml") && error.contains("endpoint"), "{error}");
}

#[test]
fn two_person_grants_are_by_risk_and_by_command() {
    let text = "two_person = [\"critical\", \"nav_land\"]";
    let config = load(&[("downlinkd.toml", &with_section("guard.grant", text))]).unwrap();
    let expected = TwoPerson { risks: [Risk::Critical].into(), commands: ["nav_land"].into() };
    assert_eq!(config.grants.two_person, expected);
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
        ("mqtt", "url = \"mqtts://x\"", "TLS"),
        ("mqtt", "url = \"mqtt://user:secret@x\"", "password_file"),
        ("mqtt", "url = \"mqtt://x\"\nprefix = \"a/#\"", "prefix"),
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
        ("guard", "command = [{type = \"nav_roi\", target_component = 0}]", "target_component"),
        ("guard", "mode = \"open\"", "open"),
        ("guard", "mode = \"guarded\"", "issuer"),
        ("guard", "issuer = [{id = \"a\"}, {id = \"a\"}]", "twice"),
        ("guard", "command = [{type = \"fly_away\"}]", "fly_away"),
        ("guard", "command = [{type = \"nav_roi\"}, {type = \"nav_roi\"}]", "twice"),
        (
            "guard",
            "command = [{type = \"nav_roi\", retransmit = {times = 1, interval = \"1s\"}}]",
            "repeatable",
        ),
        ("guard.grant", "max_duration = \"25h\"", "86400"),
        ("guard.grant", "max_count = 0", "1 to 1000"),
        ("guard.grant", "two_person = [\"criticl\"]", "criticl"),
        ("guard.grant", "required_for = [\"all\"]", "all"),
        ("api", "listen = 1", "listen"),
        ("delivery", "default_timeout = \"soon\"", "soon"),
        ("delivery", "default_timeout = 301", "1 to 300"),
        ("delivery", "default_timeout = \"1500ms\"", "whole seconds"),
        ("delivery", "max_outstanding = 9", "1 to 8"),
    ] {
        let message = message(&with_section(section, text));
        assert!(message.contains(told), "{section}: {text}: {message}");
    }
    assert!(message("[device]\n").contains("[device] id"));
    assert!(message("not toml").contains("downlinkd.toml"));
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

const SHIPPED: &str = include_str!("../../config/downlinkd.toml");

#[test]
fn the_shipped_file_is_valid_and_safe() {
    let config = load(&[("downlinkd.toml", SHIPPED)]).unwrap();
    assert_eq!(config.guard.mode(), Mode::Disabled);
}

#[test]
fn every_commented_key_of_the_shipped_file_is_valid() {
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.starts_with("[[")
            || line.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let uncommented: Vec<&str> = SHIPPED
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line))
        // Only there when systemd runs the service.
        .filter(|line| !line.starts_with("password_file"))
        .collect();
    assert!(uncommented.len() > 20);
    let text = uncommented.join("\n").replace("mode = \"disabled\"", "mode = \"guarded\"");
    let config = load(&[("downlinkd.toml", &text)]).unwrap();
    assert_eq!(config.guard.mode(), Mode::Guarded);
    // As commented, the keys say what the defaults are.
    let shipped = load(&[("downlinkd.toml", SHIPPED)]).unwrap();
    assert_eq!(format!("{:?}", config.delivery), format!("{:?}", shipped.delivery));
    assert_eq!(config.mqtt.keep_alive, shipped.mqtt.keep_alive);
    assert_eq!(config.mqtt.session_expiry, shipped.mqtt.session_expiry);
    assert_eq!(config.mqtt.prefix, shipped.mqtt.prefix);
    assert_eq!(config.link.source, shipped.link.source);
    assert_eq!(config.link.target, shipped.link.target);
    assert_eq!(config.journal_dir, shipped.journal_dir);
    assert_eq!(config.api_socket, shipped.api_socket);
    assert_eq!(config.grants, shipped.grants);
}
