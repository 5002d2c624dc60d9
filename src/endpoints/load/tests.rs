//! Tests of the load and of its packed words.

use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn price(load: &EndpointLoad, now_ms: u64) -> Duration {
    Duration::from_nanos(load.price(now_ms).units * UNIT)
}

/// An endpoint that has answered in `took` at `now_ms`.
fn known(took: Duration, now_ms: u64) -> EndpointLoad {
    let load = EndpointLoad::new(EndpointLifetime::endless(0));
    load.sample(took, now_ms);
    load
}

fn is_near(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) <= MS
}

#[test]
fn a_longer_time_raises_the_average_at_once_and_a_shorter_one_counts_slowly() {
    let load = known(10 * MS, 0);
    load.sample(100 * MS, 10);
    assert!(is_near(price(&load, 10), 40 * MS / 3));
    (0..10).for_each(|_| load.sample(100 * MS, 10));
    assert!(is_near(price(&load, 10), 100 * MS));
    load.sample(10 * MS, 20);
    assert!(price(&load, 20) > 95 * MS);
    load.sample(10 * MS, 20 + 2048);
    assert!(price(&load, 2068) < 60 * MS);
}

#[test]
fn the_price_grows_with_the_attempts_and_falls_with_time() {
    let load = known(64 * MS, 0);
    load.begin(0);
    load.begin(0);
    assert!(is_near(price(&load, 0), 3 * 64 * MS));
    load.answered(1);
    load.withdrawn();
    assert!(is_near(price(&load, 1), 2 * 64 * MS));
    load.body_ended();
    assert!(is_near(price(&load, 2048), 32 * MS) && is_near(price(&load, 3 * 2048), 8 * MS));
    assert_eq!(price(&load, 100 * 2048), Duration::ZERO);
}

#[test]
fn a_new_endpoint_gets_one_attempt_until_it_answers() {
    let load = EndpointLoad::new(EndpointLifetime::endless(0));
    assert_eq!(price(&load, 7), Duration::ZERO);
    load.begin(7);
    assert!(is_near(price(&load, 8), Duration::from_secs(2)));
    load.answered(9);
    load.sample(2 * MS, 9);
    load.body_ended();
    assert!(is_near(price(&load, 9), 2 * MS));
}

#[test]
fn an_endpoint_whose_first_answers_are_failures_is_not_the_cheapest() {
    let load = EndpointLoad::new(EndpointLifetime::endless(0));
    load.begin(100);
    load.answered(100);
    load.body_ended();
    load.sample_at_least(MS / 10, 100);
    assert!(is_near(price(&load, 100), 50 * MS));
    assert!(price(&load, 100 + 2048) < 4 * MS, "it is tried again");
    load.sample_at_least(MS / 10, 3000);
    assert!(is_near(price(&load, 3000), 50 * MS), "and again");
    assert_eq!(load.latency(), None, "the time of a failure is no latency");
    load.sample_at_least(10 * MS, 3000);
    assert_eq!(load.latency(), None, "nor is the time of an attempt that was given up");
}

#[test]
fn a_failure_never_makes_the_endpoint_cheaper() {
    let load = known(10 * MS, 0);
    load.sample_at_least(MS, 2048);
    assert!(is_near(price(&load, 2048), 10 * MS), "the decay begins anew");
    load.sample_at_least(100 * MS, 2048);
    assert!(is_near(price(&load, 2048), 40 * MS / 3));
    load.sample_at_least(MS, 2048);
    assert!(is_near(price(&load, 2048), 40 * MS / 3));
}

#[test]
fn a_fault_makes_the_endpoint_expensive_until_a_success() {
    let load = known(10 * MS, 0);
    load.set_health(HealthWord::new(0, false, 1));
    assert!(is_near(price(&load, 0), 40 * MS));
    load.set_health(HealthWord::new(1, true, 0));
    assert!(is_near(price(&load, 0), 250 * MS));
    load.set_health(HealthWord::new(2, false, 0));
    assert!(is_near(price(&load, 0), 10 * MS));
}

#[test]
fn an_endpoint_is_silent_while_it_leaves_attempts_without_an_answer() {
    let load = known(MS, 0);
    assert!(!load.price(1000).is_silent, "idle");
    load.begin(1000);
    assert!(!load.price(1050).is_silent && load.price(1051).is_silent);
    assert!(price(&load, 1200) >= 2 * 199 * MS);
    load.begin(1300);
    assert!(load.price(1301).is_silent, "a second attempt is no answer");
    load.answered(2002);
    assert!(!load.price(2003).is_silent, "an answer is");
    assert!(!load.price(9000).is_silent, "a slow call beside answered ones");
    load.begin(9000);
    assert!(load.price(9051).is_silent);
    assert!(load.has_answered_since(2001) && !load.has_answered_since(2002));

    let slow = known(100 * MS, 0);
    slow.begin(1);
    assert!(!slow.price(501).is_silent && slow.price(502).is_silent);
    assert!(slow.price(4001).is_silent && !slow.price(4002).is_silent, "the silence ends");
    slow.begin(4002);
    assert!(!slow.price(4502).is_silent && slow.price(4503).is_silent, "and begins again");
    assert!(slow.price(12_002).is_silent && !slow.price(12_003).is_silent, "twice as long if two wait");
}

#[test]
fn the_clock_may_run_backwards_or_wrap() {
    /// The ticks of 2^4 ms wrap here.
    const WRAP: u64 = 1 << 36;
    let load = known(10 * MS, WRAP - 100);
    assert!(is_near(price(&load, WRAP - 2000), 10 * MS));
    assert!(is_near(price(&load, WRAP + 100), 10 * MS));
    assert!(is_near(price(&load, WRAP + 1948), 5 * MS));
    assert_eq!(price(&load, WRAP / 4), Duration::ZERO, "a pause of half a year");
    load.begin(5);
    assert!(!load.price(4).is_silent);
}

#[test]
fn counts_and_health_keep_to_their_bits() {
    let load = EndpointLoad::new(EndpointLifetime::endless(0));
    for _ in 0..3 {
        load.begin(0);
    }
    load.answered(0);
    load.failed(0);
    assert_eq!(load.counts(), LoadCounts { awaited: 1, open_bodies: 1, ended: 2 });
    let health = HealthWord::new(0x00ff_ffff, true, 1000);
    assert!(health.is_ejected() && health.faults() == 127 && !health.is_well());
    assert_eq!(health.generation(), 0x00ff_ffff);
    assert!(HealthWord::new(3, false, 0).is_well());
}
