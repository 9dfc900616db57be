//! A scenario's file, read strictly: a mistake names the file, the step and the key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::embedded::EMBEDDED;
use super::step::{Answering, Step};
use crate::bench::vehicle::{Camera, Telemetry};
use crate::catalog::{self, Command};

const EXTENSION: &str = "toml";
/// It is part of topics, and of the path of a socket, which holds 108 bytes in all.
const LONGEST_NAME: usize = 40;
const BAUDS: RangeInclusive<u32> = 1200..=3_000_000;

#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's, without `.toml`.
    pub name: String,
    pub description: String,
    pub vehicle: Setup,
    pub issuer: toml::Table,
    pub config: toml::Table,
    pub steps: Vec<Step>,
}

/// `[vehicle]`: the simulated one, as the scenario finds it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    pub line: LineKind,
    /// Without one the line carries as much as there is.
    pub baud: Option<u32>,
    pub telemetry: Telemetry,
    pub camera: Camera,
    /// Whether agent and vehicle share a key to sign frames with.
    pub signing: bool,
    /// In place of what PX4 does, by command.
    pub commands: BTreeMap<String, Answering>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    #[default]
    Pty,
    Udp,
    Tcp,
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{file}: {mistake}")]
    Mistake { file: String, mistake: Mistake },
    #[error("there is no scenario {0:?}: neither a file, nor a directory, nor one of --list")]
    Unknown(String),
    #[error("{} holds no scenario (*.toml)", .0.display())]
    Empty(PathBuf),
    #[error("two scenarios are called {0:?}")]
    Twice(String),
}

#[derive(Debug)]
pub struct Mistake {
    step: Option<(usize, String)>,
    message: String,
}

/// The scenarios that were named, each a file, a directory of files or the name of an embedded one;
/// all embedded ones when none was.
///
/// # Errors
/// The first mistake in any of them.
pub fn select(named: &[String]) -> Result<Vec<Scenario>, FileError> {
    let mut scenarios = Vec::new();
    if named.is_empty() {
        for (name, text) in EMBEDDED {
            scenarios.push(embedded(name, text)?);
        }
    }
    for name in named {
        let path = Path::new(name);
        if path.is_dir() {
            scenarios.extend(directory(path)?);
        } else if path.is_file() {
            scenarios.push(file(path)?);
        } else if let Some((name, text)) = EMBEDDED.iter().find(|(known, _)| known == name) {
            scenarios.push(embedded(name, text)?);
        } else {
            return Err(FileError::Unknown(name.clone()));
        }
    }
    let mut names = BTreeSet::new();
    match scenarios.iter().find(|scenario| !names.insert(scenario.name.as_str())) {
        Some(second) => Err(FileError::Twice(second.name.clone())),
        None => Ok(scenarios),
    }
}

impl Scenario {
    /// The commands that it publishes, in order.
    pub fn published(&self) -> impl Iterator<Item = &'static Command> {
        self.steps.iter().filter_map(|step| match step {
            Step::Publish(publish) => Some(publish.command),
            _ => None,
        })
    }

    /// Why only the simulated vehicle will do.
    pub fn needs_simulator(&self) -> Option<String> {
        if self.vehicle.is_special() {
            return Some("needs the simulated vehicle: [vehicle]".to_owned());
        }
        let (index, step) =
            self.steps.iter().enumerate().find(|(_, step)| step.needs_simulator())?;
        Some(format!("needs the simulated vehicle: step {} ({})", index + 1, step.name()))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistake> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            description: String,
            #[serde(default)]
            vehicle: Setup,
            #[serde(default)]
            issuer: toml::Table,
            #[serde(default)]
            config: toml::Table,
            steps: Vec<toml::Table>,
        }
        let whole = |message: String| Mistake { step: None, message };
        let File { description, vehicle, issuer, config, steps } =
            toml::from_str(text).map_err(|error| whole(error.to_string()))?;
        if let Some(unknown) = vehicle.commands.keys().find(|name| catalog::find(name).is_none()) {
            return Err(whole(format!("[vehicle.commands]: the catalogue has no {unknown:?}")));
        }
        if let Some(baud) = vehicle.baud.filter(|baud| !BAUDS.contains(baud)) {
            let [least, most] = [BAUDS.start(), BAUDS.end()];
            return Err(whole(format!("[vehicle] baud: {baud} is not {least} to {most}")));
        }
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.chars().all(is_plain) {
            let allowed = "letters, digits, -, _ and .";
            return Err(whole(format!("the file's name must be 1 to {LONGEST_NAME} {allowed}")));
        }
        if steps.is_empty() {
            return Err(whole("steps: there are none".to_owned()));
        }
        let steps = steps
            .into_iter()
            .enumerate()
            .map(|(index, table)| step(index, table))
            .collect::<Result<Vec<Step>, Mistake>>()?;
        check_keys(&steps)?;
        check_order(&steps)?;
        Ok(Self { name: name.to_owned(), description, vehicle, issuer, config, steps })
    }
}

impl Setup {
    /// Whether it asks for more than any vehicle.
    fn is_special(&self) -> bool {
        let Self { line, baud, telemetry, camera, signing, commands } = self;
        *line != LineKind::default()
            || baud.is_some()
            || *telemetry != Telemetry::default()
            || *camera != Camera::default()
            || *signing
            || !commands.is_empty()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((number, kind)) = &self.step {
            write!(f, "step {number} ({kind}): ")?;
        }
        f.write_str(self.message.trim_end())
    }
}

fn step(index: usize, table: toml::Table) -> Result<Step, Mistake> {
    let kind = match table.get("do") {
        Some(toml::Value::String(kind)) => kind.clone(),
        Some(_) | None => "without do".to_owned(),
    };
    Step::deserialize(table)
        .map_err(|error| Mistake { step: Some((index + 1, kind)), message: error.to_string() })
}

/// A misspelt key would be waited for in vain.
fn check_keys(steps: &[Step]) -> Result<(), Mistake> {
    let mut published = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        let asked = match step {
            Step::Publish(publish) => {
                published.insert(publish.key());
                continue;
            }
            Step::Reply(reply) => &reply.key,
            Step::Status(status) => &status.key,
            _ => continue,
        };
        if !published.contains(asked.as_str()) {
            let message = format!("key {asked:?}: no step before has published it");
            return Err(Mistake { step: Some((index + 1, step.name().to_owned())), message });
        }
    }
    Ok(())
}

/// What is running cannot be started, and what is away cannot be taken away.
fn check_order(steps: &[Step]) -> Result<(), Mistake> {
    let (mut runs, mut is_plugged) = (true, true);
    for (index, step) in steps.iter().enumerate() {
        let (state, becomes, message) = match step {
            Step::Start {} => (&mut runs, true, "the agent runs already"),
            Step::Kill {} | Step::Stop {} => (&mut runs, false, "no agent runs"),
            Step::Plug {} => (&mut is_plugged, true, "the port is there already"),
            Step::Unplug {} => (&mut is_plugged, false, "the port is away already"),
            _ => continue,
        };
        if std::mem::replace(state, becomes) == becomes {
            let step = Some((index + 1, step.name().to_owned()));
            return Err(Mistake { step, message: message.to_owned() });
        }
    }
    Ok(())
}

fn embedded(name: &str, text: &str) -> Result<Scenario, FileError> {
    let mistake = |mistake| FileError::Mistake { file: format!("{name} (embedded)"), mistake };
    Scenario::parse(name, text).map_err(mistake)
}

fn file(path: &Path) -> Result<Scenario, FileError> {
    let text = fs::read_to_string(path)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mistake = |mistake| FileError::Mistake { file: path.display().to_string(), mistake };
    Scenario::parse(&name, &text).map_err(mistake)
}

fn directory(path: &Path) -> Result<Vec<Scenario>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(FileError::Empty(path.to_owned()));
    }
    files.sort();
    files.iter().map(|path| file(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::embedded::EMBEDDED;
    use super::*;

    #[test]
    fn every_embedded_scenario_can_be_read() {
        assert_eq!(select(&[]).unwrap().len(), EMBEDDED.len());
    }

    #[test]
    fn a_mistake_names_the_file_the_step_and_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrong.toml");
        let complaint = |text: &str| {
            fs::write(&path, text).unwrap();
            let complaint = select(&[path.display().to_string()]).unwrap_err().to_string();
            assert!(complaint.starts_with(&path.display().to_string()), "{complaint}");
            complaint
        };
        let steps = |steps: &str| {
            let publish = "{ do = \"publish\", command = \"nav_land\" }";
            complaint(&format!("description = \"\"\nsteps = [{publish}, {steps}]"))
        };
        for (step, words) in [
            ("{ do = \"publich\" }", &["step 2 (publich)", "publish"][..]),
            ("{ command = \"nav_land\" }", &["step 2 (without do)", "do"]),
            ("{ do = \"start\" }", &["step 2 (start)", "runs already"]),
            ("{ do = \"kill\" }, { do = \"stop\" }", &["step 3 (stop)", "no agent runs"]),
            ("{ do = \"plug\" }", &["step 2 (plug)", "there already"]),
            ("{ do = \"kill\", hard = true }", &["step 2 (kill)", "hard"]),
            ("{ do = \"publish\", command = \"nav_lnad\" }", &["step 2 (publish)", "nav_lnad"]),
            ("{ do = \"publish\", command = \"nav_land\", keys = 1 }", &["step 2", "keys", "key"]),
            ("{ do = \"status\", key = \"nav_land\" }", &["step 2 (status)", "status"]),
            ("{ do = \"status\", key = \"land\", status = \"FAILED\" }", &["step 2", "\"land\""]),
            (
                "{ do = \"status\", key = \"nav_land\", status = \"FAILED\", code = \"timeout.axk\" }",
                &["step 2 (status)", "timeout.axk"],
            ),
            (
                "{ do = \"frame\", command = \"nav_land\", params = { 8 = 1 } }",
                &["\"8\"", "1 to 7"],
            ),
            ("{ do = \"frame\", command = \"nav_land\", form = \"LONG\" }", &["COMMAND_LONG"]),
            ("{ do = \"ack\", command = \"nav_land\", result = \"OK\" }", &["\"OK\"", "ACCEPTED"]),
        ] {
            let complaint = steps(step);
            for word in words {
                assert!(complaint.contains(word), "{complaint} does not say {word}");
            }
        }
        assert!(steps("{ do = \"pause\", seconds = -1 }").contains("0 to 600 s"));
        let within = "{ do = \"link\", state = \"open\", within = 9223372036854775807 }";
        assert!(steps(within).contains("step 2 (link): within: 9223372036854775807 s is not"));
        assert!(steps("{ do = \"frame\", command = \"nav_land\", count = 0 }").contains("zero"));
        let unnamed = Scenario::parse("a/b", "description = \"\"\nsteps = []").unwrap_err();
        assert!(unnamed.to_string().contains("name"), "{unnamed}");
        let complaint = complaint("description = \"\"\nsteps = []\n[vehicle]\nbauds = 1\n");
        assert!(complaint.contains("bauds") && complaint.contains("line 4"), "{complaint}");
    }

    #[test]
    fn a_directory_serves_and_one_without_scenarios_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let named = [folder.path().display().to_string()];
        assert!(matches!(select(&named), Err(FileError::Empty(_))));
        let text = "description = \"\"\nsteps = [{ do = \"no_frame\" }]";
        fs::write(folder.path().join("a.toml"), text).unwrap();
        fs::write(folder.path().join("b.toml"), text).unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let names: Vec<String> = select(&named).unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["a", "b"]);
        let twice = [named[0].clone(), folder.path().join("b.toml").display().to_string()];
        assert!(matches!(select(&twice), Err(FileError::Twice(name)) if name == "b"));
        assert!(matches!(select(&["c".to_owned()]), Err(FileError::Unknown(_))));
    }
}
