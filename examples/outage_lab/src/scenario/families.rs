//! The families of scenarios, in the order of the tables.

use http::StatusCode;

use super::{
    HOLES, Hole, IMPATIENT, Population, Scenario, black_hole, breaking_bodies, brownout, burst,
    burst_on_slow, burst_over_3s, capacity, down, failing, fails_as_fast, flapping, half_failing_replica,
    hung_queue, impatient, known, ms, neighbours, overload, overloaded_replicas, ramp, recovery, replica,
    restart, retry_after, routes, routes_after_outage, scale_down, scale_up, serial, slow_bodies,
    slow_replica, slow_replicas, spike, stalled_halfway, stalling_bodies, takes,
};
use crate::network::Network;
use crate::plan::Stop;

/// Variants of one outage: several populations or several degrees.
#[derive(Debug, Clone)]
pub struct Family {
    pub name: &'static str,
    pub title: &'static str,
    pub scenarios: Vec<Scenario>,
    /// The index of the scenario whose course is drawn. `None` for a family whose plot compares all its scenarios.
    pub drawn: Option<usize>,
}

/// All families of scenarios.
pub fn families() -> Vec<Family> {
    const PERCENT: [u32; 8] = [1, 5, 10, 25, 50, 75, 90, 100];
    let family = |name, title, drawn, scenarios| Family { name, title, scenarios, drawn };
    let populations = |of: &dyn Fn(Population, bool) -> Vec<Scenario>| -> Vec<Scenario> {
        let each = |population| [false, true].map(|warm| of(population, warm));
        Population::ALL.into_iter().flat_map(each).flatten().collect()
    };
    vec![
        family(
            "fails",
            "A share of all attempts fails",
            None,
            populations(&|population, warm| PERCENT.map(|percent| failing(percent, population, warm)).into()),
        ),
        family(
            "down",
            "The upstream refuses, or hangs",
            Some(7),
            populations(&|population, warm| [false, true].map(|hangs| down(hangs, population, warm)).into()),
        ),
        family("spike", "Ten times the calls for three seconds", Some(0), vec![spike()]),
        family("ramp", "Slowly more calls than the upstream can answer", Some(0), vec![ramp(1), ramp(10)]),
        family("capacity", "Four fifths of the capacity go away for 10 s", Some(0), vec![capacity()]),
        family(
            "replica",
            "One of four replicas fails, or hangs",
            Some(1),
            everywhere(
                [false, true].into_iter().flat_map(|hangs| Population::ALL.map(|it| replica(hangs, it))),
            ),
        ),
        family("replica-slow", "One of four replicas is slow", Some(BALANCER), everywhere([slow_replica()])),
        family(
            "replica-half",
            "One of four replicas answers half of its calls with errors",
            Some(2 * BALANCER),
            everywhere(QUICK_ERRORS.map(half_failing_replica)),
        ),
        family(
            "replicas",
            "All four replicas are slow",
            Some(2 * BALANCER + 1),
            everywhere([slow_replicas(), overloaded_replicas()]),
        ),
        family(
            "restart",
            "Four replicas are replaced",
            Some(2 * BALANCER),
            everywhere([Stop::Graceful, Stop::Killed].map(restart)),
        ),
        family(
            "scale",
            "Two replicas become four, or four become two",
            Some(2 * BALANCER),
            everywhere([scale_up(), scale_down()]),
        ),
        family("brownout", "Every answer takes ten times as long", Some(0), vec![brownout()]),
        family("flapping", "Down for three seconds, up for three", Some(0), vec![flapping()]),
        family(
            "return",
            "A total outage of a minute, and the return",
            Some(1),
            Population::ALL.map(recovery).into(),
        ),
        family("neighbours", "One of ten upstreams hangs", None, vec![neighbours(true), neighbours(false)]),
        family("retry-after", "Every caller is told to retry after 5 s", Some(0), vec![retry_after()]),
        family("serial", "Callers that wait for their answers", Some(0), vec![serial()]),
        family(
            "known",
            "A total outage, and answers cached before it",
            Some(1),
            [0, 50, 100].map(known).into(),
        ),
        family("burst", "Thousands of calls at once", Some(0), bursts()),
        family("overload", "More calls than the permits can serve", Some(0), vec![overload()]),
        family("hung-queue", "A queue in front of an upstream that hangs", Some(0), vec![hung_queue()]),
        family("routes", "One route fails, another is healthy", Some(0), two_routes()),
        family("black-hole", "The upstream hangs under short deadlines", Some(0), black_holes()),
        family("impatient", "Most callers give up early", Some(0), impatient_callers()),
        family("takes", "Answers that take long", Some(0), [4000, 6500].map(ms).map(takes).into()),
        family("breaking-bodies", "Bodies break off", Some(0), vec![breaking_bodies(), fails_as_fast()]),
        family("stalling-bodies", "Bodies stall", Some(0), [false, true].map(stalling_bodies).into()),
        family(
            "slow-bodies",
            "Bodies that take long to arrive",
            Some(0),
            vec![slow_bodies(false), slow_bodies(true), stalled_halfway()],
        ),
    ]
}

/// The index of the balancer over HTTP/1 among the networks.
const BALANCER: usize = 3;

/// The errors of a replica that answers half of its calls.
const QUICK_ERRORS: [StatusCode; 2] = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR];

/// Each scenario in each network.
fn everywhere(scenarios: impl IntoIterator<Item = Scenario>) -> Vec<Scenario> {
    let scenarios: Vec<_> = scenarios.into_iter().collect();
    let over = |network| scenarios.iter().cloned().map(move |scenario| scenario.over(network));
    Network::ALL.into_iter().flat_map(over).collect()
}

fn bursts() -> Vec<Scenario> {
    let slow = [200, 250].map(|latency| [true, false].map(|start| burst_on_slow(latency, start)));
    [burst(), burst_over_3s()].into_iter().chain(slow.into_iter().flatten()).collect()
}

fn two_routes() -> Vec<Scenario> {
    let each = [false, true].map(|dense| [false, true].map(|noise| routes(dense, noise)));
    each.into_iter().flatten().chain([routes_after_outage()]).collect()
}

fn impatient_callers() -> Vec<Scenario> {
    let each = [None, Some(Population::Big)].map(|of| IMPATIENT.map(|percent| impatient(percent, of)));
    each.into_iter().flatten().collect()
}

fn black_holes() -> Vec<Scenario> {
    let mut scenarios = vec![];
    for (limit, drops) in HOLES {
        for rate in [10, 1] {
            scenarios.extend([true, false].map(|warm| black_hole(Hole { limit, drops, rate, warm })));
        }
    }
    scenarios
}
