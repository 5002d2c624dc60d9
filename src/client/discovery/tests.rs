//! Tests of the look-ups, the failures, the hints and the families.

mod rig;
mod tasks;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use self::rig::Answer::{Addresses, Failure, Late, Never};
use self::rig::{REFRESH, Rig};
use super::AddressChange::{Added, Removed};
use super::*;

fn v4(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn v6(number: u16) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number])
}

fn v4s(numbers: impl IntoIterator<Item = u8>) -> rig::Answer {
    Addresses(numbers.into_iter().map(v4).collect())
}

fn added(address: IpAddr) -> AddressNews {
    AddressNews::Changed(vec![Added(address)])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// ===== Look-ups while the name is used =====

#[tokio::test(start_paused = true)]
async fn the_first_use_looks_up_at_once() {
    let rig = Rig::new([v4s([1])]);
    sleep(seconds(10)).await;
    assert_eq!(rig.script.look_ups(), 0);
    rig.use_once().await;
    assert_eq!(rig.script.times(), [10_000]);
    assert_eq!(rig.news(), [added(v4(1))]);
}

#[tokio::test(start_paused = true)]
async fn an_added_address_is_reported_within_one_refresh() {
    let rig = Rig::new([v4s([1]), v4s([1, 2])]);
    rig.keep_using(REFRESH.mul_f64(1.25)).await;
    assert_eq!(rig.news(), [added(v4(1)), added(v4(2))]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_address_is_removed_after_four_answers_without_it() {
    let rig = Rig::new([v4s(1..=4), v4s(1..=3)]);
    rig.use_once().await;
    rig.news();
    while rig.news.lock().unwrap().is_empty() {
        rig.keep_using(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.news(), [AddressNews::Changed(vec![Removed(v4(4))])]);
    assert_eq!(rig.script.look_ups(), 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn look_ups_are_jittered() {
    let rig = Rig::new([v4s([1])]);
    rig.keep_using(seconds(300)).await;
    let pauses = rig.script.pauses();
    assert!(pauses.len() > 50 && pauses.iter().all(|pause| (seconds(4)..seconds(6)).contains(pause)));
    assert!(pauses.iter().any(|pause| *pause < Duration::from_millis(4500)));
    assert!(pauses.iter().any(|pause| *pause > Duration::from_millis(5500)));
    assert_eq!(rig.news(), [added(v4(1))]);
}

#[tokio::test(start_paused = true)]
async fn without_a_use_no_look_up_follows_until_the_next_use() {
    let rig = Rig::new([v4s([1])]);
    rig.use_once().await;
    sleep(seconds(80)).await;
    assert_eq!(rig.script.look_ups(), 1);
    rig.use_once().await;
    assert_eq!(rig.script.times(), [0, 80_001]);
    sleep(seconds(80)).await;
    assert_eq!((rig.script.look_ups(), rig.news()), (2, vec![added(v4(1))]));
}

// ===== Idle names =====

#[tokio::test(start_paused = true)]
async fn an_idle_name_is_reported_and_its_task_ends() {
    let rig = Rig::new([v4s([1])]);
    rig.use_once().await;
    sleep(Duration::from_millis(89_998)).await;
    assert_eq!(rig.news(), [added(v4(1))]);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(rig.news(), [AddressNews::Idle]);
    assert_eq!(Arc::weak_count(&rig.discovery.shared), 0, "the task has ended");
    sleep(seconds(1000)).await;
    assert_eq!((rig.script.look_ups(), rig.news()), (1, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_use_after_idle_looks_up_at_once_and_removes_what_is_missing() {
    let rig = Rig::new([v4s([1]), v4s([2])]);
    rig.use_once().await;
    sleep(seconds(1000)).await;
    rig.news();
    rig.use_once().await;
    assert_eq!(rig.script.times(), [0, 1_000_001]);
    assert_eq!(rig.news(), [AddressNews::Changed(vec![Removed(v4(1)), Added(v4(2))])]);
}

#[tokio::test(start_paused = true)]
async fn after_idle_the_known_addresses_wait_for_a_slow_answer() {
    let rig = Rig::new([v4s([1]), Late(seconds(8), vec![v4(1), v4(2)])]);
    rig.use_once().await;
    sleep(seconds(1000)).await;
    rig.keep_using(seconds(9)).await;
    assert_eq!(rig.news(), [added(v4(1)), AddressNews::Idle, added(v4(2))]);
}

// ===== Failures =====

#[tokio::test(start_paused = true)]
async fn failures_keep_the_addresses_and_back_off() {
    let rig = Rig::new([v4s([1]), Failure, Addresses(Vec::new()), Failure]);
    rig.keep_using(seconds(400)).await;
    assert_eq!(rig.news(), [added(v4(1))]);
    let pauses = rig.script.pauses();
    assert!(pauses.len() >= 7);
    for (pause, expected) in pauses.iter().zip([5, 5, 10, 20, 40, 60, 60].map(seconds)) {
        let jittered = expected.mul_f64(0.8)..expected.mul_f64(1.2);
        assert!(jittered.contains(pause), "{expected:?} in {pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_backoff() {
    let rig = Rig::new([Failure, Failure, Failure, Failure, v4s([1]), v4s([1]), Failure, v4s([1])]);
    rig.keep_using(seconds(120)).await;
    assert_eq!(rig.news(), [added(v4(1))]);
    let pauses = rig.script.pauses();
    assert!(pauses.len() >= 7 && pauses[4..7].iter().all(|pause| *pause < seconds(6)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_never_answers_fails_after_a_minute() {
    let rig = Rig::new([v4s([1]), Never, v4s([1, 2])]);
    rig.keep_using(seconds(59)).await;
    assert_eq!((rig.script.look_ups(), rig.script.running()), (2, 1));
    rig.keep_using(seconds(15)).await;
    assert_eq!(rig.news(), [added(v4(1)), added(v4(2))]);
    assert_eq!(rig.script.most_running(), 1);
}

// ===== Hints =====

#[tokio::test(start_paused = true)]
async fn a_hint_asks_a_second_after_the_last_look_up() {
    let rig = Rig::new([v4s([1])]);
    rig.use_once().await;
    rig.discovery.hint();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(rig.script.times(), [0, 1000]);
    sleep(seconds(2)).await;
    rig.use_once().await;
    rig.discovery.hint();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.script.times(), [0, 1000, 3502]);
}

#[tokio::test(start_paused = true)]
async fn many_hints_ask_once_a_second() {
    let rig = Rig::new([v4s([1])]);
    for _ in 0..1000 {
        rig.discovery.hint();
        sleep(Duration::from_millis(10)).await;
    }
    assert!((9..=11).contains(&rig.script.look_ups()), "{:?}", rig.script.times());
    assert!(rig.script.pauses().iter().all(|pause| *pause >= seconds(1)));
}

#[tokio::test(start_paused = true)]
async fn hints_shorten_the_backoff_to_a_second_doubled_by_each_failure() {
    let rig = Rig::new([Failure]);
    for _ in 0..14_000 {
        rig.discovery.hint();
        sleep(Duration::from_millis(10)).await;
    }
    let pauses: Vec<_> = rig.script.pauses().iter().map(Duration::as_secs).collect();
    assert_eq!(pauses[..5], [2, 4, 8, 16, 32]);
    assert!((48..72).contains(&pauses[5]), "the longest wait needs no hint: {pauses:?}");
}

// ===== Families =====

#[tokio::test(start_paused = true)]
async fn a_preferred_address_changes_the_family() {
    let rig = Rig::new([Addresses(vec![v6(1), v4(1)])]);
    rig.use_once().await;
    assert_eq!((rig.news(), rig.discovery.other_family()), (vec![added(v6(1))], vec![v4(1)]));
    rig.discovery.switch_family(v4(1));
    rig.discovery.switch_family(v4(1));
    assert_eq!(rig.news(), [AddressNews::Changed(vec![Removed(v6(1)), Added(v4(1))])]);
    rig.keep_using(seconds(60)).await;
    assert_eq!((rig.news(), rig.discovery.other_family()), (Vec::new(), vec![v6(1)]));
}

#[tokio::test(start_paused = true)]
async fn a_change_by_the_sink_is_reported_after_the_current_one() {
    let discovery = Arc::<Mutex<Option<NameDiscovery>>>::default();
    let of_sink = Arc::clone(&discovery);
    let rig = Rig::with_sink([Addresses(vec![v6(1), v4(1)])], move |news| {
        if let Some(discovery) = of_sink.lock().unwrap().as_ref() {
            discovery.used();
            discovery.switch_family(v4(1));
        }
        news
    });
    rig.discovery.used();
    *discovery.lock().unwrap() = Some(rig.discovery);
    sleep(Duration::from_millis(1)).await;
    let changed = AddressNews::Changed(vec![Removed(v6(1)), Added(v4(1))]);
    assert_eq!(*rig.news.lock().unwrap(), [added(v6(1)), changed]);
    discovery.lock().unwrap().take();
}

#[tokio::test(start_paused = true)]
async fn addresses_are_outdated_only_after_a_long_idle_time() {
    let rig = Rig::new([v4s([1, 2]), v4s([1, 2]), Late(Duration::from_secs(1), vec![v4(1)])]);
    rig.use_once().await;
    for seconds in [16, 80] {
        sleep(Duration::from_secs(seconds)).await;
        assert!(rig.discovery.used(), "{seconds} s without a use");
        sleep(Duration::from_secs(6)).await;
    }
    sleep(Duration::from_secs(300)).await;
    assert!(!rig.discovery.used(), "five minutes later, the addresses may be those of former instances");
    sleep(Duration::from_millis(500)).await;
    assert!(!rig.discovery.used());
    sleep(Duration::from_millis(600)).await;
    assert!(rig.discovery.used(), "the resolver has answered");
}

/// A look-up can take long in an outage of the resolver, so no call waits for one (RFC 8767).
#[tokio::test(start_paused = true)]
async fn known_addresses_are_not_outdated_while_the_resolver_fails() {
    for failure in [Failure, Never] {
        let rig = Rig::new([v4s([1, 2]), failure]);
        rig.use_once().await;
        for _ in 0..200 {
            sleep(Duration::from_secs(1)).await;
            assert!(rig.discovery.used());
        }
        sleep(Duration::from_secs(300)).await;
        assert!(rig.discovery.used());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_sink_delays_no_later_report() {
    let rig = Rig::with_sink([v4s([1]), v4s([1, 2])], |news| {
        assert!(news != added(v4(1)), "a panic for the test");
        news
    });
    // The panic ends the task, and the next use starts another.
    rig.use_once().await;
    rig.use_once().await;
    assert_eq!(rig.news(), [added(v4(2))]);
}
