//! What every subcommand that talks to the running agent shares.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{CONFIGURATION, DEFAULT_CONFIG, Output, print};
use crate::config::{self, Config, DEFAULT_SOCKET};
use crate::edge::api::client::{self, Answer, Method};

/// Where the agent is, and how its answer is printed.
#[derive(Debug, clap::Args)]
pub struct Agent {
    /// The agent's socket; by default as the configuration says
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The agent's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For people, or the agent's own JSON
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Configuration(#[from] config::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// One segment of a path, from anything that a user can type.
pub fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut segment, byte| {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let _ =
            if plain { segment.write_char(byte.into()) } else { write!(segment, "%{byte:02X}") };
        segment
    })
}

impl Agent {
    /// Asks the agent; `path` is relative to `/api/v1/`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let body = body.map(Value::to_string).unwrap_or_default();
        Ok(client::call(&self.socket()?, method, &format!("/api/v1/{path}"), body)?)
    }

    /// Prints the answer; 0 if the agent did as it was told and that could be printed, else 1.
    pub fn show<T: DeserializeOwned>(
        &self,
        answered: Result<Answer, Error>,
        text: impl FnOnce(T) -> String,
    ) -> ExitCode {
        match self.read(answered) {
            Ok((value, json)) => self.print(&json, || text(value)),
            Err(code) => code,
        }
    }

    /// What the agent answered, and its JSON; else the exit code, the reason being told already.
    pub fn read<T: DeserializeOwned>(
        &self,
        answered: Result<Answer, Error>,
    ) -> Result<(T, String), ExitCode> {
        let answer = answered.map_err(|error| tell(&error))?;
        let json = String::from_utf8_lossy(&answer.body).into_owned();
        if !answer.success {
            match self.output {
                Output::Json => _ = print(&answer.body),
                Output::Text => eprint!("{}", refusal(&answer.body)),
            }
            return Err(ExitCode::FAILURE);
        }
        match serde_json::from_slice(&answer.body) {
            Ok(value) => Ok((value, json)),
            Err(error) => {
                eprintln!("downlinkd: the agent's answer is not understood ({error}): {json}");
                Err(ExitCode::FAILURE)
            }
        }
    }

    /// Prints an answer that has been read.
    pub fn print(&self, json: &str, text: impl FnOnce() -> String) -> ExitCode {
        match self.output {
            Output::Json => print(json.as_bytes()),
            Output::Text => print(text().as_bytes()),
        }
    }

    /// Rather than text for people.
    pub fn prints_json(&self) -> bool {
        self.output == Output::Json
    }

    fn socket(&self) -> Result<PathBuf, Error> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let (path, named) = match &self.config {
            Some(path) => (path.as_path(), true),
            None => (Path::new(DEFAULT_CONFIG), false),
        };
        match Config::api_socket(path) {
            // An operator need not be able to read the agent's configuration.
            Err(config::Error::Read { .. }) if !named => Ok(PathBuf::from(DEFAULT_SOCKET)),
            found => Ok(found?),
        }
    }
}

/// Says why there is no answer.
fn tell(error: &Error) -> ExitCode {
    eprintln!("downlinkd: {error}");
    match error {
        Error::Configuration(_) => ExitCode::from(CONFIGURATION),
        Error::Client(_) => ExitCode::FAILURE,
    }
}

/// Every violation of the agent's error on a line of its own.
fn refusal(body: &[u8]) -> String {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &error["error"];
    let violations = match error["violations"].as_array() {
        Some(violations) => violations.as_slice(),
        None => std::slice::from_ref(error),
    };
    violations.iter().fold(String::new(), |mut lines, violation| {
        let code = violation["code"].as_str().unwrap_or("no code");
        let message = violation["message"].as_str().unwrap_or("the agent did not say why");
        let _ = writeln!(lines, "downlinkd: refused: {message} ({code})");
        lines
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("7f3a9c21-1"), "7f3a9c21-1");
        assert_eq!(segment("../a b?é"), "..%2Fa%20b%3F%C3%A9");
    }

    #[test]
    fn every_violation_is_told() {
        let one = br#"{"error":{"code":"grant.missing","message":"there is no grant 1"}}"#;
        assert_eq!(refusal(one), "downlinkd: refused: there is no grant 1 (grant.missing)\n");
        let two = br#"{"error":{"code":"a","message":"A","violations":[
            {"code":"a","message":"A"},{"code":"b","message":"B"}]}}"#;
        assert_eq!(refusal(two), "downlinkd: refused: A (a)\ndownlinkd: refused: B (b)\n");
        let nonsense = "downlinkd: refused: the agent did not say why (no code)\n";
        assert_eq!(refusal(b"x"), nonsense);
    }
}
