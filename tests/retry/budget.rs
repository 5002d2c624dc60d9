//! The retry budget.

use super::*;

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_budget_closes_by_itself() {
    let upstream = Upstream::answering([status(503)]);
    let budget = RetryBudget::default();
    let service = RetryLayer::new(policy(3)).budget(budget.clone()).layer(upstream.clone());
    for _ in 0..1000 {
        let response = send(&service, get()).await.unwrap();
        assert_eq!(stopped(&response), Some(StopReason::Budget));
    }
    assert_eq!((upstream.count(), budget.retries()), (1001, 1));
    approximately(budget.tokens(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_succeeds_does_not_pay_for_itself() {
    // Known mistake 15: 1,000 calls that fail once make 2,000 attempts.
    let answers = (0..2000).map(|number| status(if number % 2 == 0 { 503 } else { 200 }));
    let upstream = Upstream::answering(answers);
    let service = RetryLayer::new(policy(3)).layer(upstream.clone());
    for _ in 0..1000 {
        send(&service, get()).await.unwrap();
    }
    // Half of the calls without a retry succeed, and their deposits pay for retries of later calls.
    assert!(upstream.count() < 1400, "{} attempts", upstream.count());
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_calls_is_the_share_that_was_configured() {
    // Known mistake 16: a ratio of 0.7 is truncated and allows 100 %.
    let budget = RetryBudget::builder().initial(0.0).per_call(0.7).per_success(0.0).per_failure(0.0);
    let budget = budget.build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = RetryLayer::new(policy(1)).budget(budget.clone()).layer(upstream.clone());
    for _ in 0..1000 {
        send(&service, get()).await.unwrap();
    }
    assert_eq!((upstream.count(), budget.retries()), (1700, 700));
}

#[tokio::test(start_paused = true)]
async fn the_first_call_of_a_new_client_may_be_retried() {
    // Known mistake 17: a budget without a floor breaks clients with few calls.
    let layer = RetryLayer::new(policy(3));
    let (result, _) = one(&layer, [status(503), status(200)], get()).await;
    assert_eq!(result.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_no_share_of_the_calls_in_flight() {
    // Known mistake 17: a budget as a share of the calls in flight shrinks when all calls fail.
    let budget = RetryBudget::builder().initial(10.0).per_failure(0.0).build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = RetryLayer::new(policy(1)).budget(budget.clone()).layer(upstream.clone());
    futures_util::future::join_all((0..100).map(|_| send(&service, get()))).await;
    assert_eq!((upstream.count(), budget.retries()), (110, 10));
}

#[tokio::test(start_paused = true)]
async fn the_budget_refills_by_the_clock_that_tests_can_pause() {
    // Known mistake 25: a budget refills by the wall clock.
    let budget = RetryBudget::builder().initial(0.0).per_second(1.0).per_failure(0.0).build().unwrap();
    let layer = retry().budget(budget.clone());
    assert_eq!(stopped(&one(&layer, [status(503)], get()).await.0.unwrap()), Some(StopReason::Budget));
    tokio::time::advance(2 * SECOND).await;
    approximately(budget.tokens(), 2.0);
    let (result, upstream) = one(&layer, [status(503), status(503), status(200)], get()).await;
    assert_eq!((result.unwrap().status().as_u16(), upstream.count()), (200, 3));
    // Known mistake 16: an idle month makes the refill slow. Here the refill is one step, up to the capacity.
    tokio::time::advance(30 * 24 * 3600 * SECOND).await;
    approximately(budget.tokens(), 10.0);
}

#[tokio::test(start_paused = true)]
async fn every_service_of_a_layer_shares_its_budget() {
    let layer = RetryLayer::new(policy(1));
    let [first, second] = [Upstream::answering([status(503)]), Upstream::answering([status(503)])];
    send(&layer.layer(first.clone()), get()).await.unwrap();
    send(&layer.clone().layer(second.clone()), get()).await.unwrap();
    assert_eq!((first.count(), second.count()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn layers_that_were_given_the_same_budget_share_it() {
    let budget = RetryBudget::default();
    let [first, second] = [(); 2].map(|()| RetryLayer::new(policy(1)).budget(budget.clone()));
    assert_eq!(one(&first, [status(503)], get()).await.1.count(), 2);
    assert_eq!(one(&second, [status(503)], get()).await.1.count(), 1);
    assert_eq!(budget.retries(), 1);
}

#[tokio::test(start_paused = true)]
async fn successes_fill_the_budget_and_failures_drain_it() {
    let budget = RetryBudget::default();
    let layer = RetryLayer::new(policy(0)).budget(budget.clone());
    let after = async |code| {
        one(&layer, [status(code)], get()).await.0.unwrap();
        budget.tokens()
    };
    approximately(after(200).await, 2.6);
    approximately(after(404).await, 3.2);
    approximately(after(500).await, 2.9);
    approximately(after(503).await, 2.6);
    approximately(after(429).await, 3.2);
    one(&layer, [fault(ConnectionReset)], get()).await.0.unwrap_err();
    approximately(budget.tokens(), 2.9);
    for _ in 0..100 {
        after(200).await;
    }
    approximately(budget.tokens(), 10.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_gives_its_token_back() {
    // Known mistake 18.
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = retry().budget(budget.clone()).layer(upstream.clone());
    for _ in 0..100 {
        let mut call = tokio_test::task::spawn(send(&service, get()));
        assert!(call.poll().is_pending());
        approximately(budget.tokens(), 1.0);
        drop(call);
        approximately(budget.tokens(), 2.0);
    }
    assert_eq!((upstream.count(), budget.retries()), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_sent_keeps_its_token_when_it_is_dropped() {
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let upstream = Upstream::answering([status(503), hang()]);
    let service = retry().budget(budget.clone()).layer(upstream.clone());
    tokio::time::timeout(SECOND, send(&service, get())).await.unwrap_err();
    assert_eq!((upstream.count(), budget.retries()), (2, 1));
    approximately(budget.tokens(), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_without_capacity_allows_no_retry() {
    let budget = RetryBudget::builder().capacity(0.0).initial(0.0).build().unwrap();
    let layer = retry().budget(budget);
    for _ in 0..10 {
        assert_eq!(one(&layer, [status(503)], get()).await.1.count(), 1);
        one(&layer, [status(200)], get()).await.0.unwrap();
    }
}

#[test]
fn a_policy_that_cannot_work_is_refused_by_field_value_and_what_is_allowed() {
    // Promise: no panic on any input.
    let error = RetryPolicy::builder().max_retries(101).build().unwrap_err();
    assert_eq!(error.to_string(), "retry.max_retries is 101: it must be between 0 and 100");
    let error = RetryPolicy::builder().backoff(Backoff::new().factor(f64::NAN)).build().unwrap_err();
    assert_eq!((error.field(), error.value()), ("retry.backoff.factor", "NaN"));
    let error = RetryBudget::builder().initial(11.0).build().unwrap_err();
    assert_eq!(
        (error.field(), error.allowed()),
        ("retry.budget.initial", "between 0.0 and 10.0, the value of retry.budget.capacity")
    );
}

#[tokio::test(start_paused = true)]
async fn the_extremes_that_are_allowed_do_not_panic() {
    // Promise: no panic on any input.
    let year = 365 * 24 * 3600 * SECOND;
    for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(1.0)]
    {
        let backoff = Backoff::new().base(year).cap(year).factor(100.0).jitter(jitter);
        let policy = RetryPolicy::builder().max_retries(100).backoff(backoff).max_retry_after(year);
        let layer = RetryLayer::new(policy.build().unwrap()).without_budget();
        let (result, upstream) = one(&layer, [retry_after("99999999999999999999")], get()).await;
        assert_eq!((stopped(&result.unwrap()), upstream.count()), (Some(StopReason::Exhausted), 101));
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_refilled_during_an_attempt_pay_for_its_retry() {
    let budget = RetryBudget::builder().initial(0.0).per_second(1.0).build().unwrap();
    let layer = RetryLayer::new(policy(1)).budget(budget);
    let (result, upstream) = one(&layer, [status(503).after(5 * SECOND), status(200)], get()).await;
    assert_eq!((result.unwrap().status().as_u16(), upstream.count()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_begins_with_a_spent_budget_is_the_last() {
    // The layers below have been told that no retry follows, so later deposits of other calls do not help.
    let budget = RetryBudget::builder().initial(0.0).per_success(10.0).build().unwrap();
    let layer = RetryLayer::new(policy(1)).budget(budget.clone());
    let slow = layer.layer(Upstream::answering([status(503).after(5 * SECOND), status(200)]));
    let quick = layer.layer(Upstream::answering([status(200).after(SECOND)]));
    let (response, _) = futures_util::future::join(send(&slow, get()), send(&quick, get())).await;
    assert_eq!(stopped(&response.unwrap()), Some(StopReason::Budget));
    assert!(budget.tokens() > 1.0);
}
