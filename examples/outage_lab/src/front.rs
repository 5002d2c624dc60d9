//! The trade-offs between the requirements of the default client: changes one setting at a time and shows the
//! figures.

use std::fmt::Write as _;
use std::time::Duration;

use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::Bulkhead;
use steadfast::circuit_breaker::CircuitBreaker;
use steadfast::retry::RetryBudget;
use steadfast::timeout::TimeoutLayer;

use crate::figures::Figures;
use crate::policy::{Policy, default_client};
use crate::scenario::{
    BURST, HEALTHY, Hole, ORDINARY, Population, STALLED, Scenario, black_hole, burst, burst_on_slow,
    burst_over_3s, capacity, failing, flapping, hung_queue, impatient, overload, ramp, recovery, replica,
    routes, slow_bodies, stalled_halfway, takes,
};
use crate::study::{Plays, find, study};

/// A column of the table: a figure of a scenario.
struct Column {
    head: &'static str,
    scenario: Scenario,
    figure: fn(&Figures) -> f64,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn columns() -> Vec<Column> {
    let column = |head, scenario, figure| Column { head, scenario, figure };
    let hole = |rate, drops| black_hole(Hole { limit: 800, drops, rate, warm: true });
    vec![
        column("S down: load", failing(100, Population::Small, false), |it| it.load),
        column("B down: load", failing(100, Population::Big, true), |it| it.load),
        column("50 %: fresh", failing(50, Population::Big, true), |it| it.success),
        column("50 %: load", failing(50, Population::Big, true), |it| it.sustained_load),
        column("90 % S: fresh", failing(90, Population::Small, false), |it| it.success),
        column("90 % B: fresh", failing(90, Population::Big, true), |it| it.success),
        column("replica: fresh", replica(false, Population::Small), |it| it.success),
        column("ramp-1", ramp(1), |it| it.success),
        column("ramp-10", ramp(10), |it| it.success),
        column("capacity: after", capacity(), |it| it.goodput_after),
        column("flapping: load", flapping(), |it| it.load),
        column("return S: load", recovery(Population::Small), |it| it.load),
        column("return B: s", recovery(Population::Big), |it| it.recovery_s),
        column("burst: fresh", burst(), |it| it.group(BURST).fresh),
        column("3 s burst: fresh", burst_over_3s(), |it| it.group(BURST).fresh),
        column("slowed burst: others' fresh", burst_on_slow(250, false), |it| it.group(ORDINARY).fresh),
        column("slowed burst: others' p99", burst_on_slow(250, false), |it| it.group(ORDINARY).p99_ms),
        column("overload: fresh", overload(), |it| it.success),
        column("overload: p99", overload(), |it| it.p99_ms),
        column("hung: told, ms", hung_queue(), |it| it.told_p50_ms),
        column("hung: in flight", hung_queue(), |it| it.most_in_flight),
        column("routes: fresh", routes(false, true), |it| it.group(HEALTHY).fresh),
        column("hole, 10/s: s", hole(10, false), |it| it.opens_s),
        column("hole, 1/s: s", hole(1, false), |it| it.opens_s),
        column("hole, dropped: s", hole(10, true), |it| it.opens_s),
        column("impatient: fresh", impatient(99.0, Some(Population::Big)), |it| it.group(ORDINARY).fresh),
        column("4 s: fresh", takes(ms(4000)), |it| it.success),
        column("slow body: fresh", slow_bodies(false), |it| it.success),
        column("pausing body: fresh", slow_bodies(true), |it| it.success),
        column("stalled body: told, ms", stalled_halfway(), |it| it.group(STALLED).p50_ms),
    ]
}

fn variants() -> Vec<Policy> {
    let default = default_client;
    let circuit = |name, circuit| Policy { name, circuit: Some(circuit), ..default() };
    let trips = |name, failures, span_ms| {
        circuit(
            name,
            CircuitBreaker::builder().consecutive_failures(failures, Duration::from_millis(span_ms)),
        )
    };
    let budget = |name, budget| Policy { name, budget: Some(budget), ..default() };
    let attempt = |name, share: f64| Policy {
        name,
        // The layer divides by 3.4.
        attempt: TimeoutLayer::share_of(default().total_timeout.mul_f64(3.4 / share)),
        ..default()
    };
    let idle =
        |name, time| Policy { name, buffer_body: BufferBodyLayer::new().idle_timeout(time), ..default() };
    let permits = |name, permits| Policy {
        name,
        bulkhead: Some(Bulkhead::builder().max_concurrent(permits)),
        ..default()
    };
    let queue = |name, calls, wait| Policy {
        name,
        bulkhead: Some(Bulkhead::builder().max_waiting(calls).max_wait(wait)),
        ..default()
    };
    vec![
        default(),
        trips("trips on 5 in a row", 5, 0),
        trips("trips on 10 over 3 s", 10, 3000),
        trips("trips on 10 over 5 s", 10, 5000),
        trips("trips on 20 over 4 s", 20, 4000),
        trips("trips on 20 over 6 s", 20, 6000),
        trips("trips on 30 over 5 s", 30, 5000),
        circuit("open 0.5 s to 4 s", CircuitBreaker::builder().open_for(ms(500))),
        circuit("open 2 s to 4 s", CircuitBreaker::builder().open_for(ms(2000))),
        circuit("open 1 s to 2 s", CircuitBreaker::builder().max_open_for(ms(2000))),
        circuit("open 1 s to 8 s", CircuitBreaker::builder().max_open_for(ms(8000))),
        circuit("1 probe", CircuitBreaker::builder().probes(1)),
        circuit("5 probes", CircuitBreaker::builder().probes(5)),
        budget("budget of 5", RetryBudget::builder().capacity(5.0)),
        budget("budget of 20", RetryBudget::builder().capacity(20.0)),
        budget("starts with 10", RetryBudget::builder().initial(10.0)),
        budget("a success adds 0.4", RetryBudget::builder().per_success(0.4)),
        budget("a success adds 0.8", RetryBudget::builder().per_success(0.8)),
        budget("a failure takes 0", RetryBudget::builder().per_failure(0.0)),
        budget("a failure takes 0.5", RetryBudget::builder().per_failure(0.5)),
        attempt("attempt: total", 1.0),
        attempt("attempt: total / 2.5", 2.5),
        attempt("attempt: total / 3", 3.0),
        attempt("attempt: total / 3.8", 3.8),
        attempt("attempt: total / 4.2", 4.2),
        permits("64 permits", 64),
        permits("150 permits", 150),
        permits("256 permits", 256),
        queue("128 waiting", 128, ms(1000)),
        queue("1,000 waiting", 1000, ms(1000)),
        queue("10,000 waiting", 10_000, ms(1000)),
        queue("10,000 waiting for 0.3 s", 10_000, ms(300)),
        queue("10,000 waiting for 3 s", 10_000, ms(3000)),
        queue("10,000 waiting for 10 s", 10_000, ms(10_000)),
        circuit("abandoned after 0.5 s", CircuitBreaker::builder().abandoned_after(ms(500))),
        circuit("abandoned after 2 s", CircuitBreaker::builder().abandoned_after(ms(2000))),
        Policy { name: "attempt: 2.9 s for each call", attempt: TimeoutLayer::new(ms(2941)), ..default() },
        idle("a body is idle after 0.5 s", ms(500)),
        idle("a body is idle after 1 s", ms(1000)),
        idle("a body is idle after 4 s", ms(4000)),
    ]
}

/// The table in Markdown, with the means over the seeds, for the scenarios whose names begin with `scenario`.
pub fn table(scenario: &str, seeds: &[u64], progress: impl Fn(usize, usize) + Sync) -> String {
    let (mut columns, variants) = (columns(), variants());
    columns.retain(|column| column.scenario.name.starts_with(scenario));
    let mut plays = Plays::default();
    for variant in &variants {
        for column in &columns {
            plays.add(&column.scenario, variant);
        }
    }
    let runs = study(&plays, seeds, progress);
    let heads: Vec<_> = columns.iter().map(|column| column.head).collect();
    let mut table = format!("| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for variant in &variants {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| format!("{:.3}", find(&runs, &column.scenario, variant.name).mean(column.figure)))
            .collect();
        let name = if variant.name == default_client().name { "**the default**" } else { variant.name };
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    }
    table
}
