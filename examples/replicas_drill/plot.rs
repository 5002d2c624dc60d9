//! The plot: a cell for each client in each arrangement.

use crate::cell::Cell;
use crate::clients::{CALL_TIMEOUT, Protocol};
use crate::drill::panel::{BODY, FAILED, FRESH, HEAD, INK, TITLE};
use crate::drill::svg::{Font, Svg};
use crate::record::Record;
use crate::script::{RATE, REPLICAS};
use crate::subject::{Arrangement, SUBJECTS};

const WIDTH: f64 = 1280.0;
const HEIGHT: f64 = 962.0;

/// The left edges of the columns, by [`Side`](crate::subject::Side).
const LEFT: [f64; 2] = [64.0, 690.0];

/// The upper edges of the rows, by [`Arrangement`].
const TOP: [f64; 2] = [140.0, 546.0];

pub const MEDIAN: &str = "#3d5a80";
pub const SLOWEST: &str = "#a9c0dc";
pub const CONCERNED: &str = "#d9822b";
pub const OTHERS: &str = "#b3bcc8";

pub fn draw(record: &Record, protocol: Protocol) -> String {
    let mut svg = Svg::new(WIDTH, HEIGHT);
    title(&mut svg, protocol);
    legend(&mut svg);
    for (arrangement, top) in [Arrangement::Name, Arrangement::Balancer].into_iter().zip(TOP) {
        svg.text((LEFT[0], top), HEAD, heading(arrangement));
    }
    for subject in SUBJECTS {
        let corner = (LEFT[subject.side as usize], TOP[subject.arrangement as usize]);
        Cell::new(record, subject, corner).draw(&mut svg);
    }
    svg.to_string()
}

fn title(svg: &mut Svg, protocol: Protocol) {
    let title = "One of four replicas fails, hangs, slows down, restarts or goes: with and without steadfast";
    svg.text((LEFT[0], 42.0), TITLE, title);
    let protocol = match protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
    };
    let subtitle = format!(
        "{RATE} calls a second over {protocol} through each client in each arrangement, each against its own \
         {REPLICAS} replicas. Both clients limit a call to {} s.",
        CALL_TIMEOUT.as_secs()
    );
    svg.text((LEFT[0], 64.0), Font { size: 13.0, ..BODY }, subtitle);
}

fn legend(svg: &mut Svg) {
    let entries = [
        (0.0, FRESH, "fresh answer"),
        (118.0, FAILED, "failed"),
        (212.0, MEDIAN, "median wait"),
        (322.0, SLOWEST, "99th percentile"),
        (LEFT[1] - LEFT[0], CONCERNED, "requests to the replica that breaks, comes or goes"),
        (LEFT[1] - LEFT[0] + 335.0, OTHERS, "to the others"),
    ];
    for (x, colour, name) in entries {
        svg.rect((LEFT[0] + x, 82.0), (12.0, 12.0), colour);
        svg.text((LEFT[0] + x + 18.0, 92.0), Font { colour: INK, ..BODY }, name);
    }
    let note = "A fault strikes the replica with the most requests just then. Between the named phases, all replicas are \
                healthy. Each call is drawn at its start time.";
    svg.text((LEFT[0], HEIGHT - 20.0), BODY, note);
}

fn heading(arrangement: Arrangement) -> &'static str {
    match arrangement {
        Arrangement::Name => "Behind a name: it resolves to the addresses of all replicas",
        Arrangement::Balancer => "Behind a balancer: one address, and a replica for each connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::svg::is_well_formed;
    use crate::record::sample;

    #[test]
    fn the_plot_of_a_short_drill_is_well_formed() {
        let plot = draw(&sample(), Protocol::Http1);
        assert!(is_well_formed(&plot), "{plot}");
    }

    #[test]
    fn the_plot_of_nothing_is_well_formed() {
        assert!(is_well_formed(&draw(&Record::default(), Protocol::Http2)));
    }
}
