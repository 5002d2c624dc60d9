//! The plots, one for each family of scenarios.

mod course;
mod degrees;
mod neighbours;
#[path = "../../drill/panel.rs"]
mod panel;
#[path = "../../drill/svg.rs"]
mod svg;

use crate::scenario::Family;
use crate::study::Run;
use panel::{BODY, INK, TITLE};
use svg::{Font, Stroke, Svg};

const WIDTH: f64 = 1280.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 24.0;

/// The SVG of a family of scenarios.
pub fn draw(family: &Family, runs: &[Run]) -> String {
    let svg = match family.drawn {
        Some(index) => course::draw(family.title, &family.scenarios[index], runs),
        None if family.scenarios.iter().any(|scenario| scenario.upstreams > 1) => {
            neighbours::draw(family, runs)
        }
        None => degrees::draw(family.title, runs),
    };
    svg.to_string()
}

/// An empty plot with a title and a subtitle.
fn titled(height: f64, title: &str, story: &str) -> Svg {
    let mut svg = Svg::new(WIDTH, height);
    svg.text((LEFT, 42.0), TITLE, title);
    svg.text((LEFT, 64.0), Font { size: 13.0, ..BODY }, story);
    svg
}

/// The source of the figures of these runs.
fn source<'a>(runs: impl IntoIterator<Item = &'a Run>) -> String {
    match runs.into_iter().map(|run| run.figures.len()).max() {
        None | Some(0) => "none".to_owned(),
        Some(1) => "one seed".to_owned(),
        Some(seeds) => format!("source of {seeds} seeds"),
    }
}

/// The sample of a legend entry.
#[derive(Debug, Clone, Copy)]
enum Swatch {
    Area(&'static str),
    Line(Stroke),
}

fn legend<'a>(svg: &mut Svg, entries: impl IntoIterator<Item = (Swatch, &'a str)>) {
    let mut x = LEFT;
    for (swatch, name) in entries {
        let width = match swatch {
            Swatch::Area(colour) => {
                svg.rect((x, 82.0), (12.0, 12.0), colour);
                12.0
            }
            Swatch::Line(stroke) => {
                svg.line([(x, 88.0), (x + 26.0, 88.0)], stroke);
                26.0
            }
        };
        x += width + 6.0;
        svg.text((x, 92.0), Font { colour: INK, ..BODY }, name);
        // The font is unknown, so the width of a character is an estimate for a wide font.
        #[allow(clippy::cast_precision_loss)]
        let text_width = name.chars().count() as f64 * 7.0;
        x += text_width + 24.0;
    }
}

#[cfg(test)]
mod tests {
    use super::svg::is_well_formed;
    use super::*;
    use crate::figures::Figures;
    use crate::policy;
    use crate::record::Second;
    use crate::scenario::families;

    /// Runs of every scenario with every policy. `None` makes runs without a seed.
    fn runs(family: &Family, figure: Option<f64>) -> Vec<Run> {
        let figures = figure.map(|figure| Figures {
            success: figure,
            stale: figure,
            load: figure,
            p99_ms: figure,
            goodput_after: figure,
            recovery_s: figure,
            others_p99_ms: figure,
            most_in_flight: figure,
            ..Figures::default()
        });
        let course = vec![Second { fresh: 7, stale: 2, failed: 1, attempts: 14 }; 3];
        let plays = family
            .scenarios
            .iter()
            .flat_map(|scenario| policy::all().into_iter().map(move |it| (scenario, it)));
        plays
            .map(|(scenario, policy)| Run {
                scenario: scenario.clone(),
                policy: policy.name,
                figures: figures.iter().cloned().collect(),
                course: course.clone(),
            })
            .collect()
    }

    #[test]
    fn every_plot_is_well_formed_whatever_its_figures() {
        for family in families() {
            for figure in [Some(0.5), Some(0.0), Some(f64::INFINITY), Some(f64::NAN), None] {
                let plot = draw(&family, &runs(&family, figure));
                assert!(is_well_formed(&plot), "{} with {figure:?}: {plot}", family.name);
                assert!(plot.contains(family.title), "{}: {plot}", family.name);
            }
        }
    }

    #[test]
    fn only_played_policies_are_drawn() {
        for family in families() {
            let mut runs = runs(&family, Some(0.5));
            let has = |plot: &str| plot.contains(">steadfast");
            assert!(has(&draw(&family, &runs)), "{}", family.name);
            runs.retain(|run| !run.policy.starts_with("steadfast"));
            let plot = draw(&family, &runs);
            assert!(is_well_formed(&plot) && !has(&plot), "{}: {plot}", family.name);
            assert!(is_well_formed(&draw(&family, &[])), "{}", family.name);
        }
    }
}
