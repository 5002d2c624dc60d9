//! The requirements for an upstream of several replicas, in each network with connections.
//!
//! Behind a balancer of layer 7, no client can do better than the chances of its retries; those requirements are
//! among the outages.

use http::StatusCode;

use super::Bound::{self, AtLeast, AtMost, Reported};
use super::{Baseline, Figure, Must};
use crate::network::Network;
use crate::plan::Stop;
use crate::scenario::{
    Population, Scenario, half_failing_replica, overloaded_replicas, replica, restart, scale_down, scale_up,
    slow_replica, slow_replicas,
};

/// The requirements.
pub(super) fn all() -> Vec<Must> {
    let networks = Network::ALL.into_iter().filter(|network| *network != Network::Layer7);
    networks.flat_map(|network| one_is_bad(network).into_iter().chain(others(network))).collect()
}

/// A requirement with the figure of a bare client beside.
fn must(figure_name: &str, scenario: Scenario, figure: Figure, bound: Bound) -> Must {
    Must { shows_bare: true, ..Must::new(figure_name, scenario, figure, bound) }
}

fn fresh(scenario: Scenario, bound: Bound) -> Must {
    must("fresh answers", scenario, |it| it.success, bound)
}

fn one_is_bad(network: Network) -> Vec<Must> {
    let mut musts = vec![];
    // With one call a second, each process learns for itself which replica is bad: the load is larger.
    for (population, load) in [(Population::Small, 1.15), (Population::Big, 1.02), (Population::Large, 1.02)]
    {
        let fails = replica(false, population).over(network);
        musts.push(must("load", fails.clone(), |it| it.load, AtMost(load)));
        musts.extend([fails, replica(true, population).over(network)].map(|it| fresh(it, AtLeast(0.999))));
    }
    let half = |status| half_failing_replica(status).over(network);
    musts.extend([
        must("p95, ms", slow_replica().over(network), |it| it.p95_ms, AtMost(50.0)),
        fresh(half(StatusCode::SERVICE_UNAVAILABLE), AtLeast(0.999)),
        // The application fails: no retry follows, and only the share of failures tells.
        fresh(half(StatusCode::INTERNAL_SERVER_ERROR), Reported),
    ]);
    musts
}

fn others(network: Network) -> Vec<Must> {
    let overload = |name, figure, allowance, bound| {
        let scenario = Box::new(overloaded_replicas());
        let baseline = Baseline::Scenario { scenario, allowance };
        Must { baseline, ..Must::new(name, overloaded_replicas().over(network), figure, bound) }
    };
    let new_share = match network {
        Network::Name(_) => AtLeast(0.8),
        // Each lane leads to a random replica.
        Network::Layer7 | Network::Balancer(_) => AtLeast(0.4),
    };
    vec![
        fresh(slow_replicas().over(network), AtLeast(0.999)),
        must("load", slow_replicas().over(network), |it| it.load, AtMost(1.001)),
        overload("fresh answers + 0.07, × layer 7", |it| it.success, -0.07, AtLeast(1.0)),
        overload("load - 0.15, × layer 7", |it| it.load, 0.15, AtMost(1.0)),
        must(
            "fresh answers from 5 s after",
            overloaded_replicas().over(network),
            |it| it.goodput_after,
            AtLeast(0.99),
        ),
        fresh(restart(Stop::Graceful).over(network), AtLeast(1.0)),
        fresh(restart(Stop::Killed).over(network), AtLeast(1.0)),
        fresh(scale_up().over(network), AtLeast(1.0)),
        must("share of the new replicas, × fair", scale_up().over(network), |it| it.new_share, new_share),
        fresh(scale_down().over(network), AtLeast(1.0)),
    ]
}
