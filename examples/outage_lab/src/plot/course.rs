//! The course of one scenario over time, with a column for each policy: the results of the calls, and the attempts
//! that reached the upstream.

use std::ops::Range;

use super::panel::{BODY, FAILED, FRESH, HEAD, INK, Panel, REQUESTS, SMALL, STALE};
use super::svg::{Anchor, Font, Stroke, Svg};
use super::{LEFT, RIGHT, Swatch, legend, source, titled};
use crate::figures::Figures;
use crate::record::Second;
use crate::scenario::Scenario;
use crate::study::Run;

const HEIGHT: f64 = 640.0;
const GAP: f64 = 28.0;

/// The drawn policies and their headings.
const fn columns(scenario: &Scenario) -> [(&'static str, &'static str); 4] {
    let steadfast = if scenario.enables_cache { "steadfast with its cache" } else { "steadfast's default" };
    [
        ("bare", "one attempt, nothing else"),
        ("retries", "retries with backoff"),
        ("five in a row", "a breaker: five in a row"),
        ("steadfast", steadfast),
    ]
}

const SHADE: &str = "#e3e8ee";
const CALLS: Stroke = Stroke { colour: INK, width: 1.2, dashed: true };

pub fn draw(title: &str, scenario: &Scenario, runs: &[Run]) -> Svg {
    let mut svg = titled(HEIGHT, title, scenario.story);
    let entries = [
        (Swatch::Area(FRESH), "fresh answer"),
        (Swatch::Area(STALE), "stale: the last good answer"),
        (Swatch::Area(FAILED), "failed"),
        (Swatch::Area(REQUESTS), "attempts that reached the upstream"),
        (Swatch::Line(CALLS), "calls"),
        (Swatch::Area(SHADE), "counted as during"),
    ];
    legend(&mut svg, entries);

    let run_of = |policy| runs.iter().find(|run| run.policy == policy && run.scenario.name == scenario.name);
    let played: Vec<_> =
        columns(scenario).into_iter().filter_map(|(policy, name)| Some((name, run_of(policy)?))).collect();
    let most = |count: fn(&Second) -> u32| {
        let counts = played.iter().flat_map(|(_, run)| seconds(run)).map(|(_, second)| count(second));
        f64::from(counts.max().unwrap_or_default().max(1)) * 1.05
    };
    let (most_calls, most_attempts) = (most(calls), most(|second| second.attempts.max(calls(second))));
    #[allow(clippy::cast_precision_loss)]
    let width = (RIGHT - LEFT + GAP) / played.len().max(1) as f64 - GAP;
    let answers = Panel {
        left: LEFT,
        right: LEFT + width,
        top: 216.0,
        bottom: 396.0,
        across: scenario.length.as_secs_f64(),
        up: most_calls,
    };
    let attempts = Panel { top: 416.0, bottom: 546.0, up: most_attempts, ..answers };
    answers.upward_axis(&mut svg, "calls per second");
    attempts.upward_axis(&mut svg, "attempts per second");
    let mut beside = 0.0;
    for (name, run) in &played {
        let at = |panel: Panel| Panel { left: panel.left + beside, right: panel.right + beside, ..panel };
        let column = Column { run, answers: at(answers), attempts: at(attempts) };
        column.head(&mut svg, name);
        column.during(&mut svg);
        column.answers(&mut svg);
        column.attempts(&mut svg);
        beside += width + GAP;
    }
    let source = source(played.iter().map(|(_, run)| *run));
    let note = format!("Scenario {}. Curves: the first seed. Figures: {source}.", scenario.name);
    svg.text((LEFT, HEIGHT - 20.0), BODY, note);
    svg
}

/// The course second by second, until the last call starts.
fn seconds(run: &Run) -> impl Iterator<Item = (Range<f64>, &Second)> {
    let ranges = (0..).map(|second| f64::from(second)..f64::from(second + 1));
    ranges.zip(&run.course).take_while(|(range, _)| range.end <= run.scenario.length.as_secs_f64())
}

fn calls(second: &Second) -> u32 {
    second.fresh + second.stale + second.failed
}

/// The vertical range of a stacked area in a second, in calls or attempts.
type Layer = fn(&Second) -> Range<u32>;

/// The column of one policy.
struct Column<'a> {
    run: &'a Run,
    answers: Panel,
    attempts: Panel,
}

impl Column<'_> {
    fn head(&self, svg: &mut Svg, name: &str) {
        svg.text((self.answers.left, 130.0), HEAD, name);
        for (line, y) in caption(self.run).iter().zip([149.0, 166.0, 183.0]) {
            svg.text((self.answers.left, y), BODY, line);
        }
    }

    /// Shades the scenario's `during` range.
    fn during(&self, svg: &mut Svg) {
        let Range { start, end } = self.run.scenario.during;
        let [from, to] = [start, end].map(|time| self.answers.x(time.as_secs_f64()));
        let above = self.answers.top - 18.0;
        for (top, bottom) in [(above, self.answers.bottom), (self.attempts.top, self.attempts.bottom)] {
            svg.rect((from, top), (to - from, bottom - top), SHADE);
        }
        let font = Font { anchor: Anchor::Middle, ..SMALL };
        svg.text((f64::midpoint(from, to), above + 13.0), font, "during");
    }

    /// Draws the answers as stacked areas: fresh at the bottom, failed on top.
    fn answers(&self, svg: &mut Svg) {
        self.answers.grid(svg);
        let layers: [(Layer, _); 3] = [
            (|second| 0..second.fresh, FRESH),
            (|second| second.fresh..second.fresh + second.stale, STALE),
            (|second| second.fresh + second.stale..calls(second), FAILED),
        ];
        for (layer, colour) in layers {
            fill(svg, &self.answers, self.run, layer, colour);
        }
    }

    fn attempts(&self, svg: &mut Svg) {
        self.attempts.grid(svg);
        self.attempts.axis_across(svg, "seconds");
        fill(svg, &self.attempts, self.run, |second| 0..second.attempts, REQUESTS);
        let points = seconds(self.run).map(|(range, second)| {
            let middle = f64::midpoint(range.start, range.end);
            (self.attempts.x(middle), self.attempts.y(f64::from(calls(second))))
        });
        svg.line(points, CALLS);
    }
}

fn fill(svg: &mut Svg, panel: &Panel, run: &Run, layer: Layer, colour: &str) {
    let steps: Vec<_> = seconds(run)
        .map(|(range, second)| {
            let Range { start, end } = layer(second);
            (range, f64::from(start)..f64::from(end))
        })
        .collect();
    panel.steps(svg, &steps, colour);
}

/// The figures as text, without infinite and meaningless ones.
fn caption(run: &Run) -> [String; 3] {
    let figure = |figure: fn(&Figures) -> f64| Some(run.median(figure)).filter(|it| it.is_finite());
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let line = |name, parts: [Option<String>; 2]| {
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!("{name}{}", parts.join(", ")) }
    };
    let Scenario { during, after, .. } = &run.scenario;
    let has_after = after.end > during.end;
    let again = |s: f64| if s > 0.0 { format!("95 % again in {s:.1} s") } else { "95 % at once".to_owned() };
    [
        line(
            "during: ",
            [
                figure(|it| it.success).map(|share| percent(share) + " fresh"),
                figure(|it| it.stale).filter(|share| *share > 0.0).map(|share| percent(share) + " stale"),
            ],
        ),
        line(
            "",
            [
                figure(|it| it.load).map(|load| format!("{load:.2} attempts per call")),
                figure(|it| it.p99_ms).map(|ms| format!("p99 {:.2} s", ms / 1000.0)),
            ],
        ),
        line(
            "after: ",
            [
                figure(|it| it.goodput_after).filter(|_| has_after).map(|share| percent(share) + " fresh"),
                figure(|it| it.recovery_s).filter(|_| has_after).map(again),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Population, down, spike};

    fn captioned(scenario: Scenario, recovery_s: f64) -> [String; 3] {
        let figures = Figures {
            success: 0.25,
            load: 1.5,
            p99_ms: 3e3,
            goodput_after: 0.995,
            recovery_s,
            ..Figures::default()
        };
        caption(&Run { scenario, policy: "bare", figures: vec![figures], course: vec![] })
    }

    #[test]
    fn a_caption_has_the_figures_of_during_and_after() {
        let [during, load, after] = captioned(spike(), 4.2);
        assert_eq!(during, "during: 25.0 % fresh");
        assert_eq!(load, "1.50 attempts per call, p99 3.00 s");
        assert_eq!(after, "after: 99.5 % fresh, 95 % again in 4.2 s");
        assert_eq!(captioned(spike(), 0.0)[2], "after: 99.5 % fresh, 95 % at once");
    }

    #[test]
    fn an_infinite_figure_is_not_in_the_caption() {
        assert_eq!(captioned(spike(), f64::INFINITY)[2], "after: 99.5 % fresh");
        assert_eq!(captioned(down(true, Population::Big, true), 0.0)[2], "");
    }

    #[test]
    fn seconds_after_the_last_call_are_not_drawn() {
        let course = vec![Second::default(); 500];
        let run = Run { scenario: spike(), policy: "bare", figures: vec![], course };
        assert_eq!(seconds(&run).last().map(|(range, _)| range), Some(119.0..120.0));
    }
}
