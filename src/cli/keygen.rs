//! `downlinkd keygen`

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::ValueEnum;
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use super::values::{kid, level};
use crate::guard::authentication::signer::{PEM_BEGIN, PEM_END, PKCS8_ED25519};
use crate::lifecycle::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// hmac: one secret, which vehicle and publisher share; ed25519: the vehicle gets no secret
    #[arg(long, value_enum, default_value_t = Algorithm::Hmac)]
    algorithm: Algorithm,
    /// The issuer, as in its topics
    #[arg(long, value_name = "NAME", value_parser = level, required_unless_present = "mavlink")]
    issuer: Option<String>,
    /// Not for an issuer: the key that signs MAVLink frames between the agent and the vehicle
    #[arg(long, conflicts_with_all = ["algorithm", "issuer", "kid", "not_after"])]
    mavlink: bool,
    /// Where the secret's file goes; it must exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The key's name among the issuer's keys; default: the present month
    #[arg(long, value_parser = new_kid)]
    kid: Option<String>,
    /// The last moment at which the key counts, such as 2027-11-21T00:00:00Z
    #[arg(long, value_name = "TIME")]
    not_after: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Algorithm {
    Hmac,
    Ed25519,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read random bytes: {0}")]
    Random(#[source] getrandom::Error),
    #[error("{} exists already, and a key is never overwritten", .0.display())]
    Exists(PathBuf),
    #[error("failed to write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the path {:?} does not fit into the configuration: it must be UTF-8 without control \
             characters", .0)]
    Path(PathBuf),
    #[error("failed to print: {0}")]
    Print(#[source] io::Error),
}

pub fn run(arguments: &Arguments) -> ExitCode {
    match generate(arguments, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("downlinkd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the secret's file. `lines` gets what belongs into the configuration, `hints` what to do
/// with the file.
fn generate(
    arguments: &Arguments,
    lines: &mut impl Write,
    hints: &mut impl Write,
) -> Result<(), Error> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut secret[..]).map_err(Error::Random)?;
    let hex = Zeroizing::new(format!("hex:{}\n", *Zeroizing::new(HEXLOWER.encode(&secret[..]))));
    let Some(issuer) = &arguments.issuer else {
        let path = printable(&arguments.out.join("mavlink.key"))?;
        write_secret(Path::new(&path), hex.as_bytes())?;
        writeln!(lines, "[link]\nsigning_key_file = {}", quoted(&path)).map_err(Error::Print)?;
        let hint = "the vehicle needs this key too: docs/mavlink-signing.md says how";
        return writeln!(hints, "wrote {path}: {hint}").map_err(Error::Print);
    };
    let kid = arguments.kid.clone().unwrap_or_else(this_month);
    let extension = match arguments.algorithm {
        Algorithm::Hmac => "hmac",
        Algorithm::Ed25519 => "pem",
    };
    let path = printable(&arguments.out.join(format!("{issuer}-{kid}.{extension}")))?;
    let (text, key, hint) = match arguments.algorithm {
        Algorithm::Hmac => (
            hex,
            format!("hmac_key_file = {}", quoted(&path)),
            "both the vehicle and the publisher need this file",
        ),
        Algorithm::Ed25519 => (
            pem(&secret),
            format!("ed25519_public_key = {}", quoted(&public_key(&secret))),
            "only the publisher needs this file; move it there",
        ),
    };
    write_secret(Path::new(&path), text.as_bytes())?;
    write_lines(lines, issuer, &kid, &key, arguments.not_after).map_err(Error::Print)?;
    writeln!(hints, "wrote {path}: {hint}").map_err(Error::Print)
}

/// The absolute path, as the configuration can hold it.
fn printable(path: &Path) -> Result<String, Error> {
    let path = std::path::absolute(path)
        .map_err(|source| Error::Write { path: path.to_owned(), source })?;
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| Error::Path(path.clone()))
}

fn write_lines(
    lines: &mut impl Write,
    issuer: &str,
    kid: &str,
    key: &str,
    not_after: Option<Timestamp>,
) -> io::Result<()> {
    writeln!(lines, "[[guard.issuer]]\nid = {}\ncommands = [\"*\"]", quoted(issuer))?;
    writeln!(lines, "  [[guard.issuer.key]]\n  kid = {}\n  {key}", quoted(kid))?;
    match not_after {
        Some(not_after) => writeln!(lines, "  not_after = {}", quoted(&not_after.to_string())),
        None => Ok(()),
    }
}

/// Readable by its owner only, from the first byte.
fn write_secret(path: &Path, text: &[u8]) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
        _ => Error::Write { path: path.to_owned(), source },
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(|source| {
        // Half a key would stand in the way of the next attempt; the first error says more.
        let _ = std::fs::remove_file(path);
        failed(source)
    })
}

/// As OpenSSL reads it.
fn pem(secret: &[u8; 32]) -> Zeroizing<String> {
    let mut der = Zeroizing::new([0; 48]);
    der[..16].copy_from_slice(&PKCS8_ED25519);
    der[16..].copy_from_slice(secret);
    let base64 = Zeroizing::new(BASE64.encode(&der[..]));
    Zeroizing::new(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", *base64))
}

fn public_key(secret: &[u8; 32]) -> String {
    BASE64.encode(SigningKey::from_bytes(secret).verifying_key().as_bytes())
}

/// A TOML basic string; the text holds no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `2026-11`
fn this_month() -> String {
    let now = Timestamp::from(SystemTime::now()).to_string();
    now[..7].to_owned()
}

/// It becomes part of a file's name.
fn new_kid(text: &str) -> Result<String, String> {
    let kid = kid(text)?;
    if kid.contains('/') {
        return Err("it must have no /, since the file is named after it".to_owned());
    }
    Ok(kid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;
    use crate::guard::authentication;
    use crate::wire::mavlink;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(dir: &Path, more: &[&str]) -> Arguments {
        let dir = dir.to_str().unwrap();
        let line =
            ["keygen", "--issuer", "cloud", "--out", dir].into_iter().chain(more.iter().copied());
        Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).arguments
    }

    /// What it printed, and the only file that it wrote.
    fn run(dir: &Path, more: &[&str]) -> (toml::Value, PathBuf) {
        let mut lines = Vec::new();
        generate(&arguments(dir, more), &mut lines, &mut Vec::new()).unwrap();
        let files: Vec<PathBuf> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = <[PathBuf; 1]>::try_from(files).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        (toml::from_str(str::from_utf8(&lines).unwrap()).unwrap(), file)
    }

    #[test]
    fn a_mavlink_key_and_the_lines_that_name_it() {
        let dir = tempfile::tempdir().unwrap();
        let line = ["keygen", "--mavlink", "--out", dir.path().to_str().unwrap()];
        let mut lines = Vec::new();
        let arguments = Line::try_parse_from(line).unwrap().arguments;
        generate(&arguments, &mut lines, &mut Vec::new()).unwrap();
        let printed: toml::Value = toml::from_str(str::from_utf8(&lines).unwrap()).unwrap();
        let file = PathBuf::from(printed["link"]["signing_key_file"].as_str().unwrap());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(mavlink::Key::read(&std::fs::read(&file).unwrap()).is_ok());
        let again = generate(&arguments, &mut Vec::new(), &mut Vec::new());
        assert!(matches!(again, Err(Error::Exists(path)) if path == file));

        for more in [&["--issuer", "cloud"][..], &["--algorithm", "ed25519"], &["--kid", "a"]] {
            let error = Line::try_parse_from(line.iter().chain(more)).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{more:?}");
        }
        let error = Line::try_parse_from(["keygen", "--out", "."]).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn an_hmac_secret_and_the_lines_that_name_it() {
        let dir = tempfile::tempdir().unwrap();
        let not_after = "2027-11-21T00:00:00Z";
        let (printed, file) = run(dir.path(), &["--kid", "2026-11", "--not-after", not_after]);
        let issuer = &printed["guard"]["issuer"][0];
        assert_eq!(issuer["id"].as_str(), Some("cloud"));
        let key = &issuer["key"][0];
        assert_eq!(key["kid"].as_str(), Some("2026-11"));
        assert_eq!(key["hmac_key_file"].as_str(), file.to_str());
        assert_eq!(
            key["not_after"].as_str().unwrap().parse::<Timestamp>(),
            not_after.parse::<Timestamp>()
        );
        assert_eq!(key.as_table().unwrap().len(), 3);
        let text = std::fs::read_to_string(file).unwrap();
        let read = authentication::Key::hmac_from_text("2026-11", &text, None).unwrap();
        assert_eq!(read.algorithm(), authentication::Algorithm::HmacSha256);
    }

    #[test]
    fn an_ed25519_secret_that_openssl_reads() {
        let dir = tempfile::tempdir().unwrap();
        let (printed, file) = run(dir.path(), &["--algorithm", "ed25519"]);
        let key = &printed["guard"]["issuer"][0]["key"][0];
        assert_eq!(key.as_table().unwrap().len(), 2);
        let public = key["ed25519_public_key"].as_str().unwrap();
        let read = authentication::Key::ed25519_from_text("a", public, None).unwrap();
        assert_eq!(read.algorithm(), authentication::Algorithm::Ed25519);
        let output = Command::new("openssl")
            .args(["pkey", "-pubout", "-outform", "DER", "-in"])
            .arg(&file)
            .output()
            .expect("openssl is not installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (_, last) = output.stdout.split_last_chunk::<32>().unwrap();
        assert_eq!(BASE64.encode(last), public);
    }

    #[test]
    fn every_secret_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let secrets: std::collections::BTreeSet<String> = (0..8)
            .map(|n| {
                let kid = n.to_string();
                let arguments = arguments(dir.path(), &["--kid", &kid]);
                generate(&arguments, &mut Vec::new(), &mut Vec::new()).unwrap();
                std::fs::read_to_string(dir.path().join(format!("cloud-{kid}.hmac"))).unwrap()
            })
            .collect();
        assert_eq!(secrets.len(), 8);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (_, file) = run(dir.path(), &["--kid", "a"]);
        let before = std::fs::read(&file).unwrap();
        let mut lines = Vec::new();
        let again = generate(&arguments(dir.path(), &["--kid", "a"]), &mut lines, &mut Vec::new());
        assert!(matches!(again, Err(Error::Exists(path)) if path == file));
        assert_eq!(std::fs::read(&file).unwrap(), before);
        assert_eq!(lines, b"");
    }

    #[test]
    fn names_that_fit_nowhere_are_refused() {
        for (name, value) in
            [("--issuer", "a/b"), ("--issuer", ""), ("--kid", "../x"), ("--kid", "two words")]
        {
            let line = ["keygen", "--out", "/tmp", name, value, "--issuer", "cloud"];
            let line = if name == "--issuer" { &line[..5] } else { &line[..] };
            let error = Line::try_parse_from(line).err().map(|error| error.kind());
            assert!(
                matches!(error, Some(ErrorKind::ValueValidation | ErrorKind::InvalidValue)),
                "{name} {value:?}: {error:?}"
            );
        }
    }

    #[test]
    fn text_in_toml_quotes() {
        let text = r#"C:\keys "é""#;
        let line: toml::Value = toml::from_str(&format!("a = {}", quoted(text))).unwrap();
        assert_eq!(line["a"].as_str(), Some(text));
    }

    #[test]
    fn the_month_is_a_kid() {
        let month = this_month();
        assert_eq!(kid(&month).as_deref(), Ok(&month[..]));
        assert_eq!((month.len(), month.as_bytes()[4]), (7, b'-'));
    }
}
