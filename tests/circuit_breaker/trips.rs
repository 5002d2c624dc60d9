//! The rules that open the circuit: failures in a row, failure rate, and slow-call rate.

use super::*;

// ===== Failures in a row =====

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_trip_only_if_they_span_the_time() {
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(5, 3 * SECOND));
    calls(&service, 50, || BAD).await;
    assert_eq!(circuit.state(), State::Closed, "fifty failures in no time");
    advance(2999 * MS).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
    advance(MS).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn time_alone_does_not_trip() {
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(5, 3 * SECOND));
    for _ in 0..4 {
        calls(&service, 1, || BAD).await;
        advance(10 * SECOND).await;
    }
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn by_default_twenty_failures_that_span_five_seconds_trip() {
    let (circuit, service) = build(CircuitBreaker::builder());
    calls(&service, 19, || BAD).await;
    advance(5 * SECOND).await;
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_a_run_of_failures() {
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(3, Duration::ZERO));
    for _ in 0..10 {
        calls(&service, 2, || BAD).await;
        calls(&service, 1, || GOOD).await;
    }
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 3, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_span_is_measured_from_the_first_failure_after_a_success() {
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(2, 3 * SECOND));
    calls(&service, 1, || BAD).await;
    advance(2 * SECOND).await;
    calls(&service, 1, || GOOD).await;
    calls(&service, 1, || BAD).await;
    advance(2 * SECOND).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn without_the_rule_no_run_of_failures_trips() {
    let (circuit, service) = build(CircuitBreaker::builder().without_consecutive_failures());
    for _ in 0..1000 {
        calls(&service, 1, || BAD).await;
        advance(SECOND).await;
    }
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Rates =====

#[tokio::test(start_paused = true)]
async fn a_failure_rate_over_the_last_calls_trips() {
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10, || GOOD).await;
    calls(&service, 4, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_calls_slides_after_ten_thousand_successes() {
    // Known mistake 1.
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10_000, || GOOD).await;
    calls(&service, 4, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_calls_forgets_failures_that_are_ten_calls_old() {
    // Known mistake 1.
    let (circuit, service) = build(half_of_ten());
    for _ in 0..1000 {
        calls(&service, 6, || GOOD).await;
        calls(&service, 4, || BAD).await;
    }
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().window_calls, 10);
}

#[tokio::test(start_paused = true)]
async fn a_rate_means_nothing_before_the_minimum_of_calls() {
    for builder in [half_of_ten(), half_of_ten_seconds()] {
        let (circuit, service) = build(builder);
        calls(&service, 9, || BAD).await;
        assert_eq!(circuit.state(), State::Closed);
        calls(&service, 1, || BAD).await;
        assert_eq!(circuit.state(), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_rate_over_a_time_trips() {
    let (circuit, service) = build(half_of_ten_seconds());
    for _ in 0..9 {
        calls(&service, 2, || GOOD).await;
        calls(&service, 1, || BAD).await;
        advance(SECOND).await;
    }
    assert_eq!(circuit.state(), State::Closed, "nine of 27");
    calls(&service, 8, || BAD).await;
    assert_eq!(circuit.state(), State::Closed, "17 of 35");
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open, "18 of 36");
}

#[tokio::test(start_paused = true)]
async fn a_window_of_time_forgets_successes_that_are_older() {
    // Known mistake 1.
    let (circuit, service) = build(half_of_ten_seconds());
    calls(&service, 10_000, || GOOD).await;
    advance(10 * SECOND).await;
    calls(&service, 10, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_time_slides_bit_by_bit() {
    let (circuit, service) = build(half_of_ten_seconds().minimum_calls(1000));
    for _ in 0..10 {
        calls(&service, 1, || BAD).await;
        advance(SECOND).await;
    }
    let seen: Vec<_> = {
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.push(circuit.snapshot().window_calls);
            advance(SECOND).await;
        }
        seen
    };
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_window_takes_the_same_memory_however_many_calls_are_in_it() {
    // Known mistake 2.
    for builder in [half_of_ten(), half_of_ten_seconds().minimum_calls(u32::MAX)] {
        let circuit = builder.build().unwrap();
        let ready = tower::service_fn(|good: Call<bool>| {
            let status = if good.into_inner() { 200 } else { 503 };
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            std::future::ready(Ok::<_, Error<Infallible>>(response))
        });
        let service = CircuitBreakerLayer::new(circuit.clone()).layer(ready);
        let mut cx = Context::from_waker(Waker::noop());
        let used = allocation_counter::measure(|| {
            for number in 0..100_000 {
                let call = std::pin::pin!(service.clone().call(Call::new(number % 4 != 0)));
                assert!(call.poll(&mut cx).is_ready());
            }
        });
        assert_eq!(used.count_total, 0);
        assert!(circuit.snapshot().window_calls >= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_rate_trips_although_every_call_succeeds() {
    let (circuit, service) = build(half_slow());
    calls(&service, 10, || Ask::After(SECOND / 2)).await;
    calls(&service, 4, || Ask::After(2 * SECOND)).await;
    assert_eq!(circuit.state(), State::Closed);
    assert!((circuit.snapshot().slow_rate - 0.4).abs() < 1e-9);
    calls(&service, 1, || Ask::After(2 * SECOND)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_slow_only_beyond_the_limit() {
    let (circuit, service) = build(half_slow());
    calls(&service, 20, || Ask::After(SECOND)).await;
    assert_eq!(circuit.state(), State::Closed);
    assert!(circuit.snapshot().slow_rate.abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn failures_do_not_trip_the_rule_for_slow_calls() {
    let (circuit, service) = build(half_slow());
    calls(&service, 100, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_does_not_close_the_circuit() {
    let (circuit, service) = build(half_slow().probes(1));
    calls(&service, 10, || Ask::After(2 * SECOND)).await;
    wait_out(&circuit).await;
    calls(&service, 1, || Ask::After(2 * SECOND)).await;
    assert_eq!(circuit.state(), State::Open);
    wait_out(&circuit).await;
    calls(&service, 1, || Ask::After(SECOND / 2)).await;
    assert_eq!(circuit.state(), State::Closed);
}
