//! The results that are retried, and the requests that may be sent twice.

use super::*;

// ===== Results that are retried =====

#[tokio::test(start_paused = true)]
async fn only_502_503_and_504_are_retried() {
    // Known mistake 20: a 408, 429, 500 or 501 is retried.
    for code in 200..=599 {
        let (result, upstream) = one(&retry(), [status(code)], get()).await;
        assert_eq!(result.unwrap().status().as_u16(), code);
        let expected = if matches!(code, 502..=504) { 4 } else { 1 };
        assert_eq!(upstream.count(), expected, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_transient_statuses_of_the_classifier_are_retried() {
    let classifier = HttpClassifier::new().transient([StatusCode::TOO_MANY_REQUESTS]);
    let layer = retry().classifier(classifier);
    assert_eq!(one(&layer, [status(429)], get()).await.1.count(), 4);
    assert_eq!(one(&layer, [status(503)], get()).await.1.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn transport_faults_are_retried() {
    for kind in [ConnectionRefused, ConnectionReset, UnexpectedEof] {
        let (result, upstream) = one(&retry(), [fault(kind), status(200)], get()).await;
        assert_eq!(result.unwrap().status(), 200);
        assert_eq!(upstream.count(), 2, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_cut_and_retried() {
    let layer = ServiceBuilder::new().layer(retry()).layer(TimeoutLayer::new(SECOND));
    let upstream = Upstream::answering([hang(), status(200)]);
    let response = send(&layer.service(upstream.clone()), get()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(upstream.times(), [Duration::ZERO, 1100 * MS]);
}

#[tokio::test(start_paused = true)]
async fn the_caller_gets_the_error_of_the_last_attempt() {
    let answers =
        [fault(ConnectionReset), fault(ConnectionReset), fault(ConnectionReset), fault(UnexpectedEof)];
    let (result, upstream) = one(&retry(), answers, get()).await;
    assert_eq!(result.unwrap_err().inner().unwrap().kind(), UnexpectedEof);
    assert_eq!(upstream.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_neutral_error_is_not_retried() {
    let neutral = classify::from_fn(|result: Result<&Response<TestBody>, &ErrorInfo>| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Neutral,
    });
    let (result, upstream) = one(&retry().classifier(neutral), [fault(ConnectionReset)], get()).await;
    assert!(result.unwrap_err().inner().is_some());
    assert_eq!(upstream.count(), 1);
}

// ===== Requests that may be sent twice =====

#[tokio::test(start_paused = true)]
async fn idempotent_methods_are_sent_again_and_no_others() {
    // Known mistake 20: a POST is retried.
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "PURGE"] {
        let idempotent = !["POST", "PATCH", "CONNECT", "PURGE"].contains(&method);
        for answer in [status(503), fault(ConnectionReset)] {
            let mut request = get();
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            let (_, upstream) = one(&retry(), [answer.clone()], request).await;
            assert_eq!(upstream.count(), if idempotent { 4 } else { 1 }, "{method}: {answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn any_method_is_sent_again_when_no_connection_came_about() {
    for method in [Method::POST, Method::PATCH] {
        let mut request = post();
        *request.method_mut() = method.clone();
        let answers = [fault(ConnectionRefused), fault(ConnectionRefused), status(201)];
        let (result, upstream) = one(&retry(), answers, request).await;
        assert_eq!(result.unwrap().status(), 201);
        assert_eq!(upstream.count(), 3, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_sent_at_last_is_not_sent_again() {
    let answers = [fault(ConnectionRefused), status(503)];
    let (result, upstream) = one(&retry(), answers, post()).await;
    let attempts = attempts(&result.unwrap()).unwrap();
    assert_eq!((attempts.made, attempts.stop_reason), (2, Some(StopReason::NotIdempotent)));
    assert_eq!(upstream.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_attempt_timed_out_is_not_sent_again() {
    let layer = ServiceBuilder::new().layer(retry()).layer(TimeoutLayer::new(SECOND));
    let upstream = Upstream::answering([hang()]);
    let error = send(&layer.service(upstream.clone()), post()).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_post_with_an_idempotency_key_is_sent_again() {
    let request = with_header(post(), "idempotency-key", "8e03978e");
    let (_, upstream) = one(&retry(), [status(503)], request).await;
    let keys = upstream.take_seen().into_iter().map(|request| request.headers()["idempotency-key"].clone());
    assert_eq!(keys.collect::<Vec<_>>(), ["8e03978e"; 4]);
}

#[tokio::test(start_paused = true)]
async fn the_caller_may_say_that_a_post_may_be_sent_twice() {
    for options in
        [CallOptions::new().idempotent(true), CallOptions::new().retry_safety(RetrySafety::Idempotent)]
    {
        assert_eq!(one(&retry(), [status(503)], with(post(), options)).await.1.count(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn the_caller_may_say_that_a_get_may_not_be_sent_twice() {
    let once = || with(get(), CallOptions::new().idempotent(false));
    assert_eq!(one(&retry(), [status(503)], once()).await.1.count(), 1);
    assert_eq!(one(&retry(), [fault(ConnectionRefused)], once()).await.1.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn retry_safety_never_forbids_a_retry_even_after_a_connect_failure() {
    let never = with_header(get(), "idempotency-key", "8e03978e");
    let never = with(never, CallOptions::new().retry_safety(RetrySafety::Never));
    assert_eq!(one(&retry(), [fault(ConnectionRefused)], never).await.1.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_options_of_a_call_are_obeyed_like_those_of_a_request() {
    for (call, expected) in [
        (Call::new(post()), 1),
        (Call::new(post()).idempotent(true), 4),
        (Call::new(get()).retry_safety(RetrySafety::Never), 1),
        // The options of the call override the options in the extensions of the request.
        (Call::new(with(get(), CallOptions::new().retry_safety(RetrySafety::Never))).idempotent(true), 4),
    ] {
        let upstream = Upstream::answering([status(503)]);
        send(&retry().layer(upstream.clone()), call).await.unwrap();
        assert_eq!(upstream.count(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_sends_the_same_request() {
    let options = CallOptions::new().deadline(Instant::now() + 10 * SECOND);
    let request = with_header(with(get(), options), "x-tenant", "7");
    let (_, upstream) = one(&retry(), [status(503)], request).await;
    for (request, number) in upstream.take_seen().into_iter().zip(1..) {
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "http://sku.internal/v1/items/42");
        assert_eq!(request.headers()["x-tenant"], "7");
        assert_eq!(request.options(), options.attempt(number, number < 4), "but for the attempt's number");
    }
}

// ===== Refusals from below =====

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_never_retried() {
    // Known mistake 20.
    let circuit = CircuitBreaker::builder().build().unwrap();
    circuit.force_open();
    let upstream = Upstream::answering([status(200)]);
    let budget = RetryBudget::default();
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(upstream.clone());
    let began = Instant::now();
    assert!(send(&service, get()).await.unwrap_err().is_circuit_open());
    assert_eq!((upstream.count(), began.elapsed()), (0, Duration::ZERO));
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn when_a_fault_opens_the_circuit_the_answer_is_handed_on_at_once() {
    let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO).build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = ServiceBuilder::new()
        .layer(retry().advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(upstream.clone());
    let began = Instant::now();
    let response = send(&service, get()).await.unwrap();
    assert_eq!(
        (response.status(), stopped(&response)),
        (StatusCode::SERVICE_UNAVAILABLE, Some(StopReason::CircuitOpen))
    );
    assert_eq!((upstream.count(), began.elapsed()), (2, 100 * MS));
    assert_eq!(circuit.snapshot().refused, 0, "no attempt is made that is known to be refused");
}

#[tokio::test(start_paused = true)]
async fn when_many_attempts_in_a_row_have_failed_there_are_no_more_retries() {
    let circuit = CircuitBreaker::builder().build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let budget = RetryBudget::builder().initial(10.0).per_failure(0.0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(upstream.clone());
    assert_eq!(stopped(&send(&service, get()).await.unwrap()), Some(StopReason::Exhausted));
    assert_eq!(stopped(&send(&service, get()).await.unwrap()), Some(StopReason::Failing));
    assert_eq!((upstream.count(), circuit.snapshot().trips), (5, 0));
    approximately(budget.tokens(), 7.0);
}

/// Makes `failures / 4` failing calls of up to four attempts; returns the stop reason of the last call.
async fn stopped_after(failures: usize, circuit: CircuitBreakerBuilder) -> Option<StopReason> {
    let circuit = circuit.build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retry().budget(ample()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(Upstream::answering([status(503)]));
    let mut stop = None;
    for _ in 0..failures / 4 {
        stop = stopped(&send(&service, get()).await.unwrap());
    }
    stop
}

#[tokio::test(start_paused = true)]
async fn a_circuit_in_shadow_advises_nothing() {
    assert_eq!(stopped_after(8, CircuitBreaker::builder()).await, Some(StopReason::Failing));
    assert_eq!(stopped_after(8, CircuitBreaker::builder().shadow(true)).await, Some(StopReason::Exhausted));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_does_not_count_failures_in_a_row_advises_nothing() {
    let circuit = CircuitBreaker::builder().without_consecutive_failures().failure_rate(0.9);
    assert_eq!(stopped_after(8, circuit).await, Some(StopReason::Exhausted));
}

#[tokio::test(start_paused = true)]
async fn one_success_brings_the_retries_back() {
    let circuit = CircuitBreaker::default();
    let answers = [503, 503, 503, 503, 503, 200, 503, 200].map(status);
    let service = ServiceBuilder::new()
        .layer(retry().budget(ample()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(Upstream::answering(answers));
    assert_eq!(stopped(&send(&service, get()).await.unwrap()), Some(StopReason::Exhausted));
    assert_eq!(stopped(&send(&service, get()).await.unwrap()), Some(StopReason::Failing));
    assert_eq!(send(&service, get()).await.unwrap().status(), StatusCode::OK);
    let response = send(&service, get()).await.unwrap();
    assert_eq!((response.status(), attempts(&response).unwrap().made), (StatusCode::OK, 2));
}

#[tokio::test(start_paused = true)]
async fn attempts_that_fail_together_are_retried() {
    // This happens when a shared connection breaks.
    let upstream = Upstream::answering([status(503)]);
    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy(1)).budget(ample()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(upstream.clone());
    let answers = futures_util::future::join_all((0..8).map(|_| send(&service, get()))).await;
    assert!(answers.into_iter().all(|answer| stopped(&answer.unwrap()) == Some(StopReason::Exhausted)));
    assert_eq!(upstream.count(), 16);
}

/// A budget that never runs out in a test.
fn ample() -> RetryBudget {
    RetryBudget::builder().capacity(100.0).initial(100.0).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_every_retry_is_made() {
    let upstream = Upstream::answering([status(503)]);
    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy(10)).without_budget().advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(upstream.clone());
    assert_eq!(stopped(&send(&service, get()).await.unwrap()), Some(StopReason::Exhausted));
    assert_eq!(upstream.count(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_retry_without_an_advisor_makes_every_attempt() {
    let circuit = CircuitBreaker::builder().build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = ServiceBuilder::new()
        .layer(retry().budget(ample()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(upstream.clone());
    for _ in 0..3 {
        assert_eq!(stopped(&send(&service, get()).await.unwrap()), Some(StopReason::Exhausted));
    }
    assert_eq!(upstream.count(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_opened_during_the_wait_ends_the_call_and_costs_no_token() {
    let circuit = CircuitBreaker::builder().build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let budget = RetryBudget::default();
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(upstream.clone());
    let mut call = tokio_test::task::spawn(send(&service, get()));
    assert!(call.poll().is_pending());
    circuit.force_open();
    tokio::time::advance(100 * MS).await;
    let Poll::Ready(result) = call.poll() else { panic!("the wait is over") };
    assert_eq!(stopped(&result.unwrap()), Some(StopReason::CircuitOpen));
    assert_eq!(upstream.count(), 1);
    approximately(budget.tokens(), 1.7);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_never_retried() {
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let upstream = Upstream::answering([hang()]);
    let budget = RetryBudget::default();
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()))
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .service(upstream.clone());
    let mut busy = tokio_test::task::spawn(send(&service, get()));
    assert!(busy.poll().is_pending());
    let began = Instant::now();
    assert!(send(&service, get()).await.unwrap_err().is_bulkhead_full());
    assert_eq!((upstream.count(), began.elapsed(), bulkhead.refused()), (1, Duration::ZERO, 1));
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_classifier_is_never_asked_about_a_refusal() {
    let circuit = CircuitBreaker::builder().build().unwrap();
    circuit.force_open();
    let panicking =
        classify::from_fn(|_: Result<&Response<_>, &ErrorInfo>| panic!("consulted about a refusal"));
    let service = ServiceBuilder::new()
        .layer(retry().classifier(panicking).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(Upstream::answering([status(200)]));
    assert!(send(&service, get()).await.unwrap_err().is_circuit_open());
}
