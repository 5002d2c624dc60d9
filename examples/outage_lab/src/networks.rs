//! The comparison of the networks: the scenarios of an upstream of several replicas, with a bare client and with the
//! default client.

use std::fmt::Write as _;

use http::StatusCode;

use crate::figures::Figures;
use crate::network::Network;
use crate::plan::Stop;
use crate::policy::{bare, default_client};
use crate::scenario::{
    Population, Scenario, half_failing_replica, overloaded_replicas, replica, restart, scale_down, scale_up,
    slow_replica, slow_replicas,
};
use crate::study::{Plays, find, study};

/// A row of the table: a figure of a scenario.
struct Row {
    scenario: Scenario,
    figure: fn(&Figures) -> f64,
    head: &'static str,
    digits: usize,
}

fn rows() -> Vec<Row> {
    let row = |scenario, head, digits, figure| Row { scenario, figure, head, digits };
    let fresh = |scenario| row(scenario, "fresh, %", 2, |it| it.success * 100.0);
    let load = |scenario| row(scenario, "attempts a call", 3, |it| it.load);
    let p95 = |scenario| row(scenario, "p95, ms", 0, |it| it.p95_ms);
    let fails = || replica(false, Population::Large);
    let killed = || restart(Stop::Killed);
    vec![
        fresh(fails()),
        load(fails()),
        fresh(replica(true, Population::Large)),
        p95(slow_replica()),
        fresh(half_failing_replica(StatusCode::SERVICE_UNAVAILABLE)),
        fresh(half_failing_replica(StatusCode::INTERNAL_SERVER_ERROR)),
        p95(slow_replicas()),
        fresh(overloaded_replicas()),
        load(overloaded_replicas()),
        row(overloaded_replicas(), "fresh after, %", 2, |it| it.goodput_after * 100.0),
        fresh(restart(Stop::Graceful)),
        fresh(killed()),
        row(killed(), "orders sent twice", 0, |it| it.duplicates),
        row(scale_up(), "share of the new, × fair", 2, |it| it.new_share),
        fresh(scale_down()),
    ]
}

/// The table in Markdown. Each cell has the mean of a bare client over the seeds, and that of the default client.
pub fn table(seeds: &[u64], progress: impl Fn(usize, usize) + Sync) -> String {
    let (rows, policies) = (rows(), [bare(), default_client()]);
    let mut plays = Plays::default();
    for Row { scenario, .. } in &rows {
        for network in Network::ALL {
            for policy in &policies {
                plays.add(&scenario.clone().over(network), policy);
            }
        }
    }
    let runs = study(&plays, seeds, progress);
    let heads = Network::ALL.map(Network::title).join(" | ");
    let mut table =
        format!("| scenario | figure | {heads} |\n|---|---|{}\n", "---|".repeat(Network::ALL.len()));
    for Row { scenario, figure, head, digits } in &rows {
        let cell = |network| {
            let scenario = scenario.clone().over(network);
            let mean = |policy| find(&runs, &scenario, policy).mean(figure);
            let [bare, client] = policies.each_ref().map(|policy| mean(policy.name));
            format!("{bare:.digits$} / {client:.digits$}")
        };
        let _ = writeln!(table, "| {} | {head} | {} |", scenario.name, Network::ALL.map(cell).join(" | "));
    }
    table
}
