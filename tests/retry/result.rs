//! The result that the caller gets, and the stop reason.

use super::*;

// ===== The result =====

#[tokio::test(start_paused = true)]
async fn the_caller_gets_the_last_503_itself() {
    let body = Script::pieces(&["down ", "for maintenance"]);
    let answer = |number: &str| status(503).header("x-attempt", number).body(&body);
    let answers = [answer("1"), answer("2"), answer("3"), answer("4")];
    let (result, _) = one(&retry(), answers, get()).await;
    let response = result.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-attempt"]), (503, &"4".parse().unwrap()));
    let attempts = attempts(&response).unwrap();
    assert_eq!((attempts.made, attempts.stop_reason), (4, Some(StopReason::Exhausted)));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "down for maintenance");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_one_attempt_has_no_attempts_extension() {
    for code in [200, 301, 404, 429, 500, 501] {
        assert_eq!(attempts(&one(&retry(), [status(code)], get()).await.0.unwrap()), None, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_after_two_attempts_counts_both() {
    let (result, _) = one(&retry(), [status(503), status(200)], get()).await;
    let attempts = attempts(&result.unwrap()).unwrap();
    assert_eq!((attempts.made, attempts.stop_reason), (2, None));
}

#[tokio::test(start_paused = true)]
async fn without_retries_there_is_no_attempts_extension() {
    let layer = RetryLayer::new(policy(0));
    let (result, upstream) = one(&layer, [status(503)], get()).await;
    assert_eq!(attempts(&result.unwrap()), None);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn as_many_retries_are_made_as_the_policy_says() {
    for retries in [1, 2, 7, 100] {
        let layer = RetryLayer::new(policy(retries)).without_budget();
        let (result, upstream) = one(&layer, [status(503)], get()).await;
        assert_eq!(attempts(&result.unwrap()).unwrap().made, retries + 1);
        assert_eq!(upstream.count(), retries as usize + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_is_three_retries_with_full_jitter_and_a_budget() {
    let layer = RetryLayer::new(RetryPolicy::default());
    let (result, upstream) = one(&layer, [status(503)], get()).await;
    // The two initial tokens, less 0.3 for the first failure, pay for one retry.
    assert_eq!(stopped(&result.unwrap()), Some(StopReason::Budget));
    assert_eq!(upstream.count(), 2);

    let layer = layer.without_budget();
    let mut first = BTreeSet::new();
    for _ in 0..200 {
        let (_, upstream) = one(&layer, [status(503)], get()).await;
        let waits = upstream.waits();
        assert_eq!(waits.len(), 3);
        for (wait, ceiling) in waits.iter().zip([100 * MS, 200 * MS, 400 * MS]) {
            assert!(*wait <= ceiling, "{wait:?} of {ceiling:?}");
        }
        first.insert(waits[0]);
    }
    assert!(first.first().unwrap() < &(20 * MS) && first.last().unwrap() > &(80 * MS), "{first:?}");
}

// ===== The stop reason =====

#[tokio::test(start_paused = true)]
async fn each_reason_to_stop_is_named_on_the_response() {
    let empty = RetryBudget::builder().initial(0.0).build().unwrap();
    let soon = CallOptions::new().deadline(Instant::now() + 50 * MS);
    let later = |seconds| status(503).header("retry-after", seconds);
    for (layer, answer, request, expected) in [
        (retry().budget(empty), status(503), get(), StopReason::Budget),
        (retry(), status(503), with(get(), soon), StopReason::Deadline),
        (retry(), status(503), post(), StopReason::NotIdempotent),
        (retry(), later("3600"), get(), StopReason::RetryAfterTooLong),
    ] {
        let (result, upstream) = one(&layer, [answer], request).await;
        let attempts = attempts(&result.unwrap()).unwrap();
        assert_eq!((attempts.made, attempts.stop_reason), (1, Some(expected)));
        assert_eq!(upstream.count(), 1, "{expected}");
    }
}
