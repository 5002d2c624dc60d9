//! Partial failures by degree: the figures of each policy over the share of attempts that fail.

use super::panel::{BODY, HEAD, PALE_INK, Panel};
use super::svg::{Stroke, Svg};
use super::{LEFT, RIGHT, Swatch, legend, source, titled};
use crate::figures::Figures;
use crate::plan::Fault;
use crate::scenario::{Group, Scenario};
use crate::study::Run;

const HEIGHT: f64 = 620.0;
const GAP: f64 = 90.0;

/// The suffix of the drawn scenarios: one population, with 40 s of health before the fault.
const DRAWN_SUFFIX: &str = "-B-warm";

const BARE: Stroke = Stroke { colour: PALE_INK, width: 1.6, dashed: true };

/// The drawn policies. Later lines cover earlier ones.
const POLICIES: [(&str, Stroke); 6] = [
    ("retries", thin("#c8354b")),
    ("gRPC's budget", thin("#e08a1e")),
    ("Finagle's budget", thin("#b5a114")),
    ("five in a row", thin("#7b4ea3")),
    ("Polly's standard", thin("#3f7fc1")),
    ("steadfast", Stroke { width: 4.0, ..thin("#2a9d8f") }),
];

const fn thin(colour: &'static str) -> Stroke {
    Stroke { colour, width: 1.8, dashed: false }
}

pub fn draw(title: &str, runs: &[Run]) -> Svg {
    let runs: Vec<_> = runs.iter().filter(|run| run.scenario.name.ends_with(DRAWN_SUFFIX)).collect();
    let mut svg = titled(HEIGHT, title, &runs.first().map_or_else(String::new, |run| story(&run.scenario)));
    let played = |policy| runs.iter().any(|run| run.policy == policy);
    let policies: Vec<_> = POLICIES.into_iter().filter(|(policy, _)| played(*policy)).collect();
    let swatches = policies.iter().map(|(policy, stroke)| (Swatch::Line(*stroke), *policy));
    legend(&mut svg, [(Swatch::Line(BARE), "one attempt, nothing else")].into_iter().chain(swatches));

    let lines = |figure: fn(&Figures) -> f64| -> Vec<_> {
        policies.iter().map(|(policy, stroke)| (points(&runs, policy, figure), *stroke)).collect()
    };
    let (fresh, load) = (lines(|it| it.success), lines(|it| it.load));
    let most_load =
        load.iter().flat_map(|(points, _)| points).fold(1.0, |most: f64, (_, load)| most.max(*load));
    let middle = f64::midpoint(LEFT, RIGHT);
    let left =
        Panel { left: LEFT, right: middle - GAP / 2.0, top: 150.0, bottom: 520.0, across: 100.0, up: 1.0 };
    let right = Panel { left: middle + GAP / 2.0, right: RIGHT, up: most_load * 1.05, ..left };
    panel(&mut svg, &left, "Answers to callers", "fresh answers per call", [1.0, 0.0], &fresh);
    panel(&mut svg, &right, "Load on the upstream", "attempts per call", [1.0, 1.0], &load);
    let note = format!("Figures: {}, while attempts fail.", source(runs.iter().copied()));
    svg.text((LEFT, HEIGHT - 20.0), BODY, note);
    svg
}

fn story(scenario: &Scenario) -> String {
    let Scenario { story, callers, groups, .. } = scenario;
    let rate = groups.first().map_or(0.0, Group::rate);
    format!("{story}; {} processes make {rate} calls a second each", callers.processes)
}

/// Draws a panel with a line for each policy. `bare` is the figure of a single attempt when no attempt fails, and
/// when all fail.
fn panel(
    svg: &mut Svg,
    panel: &Panel,
    title: &str,
    name: &str,
    bare: [f64; 2],
    lines: &[(Vec<(f64, f64)>, Stroke)],
) {
    svg.text((panel.left, panel.top - 14.0), HEAD, title);
    panel.grid(svg);
    panel.upward_axis(svg, name);
    panel.axis_across(svg, "share of the attempts that fail, in percent");
    svg.line([(panel.left, panel.y(bare[0])), (panel.right, panel.y(bare[1]))], BARE);
    for (points, stroke) in lines {
        svg.line(points.iter().map(|(percent, value)| (panel.x(*percent), panel.y(*value))), *stroke);
    }
}

/// The points of a policy: a figure over the percentage of failing attempts. Infinite figures are left out.
fn points(runs: &[&Run], policy: &str, figure: fn(&Figures) -> f64) -> Vec<(f64, f64)> {
    let runs = runs.iter().filter(|run| run.policy == policy);
    let mut points: Vec<_> =
        runs.filter_map(|run| Some((percent(&run.scenario)?, run.median(figure)))).collect();
    points.retain(|(_, value)| value.is_finite());
    points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    points
}

fn percent(scenario: &Scenario) -> Option<f64> {
    scenario.plan.phases.iter().find_map(|phase| match phase.fault {
        Fault::Fails(share) => Some(share * 100.0),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Population, failing};

    #[test]
    fn a_line_goes_through_the_finite_figures_in_order() {
        let run = |percent, load| Run {
            scenario: failing(percent, Population::Big, true),
            policy: "retries",
            figures: vec![Figures { load, ..Figures::default() }],
            course: vec![],
        };
        let runs = [run(50, 1.5), run(100, f64::INFINITY), run(25, 1.25)];
        let points = points(&runs.iter().collect::<Vec<_>>(), "retries", |it| it.load);
        assert_eq!(format!("{points:?}"), "[(25.0, 1.25), (50.0, 1.5)]");
    }
}
