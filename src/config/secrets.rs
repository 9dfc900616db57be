//! Which files hold the agent's secrets, for those who check their modes.

use std::path::{Path, PathBuf};

use super::{Error, read};

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// What is in it, in words.
    pub what: String,
    pub path: PathBuf,
}

/// Every file with a secret, whether it is there or not. Keys that are public stand in no file.
///
/// # Errors
/// A configuration that cannot be read.
pub fn secret_files(path: &Path) -> Result<Vec<SecretFile>, Error> {
    let raw = read(path)?.0.raw;
    let file = |what: &str, path: Option<PathBuf>| {
        path.map(|path| SecretFile { what: what.to_owned(), path })
    };
    let password = file("the broker's password", raw.mqtt.password_file);
    let key = file("the private key of our certificate", raw.mqtt.key_file);
    let signing = file("the key that signs MAVLink frames", raw.link.signing_key_file);
    let issuers = raw.guard.hmac_key_files().map(|(id, kid, path)| SecretFile {
        what: format!("the secret {kid:?} of issuer {id:?}"),
        path: path.to_owned(),
    });
    Ok(password.into_iter().chain(key).chain(signing).chain(issuers).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("downlinkd.toml");
        let text = r#"
[mqtt]
password_file = "/a"
key_file = "/b"
[link]
signing_key_file = "/d"
[[guard.issuer]]
id = "cloud"
[[guard.issuer.key]]
kid = "1"
hmac_key_file = "/c"
[[guard.issuer.key]]
kid = "2"
ed25519_public_key = "x"
"#;
        std::fs::write(&path, text).unwrap();
        let files: Vec<(String, PathBuf)> =
            secret_files(&path).unwrap().into_iter().map(|it| (it.what, it.path)).collect();
        assert_eq!(
            files,
            [
                ("the broker's password".to_owned(), "/a".into()),
                ("the private key of our certificate".to_owned(), "/b".into()),
                ("the key that signs MAVLink frames".to_owned(), "/d".into()),
                ("the secret \"1\" of issuer \"cloud\"".to_owned(), "/c".into()),
            ]
        );
    }
}
