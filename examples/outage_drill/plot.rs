//! The plot: the results of each client's calls, and the requests that reached its server, side by side.

use std::ops::Range;
use std::time::Duration;

use steadfast::circuit_breaker::State;

use crate::clients::{ANSWERS, Answer, CALL_TIMEOUT, SIDES, Side};
use crate::drill::panel::{BODY, FAILED, FRESH, HEAD, INK, Panel, REQUESTS, SMALL, STALE, TITLE};
use crate::drill::scale::{Bin, bins, rate};
use crate::drill::svg::{Anchor, Font, Svg};
use crate::record::{CompletedPhase, Record, Row};
use crate::script::RATE;

const WIDTH: f64 = 1280.0;
const HEIGHT: f64 = 640.0;
const LEFT: [f64; 2] = [70.0, 690.0];
const PANEL_WIDTH: f64 = 560.0;

const ANSWERS_PANEL: Span = Span { top: 166.0, bottom: 376.0 };
const CIRCUIT_STRIP: Span = Span { top: 382.0, bottom: 394.0 };
const REQUESTS_PANEL: Span = Span { top: 418.0, bottom: 538.0 };

const BANDS: [&str; 2] = ["#eef1f5", "#e3e8ee"];

fn answer_colour(answer: Answer) -> &'static str {
    match answer {
        Answer::Fresh => FRESH,
        Answer::Stale => STALE,
        Answer::Failed => FAILED,
    }
}

fn circuit_colour(state: State) -> &'static str {
    match state {
        State::Open | State::ForcedOpen => "#4c3a8c",
        State::HalfOpen => "#d06bd9",
        State::Closed | State::ForcedClosed => "#d5e8e3",
    }
}

pub fn draw(record: &Record, rows: &[Row]) -> String {
    let mut svg = Svg::new(WIDTH, HEIGHT);
    title(&mut svg);
    legend(&mut svg);
    let requests =
        SIDES.iter().flat_map(|side| record.phases.iter().flat_map(|phase| requests(record, *side, phase)));
    let most_requests = requests.fold(0.0, |most: f64, (_, rate)| most.max(rate));
    for side in SIDES {
        let column = Column::new(side, record, most_requests);
        column.head(&mut svg, rows);
        column.bands(&mut svg);
        column.answers(&mut svg);
        column.circuit(&mut svg);
        column.requests(&mut svg);
    }
    svg.to_string()
}

fn title(svg: &mut Svg) {
    svg.text((LEFT[0], 42.0), TITLE, "The same outage, with and without steadfast");
    let subtitle = format!(
        "{RATE} calls a second through each client, each against its own copy of a server that plays the same script. \
         Both limit a call to {} s.",
        CALL_TIMEOUT.as_secs()
    );
    svg.text((LEFT[0], 64.0), Font { size: 13.0, ..BODY }, subtitle);
}

fn legend(svg: &mut Svg) {
    let entries = [
        (0.0, answer_colour(Answer::Fresh), "fresh answer"),
        (122.0, answer_colour(Answer::Stale), "stale: the last good answer"),
        (334.0, answer_colour(Answer::Failed), "failed"),
        (LEFT[1] - LEFT[0], circuit_colour(State::Closed), "circuit closed"),
        (LEFT[1] - LEFT[0] + 128.0, circuit_colour(State::Open), "open"),
        (LEFT[1] - LEFT[0] + 200.0, circuit_colour(State::HalfOpen), "half-open: probing"),
    ];
    for (x, colour, name) in entries {
        svg.rect((LEFT[0] + x, 82.0), (12.0, 12.0), colour);
        svg.text((LEFT[0] + x + 18.0, 92.0), Font { colour: INK, ..BODY }, name);
    }
    let note = "White gaps: no call starts while the last calls of a phase end. Each call is drawn at its start time.";
    svg.text((LEFT[0], HEIGHT - 22.0), BODY, note);
}

/// The vertical extent of a panel.
#[derive(Debug, Clone, Copy)]
struct Span {
    top: f64,
    bottom: f64,
}

/// The half of the plot that shows one client.
struct Column<'a> {
    side: Side,
    record: &'a Record,
    answers: Panel,
    requests: Panel,
}

impl<'a> Column<'a> {
    fn new(side: Side, record: &'a Record, most_requests: f64) -> Self {
        let left = LEFT[side as usize];
        let panel = |Span { top, bottom }, up| {
            let across = record.end().as_secs_f64().max(1e-3);
            Panel { left, right: left + PANEL_WIDTH, top, bottom, across, up }
        };
        let answers = panel(ANSWERS_PANEL, f64::from(RATE) * 1.1);
        let requests = panel(REQUESTS_PANEL, most_requests.max(1.0) * 1.08);
        Self { side, record, answers, requests }
    }

    fn x(&self, time: Duration) -> f64 {
        self.answers.x(time.as_secs_f64())
    }

    fn head(&self, svg: &mut Svg, rows: &[Row]) {
        let name = match self.side {
            Side::Bare => "A bare reqwest::Client",
            Side::Steadfast => "steadfast::Client",
        };
        svg.text((self.answers.left, 132.0), HEAD, name);
        let rows = || rows.iter().filter(|row| row.side == self.side);
        let calls: usize = rows().map(|row| row.calls).sum();
        let failed: usize = rows().map(|row| row.failed).sum();
        let stale: usize = rows().map(|row| row.stale).sum();
        let stale = if stale > 0 { format!(", {stale} of them stale") } else { String::new() };
        let summary = format!("{} of {calls} calls answered{stale}", calls - failed);
        let font = Font { size: 13.0, anchor: Anchor::End, colour: INK, ..BODY };
        svg.text((self.answers.right, 132.0), font, summary);
    }

    fn bands(&self, svg: &mut Svg) {
        for (phase, colour) in self.record.phases.iter().zip(BANDS.iter().cycle()) {
            let (from, to) = (self.x(phase.start), self.x(phase.calls_end));
            let names = Span { top: ANSWERS_PANEL.top - 20.0, bottom: ANSWERS_PANEL.top };
            for Span { top, bottom } in [names, ANSWERS_PANEL, REQUESTS_PANEL] {
                svg.rect((from, top), (to - from, bottom - top), colour);
            }
            // Names shrink to fit the narrow phases of a short drill.
            #[allow(clippy::cast_precision_loss)]
            let size = SMALL.size.min((to - from) / phase.name.len() as f64 * 1.5);
            let font = Font { size, colour: INK, anchor: Anchor::Middle, ..SMALL };
            svg.text((f64::midpoint(from, to), names.bottom - 6.0), font, phase.name);
        }
    }

    /// Draws the answers as stacked areas: fresh at the bottom, failed on top.
    fn answers(&self, svg: &mut Svg) {
        self.answers.grid(svg);
        self.answers.upward_axis(svg, "calls per second");
        for (index, phase) in self.record.phases.iter().enumerate() {
            let bins = bins(RATE, self.record.end(), phase.start, phase.calls_end);
            let mut below = vec![0.0; bins.len()];
            for answer in ANSWERS {
                let calls =
                    self.record.calls.iter().filter(|call| call.side == self.side && call.phase == index);
                let dues: Vec<_> = calls.filter(|call| call.answer == answer).map(|call| call.due).collect();
                if dues.is_empty() {
                    continue;
                }
                let above: Vec<_> =
                    bins.iter().zip(&below).map(|(bin, below)| below + rate(&dues, bin)).collect();
                let stretches = below.iter().zip(&above).map(|(below, above)| *below..*above);
                let steps: Vec<_> = bins.iter().map(seconds).zip(stretches).collect();
                self.answers.steps(svg, &steps, answer_colour(answer));
                below = above;
            }
        }
    }

    fn circuit(&self, svg: &mut Svg) {
        let middle = f64::midpoint(CIRCUIT_STRIP.top, CIRCUIT_STRIP.bottom) + 4.0;
        if self.side == Side::Bare {
            return svg.text((self.answers.left, middle), SMALL, "(no circuit breaker)");
        }
        let font = Font { anchor: Anchor::End, ..SMALL };
        svg.text((self.answers.left - 8.0, middle), font, "circuit");
        let ends = self.record.circuit.iter().skip(1).map(|(time, _)| *time).chain([self.record.end()]);
        let mut stretches: Vec<_> = self.record.circuit.iter().zip(ends).collect();
        // Half-open stretches can be very short: they are drawn last and at least 2 pixels wide, so that they stay
        // visible.
        stretches.sort_by_key(|((_, state), _)| *state == State::HalfOpen);
        for ((from, state), to) in stretches {
            let least = if *state == State::HalfOpen { 2.0 } else { 0.0 };
            let (from, to) = (self.x(*from), self.x(to));
            let size = ((to - from).max(least), CIRCUIT_STRIP.bottom - CIRCUIT_STRIP.top);
            svg.rect((from, CIRCUIT_STRIP.top), size, circuit_colour(*state));
        }
    }

    fn requests(&self, svg: &mut Svg) {
        self.requests.grid(svg);
        self.requests.upward_axis(svg, "requests per second");
        self.requests.axis_across(svg, "seconds since the start");
        for phase in &self.record.phases {
            let rates = requests(self.record, self.side, phase).into_iter();
            let steps: Vec<_> = rates.map(|(bin, rate)| (seconds(&bin), 0.0..rate)).collect();
            self.requests.steps(svg, &steps, REQUESTS);
        }
    }
}

fn seconds(bin: &Bin) -> Range<f64> {
    bin.start.as_secs_f64()..bin.end.as_secs_f64()
}

/// The rate of requests that reached this client's server during a phase, per bin.
fn requests(record: &Record, side: Side, phase: &CompletedPhase) -> Vec<(Bin, f64)> {
    let mut requests = bins(RATE, record.end(), phase.start, phase.calls_end);
    // `bins` returns no bin for less than half a bin's length: the few requests of that time are not shown.
    requests.extend(bins(RATE, record.end(), phase.calls_end, phase.end));
    requests.into_iter().map(|bin| (bin.clone(), rate(&record.arrivals[side as usize], &bin))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::svg::is_well_formed;
    use crate::record::sample;

    #[test]
    fn the_plot_of_a_short_drill_is_well_formed() {
        let record = sample();
        let plot = draw(&record, &record.rows());
        assert!(is_well_formed(&plot), "{plot}");
    }

    #[test]
    fn the_plot_of_nothing_is_well_formed() {
        assert!(is_well_formed(&draw(&Record::default(), &[])));
    }
}
