//! The half-open state, and the open time before it.

use super::*;

// ===== Half-open =====

#[tokio::test(start_paused = true)]
async fn half_open_admits_three_of_a_thousand_callers() {
    // Known mistake 4.
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    let mut under_way: Vec<_> = (0..1000).map(|_| task::spawn(service.clone().call(Ask::Hang))).collect();
    let refused = under_way.iter_mut().filter_map(|call| match call.poll() {
        Poll::Ready(result) => Some(result.unwrap_err()),
        Poll::Pending => None,
    });
    assert!(refused.map(|error| error.is_circuit_open()).eq([true; 997]));
    assert_eq!(circuit.snapshot().probes_in_flight, 3);
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_as_many_as_are_configured() {
    // Known mistake 4.
    let (circuit, service) = build(brittle().probes(7));
    wait_for_probes(&circuit, &service).await;
    let _under_way: Vec<_> = (0..7).map(|_| begin(&service, Ask::Hang)).collect();
    assert!(call(&service, GOOD).await.unwrap_err().is_circuit_open());
}

#[tokio::test(start_paused = true)]
async fn one_success_closes() {
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    let _others = [begin(&service, Ask::Hang), begin(&service, Ask::Hang)];
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn all_probes_must_fail_to_open_again() {
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    calls(&service, 2, || BAD).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn two_of_three_successes_close_where_two_are_required() {
    let (circuit, service) = build(brittle().successes_to_close(2));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || GOOD).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn two_of_three_failures_open_where_two_successes_are_required() {
    let (circuit, service) = build(brittle().successes_to_close(2));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 2, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_frees_its_place() {
    // Known mistake 3.
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    for _ in 0..100 {
        drop(begin(&service, Ask::Hang));
    }
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 0));
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_never_polled_frees_its_place() {
    // Known mistake 3.
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    let never_polled = service.clone().call(GOOD);
    assert!(call(&service, GOOD).await.is_err());
    drop(never_polled);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_counts_as_failed_after_its_lease() {
    // Known mistake 3.
    let (circuit, service) = build(brittle().probe_lease(5 * SECOND));
    wait_for_probes(&circuit, &service).await;
    let _hung = [begin(&service, Ask::Hang), begin(&service, Ask::Hang), begin(&service, Ask::Hang)];
    let error = call(&service, GOOD).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(5 * SECOND));
    advance(5 * SECOND).await;
    assert!(call(&service, GOOD).await.unwrap_err().is_circuit_open());
    assert_eq!(circuit.state(), State::Open);
    wait_out(&circuit).await;
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_frees_its_place_after_its_lease() {
    // Known mistake 3.
    let (circuit, service) = build(brittle().probes(2).probe_lease(5 * SECOND));
    wait_for_probes(&circuit, &service).await;
    let _hung = begin(&service, Ask::Hang);
    advance(5 * SECOND).await;
    let second = begin_later(&service);
    assert_eq!(circuit.snapshot().probes_in_flight, 1);
    finish(second, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_after_a_long_time_counts_as_failed() {
    let (circuit, service) = build(brittle().probes(1).abandoned_after(SECOND));
    wait_for_probes(&circuit, &service).await;
    let hung = begin(&service, Ask::Hang);
    advance(SECOND).await;
    drop(hung);
    assert_eq!(circuit.state(), State::Open);
}

// ===== The open time =====

/// Returns the open times after a trip and after three failed rounds of one probe each.
async fn open_times(circuit: &CircuitBreaker, service: &Guarded) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..4 {
        calls(service, 1, || BAD).await;
        times.push(wait_out(circuit).await);
    }
    times
}

fn seconds_to_four() -> CircuitBreakerBuilder {
    brittle().probes(1).open_for(SECOND).max_open_for(4 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn the_open_time_doubles_up_to_its_cap_and_is_jittered_down_to_half() {
    let mut sums = [Duration::ZERO; 4];
    for seed in 0..100 {
        let (circuit, service) = build(seconds_to_four().seed(seed));
        let times = open_times(&circuit, &service).await;
        for (index, (time, longest)) in times.into_iter().zip([1, 2, 4, 4]).enumerate() {
            let longest = longest * SECOND;
            assert!(time <= longest && time >= longest / 2, "{time:?} of {longest:?}");
            sums[index] += time;
        }
    }
    // Jitter between half and all of the open time averages three quarters.
    for (sum, longest) in sums.into_iter().zip([1, 2, 4, 4]) {
        let share = sum.as_secs_f64() / 100.0 / f64::from(longest);
        assert!((0.70..0.80).contains(&share), "{share} of {longest} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_open_time_starts_over_after_recovery() {
    let (circuit, service) = build(seconds_to_four());
    open_times(&circuit, &service).await;
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
    let times = open_times(&circuit, &service).await;
    assert!(times[0] <= SECOND && times[1] <= 2 * SECOND, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn the_open_time_is_repeatable_by_seed() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let (circuit, service) = build(seconds_to_four().seed(seed));
        runs.push(open_times(&circuit, &service).await);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn clients_without_a_seed_do_not_come_back_together() {
    let mut waits = std::collections::HashSet::new();
    for _ in 0..20 {
        let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO));
        calls(&service, 1, || BAD).await;
        waits.insert(circuit.snapshot().retry_after);
    }
    assert!(waits.len() > 15, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn circuits_made_after_one_pattern_do_not_come_back_together() {
    let pattern = brittle().build().unwrap();
    let mut waits = std::collections::HashSet::new();
    for number in 0..20 {
        let circuit = pattern.fresh(format!("upstream {number}"));
        let service = CircuitBreakerLayer::new(circuit.clone()).layer(upstream());
        calls(&service, 1, || BAD).await;
        waits.insert(circuit.snapshot().retry_after);
    }
    assert_eq!(waits.len(), 20);
    assert_eq!(pattern.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_gives_the_rest_of_the_open_time() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    let first = call(&service, GOOD).await.unwrap_err().retry_after().unwrap();
    assert_eq!(circuit.snapshot().retry_after, Some(first));
    advance(100 * MS).await;
    let second = call(&service, GOOD).await.unwrap_err().retry_after().unwrap();
    assert_eq!(first, second + 100 * MS);
    advance(second).await;
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn open_sends_nothing_to_the_upstream() {
    let requests = Arc::new(AtomicUsize::new(0));
    let circuit = brittle().build().unwrap();
    let service = CircuitBreakerLayer::new(circuit).layer(tower::service_fn({
        let requests = Arc::clone(&requests);
        move |ask| {
            requests.fetch_add(1, Ordering::Relaxed);
            answer(ask)
        }
    }));
    for _ in 0..1000 {
        let _ = service.clone().oneshot(BAD).await;
    }
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}
