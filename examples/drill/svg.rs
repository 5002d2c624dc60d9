//! The subset of SVG that the plots need.

use std::fmt::{self, Display, Write as _};

/// A drawing on a white background. Later shapes cover earlier ones.
pub struct Svg {
    width: f64,
    height: f64,
    shapes: String,
}

/// The point of a text at its position: the start, the middle or the end.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// The style of a text.
#[derive(Debug, Clone, Copy)]
pub struct Font {
    pub size: f64,
    pub colour: &'static str,
    pub bold: bool,
    pub anchor: Anchor,
}

/// The style of a line.
#[derive(Debug, Clone, Copy)]
pub struct Stroke {
    pub colour: &'static str,
    pub width: f64,
    pub dashed: bool,
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        let mut svg = Self { width, height, shapes: String::new() };
        // A white background keeps black text readable on dark pages.
        svg.rect((0.0, 0.0), (width, height), "#ffffff");
        svg
    }

    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        let _ = writeln!(
            self.shapes,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        );
    }

    /// Draws a line through the points.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, stroke: Stroke) {
        let Stroke { colour, width, dashed } = stroke;
        let dashes = if dashed { r#" stroke-dasharray="6 4""# } else { "" };
        self.write_points(
            "polyline",
            format_args!(r#"fill="none" stroke="{colour}" stroke-width="{width:.1}"{dashes}"#),
            points,
        );
    }

    /// Draws a filled polygon.
    pub fn polygon(&mut self, points: impl IntoIterator<Item = (f64, f64)>, fill: &str) {
        self.write_points("polygon", format_args!(r#"fill="{fill}""#), points);
    }

    fn write_points(
        &mut self,
        shape: &str,
        style: fmt::Arguments<'_>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) {
        let _ = write!(self.shapes, r#"<{shape} {style} points=""#);
        for (x, y) in points {
            let _ = write!(self.shapes, "{x:.1},{y:.1} ");
        }
        self.shapes.push_str("\"/>\n");
    }

    pub fn text(&mut self, (x, y): (f64, f64), font: Font, text: impl Display) {
        self.write_text(format_args!(r#"x="{x:.1}" y="{y:.1}""#), font, &text);
    }

    /// Draws a text that reads upwards.
    pub fn upward_text(&mut self, (x, y): (f64, f64), font: Font, text: impl Display) {
        self.write_text(format_args!(r#"transform="translate({x:.1} {y:.1}) rotate(-90)""#), font, &text);
    }

    fn write_text(&mut self, place: fmt::Arguments<'_>, font: Font, text: &dyn Display) {
        let Font { size, colour, bold, anchor } = font;
        let weight = if bold { "600" } else { "400" };
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.to_string().replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.shapes,
            r#"<text {place} font-size="{size:.1}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}">{text}</text>"#
        );
    }
}

impl Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, shapes } = self;
        let fonts = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="{fonts}">"#
        )?;
        writeln!(f, "{shapes}</svg>")
    }
}

/// True if tags nest properly, attributes are quoted and every number is finite.
#[cfg(test)]
pub fn is_well_formed(xml: &str) -> bool {
    let mut open = Vec::new();
    let mut pieces = xml.trim().split('<');
    let nothing_before = pieces.next() == Some("");
    let closed = pieces.all(|piece| {
        let Some((tag, text)) = piece.split_once('>') else { return false };
        let entities = text.split('&').skip(1).all(|it| it.starts_with("amp;") || it.starts_with("lt;"));
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default().to_owned();
        let in_turn = match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(_), _) => open.pop() == Some(name),
            (None, true) => true,
            (None, false) => {
                open.push(name);
                true
            }
        };
        in_turn && entities && tag.matches('"').count() % 2 == 0
    });
    nothing_before && closed && open.is_empty() && !xml.contains("NaN") && !xml.contains("inf")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FONT: Font = Font { size: 12.0, colour: "#000", bold: true, anchor: Anchor::Middle };

    const STROKE: Stroke = Stroke { colour: "blue", width: 2.0, dashed: false };

    #[test]
    fn every_shape_is_well_formed() {
        let mut svg = Svg::new(100.0, 50.0);
        svg.rect((1.0, 2.0), (3.0, 4.0), "red");
        svg.line([(0.0, 0.0), (9.0, 9.0)], STROKE);
        svg.polygon([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], "green");
        svg.text((5.0, 5.0), FONT, "level");
        svg.upward_text((5.0, 5.0), FONT, "upright");
        assert!(is_well_formed(&svg.to_string()), "{svg}");
    }

    #[test]
    fn only_dashed_strokes_are_dashed() {
        for dashed in [false, true] {
            let mut svg = Svg::new(100.0, 50.0);
            svg.line([(0.0, 0.0), (9.0, 9.0)], Stroke { dashed, ..STROKE });
            assert!(is_well_formed(&svg.to_string()), "{svg}");
            assert_eq!(svg.to_string().contains("dash"), dashed, "{svg}");
        }
    }

    #[test]
    fn special_characters_of_xml_are_escaped() {
        let mut svg = Svg::new(100.0, 50.0);
        svg.text((0.0, 0.0), FONT, "a < b & c");
        assert!(svg.to_string().contains(">a &lt; b &amp; c</text>"), "{svg}");
    }

    #[test]
    fn malformed_xml_is_detected() {
        for broken in ["<a>", "<a></b>", "</a>", "text", "<a>&</a>", "<a x=\"NaN\"/>", "<a x=\"1/>", "<a"] {
            assert!(!is_well_formed(broken), "{broken}");
        }
    }
}
