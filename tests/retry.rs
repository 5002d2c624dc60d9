//! Retry: what is asked again, when, how often, and what the caller gets when it no longer is.

mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use io::ErrorKind::{ConnectionRefused, ConnectionReset, UnexpectedEof};
use steadfast::bulkhead::{BulkheadLayer, Compartment};
use steadfast::circuit_breaker::{Circuit, CircuitBreakerLayer};
use steadfast::http::{HttpClassifier, ReplayBody, ReplayBodyLayer};
use steadfast::retry::{Attempts, Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy, Stop};
use steadfast::timeout::TimeoutLayer;
use steadfast::{BoxError, Call, Error, HasOptions, Options, Outcome, Resend, Resendable};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_test::mock;

use support::{MS, SECOND, Script, Step, TestBody, Upstream, fault, get, hang, post, send, status};

/// Waits of 100, 200 and 400 ms, and no limit to what all calls together may ask for.
fn retry() -> RetryLayer {
    RetryLayer::new(policy(3)).without_budget()
}

fn policy(max_retries: u32) -> RetryPolicy {
    let backoff = Backoff::new().jitter(Jitter::None);
    RetryPolicy::builder().max_retries(max_retries).backoff(backoff).build().unwrap()
}

fn attempts<B>(response: &Response<B>) -> Option<Attempts> {
    response.extensions().get().copied()
}

fn stopped<B>(response: &Response<B>) -> Option<Stop> {
    attempts(response).and_then(|attempts| attempts.stopped)
}

fn with(mut request: Request<()>, options: Options) -> Request<()> {
    request.extensions_mut().insert(options);
    request
}

fn with_header(mut request: Request<()>, name: &'static str, value: &'static str) -> Request<()> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// One call through `layer`, and the upstream that it was made to.
async fn one<L>(
    layer: &L,
    answers: impl IntoIterator<Item = support::Answer>,
    request: Request<()>,
) -> (Result<Response<TestBody>, Error<io::Error>>, Upstream)
where
    L: Layer<Upstream>,
    L::Service: Service<Request<()>, Response = Response<TestBody>, Error = Error<io::Error>> + Clone,
{
    let upstream = Upstream::answering(answers);
    let service = layer.layer(upstream.clone());
    (send(&service, request).await, upstream)
}

fn approximately(tokens: f64, expected: f64) {
    assert!((tokens - expected).abs() < 1e-6, "{tokens} tokens, not {expected}");
}

// ===== What is retried =====

#[tokio::test(start_paused = true)]
async fn only_502_503_and_504_are_retried() {
    // Mistake 20: a 501, a 500, a 429 or a 408 that is retried.
    for code in 200..=599 {
        let (result, upstream) = one(&retry(), [status(code)], get()).await;
        assert_eq!(result.unwrap().status().as_u16(), code);
        let expected = if matches!(code, 502..=504) { 4 } else { 1 };
        assert_eq!(upstream.count(), expected, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_classifier_is_told_to_retry_is_retried() {
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
    let layer = ServiceBuilder::new().layer(retry()).layer(TimeoutLayer::attempt(SECOND));
    let upstream = Upstream::answering([hang(), status(200)]);
    let response = send(&layer.service(upstream.clone()), get()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(upstream.times(), [Duration::ZERO, 1100 * MS]);
}

#[tokio::test(start_paused = true)]
async fn when_every_attempt_has_failed_the_last_error_is_the_callers() {
    let answers =
        [fault(ConnectionReset), fault(ConnectionReset), fault(ConnectionReset), fault(UnexpectedEof)];
    let (result, upstream) = one(&retry(), answers, get()).await;
    assert_eq!(result.unwrap_err().upstream().unwrap().kind(), UnexpectedEof);
    assert_eq!(upstream.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_the_callers_own_is_not_retried() {
    let callers = |result: Result<&Response<TestBody>, &Error<io::Error>>| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Neutral,
    };
    let (result, upstream) = one(&retry().classifier(callers), [fault(ConnectionReset)], get()).await;
    assert!(result.unwrap_err().upstream().is_some());
    assert_eq!(upstream.count(), 1);
}

// ===== What may be sent twice =====

#[tokio::test(start_paused = true)]
async fn idempotent_methods_are_sent_again_and_no_others() {
    // Mistake 20: a POST that is retried.
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
    assert_eq!((attempts.made, attempts.stopped), (2, Some(Stop::NotIdempotent)));
    assert_eq!(upstream.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_attempt_timed_out_is_not_sent_again() {
    let layer = ServiceBuilder::new().layer(retry()).layer(TimeoutLayer::attempt(SECOND));
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
    for options in [Options::new().idempotent(true), Options::new().resend(Resend::Always)] {
        assert_eq!(one(&retry(), [status(503)], with(post(), options)).await.1.count(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn the_caller_may_say_that_a_get_may_not_be_sent_twice() {
    let once = || with(get(), Options::new().idempotent(false));
    assert_eq!(one(&retry(), [status(503)], once()).await.1.count(), 1);
    assert_eq!(one(&retry(), [fault(ConnectionRefused)], once()).await.1.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_never_be_sent_again_is_not_even_after_a_connect_failure() {
    let never = with_header(get(), "idempotency-key", "8e03978e");
    let never = with(never, Options::new().resend(Resend::Never));
    assert_eq!(one(&retry(), [fault(ConnectionRefused)], never).await.1.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_options_of_a_call_are_obeyed_like_those_of_a_request() {
    for (call, expected) in [
        (Call::new(post()), 1),
        (Call::new(post()).idempotent(true), 4),
        (Call::new(get()).resend(Resend::Never), 1),
        // What is said of the call weighs more than what the request carries.
        (Call::new(with(get(), Options::new().resend(Resend::Never))).idempotent(true), 4),
    ] {
        let upstream = Upstream::answering([status(503)]);
        send(&retry().layer(upstream.clone()), call).await.unwrap();
        assert_eq!(upstream.count(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_sends_the_same_request() {
    let options = Options::new().deadline(Instant::now() + 10 * SECOND);
    let request = with_header(with(get(), options), "x-tenant", "7");
    let (_, upstream) = one(&retry(), [status(503)], request).await;
    for seen in upstream.take_seen() {
        assert_eq!(seen.method(), Method::GET);
        assert_eq!(seen.uri(), "http://sku.internal/v1/items/42");
        assert_eq!(seen.headers()["x-tenant"], "7");
        assert_eq!(seen.options(), options);
    }
}

// ===== Refusals from below =====

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_never_retried() {
    // Mistake 20.
    let circuit = Circuit::builder().build().unwrap();
    circuit.force_open();
    let upstream = Upstream::answering([status(200)]);
    let budget = RetryBudget::default();
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(upstream.clone());
    let began = Instant::now();
    assert!(send(&service, get()).await.unwrap_err().is_circuit_open());
    assert_eq!((upstream.count(), began.elapsed()), (0, Duration::ZERO));
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn when_a_fault_opens_the_circuit_the_answer_is_handed_on_at_once() {
    let circuit = Circuit::builder().consecutive_failures(2, Duration::ZERO).build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = ServiceBuilder::new()
        .layer(retry())
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(upstream.clone());
    let began = Instant::now();
    let response = send(&service, get()).await.unwrap();
    assert_eq!(
        (response.status(), stopped(&response)),
        (StatusCode::SERVICE_UNAVAILABLE, Some(Stop::CircuitOpen))
    );
    assert_eq!((upstream.count(), began.elapsed()), (2, 100 * MS));
    assert_eq!(circuit.snapshot().refused, 0, "nothing was asked that is known to be refused");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_opened_during_the_wait_ends_the_call_and_costs_no_token() {
    let circuit = Circuit::builder().build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let budget = RetryBudget::default();
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(upstream.clone());
    let mut call = tokio_test::task::spawn(send(&service, get()));
    assert!(call.poll().is_pending());
    circuit.force_open();
    tokio::time::advance(100 * MS).await;
    let Poll::Ready(result) = call.poll() else { panic!("the wait is over") };
    assert!(result.unwrap_err().is_circuit_open());
    assert_eq!(upstream.count(), 1);
    approximately(budget.tokens(), 1.7);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_never_retried() {
    let compartment = Compartment::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let upstream = Upstream::answering([hang()]);
    let budget = RetryBudget::default();
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()))
        .layer(BulkheadLayer::new(compartment.clone()))
        .service(upstream.clone());
    let mut busy = tokio_test::task::spawn(send(&service, get()));
    assert!(busy.poll().is_pending());
    let began = Instant::now();
    assert!(send(&service, get()).await.unwrap_err().is_bulkhead_full());
    assert_eq!((upstream.count(), began.elapsed(), compartment.refused()), (1, Duration::ZERO, 1));
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_classifier_is_never_asked_about_a_refusal() {
    let circuit = Circuit::builder().build().unwrap();
    circuit.force_open();
    let asked = |_: Result<&Response<_>, &Error<io::Error>>| -> Outcome { panic!("asked about a refusal") };
    let service = ServiceBuilder::new()
        .layer(retry().classifier(asked))
        .layer(CircuitBreakerLayer::new(circuit))
        .service(Upstream::answering([status(200)]));
    assert!(send(&service, get()).await.unwrap_err().is_circuit_open());
}

// ===== What the caller gets =====

#[tokio::test(start_paused = true)]
async fn the_caller_gets_the_last_503_itself() {
    let body = Script::pieces(&["down ", "for maintenance"]);
    let answer = |number: &str| status(503).header("x-attempt", number).body(&body);
    let answers = [answer("1"), answer("2"), answer("3"), answer("4")];
    let (result, _) = one(&retry(), answers, get()).await;
    let response = result.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-attempt"]), (503, &"4".parse().unwrap()));
    let attempts = attempts(&response).unwrap();
    assert_eq!((attempts.made, attempts.stopped), (4, Some(Stop::Exhausted)));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "down for maintenance");
}

#[tokio::test(start_paused = true)]
async fn one_attempt_that_was_enough_leaves_no_note() {
    for code in [200, 301, 404, 429, 500, 501] {
        assert_eq!(attempts(&one(&retry(), [status(code)], get()).await.0.unwrap()), None, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_took_two_attempts_says_so() {
    let (result, _) = one(&retry(), [status(503), status(200)], get()).await;
    let attempts = attempts(&result.unwrap()).unwrap();
    assert_eq!((attempts.made, attempts.stopped), (2, None));
}

#[tokio::test(start_paused = true)]
async fn without_retries_there_is_nothing_to_note() {
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
    // Two tokens at first, less 0.3 for the first failure, pay for one retry.
    assert_eq!(stopped(&result.unwrap()), Some(Stop::Budget));
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

// ===== Why it stopped =====

#[tokio::test(start_paused = true)]
async fn each_reason_to_stop_is_named_on_the_response() {
    let empty = RetryBudget::builder().initial(0.0).build().unwrap();
    let soon = Options::new().deadline(Instant::now() + 50 * MS);
    let later = |seconds| status(503).header("retry-after", seconds);
    for (layer, answer, request, expected) in [
        (retry().budget(empty), status(503), get(), Stop::Budget),
        (retry(), status(503), with(get(), soon), Stop::Deadline),
        (retry(), status(503), post(), Stop::NotIdempotent),
        (retry(), later("3600"), get(), Stop::RetryAfterTooLong),
    ] {
        let (result, upstream) = one(&layer, [answer], request).await;
        let attempts = attempts(&result.unwrap()).unwrap();
        assert_eq!((attempts.made, attempts.stopped), (1, Some(expected)));
        assert_eq!(upstream.count(), 1, "{expected}");
    }
}

// ===== Backoff =====

#[tokio::test(start_paused = true)]
async fn without_jitter_the_waits_double_up_to_the_cap() {
    // Mistake 13: attempt 20 waits 29 hours.
    let layer = RetryLayer::new(policy(20)).without_budget();
    let (_, upstream) = one(&layer, [status(503)], get()).await;
    let mut expected = vec![2000 * MS; 20];
    expected[..5].copy_from_slice(&[100 * MS, 200 * MS, 400 * MS, 800 * MS, 1600 * MS]);
    assert_eq!(upstream.waits(), expected);
}

#[tokio::test(start_paused = true)]
async fn no_jitter_lifts_a_wait_over_the_cap() {
    // Mistake 13: the jitter comes after the cap.
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

/// The waits of two calls, one after the other, of a client with this seed.
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
    // Promise 6.
    assert_eq!(waits_with_seed(7).await, waits_with_seed(7).await);
    assert_ne!(waits_with_seed(7).await, waits_with_seed(8).await);
}

#[tokio::test(start_paused = true)]
async fn two_calls_do_not_share_a_sequence() {
    // Mistake 14: every clone has the same random source, unadvanced.
    let policy = RetryPolicy::builder().max_retries(1).seed(7).build().unwrap();
    let layer = RetryLayer::new(policy.clone()).without_budget();
    let upstream = Upstream::answering([status(503)]);
    let service = layer.layer(upstream.clone());
    let another_layer = RetryLayer::new(policy).without_budget().layer(upstream.clone());
    let calls = (0..50).flat_map(|_| [send(&service, get()), send(&another_layer, get())]);
    futures_util::future::join_all(calls).await;
    let times = upstream.times();
    assert_eq!(times.len(), 200);
    // A hundred waits of up to 100 ms, seen to the millisecond.
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

fn told(seconds: &str) -> support::Answer {
    status(503).header("retry-after", seconds)
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_a_floor_with_the_backoff_on_top() {
    let (_, upstream) = one(&retry(), [told("1"), told("2"), status(200)], get()).await;
    assert_eq!(upstream.waits(), [1100 * MS, 2200 * MS]);
}

#[tokio::test(start_paused = true)]
async fn those_who_were_told_the_same_do_not_come_back_together() {
    let policy = RetryPolicy::builder().max_retries(1).seed(3).build().unwrap();
    let upstream = Upstream::answering([told("1")]);
    let service = RetryLayer::new(policy).without_budget().layer(upstream.clone());
    futures_util::future::join_all((0..100).map(|_| send(&service, get()))).await;
    let times = upstream.times();
    let again: BTreeSet<_> = times[100..].iter().copied().collect();
    assert!(again.first().unwrap() >= &SECOND && again.last().unwrap() <= &(1100 * MS), "{again:?}");
    assert!(again.len() > 40, "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn told_to_wait_for_too_long_it_gives_up_at_once() {
    // Mistake 19: `Retry-After` without a cap.
    for seconds in ["3", "86400", "99999999999999999999999999"] {
        let began = Instant::now();
        let (result, upstream) = one(&retry(), [told(seconds)], get()).await;
        let response = result.unwrap();
        assert_eq!(stopped(&response), Some(Stop::RetryAfterTooLong));
        assert_eq!(response.headers()["retry-after"], seconds);
        assert_eq!((upstream.count(), began.elapsed()), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn told_to_wait_beyond_the_deadline_it_gives_up_at_once() {
    let began = Instant::now();
    let request = with(get(), Options::new().deadline(began + SECOND));
    let (result, upstream) = one(&retry(), [told("1")], request).await;
    assert_eq!(stopped(&result.unwrap()), Some(Stop::Deadline));
    assert_eq!((upstream.count(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn how_long_it_may_be_told_to_wait_is_a_knob() {
    let backoff = Backoff::new().jitter(Jitter::None);
    let policy = RetryPolicy::builder().backoff(backoff).max_retry_after(60 * SECOND).build().unwrap();
    let layer = RetryLayer::new(policy).without_budget();
    let (_, upstream) = one(&layer, [told("60"), status(200)], get()).await;
    assert_eq!(upstream.waits(), [60_100 * MS]);
    assert_eq!(stopped(&one(&layer, [told("61")], get()).await.0.unwrap()), Some(Stop::RetryAfterTooLong));
}

#[tokio::test(start_paused = true)]
async fn a_date_is_waited_for_by_the_clock_that_was_set() {
    // 1994-11-06 08:49:37 UTC, the date of RFC 9110's examples.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let layer = retry().classifier(HttpClassifier::new().wall_clock(move || now));
    let wait = async |date| one(&layer, [told(date), status(200)], get()).await.1.waits();
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:39 GMT").await, [2100 * MS]);
    assert_eq!(wait("Sunday, 06-Nov-94 08:49:38 GMT").await, [1100 * MS]);
    assert!(wait("Sun, 06 Nov 1994 08:49:40 GMT").await.is_empty());
    // Mistake 19: a date in the past, or with a wrong weekday.
    assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT").await, [100 * MS]);
    assert_eq!(wait("Mon, 06 Nov 1994 08:49:39 GMT").await, [100 * MS]);
}

#[tokio::test(start_paused = true)]
async fn nonsense_in_retry_after_leaves_the_wait_to_the_backoff() {
    // Promise 3.
    for nonsense in ["", "-1", "1.5", "NaN", "soon", "Sun, 06 Nov 1994", "0"] {
        let (_, upstream) = one(&retry(), [told(nonsense), status(200)], get()).await;
        assert_eq!(upstream.waits(), [100 * MS], "{nonsense:?}");
    }
}

// ===== Budget =====

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_budget_closes_by_itself() {
    let upstream = Upstream::answering([status(503)]);
    let budget = RetryBudget::default();
    let service = RetryLayer::new(policy(3)).budget(budget.clone()).layer(upstream.clone());
    for _ in 0..1000 {
        let response = send(&service, get()).await.unwrap();
        assert_eq!(stopped(&response), Some(Stop::Budget));
    }
    assert_eq!((upstream.count(), budget.retries()), (1001, 1));
    approximately(budget.tokens(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_succeeds_does_not_pay_for_itself() {
    // Mistake 15: 1,000 calls that fail once each make 2,000 attempts.
    let answers = (0..2000).map(|number| status(if number % 2 == 0 { 503 } else { 200 }));
    let upstream = Upstream::answering(answers);
    let service = RetryLayer::new(policy(3)).layer(upstream.clone());
    for _ in 0..1000 {
        send(&service, get()).await.unwrap();
    }
    // Of those that are not retried every other one succeeds, and pays for somebody else's.
    assert!(upstream.count() < 1400, "{} attempts", upstream.count());
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_calls_is_the_share_that_was_configured() {
    // Mistake 16: a ratio of 0.7 is truncated, and allows 100 %.
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
    // Mistake 17: a budget without a floor breaks clients with few calls.
    let layer = RetryLayer::new(policy(3));
    let (result, _) = one(&layer, [status(503), status(200)], get()).await;
    assert_eq!(result.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_no_share_of_the_calls_in_flight() {
    // Mistake 17: it shrinks just when all calls fail at once.
    let budget = RetryBudget::builder().initial(10.0).per_failure(0.0).build().unwrap();
    let upstream = Upstream::answering([status(503)]);
    let service = RetryLayer::new(policy(1)).budget(budget.clone()).layer(upstream.clone());
    futures_util::future::join_all((0..100).map(|_| send(&service, get()))).await;
    assert_eq!((upstream.count(), budget.retries()), (110, 10));
}

#[tokio::test(start_paused = true)]
async fn the_budget_refills_by_the_clock_that_tests_can_pause() {
    // Mistake 25: wall-clock time in budgets.
    let budget = RetryBudget::builder().initial(0.0).per_second(1.0).per_failure(0.0).build().unwrap();
    let layer = retry().budget(budget.clone());
    assert_eq!(stopped(&one(&layer, [status(503)], get()).await.0.unwrap()), Some(Stop::Budget));
    tokio::time::advance(2 * SECOND).await;
    approximately(budget.tokens(), 2.0);
    let (result, upstream) = one(&layer, [status(503), status(503), status(200)], get()).await;
    assert_eq!((result.unwrap().status().as_u16(), upstream.count()), (200, 3));
    // Mistake 16: an idle month is one step, and does not overfill it.
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
    // Neutral: neither.
    approximately(after(429).await, 2.6);
    one(&layer, [fault(ConnectionReset)], get()).await.0.unwrap_err();
    approximately(budget.tokens(), 2.3);
    for _ in 0..100 {
        after(200).await;
    }
    approximately(budget.tokens(), 10.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_gives_its_token_back() {
    // Mistake 18; promise 2.
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
    // Promise 3.
    let error = RetryPolicy::builder().max_retries(101).build().unwrap_err();
    assert_eq!(error.to_string(), "retry.max_retries is 101: it must be between 0 and 100");
    let error = RetryPolicy::builder().backoff(Backoff::new().factor(f64::NAN)).build().unwrap_err();
    assert_eq!((error.field(), error.value()), ("retry.backoff.factor", "NaN"));
    let error = RetryBudget::builder().initial(11.0).build().unwrap_err();
    assert_eq!(
        (error.field(), error.allowed()),
        ("retry.budget.initial", "between 0.0 and 10.0, which is the capacity")
    );
}

#[tokio::test(start_paused = true)]
async fn the_extremes_that_are_allowed_do_not_panic() {
    // Promise 3.
    let year = 365 * 24 * 3600 * SECOND;
    for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(1.0)]
    {
        let backoff = Backoff::new().base(year).cap(year).factor(100.0).jitter(jitter);
        let policy = RetryPolicy::builder().max_retries(100).backoff(backoff).max_retry_after(year);
        let layer = RetryLayer::new(policy.build().unwrap()).without_budget();
        let (result, upstream) = one(&layer, [told("99999999999999999999")], get()).await;
        assert_eq!((stopped(&result.unwrap()), upstream.count()), (Some(Stop::Exhausted), 101));
    }
}

// ===== Copies =====

/// A request that counts how often it was copied.
struct Counted {
    copies: Arc<AtomicU32>,
    resend: Resend,
    can_be_copied: bool,
}

impl HasOptions for Counted {}

impl Resendable for Counted {
    fn resend(&self) -> Resend {
        self.resend
    }

    fn try_clone(&self) -> Option<Self> {
        self.can_be_copied.then(|| {
            self.copies.fetch_add(1, Ordering::Relaxed);
            Self { copies: Arc::clone(&self.copies), ..*self }
        })
    }
}

/// How many requests and how many copies a call comes to, and how it ended.
async fn copies(
    layer: &RetryLayer,
    answers: impl IntoIterator<Item = support::Answer>,
    resend: Resend,
    can_be_copied: bool,
) -> (usize, u32, Option<Stop>) {
    let upstream = Upstream::answering(answers);
    let copies = Arc::default();
    let request = Counted { copies: Arc::clone(&copies), resend, can_be_copied };
    let result = send(&layer.layer(upstream.clone()), request).await;
    let stop = result.ok().and_then(|response| stopped(&response));
    (upstream.count(), copies.load(Ordering::Relaxed), stop)
}

#[tokio::test(start_paused = true)]
async fn a_request_is_copied_only_while_another_attempt_is_possible() {
    // Mistake 22.
    let exhausted = Some(Stop::Exhausted);
    assert_eq!(copies(&retry(), [status(200)], Resend::Always, true).await, (1, 1, None));
    assert_eq!(copies(&retry(), [status(503)], Resend::Always, true).await, (4, 3, exhausted));
    let none = RetryLayer::new(policy(0));
    assert_eq!(copies(&none, [status(503)], Resend::Always, true).await, (1, 0, None));
    let not = Some(Stop::NotIdempotent);
    assert_eq!(copies(&retry(), [status(503)], Resend::Never, true).await, (1, 0, not));
    assert_eq!(copies(&retry(), [status(503)], Resend::IfNotSent, true).await, (1, 1, not));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_copied_is_sent_once_and_never_refused() {
    // Mistake 21.
    for (code, stop) in [(200, None), (404, None), (503, Some(Stop::NotReplayable))] {
        assert_eq!(copies(&retry(), [status(code)], Resend::Always, false).await, (1, 0, stop));
    }
    let reset = copies(&retry(), [fault(ConnectionReset)], Resend::Always, false).await;
    assert_eq!(reset, (1, 0, None));
}

// ===== Streaming request bodies =====

/// What an upstream read of the bodies of its requests.
type Bodies = Arc<Mutex<Vec<Result<String, String>>>>;

/// An upstream that reads the whole body of each request, and then answers with the next of these statuses.
fn reading(
    bodies: &Bodies,
    statuses: &'static [u16],
) -> impl Service<
    Request<ReplayBody<TestBody>>,
    Response = Response<TestBody>,
    Error = Error<io::Error>,
    Future: Send,
> + Clone {
    let bodies = Arc::clone(bodies);
    let calls = Arc::new(AtomicUsize::new(0));
    tower::service_fn(move |request: Request<ReplayBody<TestBody>>| {
        let code = statuses[calls.fetch_add(1, Ordering::Relaxed).min(statuses.len() - 1)];
        let bodies = Arc::clone(&bodies);
        async move {
            let read = request.into_body().collect().await;
            let read = read.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap());
            bodies.lock().unwrap().push(read.map_err(|error| error.to_string()));
            let body = Script::of(&[]).sized().start();
            Ok(Response::builder().status(code).body(body).unwrap())
        }
    })
}

fn put(body: &Script) -> Request<TestBody> {
    Request::put("http://sku.internal/v1/items/42").body(body.start()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_is_sent_again_from_what_was_kept() {
    let bodies = Bodies::default();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new(64))
        .layer(retry())
        .service(reading(&bodies, &[503, 503, 200]));
    let body = Script::pieces(&["one ", "two"]).then(Step::Wait(SECOND)).then(Step::Data("three".into()));
    let response = send(&service, put(&body)).await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response).unwrap().made), (200, 3));
    assert_eq!(*bodies.lock().unwrap(), vec![Ok("one twothree".to_owned()); 3]);
    assert_eq!(body.read(), 12, "the body itself is read once");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_over_the_limit_is_sent_once_and_never_refused() {
    // Mistake 21.
    for (statuses, expected, stop) in [(&[200][..], 200, None), (&[503, 200], 503, Some(Stop::NotReplayable))]
    {
        let bodies = Bodies::default();
        let service = ServiceBuilder::new()
            .layer(ReplayBodyLayer::new(10))
            .layer(retry())
            .service(reading(&bodies, statuses));
        let response = send(&service, put(&Script::pieces(&["one ", "two ", "three"]))).await.unwrap();
        assert_eq!((response.status().as_u16(), stopped(&response)), (expected, stop));
        assert_eq!(*bodies.lock().unwrap(), [Ok("one two three".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_that_was_not_read_can_be_sent_again_whatever_its_size() {
    let bodies = Bodies::default();
    let reading = reading(&bodies, &[200]);
    let refusals = Arc::new(AtomicU32::new(2));
    let upstream = tower::service_fn(move |request| {
        let refuse = refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let call = refuse.is_err().then(|| reading.clone().oneshot(request));
        async move {
            match call {
                Some(call) => call.await,
                None => Err(Error::Upstream(ConnectionRefused.into())),
            }
        }
    });
    let service = ServiceBuilder::new().layer(ReplayBodyLayer::new(1)).layer(retry()).service(upstream);
    let response = send(&service, put(&Script::pieces(&["one ", "two ", "three"]))).await.unwrap();
    assert_eq!(attempts(&response).unwrap().made, 3);
    assert_eq!(*bodies.lock().unwrap(), [Ok("one two three".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn the_options_of_a_call_pass_through_the_replay_layer() {
    let bodies = Bodies::default();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::default())
        .layer(retry())
        .map_request(Call::into_inner)
        .service(reading(&bodies, &[503]));
    let call = Call::new(put(&Script::pieces(&["one"]))).resend(Resend::Never);
    assert_eq!(stopped(&send(&service, call).await.unwrap()), Some(Stop::NotIdempotent));
    assert_eq!(bodies.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_outgrows_the_limit_while_the_retry_waits_costs_the_caller_nothing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let upstream = tower::service_fn(move |request: Request<ReplayBody<TestBody>>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut body = request.into_body();
            if call == 0 {
                // Answers early, while its connection goes on taking the upload.
                body.frame().await.unwrap().unwrap();
                tokio::spawn(body.collect());
                return Ok(Response::builder().status(503).body(Script::of(&[]).sized().start()).unwrap());
            }
            let read = body.collect().await.map_err(|error| Error::Upstream(io::Error::other(error)))?;
            assert_eq!(read.to_bytes(), "one two three");
            Ok(Response::new(Script::of(&[]).sized().start()))
        }
    });
    let body = Script::pieces(&["one "])
        .then(Step::Wait(50 * MS))
        .then(Step::Data("two ".into()))
        .then(Step::Data("three".into()));
    let service = ServiceBuilder::new().layer(ReplayBodyLayer::new(8)).layer(retry()).service(upstream);
    let response = send(&service, put(&body)).await.unwrap();
    assert!(matches!(response.status().as_u16(), 200 | 503));
}

// ===== What is thrown away =====

#[tokio::test(start_paused = true)]
async fn a_discarded_response_is_read_to_its_end() {
    // Mistake 23: dropped unread, it costs its connection.
    let body = Script::of(&[Step::Data(vec![0; 60_000].into()), Step::Wait(50 * MS), Step::Data("x".into())]);
    let (result, _) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert_eq!(result.unwrap().status(), 200);
    assert_eq!((body.read(), body.ended(), body.dropped()), (60_001, true, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_64_kib_of_a_discarded_response_are_read() {
    let body = Script::of(&[Step::Endless(vec![0; 1024].into())]);
    let (_, upstream) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert!((64 * 1024..=65 * 1024).contains(&body.read()), "{} bytes", body.read());
    assert_eq!((body.dropped(), upstream.waits()), (1, vec![100 * MS]));
}

#[tokio::test(start_paused = true)]
async fn a_discarded_response_is_read_for_no_longer_than_the_wait() {
    let body = Script::pieces(&["x"]).then(Step::Stall);
    let (_, upstream) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert_eq!((body.read(), body.dropped(), upstream.waits()), (1, 1, vec![100 * MS]));
}

#[tokio::test(start_paused = true)]
async fn a_discarded_response_of_endless_nothing_is_let_go() {
    let body = Script::of(&[Step::Endless(Bytes::new())]);
    let (_, upstream) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert_eq!((body.dropped(), upstream.waits()), (1, vec![100 * MS]));
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_a_discarded_response_is_given_back_before_the_wait() {
    let nothing = Script::of(&[Step::Stall]);
    let some = Script::pieces(&["x"]).then(Step::Stall);
    let endless = Script::of(&[Step::Endless(vec![0; 1024].into())]);
    for body in [nothing, some, endless] {
        let compartment = Compartment::builder().max_concurrent(1).max_waiting(0).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(retry())
            .layer(BulkheadLayer::new(compartment.clone()))
            .service(Upstream::answering([status(503).body(&body), status(204), status(200)]));
        let mut call = tokio_test::task::spawn(send(&service, get()));
        assert!(call.poll().is_pending());
        assert_eq!(compartment.in_flight(), 0);
        assert_eq!(send(&service, get()).await.unwrap().status(), 204, "while the first call backs off");
        assert_eq!(call.await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_discarded_response_that_breaks_is_no_second_failure_of_the_circuit() {
    for body in [Script::of(&[Step::Fail]), Script::of(&[Step::Wait(50 * MS), Step::Fail])] {
        let circuit = Circuit::builder().consecutive_failures(2, Duration::ZERO).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(retry())
            .layer(CircuitBreakerLayer::new(circuit))
            .service(Upstream::answering([status(503).body(&body), status(200)]));
        assert_eq!(send(&service, get()).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_response_that_the_caller_gets_is_not_read() {
    for code in [200, 503] {
        let body = Script::pieces(&["one"]).then(Step::Stall);
        let (result, _) = one(&retry(), [status(code).body(&body)], post()).await;
        assert_eq!((body.read(), body.dropped()), (0, 0));
        assert_eq!(result.unwrap().into_body().frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    }
}

// ===== Deadline =====

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_before_the_deadline_is_not_started() {
    for (left, made, ended) in [(100, 1, 0), (101, 2, 100), (300, 2, 100), (301, 3, 300), (10_000, 4, 700)] {
        let began = Instant::now();
        let request = with(get(), Options::new().deadline(began + left * MS));
        let (result, upstream) = one(&retry(), [status(503)], request).await;
        let response = result.unwrap();
        let stop = if made == 4 { Stop::Exhausted } else { Stop::Deadline };
        assert_eq!((response.status().as_u16(), stopped(&response)), (503, Some(stop)), "{left} ms");
        assert_eq!((upstream.count(), began.elapsed()), (made, ended * MS), "{left} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_not_started_takes_no_token() {
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let request = with(get(), Options::new().deadline(Instant::now() + 50 * MS));
    one(&retry().budget(budget.clone()), [status(503)], request).await.0.unwrap();
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_cut_by_the_deadline_is_not_retried_and_no_failure() {
    let layer = ServiceBuilder::new();
    let budget = RetryBudget::default();
    let service = layer
        .layer(retry().budget(budget.clone()))
        .layer(TimeoutLayer::attempt(SECOND))
        .service(Upstream::answering([hang()]));
    let began = Instant::now();
    let request = with(get(), Options::new().deadline(began + 500 * MS));
    assert!(send(&service, request).await.unwrap_err().is_total_timeout());
    assert_eq!(began.elapsed(), 500 * MS);
    approximately(budget.tokens(), 2.0);
}

// ===== Readiness =====

type MockUpstream = mock::Mock<Request<()>, Response<TestBody>>;
type MockHandle = mock::Handle<Request<()>, Response<TestBody>>;

fn mock_error(error: BoxError) -> Error<io::Error> {
    Error::Upstream(io::Error::other(error))
}

/// A service that panics when it is called without having been polled ready, behind `layer`.
fn mocked<L>(
    layer: L,
) -> (impl Service<Request<()>, Response = Response<TestBody>, Error = Error<io::Error>> + Clone, MockHandle)
where
    L: Layer<tower::util::MapErr<MockUpstream, fn(BoxError) -> Error<io::Error>>>,
    L::Service: Service<Request<()>, Response = Response<TestBody>, Error = Error<io::Error>> + Clone,
{
    let (mock, handle) = mock::pair();
    let mock = mock.map_err(mock_error as fn(_) -> _);
    (layer.layer(mock), handle)
}

fn answer(code: u16) -> Response<TestBody> {
    Response::builder().status(code).body(Script::of(&[]).sized().start()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    // Mistake 24; promise 8: a clone of the mock that is called panics.
    let (mut service, mut handle) = mocked(retry());
    handle.allow(1);
    let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
    ready.unwrap();
    let mut call = tokio_test::task::spawn(service.call(get()));
    assert!(call.poll().is_pending());
    handle.next_request().await.unwrap().1.send_response(answer(200));
    assert_eq!(call.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_called_has_to_be_polled_ready_again() {
    let (service, mut handle) = mocked(retry());
    handle.allow(1);
    let mut service = tokio_test::task::spawn(service);
    let mut poll_ready = || service.enter(|cx, mut service| service.poll_ready(cx).is_ready());
    assert!(poll_ready());
    let _call = service.enter(|_, mut service| Box::pin(service.call(get())));
    let mut poll_ready = || service.enter(|cx, mut service| service.poll_ready(cx).is_ready());
    assert!(!poll_ready());
    handle.allow(1);
    assert!(poll_ready());
}

#[tokio::test(start_paused = true)]
async fn the_service_is_polled_ready_again_before_each_further_attempt() {
    // Mistake 24.
    let (service, mut handle) = mocked(retry());
    handle.allow(1);
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    for code in [503, 503, 503] {
        handle.next_request().await.unwrap().1.send_response(answer(code));
        assert!(call.poll().is_pending());
        tokio::time::advance(SECOND).await;
        assert!(call.poll().is_pending());
        assert!(handle.poll_request().is_pending(), "sent to a service that is not ready");
        handle.allow(1);
        assert!(call.is_woken());
        assert!(call.poll().is_pending());
    }
    handle.next_request().await.unwrap().1.send_response(answer(200));
    assert_eq!(call.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_ends_the_call() {
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let (service, mut handle) = mocked(retry().budget(budget.clone()));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    handle.next_request().await.unwrap().1.send_response(answer(503));
    handle.send_error("closed");
    let error = call.await.unwrap_err();
    assert_eq!(error.upstream().unwrap().to_string(), "closed");
    approximately(budget.tokens(), 2.0);
    assert_eq!(budget.retries(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_the_service_is_not_ready_gives_its_token_back() {
    // Promise 2.
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let (service, mut handle) = mocked(retry().budget(budget.clone()));
    handle.allow(1);
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    handle.next_request().await.unwrap().1.send_response(answer(503));
    assert!(call.poll().is_pending());
    tokio::time::advance(SECOND).await;
    assert!(call.poll().is_pending());
    approximately(budget.tokens(), 1.0);
    drop(call);
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_makes_the_retry_not_ready() {
    let (service, mut handle) = mocked(retry());
    handle.allow(0);
    let mut service = tokio_test::task::spawn(service);
    let poll = service.enter(|cx, mut service| service.poll_ready(cx).map(|ready| ready.is_ok()));
    assert_eq!(poll, Poll::Pending);
    handle.allow(1);
    assert!(service.is_woken());
}

// ===== Promises =====

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_drops_what_it_was_doing() {
    // Promise 2: during an attempt, and during a wait in which a response is being read.
    let stalling = Script::of(&[Step::Stall]);
    let compartment = Compartment::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retry())
        .layer(BulkheadLayer::new(compartment.clone()))
        .service(Upstream::answering([hang(), status(503).body(&stalling)]));
    for _ in 0..2 {
        let mut call = tokio_test::task::spawn(send(&service, get()));
        assert!(call.poll().is_pending());
        drop(call);
        assert_eq!(compartment.in_flight(), 0);
    }
    assert_eq!(stalling.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned() {
    // Promise 5.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let body = Script::of(&[Step::Stall]);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::total(10 * SECOND))
        .layer(retry())
        .layer(TimeoutLayer::attempt(SECOND))
        .service(Upstream::answering([status(503).body(&body), hang(), status(200)]));
    let mut call = tokio_test::task::spawn(send(&service, get()));
    for _ in 0..2 {
        assert!(call.poll().is_pending());
        assert_eq!(tasks(), before);
        tokio::time::advance(100 * MS).await;
    }
    call.await.unwrap();
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_future_and_its_service_can_go_to_another_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let service = is_send(retry().layer(Upstream::answering([status(200)])));
    assert_eq!(is_send(send(&service, get())).await.unwrap().status(), 200);
}

// ===== Not HTTP =====

#[derive(Debug, PartialEq)]
enum Answer {
    Found,
    Busy,
}

#[derive(Clone)]
struct Lookup;

impl HasOptions for Lookup {}

impl Resendable for Lookup {
    fn resend(&self) -> Resend {
        Resend::Always
    }

    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

fn judge(result: Result<&Answer, &Error<io::Error>>) -> Outcome {
    match result {
        Ok(Answer::Found) => Outcome::Success,
        Ok(Answer::Busy) | Err(_) => Outcome::transient(),
    }
}

#[tokio::test(start_paused = true)]
async fn any_service_is_retried_by_a_classifier_of_its_own() {
    for (busy, expected, took) in [(2, Answer::Found, 300), (9, Answer::Busy, 700)] {
        let left = Arc::new(AtomicU32::new(busy));
        let service = ServiceBuilder::new()
            .layer(retry().classifier(judge).plain())
            .map_err(Error::Upstream)
            .service_fn(move |_: Lookup| {
                let busy =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                async move { Ok::<_, io::Error>(if busy.is_ok() { Answer::Busy } else { Answer::Found }) }
            });
        let began = Instant::now();
        assert_eq!(send(&service, Lookup).await.unwrap(), expected);
        assert_eq!(began.elapsed(), took * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_call_has_options_and_a_deadline_like_any_other() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::total(SECOND).plain())
        .layer(retry().classifier(judge).plain())
        .layer(TimeoutLayer::attempt(100 * MS).plain())
        .map_err(Error::Upstream)
        .service_fn(async |_: Call<Lookup>| {
            tokio::time::sleep(SECOND).await;
            Ok::<_, io::Error>(Answer::Busy)
        });
    // Attempts of 100 ms at 0, 200 and 500 ms; the one at 1,000 ms would come too late.
    let began = Instant::now();
    let error = send(&service, Call::new(Lookup)).await.unwrap_err();
    assert!(error.is_timeout() && !error.is_total_timeout());
    assert_eq!(began.elapsed(), 600 * MS);

    let began = Instant::now();
    let call = Call::new(Lookup).resend(Resend::Never);
    send(&service, call).await.unwrap_err();
    assert_eq!(began.elapsed(), 100 * MS);
}

// ===== Composition =====

#[tokio::test(start_paused = true)]
async fn the_layers_compose_without_naming_a_type() {
    // Mistake 37.
    let circuit = Circuit::builder().build().unwrap();
    let compartment = Compartment::builder().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::total(3 * SECOND))
        .layer(RetryLayer::new(RetryPolicy::default()))
        .layer(CircuitBreakerLayer::new(circuit))
        .layer(BulkheadLayer::new(compartment))
        .layer(TimeoutLayer::attempt(SECOND))
        .map_err(Error::Upstream)
        .service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, io::Error>(Response::new(Full::new(Bytes::from_static(b"fine"))))
        });
    let response = service.oneshot(Request::new(Full::default())).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "fine");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_cannot_fail_composes_too() {
    let service = ServiceBuilder::new().layer(retry()).map_err(Error::Upstream).service_fn(
        async |_: Call<Request<()>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
    );
    let result: Result<_, Error<Infallible>> = service.oneshot(Call::new(get())).await;
    assert_eq!(result.unwrap().status(), 200);
}
