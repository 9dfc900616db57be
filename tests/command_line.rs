//! The whole program as a shell sees it: exit codes of usage mistakes, help, man pages, completions.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use downlinkd::edge::journal::{Journal, Retention};

const USAGE: i32 = 64;

const SUBCOMMANDS: &[&str] = &[
    "run",
    "check",
    "catalog",
    "send",
    "journal",
    "keygen",
    "grant",
    "revoke",
    "guard",
    "status",
    "query",
    "completions",
    "man",
];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downlinkd"));
    command.args(arguments).env_remove("DOWNLINKD_DEVICE__ID");
    command
}

fn downlinkd(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

#[test]
fn every_usage_mistake_exits_64() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("cloud.hmac");
    std::fs::write(&key, format!("hex:{}\n", "5a".repeat(32))).unwrap();
    let key = key.to_str().unwrap();
    let to =
        ["--issuer", "cloud", "--key-file", key, "--url", "mqtt://127.0.0.1:1", "--device", "d"];
    let send = |arguments: &[&'static str]| -> Vec<String> {
        ["send"].iter().chain(arguments).chain(&to).map(|it| (*it).to_owned()).collect()
    };
    let mut mistakes: Vec<Vec<String>> = [
        "",
        "fly",
        "--colour",
        "run --colour",
        "run --config",
        "run now",
        "check now",
        "check --output xml",
        "catalog nav_rio",
        "catalog --domain nowhere",
        "catalog --risk none",
        "catalog nav_roi --search x",
        "journal",
        "journal burn",
        "journal show",
        "journal show 7",
        "keygen",
        "keygen --issuer a/b --out /tmp",
        "keygen --issuer cloud --out /tmp --algorithm rot13",
        "grant",
        "grant --risk flight",
        "grant --for 5min",
        "grant --risk flight --for soon",
        "grant --risk flight --for 5min --count many",
        "grant --approve 1 --risk flight",
        "revoke",
        "revoke 1 --all",
        "guard",
        "guard explain",
        "query 7",
        "query --limit 0",
        "query --status DONE",
        "query --idempotency-key a",
        "status now",
        "status --watch never",
        "status --output xml",
        "completions",
        "completions tcsh",
        "man downlinkd",
        "send",
        "send nav_roi",
        "send nav_roi --issuer cloud",
        "send nav_roi --key-file /x",
        "send nav_roi --issuer a/b --key-file /x",
    ]
    .iter()
    .map(|line| line.split_ascii_whitespace().map(str::to_owned).collect())
    .collect();
    mistakes.extend([
        send(&["nav_rio"]),
        send(&["nav_roi", "x"]),
        send(&["nav_roi", "=1"]),
        send(&["nav_roi", "x=1", "x=2"]),
        send(&["nav_roi", "colour=1"]),
        send(&["nav_roi", "roi_mode=MAV_ROI_NOWHERE"]),
        send(&["nav_roi", "--wait", "--no-wait"]),
        send(&["nav_roi", "--timeout", "301"]),
        send(&["nav_roi", "--timeout", "-1"]),
        send(&["nav_roi", "--target-component", "256"]),
        send(&["nav_roi", "--frame", "MAV_FRAME_NOWHERE"]),
        send(&["nav_roi", "--idempotency-key", ""]),
        send(&["nav_roi", "--kid", "two words"]),
        send(&["nav_roi", "--password-file", "/x"]),
        send(&["nav_roi", "--cert-file", "/x"]),
        send(&["nav_roi", "--ca-file", "/x"]),
        send(&["nav_roi", "--prefix", "/+"]),
        send(&["nav_roi", "--qos", "0"]),
        send(&["nav_roi", "--output", "xml"]),
    ]);
    let to_nowhere = |more: &[&'static str]| -> Vec<String> {
        let who = ["send", "nav_roi", "--issuer", "cloud", "--key-file", key];
        who.iter().chain(more).map(|it| (*it).to_owned()).collect()
    };
    // Where an agent is installed, its configuration says the rest.
    if !Path::new("/etc/downlinkd/downlinkd.toml").exists() {
        mistakes.push(to_nowhere(&["--url", "mqtt://127.0.0.1:1"]));
        mistakes.push(to_nowhere(&["--device", "d"]));
    }
    mistakes.extend([
        to_nowhere(&["--device", "a/b", "--url", "mqtt://127.0.0.1:1"]),
        to_nowhere(&["--device", "d", "--url", "http://127.0.0.1:1"]),
        to_nowhere(&["--device", "d", "--url", "mqtt://user:password@127.0.0.1:1"]),
    ]);
    for mistake in mistakes {
        let arguments: Vec<&str> = mistake.iter().map(String::as_str).collect();
        let output = downlinkd(&arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {said}");
        assert!(!said.is_empty() && !said.contains("user:password"), "{arguments:?}: {said}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

/// In the first segment of two, where one changed byte makes sled panic.
#[test]
fn damage_over_which_sled_panics_is_told() {
    const DATA: i32 = 65;
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { age: Duration::from_secs(86_400), max_commands: 1000 };
    drop(Journal::open(dir.path(), retention).unwrap());
    let store = dir.path().join("generation-1/store");
    let db = sled::open(&store).unwrap();
    for number in 0..300_u64 {
        db.insert(number.to_be_bytes(), vec![7; 4096]).unwrap();
        db.flush().unwrap();
    }
    drop(db);
    let mut bytes = std::fs::read(store.join("db")).unwrap();
    bytes[1100] ^= 1;
    std::fs::write(store.join("db"), bytes).unwrap();

    let mut check = command(&["journal", "check", "--config", "config/downlinkd.toml"]);
    let output = check.env("DOWNLINKD_JOURNAL__DIR", dir.path()).output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(DATA), "{told}");
    assert!(told.contains("panicked at") && told.contains("sled"), "{told}");
    assert!(
        told.contains("is damaged: sled panicked while reading its files; nothing was deleted")
    );
}

#[test]
fn help_and_version_are_no_mistakes() {
    let help = text(&downlinkd(&["--help"]).stdout).to_owned();
    for title in ["Exit status:", "Files:", "Environment:"] {
        assert!(help.contains(title), "{help}");
    }
    for subcommand in SUBCOMMANDS {
        let output = downlinkd(&[subcommand, "--help"]);
        assert!(output.status.success(), "{subcommand}");
        assert!(help.contains(&format!("  {subcommand} ")), "{subcommand} is not in the list");
    }
    assert!(text(&downlinkd(&["send", "--help"]).stdout).contains("  3   TIMED_OUT"));
    assert!(text(&downlinkd(&["--version"]).stdout).starts_with("downlinkd "));
}

#[test]
fn man_pages_are_read_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let output = downlinkd(&["man", "--out", dir.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for subcommand in SUBCOMMANDS {
        assert!(dir.path().join(format!("downlinkd-{subcommand}.1")).exists(), "{subcommand}");
    }
    let main = downlinkd(&["man"]).stdout;
    assert_eq!(main, std::fs::read(dir.path().join("downlinkd.1")).unwrap());
    for page in std::fs::read_dir(dir.path()).unwrap() {
        check_page(&page.unwrap().path());
    }
    let nowhere = dir.path().join("nowhere");
    let output = downlinkd(&["man", "--out", nowhere.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere"));
}

fn check_page(page: &Path) {
    let groff = Command::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(page).output();
    let output = groff.expect("groff is not installed");
    let said = text(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
}

#[test]
fn completions_name_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let output = downlinkd(&["completions", shell]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        for subcommand in SUBCOMMANDS {
            assert!(text(&output.stdout).contains(subcommand), "{shell}: {subcommand}");
        }
    }
}

#[test]
fn bash_completes_what_is_begun() {
    let script = "source <(\"$0\" completions bash)
        COMP_WORDS=(downlinkd comp) COMP_CWORD=1
        _downlinkd downlinkd comp downlinkd
        echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_downlinkd")]).output();
    let output = bash.expect("bash is not installed");
    assert_eq!(text(&output.stdout), "completions\n", "{}", text(&output.stderr));
}
