//! The wait before a retry: backoff, `Retry-After`, and deadline.

use super::*;

// ===== Backoff =====

#[tokio::test(start_paused = true)]
async fn without_jitter_the_waits_double_up_to_the_cap() {
    // Known mistake 13: without a cap, attempt 20 waits 29 hours.
    let layer = RetryLayer::new(policy(20)).without_budget();
    let (_, upstream) = one(&layer, [status(503)], get()).await;
    let mut expected = vec![2000 * MS; 20];
    expected[..5].copy_from_slice(&[100 * MS, 200 * MS, 400 * MS, 800 * MS, 1600 * MS]);
    assert_eq!(upstream.waits(), expected);
}

#[tokio::test(start_paused = true)]
async fn no_jitter_lifts_a_wait_over_the_cap() {
    // Known mistake 13: jitter is added after the cap.
    for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(0.7)]
    {
        for seed in 0..20 {
            let backoff = Backoff::new().cap(700 * MS).jitter(jitter);
            let policy = RetryPolicy::builder().max_retries(30).backoff(backoff).seed(seed);
            let layer = RetryLayer::new(policy.build().unwrap()).without_budget();
            let (_, upstream) = one(&layer, [status(503)], get()).await;
            let waits = upstream.waits();
            assert_eq!(waits.len(), 30);
            assert!(waits.iter().all(|wait| *wait <= 700 * MS), "{jitter:?}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait > 350 * MS), "{jitter:?}: {waits:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_base_of_zero_waits_for_nothing() {
    let backoff = Backoff::new().base(Duration::ZERO);
    let layer = RetryLayer::new(RetryPolicy::builder().backoff(backoff).build().unwrap()).without_budget();
    let (_, upstream) = one(&layer, [status(503)], get()).await;
    assert_eq!(upstream.times(), [Duration::ZERO; 4]);
}

/// Returns the waits of two consecutive calls of a client with this seed.
async fn waits_with_seed(seed: u64) -> Vec<Duration> {
    let policy = RetryPolicy::builder().max_retries(10).seed(seed).build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = RetryLayer::new(policy).without_budget().layer(upstream.clone());
    send(&service, get()).await.unwrap();
    send(&service, get()).await.unwrap();
    upstream.waits()
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_waits() {
    // Promise: all chance is seeded.
    assert_eq!(waits_with_seed(7).await, waits_with_seed(7).await);
    assert_ne!(waits_with_seed(7).await, waits_with_seed(8).await);
}

#[tokio::test(start_paused = true)]
async fn two_calls_do_not_share_a_sequence() {
    // Known mistake 14: every clone begins with the same state of the random source.
    let policy = RetryPolicy::builder().max_retries(1).seed(7).build().unwrap();
    let layer = RetryLayer::new(policy.clone()).without_budget();
    let upstream = Upstream::answering([status(503)]);
    let service = layer.layer(upstream.clone());
    let another_layer = RetryLayer::new(policy).without_budget().layer(upstream.clone());
    let calls = (0..50).flat_map(|_| [send(&service, get()), send(&another_layer, get())]);
    futures_util::future::join_all(calls).await;
    let times = upstream.times();
    assert_eq!(times.len(), 200);
    // A hundred waits of up to 100 ms, measured to the millisecond.
    let waits: BTreeSet<_> = times[100..].iter().collect();
    assert!(waits.len() > 40, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_without_a_seed_do_not_back_off_in_step() {
    let mut first = BTreeSet::new();
    for _ in 0..50 {
        let layer = RetryLayer::new(RetryPolicy::default()).without_budget();
        first.insert(one(&layer, [status(503)], get()).await.1.waits());
    }
    assert!(first.len() > 45);
}

// ===== Retry-After =====

#[tokio::test(start_paused = true)]
async fn retry_after_is_a_floor_with_the_backoff_on_top() {
    let (_, upstream) = one(&retry(), [retry_after("1"), retry_after("2"), status(200)], get()).await;
    assert_eq!(upstream.waits(), [1100 * MS, 2200 * MS]);
}

#[tokio::test(start_paused = true)]
async fn calls_with_the_same_retry_after_do_not_come_back_together() {
    let policy = RetryPolicy::builder().max_retries(1).seed(3).build().unwrap();
    let upstream = Upstream::answering([retry_after("1")]);
    let service = RetryLayer::new(policy).without_budget().layer(upstream.clone());
    futures_util::future::join_all((0..100).map(|_| send(&service, get()))).await;
    let times = upstream.times();
    let again: BTreeSet<_> = times[100..].iter().copied().collect();
    assert!(again.first().unwrap() >= &SECOND && again.last().unwrap() <= &(1100 * MS), "{again:?}");
    assert!(again.len() > 40, "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_over_the_cap_ends_the_call_at_once() {
    // Known mistake 19: `Retry-After` without a cap.
    for seconds in ["3", "86400", "99999999999999999999999999"] {
        let began = Instant::now();
        let (result, upstream) = one(&retry(), [retry_after(seconds)], get()).await;
        let response = result.unwrap();
        assert_eq!(stopped(&response), Some(StopReason::RetryAfterTooLong));
        assert_eq!(response.headers()["retry-after"], seconds);
        assert_eq!((upstream.count(), began.elapsed()), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_deadline_ends_the_call_at_once() {
    let began = Instant::now();
    let request = with(get(), CallOptions::new().deadline(began + SECOND));
    let (result, upstream) = one(&retry(), [retry_after("1")], request).await;
    assert_eq!(stopped(&result.unwrap()), Some(StopReason::Deadline));
    assert_eq!((upstream.count(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_cap_of_retry_after_is_configurable() {
    let backoff = Backoff::new().jitter(Jitter::None);
    let policy = RetryPolicy::builder().backoff(backoff).max_retry_after(60 * SECOND).build().unwrap();
    let layer = RetryLayer::new(policy).without_budget();
    let (_, upstream) = one(&layer, [retry_after("60"), status(200)], get()).await;
    assert_eq!(upstream.waits(), [60_100 * MS]);
    assert_eq!(
        stopped(&one(&layer, [retry_after("61")], get()).await.0.unwrap()),
        Some(StopReason::RetryAfterTooLong)
    );
}

#[tokio::test(start_paused = true)]
async fn a_date_is_waited_for_by_the_clock_that_was_set() {
    // 1994-11-06 08:49:37 UTC, the date of RFC 9110's examples.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let layer = retry().classifier(HttpClassifier::new().wall_clock(move || now));
    let wait = async |date| one(&layer, [retry_after(date), status(200)], get()).await.1.waits();
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:39 GMT").await, [2100 * MS]);
    assert_eq!(wait("Sunday, 06-Nov-94 08:49:38 GMT").await, [1100 * MS]);
    assert!(wait("Sun, 06 Nov 1994 08:49:40 GMT").await.is_empty());
    // Known mistake 19: a date in the past, and a date with a wrong weekday.
    assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT").await, [100 * MS]);
    assert_eq!(wait("Mon, 06 Nov 1994 08:49:39 GMT").await, [100 * MS]);
}

#[tokio::test(start_paused = true)]
async fn nonsense_in_retry_after_leaves_the_wait_to_the_backoff() {
    // Promise: no panic on any input.
    for nonsense in ["", "-1", "1.5", "NaN", "soon", "Sun, 06 Nov 1994", "0"] {
        let (_, upstream) = one(&retry(), [retry_after(nonsense), status(200)], get()).await;
        assert_eq!(upstream.waits(), [100 * MS], "{nonsense:?}");
    }
}

// ===== Deadline =====

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_before_the_deadline_is_not_started() {
    for (left, made, ended) in [(100, 1, 0), (101, 2, 100), (300, 2, 100), (301, 3, 300), (10_000, 4, 700)] {
        let began = Instant::now();
        let request = with(get(), CallOptions::new().deadline(began + left * MS));
        let (result, upstream) = one(&retry(), [status(503)], request).await;
        let response = result.unwrap();
        let stop = if made == 4 { StopReason::Exhausted } else { StopReason::Deadline };
        assert_eq!((response.status().as_u16(), stopped(&response)), (503, Some(stop)), "{left} ms");
        assert_eq!((upstream.count(), began.elapsed()), (made, ended * MS), "{left} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_not_started_takes_no_token() {
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let request = with(get(), CallOptions::new().deadline(Instant::now() + 50 * MS));
    one(&retry().budget(budget.clone()), [status(503)], request).await.0.unwrap();
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_cut_by_the_deadline_is_not_retried_and_no_failure() {
    let layer = ServiceBuilder::new();
    let budget = RetryBudget::default();
    let service = layer
        .layer(retry().budget(budget.clone()))
        .layer(TimeoutLayer::new(SECOND))
        .service(Upstream::answering([hang()]));
    let began = Instant::now();
    let request = with(get(), CallOptions::new().deadline(began + 500 * MS));
    assert!(send(&service, request).await.unwrap_err().is_total_timeout());
    assert_eq!(began.elapsed(), 500 * MS);
    approximately(budget.tokens(), 2.0);
}
