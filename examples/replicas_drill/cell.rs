//! The part of the plot for one client in one arrangement: answers, waits, and requests by replica.

use std::ops::Range;
use std::time::Duration;

use crate::clients::CALL_TIMEOUT;
use crate::drill::panel::{CENTRED, FAILED, FRESH, GRID, HEAD, INK, PALE_INK, Panel, SMALL};
use crate::drill::scale::{Bin, bins, rate};
use crate::drill::stats::percentile;
use crate::drill::svg::{Anchor, Font, Stroke, Svg};
use crate::plot::{CONCERNED, MEDIAN, OTHERS, SLOWEST};
use crate::record::{Call, Record};
use crate::script::{Event, Phase, RATE};
use crate::subject::{Side, Subject};

const WIDTH: f64 = 566.0;

/// The vertical extent of a part, below the upper edge of the cell.
#[derive(Debug, Clone, Copy)]
struct Span {
    top: f64,
    bottom: f64,
}

const NAMES: Span = Span { top: 34.0, bottom: 54.0 };
const ANSWERS: Span = Span { top: 54.0, bottom: 134.0 };
const WAITS: Span = Span { top: 156.0, bottom: 236.0 };
const REQUESTS: Span = Span { top: 258.0, bottom: 328.0 };

const BAND: &str = "#e6eaf0";
const QUIET_BAND: &str = "#f5f7f9";

/// The lower edge of the logarithmic scale of the waits.
const LEAST_WAIT: Duration = Duration::from_millis(10);

pub struct Cell<'a> {
    record: &'a Record,
    subject: Subject,
    top: f64,
    answers: Panel,
    waits: Panel,
    requests: Panel,
    bins: Vec<PhaseBin>,
}

/// A part of a phase, with its calls.
struct PhaseBin {
    phase: usize,
    time: Bin,
    calls: usize,
    fresh: usize,
    waits: Vec<Duration>,
}

impl<'a> Cell<'a> {
    pub fn new(record: &'a Record, subject: Subject, (left, top): (f64, f64)) -> Self {
        let panel = |span: Span, up| {
            let across = record.end().as_secs_f64().max(1e-3);
            Panel { left, right: left + WIDTH, top: top + span.top, bottom: top + span.bottom, across, up }
        };
        Self {
            record,
            subject,
            top,
            answers: panel(ANSWERS, 100.0),
            waits: panel(WAITS, 1.0),
            requests: panel(REQUESTS, f64::from(RATE) * 1.6),
            bins: phase_bins(record, subject),
        }
    }

    pub fn draw(&self, svg: &mut Svg) {
        self.head(svg);
        self.bands(svg);
        self.draw_answers(svg);
        self.draw_waits(svg);
        self.draw_requests(svg);
    }

    fn head(&self, svg: &mut Svg) {
        let name = match self.subject.side {
            Side::Bare => "bare reqwest::Client",
            Side::Steadfast => "steadfast::Client",
        };
        let font = Font { size: 13.0, ..HEAD };
        svg.text((self.answers.left, self.top + 24.0), font, name);
        let total = self.record.total(self.subject);
        let summary = format!("{} of {} calls failed", total.failed, total.calls);
        let colour = if total.failed == 0 { FRESH } else { FAILED };
        svg.text(
            (self.answers.right, self.top + 24.0),
            Font { anchor: Anchor::End, colour, ..font },
            summary,
        );
    }

    /// Draws the phases. Those in which nothing happens are pale, and have no room for a name.
    fn bands(&self, svg: &mut Svg) {
        for phase in &self.record.phases {
            let (from, to) = (self.x(phase.start), self.x(phase.end));
            let quiet = phase.event == Event::Nothing;
            for Span { top, bottom } in [NAMES, ANSWERS, WAITS, REQUESTS] {
                let colour = if quiet { QUIET_BAND } else { BAND };
                // The pixel between two phases stays white.
                svg.rect((from, self.top + top), (to - from - 1.0, bottom - top), colour);
            }
            let first = phase.start.is_zero();
            if !quiet || first {
                let font = Font { colour: INK, ..CENTRED };
                svg.text(
                    (f64::midpoint(from, to), self.top + NAMES.bottom - 6.0),
                    fitting(font, phase.name, to - from),
                    phase.name,
                );
            }
        }
    }

    /// Draws the shares of the answers: fresh below, failed above.
    fn draw_answers(&self, svg: &mut Svg) {
        let share = |bin: &PhaseBin| percent(bin.fresh, bin.calls);
        self.steps(svg, &self.answers, FRESH, |bin| 0.0..share(bin));
        self.steps(svg, &self.answers, FAILED, |bin| share(bin)..100.0);
        let ticks = [0.0, 50.0, 100.0].map(|value| (value, format!("{value} %")));
        axis(svg, &self.answers, "", &ticks);
        let font = Font { anchor: Anchor::End, ..SMALL };
        svg.text((self.answers.left - 6.0, self.top + NAMES.top + 8.0), font, "calls");
    }

    fn draw_waits(&self, svg: &mut Svg) {
        let up_to = |percent| move |bin: &PhaseBin| 0.0..logarithmic(percentile(&bin.waits, percent));
        self.steps(svg, &self.waits, SLOWEST, up_to(99));
        self.steps(svg, &self.waits, MEDIAN, up_to(50));
        let ticks = [(10, "10 ms"), (100, "0.1 s"), (1000, "1 s")];
        let ticks = ticks.map(|(millis, name)| (logarithmic(Duration::from_millis(millis)), name.to_owned()));
        axis(svg, &self.waits, "time until the answer", &ticks);
    }

    /// Draws the rates of the requests: below, those to the replica that the phase is about.
    fn draw_requests(&self, svg: &mut Svg) {
        let Some(observed) = self.record.observed.get(self.subject.index()) else { return };
        let concerned = |bin: &PhaseBin| {
            let replica = observed.concerned.get(bin.phase).copied().flatten();
            replica.map_or(0.0, |replica| rate(&observed.replicas[replica].requests, &bin.time))
        };
        let all =
            |bin: &PhaseBin| observed.replicas.iter().map(|it| rate(&it.requests, &bin.time)).sum::<f64>();
        let most = self.requests.up;
        self.steps(svg, &self.requests, CONCERNED, |bin| 0.0..concerned(bin).min(most));
        self.steps(svg, &self.requests, OTHERS, |bin| concerned(bin).min(most)..all(bin).min(most));
        let ticks = [0, RATE].map(|value| (f64::from(value), value.to_string()));
        axis(svg, &self.requests, "requests per second", &ticks);
        self.requests.axis_across(svg, "seconds since the start");
    }

    fn steps(&self, svg: &mut Svg, panel: &Panel, fill: &str, heights: impl Fn(&PhaseBin) -> Range<f64>) {
        let seconds = |time: &Bin| time.start.as_secs_f64()..time.end.as_secs_f64();
        let steps: Vec<_> = self.bins.iter().map(|bin| (seconds(&bin.time), heights(bin))).collect();
        panel.steps(svg, &steps, fill);
    }

    fn x(&self, time: Duration) -> f64 {
        self.answers.x(time.as_secs_f64())
    }
}

fn phase_bins(record: &Record, subject: Subject) -> Vec<PhaseBin> {
    let parts = |(index, phase): (usize, &Phase)| {
        let calls: Vec<&Call> = record.calls(subject, index..index + 1).collect();
        let times = bins(RATE, record.end(), phase.start, phase.end);
        times.into_iter().map(move |time| PhaseBin::new(index, time, &calls)).collect::<Vec<_>>()
    };
    record.phases.iter().enumerate().flat_map(parts).collect()
}

impl PhaseBin {
    fn new(phase: usize, time: Bin, calls: &[&Call]) -> Self {
        let started: Vec<_> = calls.iter().filter(|call| time.contains(&call.due)).collect();
        let fresh = started.iter().filter(|call| call.answer.fresh).count();
        let mut waits: Vec<_> = started.iter().map(|call| call.took).collect();
        waits.sort_unstable();
        Self { phase, time, calls: waits.len(), fresh, waits }
    }
}

/// The position of a wait on the logarithmic scale, from 0 to 1.
fn logarithmic(wait: Duration) -> f64 {
    let least = LEAST_WAIT.as_secs_f64();
    let of = |seconds: f64| (seconds / least).log10();
    (of(wait.as_secs_f64().max(least)) / of(CALL_TIMEOUT.as_secs_f64())).min(1.0)
}

/// Draws the name of a panel, and the grid and the numbers of its vertical axis.
fn axis(svg: &mut Svg, panel: &Panel, name: &str, ticks: &[(f64, String)]) {
    for (value, text) in ticks {
        let y = panel.y(*value);
        svg.line([(panel.left, y), (panel.right, y)], Stroke { colour: GRID, width: 0.6, dashed: false });
        svg.text((panel.left - 6.0, y + 4.0), Font { anchor: Anchor::End, colour: PALE_INK, ..SMALL }, text);
    }
    svg.text((panel.left, panel.top - 6.0), SMALL, name);
}

/// The font, smaller if the text would not fit into the width.
#[allow(clippy::cast_precision_loss)]
fn fitting(font: Font, text: &str, width: f64) -> Font {
    Font { size: SMALL.size.min(width / text.len() as f64 * 1.7), ..font }
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stand_between_the_edges_of_their_scale() {
        let positions = [1, 10, 2_000, 9_000].map(|millis| logarithmic(Duration::from_millis(millis)));
        assert_eq!(positions.map(|it| it.to_string()), ["0", "0", "1", "1"]);
    }

    #[test]
    fn a_name_shrinks_to_the_width_of_its_phase() {
        assert!(fitting(CENTRED, "one is removed", 30.0).size < 4.0);
        assert!((fitting(CENTRED, "one fails", 300.0).size - SMALL.size).abs() < f64::EPSILON);
    }
}
