//! Response bodies that break off, stall, or take their time.

use std::time::Duration;

use super::{Group, Patience, Requests, Scenario, ms, one_process, phases, s};
use crate::plan::{End, Fault, Plan, Reply, Route, Shape};

/// The calls per second of the scenarios whose bodies break off or stall.
const RATE: f64 = 10.0;

/// The time at which bodies begin to break off or to stall.
const BEGIN: u64 = 20;

/// A streamed body of unstated length, which ends early.
const fn streamed(end: End) -> Shape {
    Shape {
        pieces: 4,
        piece_bytes: 1024,
        gap: ms(10),
        pauses: 0,
        pause: Duration::ZERO,
        states_length: false,
        end,
    }
}

fn from_begin(name: &str, fault: Fault) -> Scenario {
    Scenario { name: name.into(), ..one_process([Group::steady(RATE)], BEGIN, fault, BEGIN + 60, BEGIN + 60) }
}

/// Streamed bodies that all break off.
pub fn breaking_bodies() -> Scenario {
    Scenario {
        story: "from 20 s on, every streamed body breaks off after its first piece",
        ..from_begin("breaking-bodies", Fault::Replies(Reply::Body(streamed(End::BreaksAfter(1)))))
    }
}

/// The same calls as [`breaking_bodies`] in an outage that the status shows, for comparison.
pub fn fails_as_fast() -> Scenario {
    Scenario {
        story: "from 20 s on, every answer is 503; the measure for breaking-bodies",
        ..from_begin("breaking-bodies-503", Fault::Fails(1.0))
    }
}

/// Streamed bodies that all stall after the head. The calls have the client's total time, or 800 ms.
pub fn stalling_bodies(short: bool) -> Scenario {
    let stalls = Fault::Replies(Reply::Body(streamed(End::StallsAfter(0))));
    let scenario = from_begin(if short { "stalling-bodies-800ms" } else { "stalling-bodies" }, stalls);
    let patience = if short { Patience::Timeout(ms(800)) } else { Patience::Client };
    Scenario {
        story: "from 20 s on, every streamed body stalls after the head",
        groups: vec![Group { patience, ..Group::steady(RATE) }],
        ..scenario
    }
}

/// A body of 1 MiB that takes 8 s, in 64 pieces of 16 KiB.
const SLOW: Shape = Shape {
    pieces: 64,
    piece_bytes: 16 * 1024,
    gap: ms(125),
    pauses: 0,
    pause: Duration::ZERO,
    states_length: true,
    end: End::Whole,
};

/// Bodies of 1 MiB that arrive at 128 KiB/s: evenly, or twice as fast with four pauses of 1 s.
pub fn slow_bodies(pauses: bool) -> Scenario {
    let shape = if pauses { Shape { gap: SLOW.gap / 2, pauses: 4, pause: s(1), ..SLOW } } else { SLOW };
    Scenario {
        name: if pauses { "slow-bodies-pausing".into() } else { "slow-bodies".into() },
        story: "every body has 1 MiB and takes 8 s to arrive, evenly or with pauses of 1 s",
        ..one_process([Group::steady(5.0)], 0, Fault::Replies(Reply::Body(shape)), 40, 40)
    }
}

/// The group of the calls whose bodies stall, in [`stalled_halfway`].
pub const STALLED: &str = "stalled";

/// Slow bodies, and calls to a route whose bodies stall for ever after half of their pieces.
pub fn stalled_halfway() -> Scenario {
    let scenario = slow_bodies(false);
    let stalls = Shape { end: End::StallsAfter(SLOW.pieces / 2), ..SLOW };
    let stalled = Group { name: STALLED, requests: Requests::Route("/stalled"), ..Group::steady(0.5) };
    let routes = vec![Route { path: "/stalled", reply: Reply::Body(stalls) }];
    Scenario {
        name: "slow-bodies-stalling".into(),
        story: "every body has 1 MiB and takes 8 s to arrive; those of one call in eleven stall after half",
        groups: scenario.groups.iter().cloned().chain([stalled]).collect(),
        plan: Plan { routes, phases: phases([(40, scenario.plan.fault(Duration::ZERO))]), ..scenario.plan },
        ..scenario
    }
}
