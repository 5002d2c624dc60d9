//! The requirements for kinds of calls: bursts, routes, time limits and slow bodies. A client must not harm calls to
//! an upstream that is well, and must notice an upstream that is not.

use std::time::Duration;

use super::Bound::{AtLeast, AtMost, Reported};
use super::{Baseline, Must};
use crate::figures::GroupFigures;
use crate::scenario::{
    BURST, HEALTHY, HOLES, Hole, IMPATIENT, ORDINARY, Population, STALLED, black_hole, breaking_bodies,
    burst, burst_on_slow, burst_over_3s, fails_as_fast, hung_queue, impatient, least_time_of_burst, overload,
    routes, routes_after_outage, slow_bodies, stalled_halfway, stalling_bodies, takes,
};

/// The requirements.
pub(super) fn all() -> Vec<Must> {
    let all = [bursts(), queue(), two_routes(), black_holes(), impatient_callers(), long_answers(), bodies()];
    all.into_iter().flatten().collect()
}

fn bursts() -> Vec<Must> {
    let mut musts = vec![
        Must::new("burst's fresh answers", burst(), |it| it.group(BURST).fresh, AtLeast(1.0)),
        Must::new(
            "time of the burst × the least",
            burst(),
            |it| time_until_all_are_fresh(&it.group(BURST)) / least_time_of_burst(),
            AtMost(1.2),
        ),
        Must::new("burst's fresh answers", burst_over_3s(), |it| it.group(BURST).fresh, AtLeast(0.99)),
    ];
    for latency in [200, 250] {
        for from_the_start in [true, false] {
            let scenario = || burst_on_slow(latency, from_the_start);
            musts.extend([
                Must::new("ordinary fresh answers", scenario(), |it| it.group(ORDINARY).fresh, AtLeast(0.99)),
                Must::new("ordinary p99, ms", scenario(), |it| it.group(ORDINARY).p99_ms, AtMost(500.0)),
                Must::new("burst's fresh answers", scenario(), |it| it.group(BURST).fresh, Reported),
            ]);
        }
    }
    musts
}

/// The seconds until the last call of a group is answered; infinite if a call gets no fresh answer.
fn time_until_all_are_fresh(group: &GroupFigures) -> f64 {
    if group.fresh < 1.0 { f64::INFINITY } else { group.done_s }
}

fn queue() -> Vec<Must> {
    vec![
        Must::new("fresh answers after", overload(), |it| it.goodput_after, AtLeast(0.99)),
        Must::new("fresh answers", overload(), |it| it.success, Reported),
        Must::new("p50, ms", overload(), |it| it.p50_ms, Reported),
        Must::new("p99, ms", overload(), |it| it.p99_ms, Reported),
        Must::new("p50 of fresh answers, ms", overload(), |it| it.group(ORDINARY).fresh_p50_ms, Reported),
        Must::new("p99 of fresh answers, ms", overload(), |it| it.group(ORDINARY).fresh_p99_ms, Reported),
        Must::new("told after a wait, p50, ms", hung_queue(), |it| it.told_p50_ms, AtMost(1100.0)),
        Must::new("p99 of all calls, ms", hung_queue(), |it| it.p99_ms, Reported),
        Must::new("calls in flight", hung_queue(), |it| it.most_in_flight, Reported),
    ]
}

fn two_routes() -> Vec<Must> {
    let fresh = |scenario, bound| {
        Must::new("healthy route's fresh answers", scenario, |it| it.group(HEALTHY).fresh, bound)
    };
    vec![
        fresh(routes(false, false), AtLeast(0.99)),
        fresh(routes(false, true), AtLeast(0.9)),
        fresh(routes(true, false), AtLeast(0.99)),
        // Two of a hundred attempts a second answer 503: the circuit opens for a moment every ten seconds or so.
        fresh(routes(true, true), Reported),
        fresh(routes_after_outage(), AtLeast(0.99)),
    ]
}

fn black_holes() -> Vec<Must> {
    let mut musts = vec![];
    for (limit, drops) in HOLES {
        for (rate, most) in [(10, 7.0), (1, 25.0)] {
            let bound = if limit == 800 && !drops { AtMost(most) } else { Reported };
            for warm in [true, false] {
                let scenario = black_hole(Hole { limit, drops, rate, warm });
                musts.push(Must::new("seconds until open", scenario, |it| it.opens_s, bound));
            }
        }
    }
    musts
}

fn impatient_callers() -> Vec<Must> {
    let mut musts = vec![];
    for population in [None, Some(Population::Big)] {
        for percent in IMPATIENT {
            let scenario = || impatient(percent, population);
            musts.extend([
                Must::new("trips", scenario(), |it| it.false_trips, AtMost(0.0)),
                Must::new("patient fresh answers", scenario(), |it| it.group(ORDINARY).fresh, AtLeast(0.999)),
            ]);
        }
    }
    musts
}

fn long_answers() -> Vec<Must> {
    // An attempt before a retry has 2.9 s, so a client with retries loses some answers of 6.5 s.
    let musts = [(4000, AtLeast(0.55)), (6500, Reported)].map(|(latency, bound)| {
        let takes = || takes(Duration::from_millis(latency));
        let without = Must::new("fresh answers without retries", takes(), |it| it.success, AtLeast(0.999));
        [
            Must::new("fresh answers", takes(), |it| it.success, bound),
            Must { without_retries: true, ..without },
        ]
    });
    musts.into_iter().flatten().collect()
}

fn bodies() -> Vec<Must> {
    let breaking = |name, bound| Must::new(name, breaking_bodies(), |it| it.opens_s, bound);
    let as_503s = Baseline::Scenario { scenario: Box::new(fails_as_fast()), allowance: 0.5 };
    let opens =
        |short, bound| Must::new("seconds until open", stalling_bodies(short), |it| it.opens_s, bound);
    let slow = |pauses, bound| Must::new("fresh answers", slow_bodies(pauses), |it| it.success, bound);
    let stalled = |name, figure| Must::new(name, stalled_halfway(), figure, Reported);
    vec![
        breaking("seconds until open", Reported),
        Must { baseline: as_503s, ..breaking("seconds until open - 0.5, × 503s", AtMost(1.2)) },
        opens(false, Reported),
        opens(true, AtMost(15.0)),
        slow(false, AtLeast(0.99)),
        slow(true, Reported),
        stalled("fresh answers to others", |it| it.group(ORDINARY).fresh),
        stalled("told of a stall, p50, ms", |it| it.group(STALLED).p50_ms),
        stalled("told of a stall, p99, ms", |it| it.group(STALLED).p99_ms),
    ]
}
