//! Outcomes that are no faults and are retried nevertheless: throttled and not processed.

use steadfast::circuit_breaker::State;

use super::*;

fn throttled() -> HttpClassifier {
    HttpClassifier::new().throttled([StatusCode::TOO_MANY_REQUESTS])
}

/// The `Retry-After` of a 429 is a floor; the backoff comes on top.
#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_retried_after_its_retry_after() {
    let throttle = status(429).header("retry-after", "1");
    let (result, upstream) = one(&retry().classifier(throttled()), [throttle, status(200)], get()).await;
    assert_eq!(result.unwrap().status(), StatusCode::OK);
    assert!(
        upstream.waits()[0] >= SECOND && upstream.waits()[0] <= SECOND + 100 * MS,
        "{:?}",
        upstream.waits()
    );
}

/// A closure makes the 429 retryable without a wait, so the `Retry-After` of the response applies.
#[tokio::test(start_paused = true)]
async fn retry_after_applies_to_a_custom_outcome_without_a_wait() {
    let classifier = HttpClassifier::new().on_response(|status, _| {
        (status == StatusCode::TOO_MANY_REQUESTS).then_some(Outcome::Throttled { retry_after: None })
    });
    let throttle = status(429).header("retry-after", "1");
    let (_, upstream) = one(&retry().classifier(classifier), [throttle, status(200)], get()).await;
    assert!(upstream.waits()[0] >= SECOND, "{:?}", upstream.waits());
}

/// The retries take tokens, but the throttled attempts are no faults.
#[tokio::test(start_paused = true)]
async fn throttled_calls_are_retried_within_the_budget_and_are_no_faults() {
    let circuit = CircuitBreaker::builder().consecutive_failures(3, Duration::ZERO).build().unwrap();
    let budget = RetryBudget::builder().initial(10.0).build().unwrap();
    let upstream = Upstream::answering([status(429)]);
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()).classifier(throttled()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(throttled()))
        .service(upstream.clone());
    for _ in 0..40 {
        assert_eq!(send(&service, get()).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(upstream.count(), 40 + 10, "ten tokens");
    assert_eq!((circuit.state(), circuit.snapshot().consecutive_failures), (State::Closed, 0));
    assert!(budget.tokens().abs() < 1e-9, "a throttled attempt costs its retry and no more");
}

#[tokio::test(start_paused = true)]
async fn by_default_a_429_is_not_retried() {
    let (result, upstream) = one(&retry(), [status(429), status(200)], get()).await;
    assert_eq!((result.unwrap().status(), upstream.count()), (StatusCode::TOO_MANY_REQUESTS, 1));
}

/// Judges a 421 as not processed.
fn not_processed() -> HttpClassifier {
    HttpClassifier::new()
        .on_response(|status, _| (status == StatusCode::MISDIRECTED_REQUEST).then_some(Outcome::NotProcessed))
}

#[tokio::test(start_paused = true)]
async fn an_unprocessed_attempt_is_retried_at_once_for_any_method_without_a_token() {
    let budget = RetryBudget::default();
    let layer = retry().budget(budget.clone()).classifier(not_processed());
    for request in [get(), post()] {
        let (result, upstream) = one(&layer, [status(421), status(421), status(201)], request).await;
        let response = result.unwrap();
        assert_eq!((response.status(), attempts(&response).unwrap().made), (StatusCode::CREATED, 3));
        assert!(upstream.waits().iter().all(Duration::is_zero), "{:?}", upstream.waits());
    }
    assert_eq!(budget.retries(), 0);
    assert!(budget.tokens() >= 2.0);
}

#[tokio::test(start_paused = true)]
async fn after_three_resends_an_unprocessed_attempt_is_retried_by_the_policy() {
    for request in [get(), post()] {
        let (result, upstream) = one(&retry().classifier(not_processed()), [status(421)], request).await;
        assert_eq!((upstream.count(), stopped(&result.unwrap())), (7, Some(StopReason::Exhausted)));
        let waits = upstream.waits();
        assert!(
            waits[..3].iter().all(Duration::is_zero) && !waits[3..].iter().any(Duration::is_zero),
            "{waits:?}"
        );
    }
    let never = RetryLayer::new(policy(0)).classifier(not_processed());
    assert_eq!(one(&never, [status(421)], get()).await.1.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_paid_for_an_unprocessed_attempt_goes_back() {
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let layer = retry().budget(budget.clone()).classifier(not_processed());
    let answers = [status(421), status(421), status(421), status(503), status(421)];
    let (result, upstream) = one(&layer, answers, get()).await;
    assert_eq!((result.unwrap().status().as_u16(), upstream.count()), (421, 7));
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn retry_safety_never_forbids_a_retry_even_of_an_unprocessed_attempt() {
    let once = with(get(), CallOptions::new().retry_safety(RetrySafety::Never));
    let (_, upstream) = one(&retry().classifier(not_processed()), [status(421), status(200)], once).await;
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unprocessed_attempt_does_not_count_against_the_retries_of_the_policy() {
    let answers = [421, 503, 421, 503, 503, 200].map(status);
    let (result, upstream) = one(&retry().classifier(not_processed()), answers, get()).await;
    assert_eq!((result.unwrap().status(), upstream.count()), (StatusCode::OK, 6));
}
