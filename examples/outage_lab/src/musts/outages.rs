//! The requirements in outages.

use super::Bound::{self, AtLeast, AtMost};
use super::{Baseline, Figure, Must};
use crate::scenario::{
    Population, Scenario, capacity, down, failing, flapping, healthy, known, neighbours, ramp, recovery,
    replica, spike,
};

const EVERY: [(Population, bool); 6] = [
    (Population::Small, false),
    (Population::Small, true),
    (Population::Big, false),
    (Population::Big, true),
    (Population::Large, false),
    (Population::Large, true),
];

/// The requirements. `healthy_seconds` is the length of the healthy scenario, at a thousand calls a second.
pub(super) fn all(healthy_seconds: u64) -> Vec<Must> {
    let mut musts = vec![];
    let mut must =
        |figure_name: &str, scenario: Scenario, figure: Figure, baseline: Baseline, bound: Bound| {
            musts.push(Must { baseline, ..Must::new(figure_name, scenario, figure, bound) });
        };
    for (population, warm) in EVERY {
        let load = if population == Population::Small { 1.05 } else { 0.35 };
        for scenario in
            [failing(100, population, warm), down(false, population, warm), down(true, population, warm)]
        {
            must("load", scenario, |it| it.load, Baseline::None, AtMost(load));
        }
        for percent in [1, 5, 10] {
            let scenario = failing(percent, population, warm);
            must("fresh answers", scenario.clone(), |it| it.success, Baseline::None, AtLeast(0.995));
            must("load", scenario, |it| it.load, Baseline::None, AtMost(1.15));
        }
        for (percent, fresh, load) in [(25, 1.25, 1.35), (50, 1.15, 1.25), (75, 1.0, 1.1)] {
            let scenario = failing(percent, population, warm);
            must("fresh answers × bare", scenario.clone(), |it| it.success, Baseline::Bare, AtLeast(fresh));
            must("sustained load", scenario, |it| it.sustained_load, Baseline::None, AtMost(load));
        }
        must(
            "fresh answers × bare",
            failing(90, population, warm),
            |it| it.success,
            Baseline::Bare,
            AtLeast(0.75),
        );
    }
    for population in Population::ALL {
        for hangs in [false, true] {
            let scenario = replica(hangs, population);
            must("fresh answers", scenario.clone(), |it| it.success, Baseline::None, AtLeast(0.99));
            must("load", scenario, |it| it.load, Baseline::None, AtMost(1.35));
        }
        let scenario = recovery(population);
        let load = if population == Population::Small { 0.75 } else { 0.2 };
        must("seconds until 95 % fresh", scenario.clone(), |it| it.recovery_s, Baseline::None, AtMost(5.0));
        must("peak after × bare", scenario.clone(), |it| it.peak_after, Baseline::Bare, AtMost(1.1));
        must("load", scenario, |it| it.load, Baseline::None, AtMost(load));
    }
    must("fresh answers after", spike(), |it| it.goodput_after, Baseline::None, AtLeast(0.99));
    must("fresh answers after", ramp(1), |it| it.goodput_after, Baseline::None, AtLeast(0.98));
    must(
        "fresh answers during recovery, worst seed",
        ramp(10),
        |it| it.success,
        Baseline::None,
        AtLeast(0.6),
    );
    must("fresh answers from 5 s after", capacity(), |it| it.goodput_after, Baseline::None, AtLeast(0.99));
    must("fresh answers × bare", flapping(), |it| it.success, Baseline::Bare, AtLeast(0.98));
    must("load × bare", flapping(), |it| it.load, Baseline::Bare, AtMost(1.0));
    let well = Baseline::Scenario { scenario: Box::new(neighbours(false)), allowance: 0.0 };
    must(
        "healthy upstreams' p99 × without the hang",
        neighbours(true),
        |it| it.others_p99_ms,
        well,
        AtMost(1.05),
    );
    must(
        "healthy upstreams' fresh answers",
        neighbours(true),
        |it| it.others_success,
        Baseline::None,
        AtLeast(1.0),
    );
    must("calls in flight", neighbours(true), |it| it.most_in_flight, Baseline::None, AtMost(400.0));
    must("false trips", healthy(healthy_seconds), |it| it.false_trips, Baseline::None, AtMost(0.0));
    must("known keys answered", known(100), |it| it.known_answered, Baseline::None, AtLeast(0.999));
    must("wrong ages", known(100), |it| it.wrong_ages, Baseline::None, AtMost(0.0));
    let on_average =
        Must::new("fresh answers during recovery, on average", ramp(1), |it| it.success, AtLeast(0.75));
    musts.push(Must { on_average: true, ..on_average });
    musts
}
