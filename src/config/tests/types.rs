//! Values of another type than their key's.

use config::Map;

use super::*;

const WHOLE: &str = "expected a whole number for key";
const BOOLEAN: &str = "expected a boolean for key";
const TEXT: &str = "expected a string for key";

#[test]
fn a_file_is_taken_at_its_word() {
    for (text, value, told) in [
        ("[link]\nsystem_id = 1.6", "`1.6`", format!("{WHOLE} `link.system_id`")),
        ("[link]\nsystem_id = true", "`true`", format!("{WHOLE} `link.system_id`")),
        ("[link]\nsystem_id = \"3\"", "\"3\"", format!("{WHOLE} `link.system_id`")),
        ("[link]\ntarget_system = 1.6", "`1.6`", "`link.target_system`".to_owned()),
        (
            "[link]\ncomponent_by_domain = {camera = 100.6}",
            "`100.6`",
            format!("{WHOLE} `link.component_by_domain.camera`"),
        ),
        ("[delivery]\nmax_outstanding = 8.4", "`8.4`", format!("{WHOLE} `delivery.max_out")),
        ("[delivery]\ndefault_timeout = 8.4", "`8.4`", "`delivery.default_timeout`".to_owned()),
        ("[journal]\nmax_commands = \"many\"", "many", "`journal.max_commands`".to_owned()),
        ("[guard.grant]\nmax_count = true", "`true`", format!("{WHOLE} `guard.grant.max_count`")),
        (
            "[[guard.issuer]]\nid = \"a\"\n[[guard.issuer]]\nid = \"b\"\ntarget_components = [1, 100.6]",
            "`100.6`",
            format!("{WHOLE} `guard.issuer[1].target_components[1]`"),
        ),
        (
            "[[guard.issuer]]\nid = \"a\"\nmay_grant = \"on\"",
            "\"on\"",
            format!("{BOOLEAN} `guard.issuer[0].may_grant`"),
        ),
        (
            "[[guard.command]]\ntype = \"nav_roi\"\ngrant = 0",
            "`0`",
            format!("{BOOLEAN} `guard.command[0].grant`"),
        ),
        (
            "[[guard.command]]\ntype = \"nav_roi\"\nrequire = {min_battery = 30.6}",
            "`30.6`",
            format!("{WHOLE} `guard.command[0].require.min_battery`"),
        ),
        ("[device]\nid = 7", "`7`", format!("{TEXT} `device.id`")),
        ("[mqtt]\nclient_id = false", "`false`", format!("{TEXT} `mqtt.client_id`")),
        ("[mqtt]\nurl = [\"mqtt://a\", 7]", "`7`", format!("{TEXT} `mqtt.url[1]`")),
        ("[journal]\ndir = 7", "`7`", "`journal.dir`".to_owned()),
        ("[api]\nlisten = 8080", "`8080`", format!("{TEXT} `api.listen`")),
    ] {
        let error = load(&[("downlinkd.toml", GOOD), ("conf.d/10-a.toml", text)]).expect_err(text);
        let message = error.to_string();
        for part in ["10-a.toml: invalid type: ", value, &told] {
            assert!(message.contains(part), "{text}: {part} is not in {message}");
        }
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn the_environment_is_all_text() {
    let set = [
        ("DOWNLINKD_DEVICE__ID", "7"),
        ("DOWNLINKD_MQTT__URL", "mqtt://a"),
        ("DOWNLINKD_LINK__ENDPOINT", "udpin:0.0.0.0:14540"),
        ("DOWNLINKD_LINK__SYSTEM_ID", "3"),
        ("DOWNLINKD_DELIVERY__MAX_OUTSTANDING", "8"),
        ("DOWNLINKD_API__LISTEN", "8080"),
    ];
    let set: Map<_, _> =
        set.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let environment = config::Config::builder().add_source(environment().source(Some(set)));
    let source = Source::read("the environment".to_owned(), environment, false).unwrap();
    let config = source.raw.check().map_err(|mistake| mistake.message).unwrap();
    assert_eq!((&*config.device_id, config.link.source.system), ("7", 3));
    assert_eq!(config.delivery.max_outstanding, 8);
    assert_eq!(config.api.listen.unwrap().port(), 8080);
}
