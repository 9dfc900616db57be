//! The distribution of the latencies as an SVG.

use plotters::prelude::*;

use super::stages::{Stage, Stages};

const SIZE: (u32, u32) = (900, 540);
/// Points of a curve.
const STEPS: u32 = 400;

#[derive(Debug, thiserror::Error)]
#[error("failed to draw the plot: {0}")]
pub struct PlotError(String);

/// How many percent of the commands came how far within how many milliseconds.
pub fn draw(stages: &Stages) -> Result<String, PlotError> {
    let mut svg = String::new();
    lines(&mut svg, stages).map_err(|error| PlotError(error.to_string()))?;
    Ok(svg)
}

fn lines(svg: &mut String, stages: &Stages) -> Result<(), Box<dyn std::error::Error>> {
    let nanoseconds = |bound: fn(&Stage) -> u64| {
        stages.0.iter().filter(|stage| !stage.latencies.is_empty()).map(bound)
    };
    let least = nanoseconds(|stage| stage.latencies.min()).min().unwrap_or(1_000_000);
    let most = nanoseconds(|stage| stage.latencies.max()).max().unwrap_or(1_000_000);
    let range = least as f64 / 1.2e6..most as f64 * 1.2 / 1e6;

    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
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
        let svg = draw(&stages).unwrap();
        for name in ["journaled", "framed", "ended", "% of the commands"] {
            assert!(svg.contains(name), "{name}");
        }
        assert!(!svg.contains("answered"));
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
