//! The calls to healthy upstreams from a process that also calls a hanging one, compared with a process that does
//! not.

use super::panel::{BODY, FAILED, HEAD, INK, Panel, SMALL};
use super::svg::{Anchor, Font, Svg};
use super::{LEFT, RIGHT, Swatch, WIDTH, legend, source, titled};
use crate::figures::Figures;
use crate::plan::Fault;
use crate::scenario::{Family, Scenario};
use crate::study::Run;

const ROW: f64 = 30.0;
const BAR: f64 = 11.0;
const TOP: f64 = 156.0;
/// The right edge of the policies' names.
const NAMES: f64 = LEFT + 140.0;
/// The width of the number at the end of the longest bar.
const NUMBER: f64 = 70.0;

const WELL: &str = "#9fb3c8";
const HANGING: &str = FAILED;

pub fn draw(family: &Family, runs: &[Run]) -> Svg {
    let story = family.scenarios.first().map_or("", |scenario| scenario.story);
    let mut policies: Vec<&str> = vec![];
    for run in runs {
        if !policies.contains(&run.policy) {
            policies.push(run.policy);
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let bottom = TOP + policies.len() as f64 * ROW;
    let mut svg = titled(bottom + 90.0, family.title, story);
    legend(
        &mut svg,
        [(Swatch::Area(WELL), "all upstreams are well"), (Swatch::Area(HANGING), "one of them hangs")],
    );

    let mut y = TOP;
    for policy in &policies {
        let font = Font { anchor: Anchor::End, colour: INK, bold: *policy == "steadfast", ..BODY };
        svg.text((NAMES, y + BAR + 4.0), font, policy);
        y += ROW;
    }
    let left = Panel {
        left: NAMES + 12.0,
        right: f64::midpoint(NAMES, WIDTH) - NUMBER,
        top: TOP,
        bottom,
        across: 1.0,
        up: 1.0,
    };
    let right = Panel { left: left.right + NUMBER + 12.0, right: RIGHT - NUMBER, ..left };
    svg.text((left.left, TOP - 16.0), HEAD, "Calls to the other upstreams");
    bars(&mut svg, left, "p99 latency in ms", runs, &policies, |it| it.others_p99_ms);
    svg.text((right.left, TOP - 16.0), HEAD, "Calls in flight in the process");
    bars(&mut svg, right, "maximum, including calls that wait for a worker", runs, &policies, |it| {
        it.most_in_flight
    });
    svg.text((LEFT, bottom + 70.0), BODY, format!("Figures: {}.", source(runs)));
    svg
}

/// Draws two bars for each policy: all upstreams healthy, and one that hangs.
fn bars(
    svg: &mut Svg,
    panel: Panel,
    name: &str,
    runs: &[Run],
    policies: &[&str],
    figure: fn(&Figures) -> f64,
) {
    let value = |run: &Run| Some(run.median(figure)).filter(|value| value.is_finite());
    let most = runs.iter().filter_map(value).fold(1.0, f64::max);
    let panel = Panel { across: most, ..panel };
    panel.axis_across(svg, name);
    for run in runs {
        let Some(value) = value(run) else { continue };
        let Some(row) = policies.iter().position(|policy| *policy == run.policy) else { continue };
        let (colour, below) = if hangs(&run.scenario) { (HANGING, BAR) } else { (WELL, 0.0) };
        #[allow(clippy::cast_precision_loss)]
        let y = panel.top + row as f64 * ROW + below;
        // A minimum length keeps small values visible.
        let length = (panel.x(value) - panel.left).max(1.5);
        svg.rect((panel.left, y), (length, BAR), colour);
        svg.text((panel.x(value) + 5.0, y + 9.0), SMALL, format!("{value:.0}"));
    }
}

fn hangs(scenario: &Scenario) -> bool {
    scenario.plan.phases.iter().any(|phase| phase.fault == Fault::Hangs)
}
