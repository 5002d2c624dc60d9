//! A panel of a plot with its axes, and the colours and fonts of the plots. The drills and the laboratory share
//! this file.

use std::ops::Range;

use super::svg::{Anchor, Font, Stroke, Svg};

pub const FRESH: &str = "#2a9d8f";
pub const STALE: &str = "#e9b949";
pub const FAILED: &str = "#c8354b";
pub const REQUESTS: &str = "#52606d";

pub const INK: &str = "#1f2933";
pub const PALE_INK: &str = "#616e7c";
pub const GRID: &str = "#ccd3db";

pub const BODY: Font = Font { size: 12.0, colour: PALE_INK, bold: false, anchor: Anchor::Start };
pub const HEAD: Font = Font { size: 15.0, colour: INK, bold: true, anchor: Anchor::Start };
pub const TITLE: Font = Font { size: 22.0, ..HEAD };
pub const CENTRED: Font = Font { anchor: Anchor::Middle, ..BODY };
pub const SMALL: Font = Font { size: 11.0, ..BODY };

/// The area between two axes, each of which begins at zero.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    /// The value at the right edge.
    pub across: f64,
    /// The value at the upper edge.
    pub up: f64,
}

impl Panel {
    pub fn x(&self, value: f64) -> f64 {
        self.left + (self.right - self.left) * value / self.across
    }

    pub fn y(&self, value: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * value / self.up
    }

    /// Draws a filled area of steps, each a range of the horizontal axis and a range of the vertical axis.
    pub fn steps(&self, svg: &mut Svg, steps: &[(Range<f64>, Range<f64>)], fill: &str) {
        let edge = |x: &Range<f64>, y: f64| [(self.x(x.start), self.y(y)), (self.x(x.end), self.y(y))];
        let upper = steps.iter().flat_map(|(x, y)| edge(x, y.end));
        let lower = steps.iter().flat_map(|(x, y)| edge(x, y.start)).rev();
        svg.polygon(upper.chain(lower), fill);
    }

    /// Draws a horizontal line at each round value.
    pub fn grid(&self, svg: &mut Svg) {
        for value in marks(self.up) {
            let y = self.y(value);
            svg.line([(self.left, y), (self.right, y)], Stroke { colour: GRID, width: 1.0, dashed: false });
        }
    }

    /// Draws the name and the numbers of the vertical axis.
    pub fn upward_axis(&self, svg: &mut Svg, name: &str) {
        for value in marks(self.up) {
            let font = Font { anchor: Anchor::End, ..SMALL };
            svg.text((self.left - 8.0, self.y(value) + 4.0), font, value);
        }
        svg.upward_text((self.left - 44.0, f64::midpoint(self.top, self.bottom)), CENTRED, name);
    }

    /// Draws the name, the ticks and the numbers of the horizontal axis.
    pub fn axis_across(&self, svg: &mut Svg, name: &str) {
        for value in marks(self.across) {
            let x = self.x(value);
            let tick = Stroke { colour: PALE_INK, width: 1.0, dashed: false };
            svg.line([(x, self.bottom), (x, self.bottom + 5.0)], tick);
            svg.text((x, self.bottom + 19.0), Font { anchor: Anchor::Middle, ..SMALL }, value);
        }
        svg.text((f64::midpoint(self.left, self.right), self.bottom + 40.0), CENTRED, name);
    }
}

/// The round values from zero to `most`, without the rounding errors of their sums.
fn marks(most: f64) -> impl Iterator<Item = f64> {
    let step = scale_step(most);
    let multiples = (0..).map(move |times| f64::from(times) * step);
    multiples.take_while(move |value| *value <= most * (1.0 + 1e-9)).map(|value| (value * 1e9).round() / 1e9)
}

/// A round step width that divides `most` into three to six steps.
pub fn scale_step(most: f64) -> f64 {
    let magnitude = 10_f64.powf(most.max(1e-3).log10().floor());
    let steps = [0.2, 0.5, 1.0, 2.0].map(|step| step * magnitude);
    steps.into_iter().find(|step| most / step < 6.5).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_has_a_few_round_steps() {
        for (most, step) in [(55.0, 10.0), (70.0, 20.0), (47.0, 10.0), (9.0, 2.0), (600.0, 100.0), (1.0, 0.2)]
        {
            assert!((scale_step(most) - step).abs() < 1e-9, "{most}: {}", scale_step(most));
        }
    }

    #[test]
    fn marks_are_written_without_the_errors_of_their_sums() {
        let written: Vec<_> = marks(1.0).map(|mark| mark.to_string()).collect();
        assert_eq!(written, ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }

    #[test]
    fn a_panel_reaches_from_zero_to_the_values_at_its_edges() {
        let panel = Panel { left: 10.0, right: 30.0, top: 5.0, bottom: 45.0, across: 4.0, up: 2.0 };
        assert_eq!([0.0, 1.0, 4.0].map(|value| panel.x(value).to_string()), ["10", "15", "30"]);
        assert_eq!([0.0, 0.5, 2.0].map(|value| panel.y(value).to_string()), ["45", "35", "5"]);
    }

    #[test]
    fn steps_are_drawn_as_one_outline() {
        let panel = Panel { left: 0.0, right: 2.0, top: 0.0, bottom: 9.0, across: 2.0, up: 9.0 };
        let mut svg = Svg::new(9.0, 9.0);
        panel.steps(&mut svg, &[(0.0..1.0, 2.0..6.0), (1.0..2.0, 3.0..4.0)], "red");
        let around = "0.0,3.0 1.0,3.0 1.0,5.0 2.0,5.0 2.0,6.0 1.0,6.0 1.0,7.0 0.0,7.0";
        assert!(svg.to_string().contains(around), "{svg}");
    }
}
