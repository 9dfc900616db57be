//! The files in config/: each of them can be loaded, and downlinkd.toml says all that the code knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::{Config, Error, Mode, load, message};

pub const SHIPPED: &str = include_str!("../../../config/downlinkd.toml");
/// Sections in which every key that is not set in the file shows its default,
const WITH_DEFAULTS: [&str; 7] =
    ["device", "mqtt", "link", "delivery", "journal", "api", "guard.grant"];
/// except these, which have none, or only go with others.
const WITHOUT_DEFAULT: [&str; 10] = [
    "client_id",
    "username",
    "password_file",
    "ca_file",
    "cert_file",
    "key_file",
    "component_by_domain",
    "signing_key_file",
    "signing_link_id",
    "listen",
];

/// The configuration as shipped with a drop-in, whose keys lie where this machine has them.
pub fn with_drop_in(text: &str) -> Result<Config, Error> {
    let keys = tempfile::tempdir().unwrap();
    let folder = keys.path().display().to_string();
    let (_, text) = with_keys(text, &folder);
    load(&[("downlinkd.toml", SHIPPED), ("conf.d/10-example.toml", &text)])
}

/// Makes the key files that a text names, in a folder of this machine; their number, and the text that
/// names these.
fn with_keys(text: &str, folder: &str) -> (u8, String) {
    let mut count = 0;
    for name in text.split('"').filter_map(|it| it.strip_prefix("/etc/downlinkd/keys/")) {
        count += 1;
        let secret = format!("hex:{}", format!("{count:02x}").repeat(32));
        fs::write(Path::new(folder).join(name), secret).unwrap();
    }
    (count, text.replace("/etc/downlinkd/keys", folder))
}

#[test]
fn the_shipped_file_is_valid_and_safe() {
    let config = load(&[("downlinkd.toml", SHIPPED)]).unwrap();
    assert_eq!(config.guard.mode(), Mode::Disabled);
}

#[test]
fn every_example_is_a_drop_in_of_the_shipped_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let config = with_drop_in(&text).unwrap_or_else(|error| panic!("{error}"));
        let guarded = text.contains("\nmode = \"guarded\"\n");
        assert_eq!(config.guard.mode() == Mode::Guarded, guarded, "{}", path.display());
        names.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    let known = ["bench", "first-command", "guarded", "jetson", "raspberry-pi", "sitl"];
    assert!(known.iter().all(|name| names.contains(*name)), "{names:?}");
}

#[test]
fn every_commented_key_is_valid() {
    let keys = tempfile::tempdir().unwrap();
    // Only there when systemd runs the service, or with TLS.
    let elsewhere = ["password_file", "ca_file", "cert_file", "key_file"];
    let text = uncommented(|key| !elsewhere.contains(&key));
    let (count, text) = with_keys(&text, &keys.path().display().to_string());
    assert!(count > 0);
    let config =
        load(&[("downlinkd.toml", &text.replace("mode = \"disabled\"", "mode = \"guarded\""))])
            .unwrap();
    assert_eq!(config.guard.mode(), Mode::Guarded);
}

#[test]
fn a_commented_default_is_the_codes_default() {
    let as_shipped = format!("{:?}", load(&[("downlinkd.toml", SHIPPED)]).unwrap());
    let mut section = "";
    let mut count = 0;
    for line in SHIPPED.lines() {
        let key = commented(line);
        if let Some(header) = key.unwrap_or(line).strip_prefix('[') {
            section = header.trim_end_matches(']');
        } else if let Some(key) = key
            && WITH_DEFAULTS.contains(&section)
            && !WITHOUT_DEFAULT.contains(&name_of(key))
        {
            let drop_in = format!("[{section}]\n{key}\n");
            let config = with_drop_in(&drop_in).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{config:?}"), as_shipped, "{drop_in}");
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
}

#[test]
fn every_key_that_the_code_knows_is_in_the_shipped_file() {
    let all = uncommented(|_| true).parse::<Table>().unwrap();
    for (section, unknown_key) in [
        ("", "no_such_key = 1"),
        ("device", "[device]\nno_such_key = 1"),
        ("mqtt", "[mqtt]\nno_such_key = 1"),
        ("link", "[link]\nno_such_key = 1"),
        ("guard", "[guard]\nno_such_key = 1"),
        ("guard.issuer", "[[guard.issuer]]\nno_such_key = 1"),
        ("guard.issuer.key", "[[guard.issuer]]\nid = \"a\"\nkey = [{no_such_key = 1}]"),
        ("guard.command", "[[guard.command]]\nno_such_key = 1"),
        (
            "guard.command.retransmit",
            "[[guard.command]]\ntype = \"a\"\nretransmit = {no_such_key = 1}",
        ),
        (
            "guard.command.fields.target_camera_id",
            "[[guard.command]]\ntype = \"a\"\nfields = {b = {no_such_key = 1}}",
        ),
        ("guard.command.require", "[[guard.command]]\ntype = \"a\"\nrequire = {no_such_key = 1}"),
        ("guard.grant", "[guard.grant]\nno_such_key = 1"),
        ("delivery", "[delivery]\nno_such_key = 1"),
        ("journal", "[journal]\nno_such_key = 1"),
        ("api", "[api]\nno_such_key = 1"),
    ] {
        let message = message(unknown_key);
        let (_, expected) = message.split_once("expected ").expect(&message);
        let expected = expected.split(" for key").next().unwrap();
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        assert!(!known.is_empty(), "{message}");
        let written = at(&all, section).unwrap_or_else(|| panic!("[{section}] is not there"));
        for key in known {
            let is_there = written.contains_key(key) || in_a_sentence(key);
            assert!(is_there, "[{section}] {key} is not in downlinkd.toml");
        }
    }
}

/// The shipped file with its commented keys and sections in force, where the rule says so.
fn uncommented(rule: impl Fn(&str) -> bool) -> String {
    let in_force = |line| {
        let rest = commented(line)?;
        rule(name_of(rest)).then_some(rest)
    };
    let lines: Vec<&str> = SHIPPED.lines().map(|line| in_force(line).unwrap_or(line)).collect();
    lines.join("\n")
}

/// The key or the section in a commented line; none in a sentence.
fn commented(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("# ")?;
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (rest.starts_with('[') || rest.contains(" = ") && is_name(name_of(rest))).then_some(rest)
}

fn name_of(line: &str) -> &str {
    line.split(" = ").next().unwrap_or_default()
}

/// Whether a comment shows how a key is written that cannot stand beside another one.
fn in_a_sentence(key: &str) -> bool {
    let sentences =
        SHIPPED.lines().filter(|line| line.starts_with("# ") && commented(line).is_none());
    sentences.into_iter().any(|line| line.contains(&format!(" {key} = ")))
}

/// The table at a path; of a list of tables, the first.
fn at<'a>(table: &'a Table, path: &str) -> Option<&'a Table> {
    path.split('.').filter(|name| !name.is_empty()).try_fold(table, |table, name| {
        match table.get(name)? {
            Value::Table(table) => Some(table),
            Value::Array(tables) => tables.first()?.as_table(),
            _ => None,
        }
    })
}
