//! What is found of one item, and how it is printed. Pure.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::json;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, but not as well or as safely as it should.
    Warning,
    /// It does not work.
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub item: Cow<'static, str>,
    pub level: Level,
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(item: &'static str, found: impl Into<String>) -> Self {
        Self { item: item.into(), level: Level::Ok, found: found.into(), advice: None }
    }

    pub fn warning(
        item: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Self { item: item.into(), level: Level::Warning, found, advice }
    }

    pub fn failure(
        item: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { level: Level::Failure, ..Self::warning(item, found, advice) }
    }

    /// The same, of an extra link.
    pub fn of_link(self, name: &str) -> Self {
        Self { item: format!("{name} {}", self.item).into(), ..self }
    }
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Failure => "failure",
        }
    }
}

/// One line for each item.
pub fn text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding { item, level, found, advice } = finding;
        let advice = advice.as_ref().map(|it| format!("; {it}")).unwrap_or_default();
        // Some of it comes from elsewhere, and must not drive the terminal.
        let said: String = format!("{found}{advice}").replace(|c: char| c.is_control(), "\u{FFFD}");
        format!("{:<8} {item:<18} {said}\n", level.as_str())
    };
    findings.iter().map(line).collect()
}

/// One object, with a line end.
pub fn json(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (warnings, failures) = (count(Level::Warning), count(Level::Failure));
    format!("{}\n", json!({"findings": findings, "warnings": warnings, "failures": failures}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_printing() {
        let findings = [
            Finding::ok("clock", "synchronized"),
            Finding::failure("port", "/dev/x\u{1b} is not there", "plug it in"),
        ];
        assert_eq!(
            text(&findings),
            "ok       clock              synchronized\n\
             failure  port               /dev/x\u{FFFD} is not there; plug it in\n"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&findings)).unwrap();
        assert_eq!((&json["warnings"], &json["failures"]), (&0.into(), &1.into()));
        assert_eq!(
            json["findings"][0],
            serde_json::json!(
            {"item": "clock", "level": "ok", "found": "synchronized"})
        );
        assert_eq!(json["findings"][1]["advice"], "plug it in");
    }
}
