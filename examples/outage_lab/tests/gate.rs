//! The requirements of the default client in the decisive scenarios, with fixed seeds. A failure means that a change
//! of the layers or of their defaults has lost a requirement.

use outage_lab::musts::{self, Must, Verdict, judge};
use outage_lab::network::{MAX_LANES, REFRESH_ADDRESSES};
use outage_lab::play::play;
use outage_lab::policy::{CacheUse, bare, default_client};
use outage_lab::report;
use outage_lab::scenario::{Population, recovery, spike};

const SEEDS: [u64; 3] = [1, 2, 3];

/// Asserts the requirements whose names begin with an element of `scenarios`. A name begins with that of its scenario
/// and a colon.
fn assert_musts(scenarios: &[&str], seeds: &[u64]) {
    let is_selected = |must: &Must| scenarios.iter().any(|name| must.name.starts_with(name));
    let musts: Vec<_> = musts::all(50).into_iter().filter(is_selected).collect();
    assert!(!musts.is_empty(), "no requirement for {scenarios:?}");
    let verdicts = judge(&musts, &default_client(), seeds, |_, _| {});
    let report = report::verdicts(&verdicts);
    assert!(!verdicts.iter().any(Verdict::is_missed_unexpectedly), "\n{report}");
}

#[test]
fn an_upstream_that_is_down_is_spared() {
    assert_musts(&["fails-100-B", "hangs-B-warm", "refuses-B-cold", "hangs-L-cold"], &SEEDS);
}

#[test]
fn many_small_clients_spare_the_upstream_and_use_its_remaining_capacity() {
    assert_musts(&["fails-90-S-cold", "fails-100-S-cold", "return-S"], &SEEDS[..1]);
}

#[test]
fn a_few_failures_are_made_up_for() {
    assert_musts(&["fails-1-B-cold", "fails-5-B-cold", "fails-10-B-warm", "fails-25-B-warm"], &SEEDS);
}

#[test]
fn a_partial_failure_does_not_become_a_total_one() {
    assert_musts(&["fails-50-B-warm", "fails-75-B-warm", "fails-90-B-warm"], &SEEDS);
}

#[test]
fn a_dead_replica_is_made_up_for_by_the_others() {
    assert_musts(&["replica-fails-B: ", "replica-hangs-B: "], &SEEDS);
}

#[test]
fn connections_to_a_bad_replica_are_left() {
    assert_musts(
        &["replica-fails-L-", "replica-hangs-L-", "replica-slow-", "replica-half-503-"],
        &SEEDS[..2],
    );
}

#[test]
fn slow_replicas_are_all_used() {
    assert_musts(&["replicas-slow", "replicas-overloaded"], &SEEDS[..2]);
}

#[test]
fn replicas_come_and_go_unnoticed() {
    assert_musts(&["restart", "scale"], &SEEDS[..2]);
}

#[test]
fn an_overload_ends_with_its_cause() {
    let seeds: Vec<_> = (1..=10).collect();
    assert_musts(&["spike", "ramp-1", "ramp-10"], &seeds);
    assert_musts(&["capacity"], &SEEDS);
}

#[test]
fn a_flapping_upstream_is_used_while_it_is_up() {
    assert_musts(&["flapping"], &SEEDS);
}

#[test]
fn clients_return_soon_but_not_all_at_once() {
    assert_musts(&["return-B", "return-L"], &SEEDS);
}

#[test]
fn the_neighbours_of_an_upstream_that_hangs_do_not_notice() {
    assert_musts(&["neighbours"], &SEEDS);
}

#[test]
fn noise_opens_no_circuit() {
    assert_musts(&["healthy"], &SEEDS);
}

#[test]
fn a_burst_to_a_healthy_upstream_is_answered() {
    assert_musts(&["burst-healthy", "burst-3s"], &SEEDS);
}

#[test]
fn a_burst_leaves_room_for_ordinary_calls() {
    assert_musts(&["burst-slow", "overload"], &SEEDS);
}

#[test]
fn a_queued_caller_is_told_soon_that_the_upstream_hangs() {
    assert_musts(&["hung-queue"], &SEEDS);
}

#[test]
fn a_failing_route_leaves_a_healthy_one_alone() {
    assert_musts(&["routes"], &SEEDS);
}

#[test]
fn a_black_hole_is_noticed_behind_short_timeouts() {
    assert_musts(&["black-hole-800ms"], &SEEDS);
}

#[test]
fn impatient_callers_cut_nobody_off() {
    assert_musts(&["impatient"], &SEEDS);
}

#[test]
fn a_long_answer_is_waited_for() {
    assert_musts(&["takes"], &SEEDS);
}

#[test]
fn bodies_that_end_early_open_the_circuit() {
    assert_musts(&["breaking-bodies", "stalling-bodies"], &SEEDS);
}

#[test]
fn a_slow_body_is_read_to_its_end() {
    assert_musts(&["slow-bodies"], &SEEDS);
}

#[test]
fn known_keys_are_answered_with_their_ages() {
    assert_musts(&["known-100"], &SEEDS);
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_seed_others() {
    let scenario = recovery(Population::Large);
    let figures = |seed| {
        let record = play(&scenario, &default_client(), seed);
        format!("{:?} {:?}", record.figures(&scenario.during, &scenario.after), record.course())
    };
    assert_eq!(figures(7), figures(7));
    assert_ne!(figures(7), figures(8));
}

#[test]
fn a_bare_client_misses_requirements() {
    // Proves that the requirements can fail.
    let musts: Vec<_> = musts::all(1).into_iter().filter(|must| must.is_about("spike")).collect();
    let verdicts = judge(&musts, &bare(), &SEEDS, |_, _| {});
    assert!(verdicts.iter().any(|verdict| verdict.holds == Some(false)), "{}", report::verdicts(&verdicts));
    assert!(play(&spike(), &bare(), 1).figures(&spike().during, &spike().after).success < 0.5);
}

#[test]
fn the_default_client_is_the_crates() {
    // The laboratory cannot use `steadfast::Client`, because reqwest's connector cannot be replaced. So `policy.rs`
    // and `network.rs` repeat the client's constants, and this test compares both copies.
    let (builder, lanes) = (
        include_str!("../../../src/client/config.rs"),
        include_str!("../../../src/client/origin_factory.rs"),
    );
    for constant in [
        "Duration = Duration::from_secs(10);",
        "last_known_good: None,",
        "REFRESH_ADDRESSES: Duration = Duration::from_secs(5);",
    ] {
        assert!(builder.contains(constant), "{constant}");
    }
    assert!(lanes.contains(&format!("MAX_LANES: usize = {MAX_LANES};")));
    assert_eq!(REFRESH_ADDRESSES.as_secs(), 5);
    assert_eq!(default_client().total_timeout.as_secs(), 10);
    assert_eq!(default_client().cache, CacheUse::PerScenario);
}
