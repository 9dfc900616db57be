//! The figures against their targets, for a person and for a machine.

use serde_json::{Value, json};

/// What a figure may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One measurement. Its target is about the figure itself or, where there is a floor, about how many
/// times that it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub measured: f64,
    pub floor: Option<f64>,
    pub target: Target,
}

impl Row {
    pub fn new(what: impl Into<String>, unit: &'static str, measured: f64, target: Target) -> Self {
        Self { what: what.into(), unit, measured, floor: None, target }
    }

    pub fn over(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    pub fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.measured / floor)
    }

    pub fn met(&self) -> bool {
        let judged = self.ratio().unwrap_or(self.measured);
        match self.target {
            Target::AtMost(bound) => judged <= bound,
            Target::AtLeast(bound) => judged >= bound,
        }
    }

    fn target_text(&self) -> String {
        let (sign, bound) = match self.target {
            Target::AtMost(bound) => ("<=", bound),
            Target::AtLeast(bound) => (">=", bound),
        };
        let unit = if self.floor.is_some() { "x" } else { self.unit };
        format!("{sign} {bound} {unit}")
    }
}

/// One line per row.
pub fn text(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let heads = ("what", "target", "measured", "floor", "ratio");
    let mut text = format!(
        "{:width$}  {:>12}  {:>14}  {:>10}  {:>6}  met\n",
        heads.0, heads.1, heads.2, heads.3, heads.4
    );
    for row in rows {
        let optional = |figure: Option<f64>, digits| {
            figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
        };
        text += &format!(
            "{:width$}  {:>12}  {:>14}  {:>10}  {:>6}  {}\n",
            row.what,
            row.target_text(),
            format!("{:.2} {}", row.measured, row.unit),
            optional(row.floor, 2),
            optional(row.ratio(), 2),
            if row.met() { "yes" } else { "NO" }
        );
    }
    text
}

pub fn figures(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "what": row.what,
            "unit": row.unit,
            "measured": row.measured,
            "floor": row.floor,
            "ratio": row.ratio(),
            "target": row.target_text(),
            "met": row.met(),
        })
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_about_the_ratio_where_there_is_a_floor() {
        let row = Row::new("a", "ms", 3.4, Target::AtMost(1.15));
        assert!(!row.met());
        assert!(row.clone().over(3.0).met());
        assert!(!row.over(2.0).met());
        let row = Row::new("b", "%", 96.0, Target::AtLeast(95.0));
        assert!(row.met());
        assert!(!Row { measured: 94.0, ..row }.met());
    }

    #[test]
    fn shows_what_was_missed() {
        let rows = [
            Row::new("latency", "ms", 3.4, Target::AtMost(1.15)).over(2.0),
            Row::new("memory", "MB", 7.5, Target::AtMost(8.0)),
        ];
        let text = text(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("latency") && lines[1].contains("<= 1.15 x"));
        assert!(lines[1].contains("1.70") && lines[1].ends_with("NO"));
        assert!(lines[2].contains("<= 8 MB") && lines[2].ends_with("yes"));
        assert_eq!(figures(&rows)[0]["met"], false);
    }
}
