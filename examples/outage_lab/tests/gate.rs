//! What the default client has to reach in the decisive outages, with fixed seeds: a change of the layers or of their
//! defaults that loses one of them does not land.

use outage_lab::musts::{self, Must, judge};
use outage_lab::play::play;
use outage_lab::policy::{Fallback, bare, default_client};
use outage_lab::report;
use outage_lab::scenario::{Population, recovery, spike};

const SEEDS: [u64; 3] = [1, 2, 3];

/// Plays the scenarios of which the name begins like one of these.
fn reaches(scenarios: &[&str], seeds: &[u64]) {
    let is_asked = |must: &Must| scenarios.iter().any(|name| must.is_about(name));
    let musts: Vec<_> = musts::all(50).into_iter().filter(is_asked).collect();
    assert!(!musts.is_empty(), "nothing is asked of {scenarios:?}");
    let verdicts = judge(&musts, &default_client(), seeds, |_, _| {});
    let report = report::verdicts(&verdicts);
    assert!(verdicts.iter().all(|verdict| verdict.holds || verdict.is_known_to_be_missed()), "\n{report}");
}

#[test]
fn an_upstream_that_is_down_is_spared() {
    reaches(&["fails-100-B", "hangs-B-warm", "refuses-B-cold", "hangs-L-cold"], &SEEDS);
}

#[test]
fn many_small_clients_spare_it_and_use_what_is_left_of_it() {
    reaches(&["fails-90-S-cold", "fails-100-S-cold", "return-S"], &SEEDS[..1]);
}

#[test]
fn a_few_failures_are_made_up_for() {
    reaches(&["fails-1-B-cold", "fails-5-B-cold", "fails-10-B-warm", "fails-25-B-warm"], &SEEDS);
}

#[test]
fn a_part_failure_is_not_turned_into_a_whole_one() {
    reaches(&["fails-50-B-warm", "fails-75-B-warm", "fails-90-B-warm"], &SEEDS);
}

#[test]
fn a_dead_replica_is_made_up_for_by_the_others() {
    reaches(&["replica-fails-B", "replica-hangs-B"], &SEEDS);
}

#[test]
fn an_overload_ends_with_its_cause() {
    let seeds: Vec<_> = (1..=10).collect();
    reaches(&["spike", "ramp-1", "ramp-10"], &seeds);
    reaches(&["capacity"], &SEEDS);
}

#[test]
fn who_flaps_is_used_while_it_is_up() {
    reaches(&["flapping"], &SEEDS);
}

#[test]
fn all_come_back_soon_and_not_at_once() {
    reaches(&["return-B", "return-L"], &SEEDS);
}

#[test]
fn the_neighbours_of_an_upstream_that_hangs_do_not_notice() {
    reaches(&["neighbours"], &SEEDS);
}

#[test]
fn noise_opens_no_circuit() {
    reaches(&["healthy"], &SEEDS);
}

#[test]
fn what_was_known_is_answered_and_says_how_old_it_is() {
    reaches(&["known-100"], &SEEDS);
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
fn a_bare_client_is_found_wanting() {
    // What is asked can be missed.
    let musts: Vec<_> = musts::all(1).into_iter().filter(|must| must.is_about("spike")).collect();
    let verdicts = judge(&musts, &bare(), &SEEDS, |_, _| {});
    assert!(verdicts.iter().any(|verdict| !verdict.holds), "{}", report::verdicts(&verdicts));
    assert!(play(&spike(), &bare(), 1).figures(&spike().during, &spike().after).success < 0.5);
}

#[test]
fn the_default_client_is_the_crates() {
    // The client itself is bound to reqwest, whose connector cannot be replaced: what it sets is repeated here.
    let builder = include_str!("../../../src/client/builder.rs");
    let policy = include_str!("../src/policy.rs");
    for constant in [
        "const ATTEMPT_SHARE: f64 = 1.0 / 3.4;",
        "Duration = Duration::from_secs(10);",
        "last_known_good: None,",
    ] {
        assert!(builder.contains(constant), "{constant}");
    }
    assert!(policy.contains("const ATTEMPT_SHARE: f64 = 1.0 / 3.4;"));
    assert_eq!(default_client().total_timeout.as_secs(), 10);
    assert_eq!(default_client().fallback, Fallback::WhereAskedFor);
}
