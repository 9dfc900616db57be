//! What came of a run: a table for a person, JSON and JUnit's XML for machines.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use quick_xml::Writer;
use quick_xml::events::BytesText;
use serde_json::{Value, json};

use super::file::Scenario;
use super::play::{Failure, Place};
use crate::bench::output::print;
use crate::edge::link::Endpoint;

pub enum Outcome {
    Passed,
    Failed(Failure),
    /// Why.
    Skipped(String),
}

pub struct Played {
    pub name: String,
    pub description: String,
    pub outcome: Outcome,
    pub time: Duration,
}

pub struct Report {
    endpoint: Option<String>,
    /// Names in the order in which the scenarios are told.
    order: Vec<String>,
    played: Vec<Played>,
    started: Instant,
    time: Duration,
}

/// Prints what there is.
pub fn list(scenarios: &[Scenario]) -> io::Result<()> {
    let width = scenarios.iter().map(|it| it.name.len()).max().unwrap_or(0);
    for Scenario { name, description, .. } in scenarios {
        say(&format!("{name:width$}  {description}"))?;
    }
    Ok(())
}

pub fn heading() -> io::Result<()> {
    say("result      time  scenario")
}

/// A line on standard output, whether anybody reads it or not: there are the exit code and the files.
pub fn say(line: &str) -> io::Result<()> {
    print(&format!("{line}\n")).map(drop)
}

impl Report {
    pub fn new(endpoint: Option<&Endpoint>, scenarios: &[Scenario]) -> Self {
        Self {
            endpoint: endpoint.map(Endpoint::to_string),
            order: scenarios.iter().map(|scenario| scenario.name.clone()).collect(),
            played: Vec::new(),
            started: Instant::now(),
            time: Duration::ZERO,
        }
    }

    /// Takes a scenario that has ended, and prints its line.
    pub fn add(&mut self, played: Played) -> io::Result<()> {
        say(&row(&played, is_coloured()))?;
        self.played.push(played);
        let place = |name: &str| self.order.iter().position(|it| it == name);
        self.played.sort_by_key(|played| place(&played.name));
        self.time = self.started.elapsed();
        Ok(())
    }

    /// Prints how many passed.
    pub fn summarize(&self) -> io::Result<()> {
        let [passed, failed, skipped] = self.counts();
        let seconds = self.time.as_secs_f64();
        say(&format!("\n{passed} passed, {failed} failed, {skipped} skipped in {seconds:.1} s"))
    }

    /// At least one has passed, and none has failed.
    pub fn is_success(&self) -> bool {
        let [passed, failed, _] = self.counts();
        passed > 0 && failed == 0
    }

    /// Machine-readable; the keys do not change.
    pub fn json(&self) -> String {
        let [passed, failed, skipped] = self.counts();
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "endpoint": self.endpoint,
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "seconds": seconds(self.time),
            "scenarios": self.played.iter().map(object).collect::<Vec<Value>>(),
        });
        format!("{report:#}\n")
    }

    /// As CI systems read it: https://github.com/testmoapp/junitxml.
    pub fn junit(&self) -> String {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        // Writing to memory cannot fail.
        let written = self.write_junit(&mut writer);
        debug_assert!(written.is_ok(), "{written:?}");
        let xml = String::from_utf8_lossy(writer.get_ref()).into_owned();
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}\n")
    }

    fn write_junit(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let [_, failed, skipped] = self.counts();
        let (tests, time) = (self.played.len().to_string(), seconds(self.time).to_string());
        let (failed, skipped) = (failed.to_string(), skipped.to_string());
        let suite = [
            ("name", "downlink-bench"),
            ("tests", &tests),
            ("failures", &failed),
            ("errors", "0"),
            ("skipped", &skipped),
            ("time", &time),
        ];
        let suite = writer.create_element("testsuite").with_attributes(suite);
        suite.write_inner_content(|writer| {
            self.played.iter().try_for_each(|played| write_case(writer, played))
        })?;
        Ok(())
    }

    /// Passed, failed, skipped.
    fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for played in &self.played {
            counts[match played.outcome {
                Outcome::Passed => 0,
                Outcome::Failed(_) => 1,
                Outcome::Skipped(_) => 2,
            }] += 1;
        }
        counts
    }
}

fn row(Played { name, outcome, time, .. }: &Played, coloured: bool) -> String {
    let seconds = time.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("{}  {seconds:7.1} s  {name}", paint("pass", 32, coloured)),
        Outcome::Skipped(reason) => {
            format!("{}             {name}: {reason}", paint("skip", 33, coloured))
        }
        Outcome::Failed(failure) => {
            let head = format!("{}  {seconds:7.1} s  {name}", paint("FAIL", 31, coloured));
            let Failure { place, expected, came, log, .. } = failure;
            let indent = " ".repeat(17);
            let mut text =
                format!("{head}: {place}\n{indent}expected  {expected}\n{indent}came      {came}");
            if !log.is_empty() {
                text += &format!("\n{indent}the agent's log ends with");
                for line in log.lines() {
                    text += &format!("\n{indent}  {line}");
                }
            }
            text
        }
    }
}

fn paint(text: &str, colour: u8, coloured: bool) -> String {
    if coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// On a terminal, unless NO_COLOR is set to anything.
fn is_coloured() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !no_color
}

fn object(Played { name, description, outcome, time }: &Played) -> Value {
    let mut object = json!({
        "name": name,
        "description": description,
        "seconds": seconds(*time),
    });
    match outcome {
        Outcome::Passed => object["result"] = "passed".into(),
        Outcome::Skipped(reason) => {
            object["result"] = "skipped".into();
            object["reason"] = reason.as_str().into();
        }
        Outcome::Failed(failure) => {
            object["result"] = "failed".into();
            if let Place::Step(number, kind) = failure.place {
                object["step"] = number.into();
                object["do"] = kind.into();
            }
            object["place"] = failure.place.to_string().into();
            object["expected"] = failure.expected.as_str().into();
            object["came"] = failure.came.as_str().into();
            object["log"] = failure.log.as_str().into();
        }
    }
    object
}

fn write_case(writer: &mut Writer<Vec<u8>>, played: &Played) -> io::Result<()> {
    let time = seconds(played.time).to_string();
    let case = [("classname", "downlink-bench"), ("name", &played.name), ("time", &time)];
    let case = writer.create_element("testcase").with_attributes(case);
    match &played.outcome {
        Outcome::Passed => drop(case.write_empty()?),
        Outcome::Skipped(reason) => drop(case.write_inner_content(|writer| {
            let reason = in_xml(reason);
            let skipped = [("message", reason.as_str())];
            writer.create_element("skipped").with_attributes(skipped).write_empty()?;
            Ok(())
        })?),
        Outcome::Failed(failure) => drop(case.write_inner_content(|writer| {
            let Failure { place, expected, came, log, .. } = failure;
            let message = in_xml(&format!("{place}: expected {expected}, came {came}"));
            let element = writer.create_element("failure");
            let element = element.with_attributes([("message", message.as_str())]);
            element.write_text_content(BytesText::new(&in_xml(log)))?;
            Ok(())
        })?),
    }
    Ok(())
}

/// Without what XML 1.0 has no way to write (its production 2), such as the escapes of a terminal.
fn in_xml(text: &str) -> String {
    let is_allowed = |letter: char| match letter {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => letter >= ' ',
    };
    text.chars().map(|letter| if is_allowed(letter) { letter } else { '\u{fffd}' }).collect()
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let failure = Failure {
            place: Place::Step(3, "status"),
            expected: "photo SUCCEEDED".to_owned(),
            came: "FAILED with <code> & \"more\"".to_owned(),
            log: "WARN one\x07\nWARN two\0".to_owned(),
            is_deaf: false,
        };
        let played = |name: &str, outcome| Played {
            name: name.to_owned(),
            description: "what it shows".to_owned(),
            outcome,
            time: Duration::from_millis(1234),
        };
        Report {
            endpoint: None,
            order: Vec::new(),
            played: vec![
                played("good", Outcome::Passed),
                played("bad", Outcome::Failed(failure)),
                played("left", Outcome::Skipped("needs more".to_owned())),
            ],
            started: Instant::now(),
            time: Duration::from_millis(2500),
        }
    }

    #[test]
    fn a_person_reads_where_it_failed_and_what_came() {
        let text = row(&report().played[1], false);
        for words in
            ["FAIL", "1.2 s  bad: step 3 (status)", "photo SUCCEEDED", "FAILED", "WARN two"]
        {
            assert!(text.contains(words), "{text}");
        }
        assert!(!text.contains('\x1b'));
        assert!(row(&report().played[2], true).contains("\x1b[33mskip\x1b[0m"));
    }

    #[test]
    fn json_tells_the_same() {
        let json: Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(
            (&json["passed"], &json["failed"], &json["skipped"]),
            (&json!(1), &json!(1), &json!(1))
        );
        let bad = &json["scenarios"][1];
        assert_eq!(
            (&bad["result"], &bad["step"], &bad["do"]),
            (&json!("failed"), &json!(3), &json!("status"))
        );
        assert_eq!(bad["expected"], "photo SUCCEEDED");
        assert_eq!(json["scenarios"][2]["reason"], "needs more");
    }

    #[test]
    fn junit_is_well_formed_whatever_the_agent_wrote() {
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="downlink-bench" tests="3" failures="1" errors="0" skipped="1" time="2.5">
  <testcase classname="downlink-bench" name="good" time="1.234"/>
  <testcase classname="downlink-bench" name="bad" time="1.234">
    <failure message="step 3 (status): expected photo SUCCEEDED, came FAILED with &lt;code&gt; &amp; &quot;more&quot;">WARN one�
WARN two�</failure>
  </testcase>
  <testcase classname="downlink-bench" name="left" time="1.234">
    <skipped message="needs more"/>
  </testcase>
</testsuite>
"#;
        assert_eq!(report().junit(), expected);
    }

    #[test]
    fn a_run_in_which_nothing_passed_is_no_success() {
        let mut report = report();
        assert!(!report.is_success());
        report.played.remove(1);
        assert!(report.is_success());
        report.played.remove(0);
        assert!(!report.is_success());
    }
}
