//! The agent's configuration for one scenario: what the bench needs, then what the scenario asks for,
//! then what nothing may change.

use std::net::SocketAddr;
use std::path::Path;

use toml::{Table, Value};

use super::DEVICE_ID;
use super::file::Scenario;
use crate::wire::topic::VENDOR;

/// Where the agent finds what.
pub struct Places<'a> {
    pub folder: &'a Path,
    pub broker: SocketAddr,
    pub endpoint: &'a str,
    /// The lines that `downlinkd keygen` printed.
    pub issuer: &'a Table,
    /// Where there is one.
    pub signing_key: Option<&'a Path>,
}

/// The whole configuration. `allowed`: whether a rule for this command type may stay.
pub fn build(scenario: &Scenario, places: &Places<'_>, allowed: impl Fn(&str) -> bool) -> Table {
    let mut config = Table::new();
    let mut issuer = places.issuer.clone();
    issuer.insert("may_grant".into(), true.into());
    merge(&mut issuer, &scenario.issuer);
    set(&mut config, "guard", "mode", "guarded");
    set(&mut config, "guard", "issuer", vec![Value::Table(issuer)]);
    set(&mut config, "guard", "command", rules(scenario));
    merge(&mut config, &scenario.config);

    if let Some(Value::Table(guard)) = config.get_mut("guard")
        && let Some(Value::Array(rules)) = guard.get_mut("command")
    {
        rules.retain(|rule| rule.get("type").and_then(Value::as_str).is_some_and(&allowed));
    }
    let path = |path: &Path| path.display().to_string();
    set(&mut config, "device", "vendor", VENDOR);
    set(&mut config, "device", "id", DEVICE_ID);
    set(&mut config, "mqtt", "url", format!("mqtt://{}", places.broker));
    set(&mut config, "mqtt", "prefix", prefix(&scenario.name));
    set(&mut config, "mqtt", "client_id", format!("agent-{}", scenario.name));
    set(&mut config, "link", "endpoint", places.endpoint);
    if let Some(key) = places.signing_key {
        set(&mut config, "link", "signing_key_file", path(key));
    }
    set(&mut config, "journal", "dir", path(&places.folder.join("journal")));
    set(&mut config, "api", "socket", path(&places.folder.join("api.sock")));
    config
}

/// Of all topics: every scenario has its own, so that they do not hear each other.
pub fn prefix(scenario: &str) -> String {
    format!("bench/{scenario}")
}

/// What is published may be sent, without a grant.
fn rules(scenario: &Scenario) -> Vec<Value> {
    let mut types: Vec<&str> = scenario.published().map(|command| command.command_type).collect();
    types.sort_unstable();
    types.dedup();
    let rule = |command_type: &str| {
        let mut rule = Table::new();
        rule.insert("type".into(), command_type.into());
        rule.insert("grant".into(), false.into());
        Value::Table(rule)
    };
    types.into_iter().map(rule).collect()
}

/// Tables are merged; everything else replaces what is there.
fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

fn set(config: &mut Table, section: &str, key: &str, value: impl Into<Value>) {
    let entry = config.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = entry {
        section.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        description = ""
        steps = [
          { do = "publish", command = "nav_land" },
          { do = "publish", command = "nav_land", key = "again" },
          { do = "publish", command = "image_stop_capture" },
        ]
    "#;

    fn built(text: &str, allowed: impl Fn(&str) -> bool) -> Table {
        let scenario = Scenario::parse("test", text).unwrap();
        let issuer = "id = \"bench\"\ncommands = [\"*\"]".parse().unwrap();
        let places = Places {
            folder: Path::new("/folder"),
            broker: "127.0.0.1:1883".parse().unwrap(),
            endpoint: "serial:/folder/px4:921600",
            issuer: &issuer,
            signing_key: None,
        };
        build(&scenario, &places, allowed)
    }

    fn types(config: &Table) -> Vec<&str> {
        let rules = config["guard"]["command"].as_array().unwrap();
        rules.iter().map(|rule| rule["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn what_is_published_may_be_sent() {
        assert_eq!(types(&built(TEXT, |_| true)), ["image_stop_capture", "nav_land"]);
    }

    #[test]
    fn no_rule_stays_for_what_is_not_allowed_whoever_wrote_it() {
        let not_landing = |name: &str| name != "nav_land";
        assert_eq!(types(&built(TEXT, not_landing)), ["image_stop_capture"]);
        let text = format!("{TEXT}\n[[config.guard.command]]\ntype = \"nav_land\"");
        assert_eq!(types(&built(&text, |_| true)), ["nav_land"]);
        assert!(types(&built(&text, not_landing)).is_empty());
    }

    #[test]
    fn a_scenario_changes_the_agent_and_not_where_it_is() {
        let text = format!(
            "{TEXT}\n[issuer]\ncommands_per_minute = 2\n[config.guard]\nmode = \"disabled\"\n\
             [config.link]\nendpoint = \"serial:/dev/ttyAMA0:57600\"\ncomponent_id = 192"
        );
        let config = built(&text, |_| true);
        assert_eq!(config["guard"]["mode"].as_str(), Some("disabled"));
        assert_eq!(config["guard"]["issuer"][0]["commands_per_minute"].as_integer(), Some(2));
        assert_eq!(config["guard"]["issuer"][0]["id"].as_str(), Some("bench"));
        assert_eq!(config["link"]["component_id"].as_integer(), Some(192));
        assert_eq!(config["link"]["endpoint"].as_str(), Some("serial:/folder/px4:921600"));
    }
}
