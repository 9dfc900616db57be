//! The distribution of the latencies as an SVG.

use std::path::{Path, PathBuf};

use plotters::prelude::*;

use super::stages::{Stage, Stages};

const SIZE: (u32, u32) = (900, 540);
/// Points of a curve.
const STEPS: u32 = 400;

#[derive(Debug, thiserror::Error)]
#[error("failed to draw {}: {message}", path.display())]
pub struct PlotError {
    path: PathBuf,
    message: String,
}

/// How many percent of the commands came how far within how many milliseconds.
pub fn draw(path: &Path, stages: &Stages) -> Result<(), PlotError> {
    let failed = |error: &dyn std::fmt::Display| PlotError {
        path: path.to_owned(),
        message: error.to_string(),
    };
    // The library would hide why.
    std::fs::write(path, "").map_err(|error| failed(&error))?;
    lines(path, stages).map_err(|error| failed(&error))
}

fn lines(path: &Path, stages: &Stages) -> Result<(), Box<dyn std::error::Error>> {
    let nanoseconds = |bound: fn(&Stage) -> u64| {
        stages.0.iter().filter(|stage| !stage.latencies.is_empty()).map(bound)
    };
    let least = nanoseconds(|stage| stage.latencies.min()).min().unwrap_or(1_000_000);
    let most = nanoseconds(|stage| stage.latencies.max()).max().unwrap_or(1_000_000);
    let range = least as f64 / 1.2e6..most as f64 * 1.2 / 1e6;

    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("From publish until …", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(range.log_scale(), 0.0..100.0)?;
    chart.configure_mesh().x_desc("ms").y_desc("% of the commands").draw()?;
    for (Stage { name, latencies }, colour) in stages.0.iter().zip([BLUE, GREEN, MAGENTA, RED]) {
        if latencies.is_empty() {
            continue;
        }
        let points = (0..=STEPS).map(|step| {
            let percentile = f64::from(step) * 100.0 / f64::from(STEPS);
            (latencies.value_at_percentile(percentile) as f64 / 1e6, percentile)
        });
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::load::stages::histogram;

    #[test]
    fn draws_a_curve_for_every_stage_that_was_reached() {
        let stage = |name, milliseconds: &[u64]| {
            let latencies = milliseconds.iter().copied().map(Duration::from_millis);
            Stage { name, latencies: histogram(latencies) }
        };
        let stages = Stages([
            stage("journaled", &[1, 2, 3]),
            stage("framed", &[4]),
            stage("answered", &[]),
            stage("ended", &[20, 3000]),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        draw(&path, &stages).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        for name in ["journaled", "framed", "ended", "% of the commands"] {
            assert!(svg.contains(name), "{name}");
        }
        assert!(!svg.contains("answered"));
        assert!(svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let stages = Stages::of(&[]);
        let error = draw(Path::new("/nowhere/plot.svg"), &stages).unwrap_err().to_string();
        assert!(error.contains("/nowhere/plot.svg: No such file"), "{error}");
    }
}
