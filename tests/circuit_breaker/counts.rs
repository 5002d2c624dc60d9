//! The results that count for a circuit, late results, dropped calls, and bodies.

use super::*;

// ===== Results =====

/// Builds a circuit whose classifier makes a 418 neutral.
fn build_neutral(builder: CircuitBreakerBuilder) -> (CircuitBreaker, Guarded) {
    let circuit = builder.build().unwrap();
    let classifier = HttpClassifier::new().neutral([StatusCode::IM_A_TEAPOT]);
    let layer = CircuitBreakerLayer::new(circuit.clone()).classifier(classifier);
    (circuit, layer.layer(upstream()))
}

#[tokio::test(start_paused = true)]
async fn a_503_counts_although_it_is_a_response() {
    // Known mistake 7.
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10, || Ask::Status(503)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_transient_fault_counts() {
    for ask in [
        || Ask::Status(502),
        || Ask::Status(504),
        || Ask::Reset,
        || Ask::Fail(Error::new(ErrorKind::Timeout { scope: TimeoutScope::Attempt, after: Some(SECOND) })),
        || Ask::Fail(Error::from_body("cut short")),
    ] {
        let (circuit, service) = build(brittle());
        calls(&service, 1, ask).await;
        assert_eq!(circuit.state(), State::Open, "{:?}", ask());
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_below_500_is_no_failure() {
    let (circuit, service) = build(brittle());
    for status in [200, 204, 301, 400, 401, 404, 408, 410, 429] {
        let _ = call(&service, Ask::Status(status)).await;
    }
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_neutral_result_counts_neither_way() {
    let (circuit, service) = build_neutral(half_of_ten().consecutive_failures(3, Duration::ZERO));
    calls(&service, 2, || BAD).await;
    calls(&service, 100, || Ask::Status(418)).await;
    let seen = circuit.snapshot();
    assert_eq!((seen.window_calls, seen.consecutive_failures), (2, 2));
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open, "the run was not ended by what says nothing");
}

#[tokio::test(start_paused = true)]
async fn a_neutral_probe_decides_nothing_and_frees_its_place() {
    // Known mistake 3.
    let (circuit, service) = build_neutral(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 100, || Ask::Status(418)).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_local_refusal_never_counts() {
    let (circuit, service) = build(brittle());
    calls(&service, 100, || Ask::Fail(Error::new(ErrorKind::BulkheadFull { max_concurrent: 1 }))).await;
    calls(&service, 100, || Ask::Fail(Error::new(ErrorKind::CircuitOpen { retry_after: None }))).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_the_bulkhead_refuses_frees_its_place() {
    // Known mistake 3.
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 100, || Ask::Fail(Error::new(ErrorKind::BulkheadFull { max_concurrent: 1 }))).await;
    assert_eq!(circuit.snapshot().probes_in_flight, 0);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_custom_classifier_decides_for_a_non_http_service() {
    let circuit = brittle().build().unwrap();
    let classify = classify::from_fn(|result: Result<&u32, &ErrorInfo>| match result {
        Ok(0) => Outcome::transient(),
        Ok(1) => Outcome::Neutral,
        _ => Outcome::Success,
    });
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(classify).non_http())
        .map_err(Error::from_upstream)
        .service_fn(async |number: Call<u32>| Ok::<_, Infallible>(number.into_inner()));
    assert_eq!(service.clone().oneshot(Call::new(2)).await.unwrap(), 2);
    assert_eq!(service.clone().oneshot(Call::new(1)).await.unwrap(), 1);
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(service.clone().oneshot(Call::new(0)).await.unwrap(), 0);
    assert_eq!(circuit.state(), State::Open);
    assert!(service.clone().oneshot(Call::new(2)).await.unwrap_err().is_circuit_open());
}

// ===== Generations =====

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_close_an_open_circuit() {
    // Known mistake 5.
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    calls(&service, 1, || BAD).await;
    finish(late, 200);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_close_a_half_open_circuit() {
    // Known mistake 5.
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    wait_for_probes(&circuit, &service).await;
    let probe = begin_later(&service);
    finish(late, 200);
    assert_eq!(circuit.state(), State::HalfOpen);
    finish(probe, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_does_not_fail_a_round_of_probes() {
    // Known mistake 5.
    let (circuit, service) = build(brittle().probes(1));
    let late = begin_later(&service);
    wait_for_probes(&circuit, &service).await;
    let probe = begin_later(&service);
    finish(late, 503);
    assert_eq!(circuit.state(), State::HalfOpen);
    finish(probe, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_does_not_open_a_circuit_that_has_recovered() {
    // Known mistake 5.
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || GOOD).await;
    finish(late, 503);
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_end_a_run_of_failures_of_a_later_generation() {
    // Known mistake 5.
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO));
    let late = begin_later(&service);
    circuit.reset();
    calls(&service, 1, || BAD).await;
    finish(late, 200);
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_result_is_not_in_the_window_of_a_later_generation() {
    // Known mistake 5.
    let (circuit, service) = build(half_of_ten());
    let late = [begin_later(&service), begin_later(&service)];
    circuit.reset();
    for (late, status) in late.into_iter().zip([200, 503]) {
        finish(late, status);
    }
    assert_eq!(circuit.snapshot().window_calls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_probe_of_an_earlier_round_decides_nothing() {
    // Known mistake 5.
    let (circuit, service) = build(brittle().successes_to_close(3));
    wait_for_probes(&circuit, &service).await;
    let late = begin_later(&service);
    calls(&service, 1, || BAD).await;
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    finish(late, 503);
    assert_eq!(circuit.state(), State::HalfOpen);
    assert_eq!(circuit.snapshot().probes_in_flight, 1);
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_has_recovered_has_no_memory_of_the_outage() {
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10, || BAD).await;
    wait_out(&circuit).await;
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().window_calls, 0);
    calls(&service, 9, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Dropped calls =====

#[tokio::test(start_paused = true)]
async fn a_black_hole_of_dropped_calls_trips() {
    // Known mistake 6.
    let (circuit, service) = build(CircuitBreaker::builder().abandoned_after(SECOND));
    for _ in 0..20 {
        let outer = tokio::time::timeout(2 * SECOND, call(&service, Ask::Hang)).await;
        assert!(outer.is_err());
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_early_does_not_count() {
    let (circuit, service) = build(brittle().abandoned_after(SECOND));
    for _ in 0..100 {
        let outer = tokio::time::timeout(999 * MS, call(&service, Ask::Hang)).await;
        assert!(outer.is_err());
    }
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_when_it_has_run_that_long_counts() {
    // Known mistake 6.
    let (circuit, service) = build(brittle().abandoned_after(SECOND));
    let hung = begin(&service, Ask::Hang);
    advance(SECOND).await;
    drop(hung);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_off_is_not_a_hang() {
    let (circuit, service) = build(brittle().abandoned_after(Duration::ZERO));
    let never_polled = service.clone().call(Ask::Hang);
    advance(10 * SECOND).await;
    drop(never_polled);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hang_of_an_older_generation_does_not_count() {
    // Known mistake 5. Known mistake 6.
    let (circuit, service) = build(brittle());
    let hung = begin(&service, Ask::Hang);
    circuit.reset();
    advance(10 * SECOND).await;
    drop(hung);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_ended_counts_once() {
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(100, Duration::ZERO));
    let (answer, mut under_way) = begin_later(&service);
    advance(10 * SECOND).await;
    answer.send(503).unwrap();
    let response = assert_ready!(under_way.poll());
    drop(under_way);
    drop(response);
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_service_below_frees_a_probe() {
    let circuit = brittle().probes(1).build().unwrap();
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(tower::service_fn(async |ask: Ask| {
        assert!(!matches!(ask, Ask::Reset), "a bug of someone else's");
        answer(ask).await
    }));
    let _ = service.clone().oneshot(BAD).await;
    wait_out(&circuit).await;
    let panicked = tokio::spawn(service.clone().oneshot(Ask::Reset)).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(service.clone().oneshot(GOOD).await.unwrap().status(), 200);
    assert_eq!(circuit.state(), State::Closed);
}
