//! The two timeouts: the deadline of a call, and the timeout of an attempt.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

mod support;

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::deadline::DeadlineLayer;
use steadfast::http::TryCloneBody;
use steadfast::retry::{Attempts, Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{
    BoxError, Call, CallOptions, Error, ErrorKind, HasCallOptions, RetryableRequest, StopReason, TimeoutScope,
};
use tokio::time::Instant;
use tower::util::{self, BoxService};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use support::{MS, SECOND, Script, Step, TestBody, Upstream, fault, get, hang, post, send, status};

/// Three retries, after waits of 100, 200 and 400 ms, without a budget.
fn retry() -> RetryLayer {
    let backoff = Backoff::new().jitter(Jitter::None);
    RetryLayer::new(RetryPolicy::builder().backoff(backoff).build().unwrap()).without_budget()
}

fn with(mut request: Request<()>, options: CallOptions) -> Request<()> {
    request.extensions_mut().insert(options);
    request
}

/// An HTTP service with either timeout.
type Either = BoxService<Request<()>, Response<UnsyncBoxBody<Bytes, BoxError>>, Error<io::Error>>;

/// Two services: one with a deadline of this length, one with an attempt timeout of this length.
fn both<S>(length: Duration, service: impl Fn() -> S) -> [Either; 2]
where
    S: Service<Request<()>, Response = Response<TestBody>, Error = Error<io::Error>, Future: Send>,
    S: Clone + Send + 'static,
{
    let total = DeadlineLayer::new(length).layer(service());
    let attempt = TimeoutLayer::new(length).layer(service());
    [
        BoxService::new(total.map_response(|response| response.map(BodyExt::boxed_unsync))),
        BoxService::new(
            attempt.map_response(|response| response.map(|body| body.map_err(BoxError::from).boxed_unsync())),
        ),
    ]
}

/// Returns the scope of a timeout, and the time that was allowed.
fn timed_out<T: std::fmt::Debug, E>(result: Result<T, Error<E>>) -> (TimeoutScope, Duration) {
    match result {
        Err(error) => match error.kind() {
            ErrorKind::Timeout { scope, after } => (scope, after.expect("it knows how much time there was")),
            _ => panic!("{error:?} is no timeout"),
        },
        Ok(other) => panic!("{other:?} is no timeout"),
    }
}

/// Returns the scope of the timeout that cut a body, and the time that was allowed.
fn body_timed_out<T: std::fmt::Debug>(result: Result<T, BoxError>) -> (TimeoutScope, Duration) {
    let error = result.unwrap_err();
    let error = error.downcast::<io::Error>().expect("the body was cut by a timeout");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    timed_out(Err::<(), _>(error.downcast::<Error<Infallible>>().unwrap()))
}

// ===== Total =====

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_ends_with_its_total_time() {
    let service = DeadlineLayer::new(3 * SECOND).layer(Upstream::answering([hang()]));
    let began = Instant::now();
    let result = send(&service, get()).await;
    assert_eq!(timed_out(result), (TimeoutScope::Total, 3 * SECOND));
    assert_eq!(began.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_answers_in_time_is_left_alone() {
    let answers = [status(200), status(200).after(999 * MS)];
    let service = DeadlineLayer::new(SECOND).layer(Upstream::answering(answers));
    for _ in 0..2 {
        assert_eq!(send(&service, get()).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_from_below_is_handed_on_as_it_is() {
    let kind = io::ErrorKind::ConnectionReset;
    for service in both(SECOND, || Upstream::answering([support::fault(kind)])) {
        let error = service.oneshot(get()).await.unwrap_err();
        assert_eq!(error.inner().unwrap().kind(), kind);
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_has_a_clock_of_its_own() {
    let service = DeadlineLayer::new(SECOND).layer(Upstream::answering([status(200).after(800 * MS)]));
    for _ in 0..3 {
        send(&service, get()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_total_time_bounds_all_attempts_and_the_waits_between_them() {
    let upstream = Upstream::answering([status(503).after(100 * MS)]);
    let service =
        ServiceBuilder::new().layer(DeadlineLayer::new(450 * MS)).layer(retry()).service(upstream.clone());
    let began = Instant::now();
    let result = send(&service, get()).await;
    // Attempts begin at 0 and 200 ms. The wait from 300 to 500 ms would pass the deadline, so it does not begin.
    let attempts = *result.unwrap().extensions().get::<Attempts>().unwrap();
    assert_eq!((attempts.made, attempts.stop_reason), (2, Some(StopReason::Deadline)));
    assert_eq!(began.elapsed(), 300 * MS);
    assert_eq!(upstream.times(), [Duration::ZERO, 200 * MS]);
}

#[tokio::test(start_paused = true)]
async fn the_total_time_ends_a_call_in_the_middle_of_an_attempt() {
    let upstream = Upstream::answering([status(503), hang()]);
    let service =
        ServiceBuilder::new().layer(DeadlineLayer::new(SECOND)).layer(retry()).service(upstream.clone());
    let began = Instant::now();
    assert_eq!(timed_out(send(&service, get()).await), (TimeoutScope::Total, SECOND));
    assert_eq!((began.elapsed(), upstream.count()), (SECOND, 2));
}

#[tokio::test(start_paused = true)]
async fn a_total_time_enforces_itself_on_a_service_that_knows_nothing_of_deadlines() {
    struct Opaque;
    impl HasCallOptions for Opaque {}

    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(SECOND))
        .map_err(Error::from_upstream)
        .service_fn(async |_: Opaque| std::future::pending::<io::Result<Response<TestBody>>>().await);
    let began = Instant::now();
    assert_eq!(timed_out(send(&service, Opaque).await.map(drop)), (TimeoutScope::Total, SECOND));
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_layers_below_see_the_deadline() {
    // Known mistake 25: deadlines by the wall clock. Here, tests can pause the clock of a deadline.
    let upstream = Upstream::answering([status(200)]);
    let began = Instant::now();
    send(&DeadlineLayer::new(SECOND).layer(upstream.clone()), get()).await.unwrap();
    assert_eq!(upstream.take_seen()[0].options().get_deadline(), Some(began + SECOND));

    let upstream = Upstream::answering([status(200)]);
    let call = Call::new(post()).idempotent(true);
    send(&DeadlineLayer::new(SECOND).layer(upstream.clone()), call).await.unwrap();
    let options = upstream.take_seen()[0].options();
    assert_eq!(options, CallOptions::new().idempotent(true).deadline(began + SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_call_asks_for_replaces_the_configured_one() {
    for requested in [100 * MS, 10 * SECOND] {
        let service = DeadlineLayer::new(SECOND).layer(Upstream::answering([hang()]));
        let began = Instant::now();
        let result = send(&service, with(get(), CallOptions::new().timeout(requested))).await;
        assert_eq!(timed_out(result), (TimeoutScope::Total, requested));
        assert_eq!(began.elapsed(), requested);

        let service = DeadlineLayer::new(SECOND).layer(Upstream::answering([hang()]));
        assert_eq!(timed_out(send(&service, Call::new(get()).timeout(requested)).await).1, requested);
    }
}

#[tokio::test(start_paused = true)]
async fn the_nearer_of_two_ends_counts() {
    for (deadline, expected) in [(500 * MS, 500 * MS), (5 * SECOND, SECOND)] {
        let service = DeadlineLayer::new(SECOND).layer(Upstream::answering([hang()]));
        let began = Instant::now();
        let request = with(get(), CallOptions::new().deadline(began + deadline));
        assert_eq!(timed_out(send(&service, request).await), (TimeoutScope::Total, expected));
        assert_eq!(began.elapsed(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_time_within_another_ends_no_later() {
    for times in [[SECOND, 5 * SECOND], [5 * SECOND, SECOND]] {
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(times[0]))
            .layer(DeadlineLayer::new(times[1]))
            .service(Upstream::answering([hang()]));
        let began = Instant::now();
        assert_eq!(timed_out(send(&service, get()).await).0, TimeoutScope::Total);
        assert_eq!(began.elapsed(), SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_sends_nothing() {
    for past in [Duration::ZERO, SECOND] {
        let began = Instant::now();
        tokio::time::advance(past).await;
        let upstream = Upstream::answering([status(200)]);
        for service in both(SECOND, || upstream.clone()) {
            let request = with(get(), CallOptions::new().deadline(began));
            assert_eq!(timed_out(service.oneshot(request).await), (TimeoutScope::Total, Duration::ZERO));
            assert_eq!(upstream.count(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_time_of_zero_sends_nothing() {
    let upstream = Upstream::answering([status(200)]);
    let result = send(&DeadlineLayer::new(Duration::ZERO).layer(upstream.clone()), get()).await;
    assert_eq!(timed_out(result), (TimeoutScope::Total, Duration::ZERO));
    let call = Call::new(get()).timeout(Duration::ZERO);
    let another = Upstream::answering([status(200)]);
    send(&DeadlineLayer::new(SECOND).layer(another.clone()), call).await.unwrap_err();
    assert_eq!((upstream.count(), another.count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_length_of_time_panics() {
    // Promise: no panic on any input.
    let lengths = [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_secs(1 << 40)];
    for length in lengths {
        let script = Script::pieces(&["one"]).then(Step::Wait(SECOND));
        for service in both(length, || Upstream::answering([status(200).after(SECOND).body(&script)])) {
            let response = service.oneshot(with(get(), CallOptions::new().timeout(length))).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "one");
        }
        for rate in [0, 1, u64::MAX] {
            let upstream = Upstream::answering([status(200).after(SECOND)]);
            let service = TimeoutLayer::share_of(length).upload_rate(rate).layer(upstream);
            for options in [CallOptions::new(), CallOptions::new().timeout(length)] {
                let request = with(get(), options.body_length(u64::MAX));
                assert_eq!(send(&service, request).await.unwrap().status(), 200);
            }
        }
    }
}

// ===== The body =====

/// Makes a call with a total time of one second; returns the body and the beginning of the call.
async fn body_of(script: &Script) -> (UnsyncBoxBody<Bytes, BoxError>, Instant) {
    let began = Instant::now();
    let answer = status(200).after(100 * MS).body(script);
    let service = DeadlineLayer::new(SECOND).layer(Upstream::answering([answer]));
    (send(&service, get()).await.unwrap().into_body().boxed_unsync(), began)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_cut_when_the_total_time_is_over() {
    let script = Script::pieces(&["one"]).then(Step::Stall);
    let (mut body, began) = body_of(&script).await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    let cut = body.frame().await.unwrap();
    assert_eq!(body_timed_out(cut), (TimeoutScope::Total, SECOND));
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_cut_when_the_total_time_is_over() {
    let steps: Vec<_> = (0..100).flat_map(|_| [Step::Wait(70 * MS), Step::Data("x".into())]).collect();
    let script = Script::of(&steps);
    let (body, began) = body_of(&script).await;
    assert_eq!(body_timed_out(body.collect().await), (TimeoutScope::Total, SECOND));
    assert_eq!((began.elapsed(), script.read()), (SECOND, 12));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_has_to_wait_is_cut_too() {
    let script = Script::of(&[Step::Endless("x".into())]);
    let (mut body, _) = body_of(&script).await;
    body.frame().await.unwrap().unwrap();
    tokio::time::advance(SECOND).await;
    assert_eq!(body_timed_out(body.frame().await.unwrap()), (TimeoutScope::Total, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_body_yields_nothing_after_it_was_cut_or_broke() {
    let late = [Step::Wait(2 * SECOND), Step::Data("late".into())];
    let endless = [Step::Data("x".into()), Step::Endless("late".into())];
    let broken = [Step::Fail, Step::Data("late".into())];
    for (steps, in_time) in [(&late[..], ""), (&endless, "x"), (&broken, "")] {
        let script = Script::of(steps);
        let (mut body, _) = body_of(&script).await;
        if !in_time.is_empty() {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), in_time);
            tokio::time::advance(SECOND).await;
        }
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        let read = script.read();
        tokio::time::advance(10 * SECOND).await;
        for _ in 0..3 {
            assert!(body.frame().await.is_none());
        }
        assert_eq!(script.read(), read, "the body below is not read any more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_read_in_time_is_whole() {
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "7".parse().unwrap());
    let script =
        Script::pieces(&["one ", "two"]).then(Step::Wait(500 * MS)).then(Step::Trailers(trailers.clone()));
    let (body, _) = body_of(&script).await;
    let read = body.collect().await.unwrap();
    assert_eq!(read.trailers(), Some(&trailers));
    assert_eq!(read.to_bytes(), "one two");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrived_whole_is_handed_on_however_late_it_is_read() {
    let script = Script::pieces(&["one"]).sized();
    let (body, _) = body_of(&script).await;
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(body.collect().await.unwrap().to_bytes(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_body_keeps_its_size_and_its_own_error() {
    let script = Script::pieces(&["one"]).sized().then(Step::Fail);
    let (mut body, _) = body_of(&script).await;
    assert_eq!(body.size_hint().exact(), Some(3));
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);

    let (body, _) = body_of(&Script::of(&[]).sized()).await;
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_call_asks_for_bounds_its_body_too() {
    let service = DeadlineLayer::new(SECOND).layer(Upstream::answering([
        status(200).body(&Script::of(&[Step::Wait(5 * SECOND), Step::Data("late".into())]))
    ]));
    let patient = with(get(), CallOptions::new().timeout(10 * SECOND));
    let body = send(&service, patient).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "late");
    let body = send(&service, get()).await.unwrap().into_body();
    assert_eq!(body_timed_out(body.collect().await), (TimeoutScope::Total, SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_body_after_several_attempts_has_what_is_left_of_the_total_time() {
    let stalling = status(200).body(&Script::of(&[Step::Stall]));
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(SECOND))
        .layer(retry())
        .layer(TimeoutLayer::new(500 * MS))
        .service(Upstream::answering([hang(), stalling]));
    let began = Instant::now();
    let body = send(&service, get()).await.unwrap().into_body();
    assert_eq!(began.elapsed(), 600 * MS);
    assert_eq!(body_timed_out(body.collect().await).0, TimeoutScope::Total);
    assert_eq!(began.elapsed(), SECOND);
}

// ===== Attempt =====

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_with_its_own_time() {
    let service = TimeoutLayer::new(SECOND).layer(Upstream::answering([hang()]));
    let began = Instant::now();
    let result = send(&service, get()).await;
    assert_eq!(timed_out(result), (TimeoutScope::Attempt, SECOND));
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_time() {
    let upstream = Upstream::answering([hang(), hang(), status(200).after(900 * MS)]);
    let service =
        ServiceBuilder::new().layer(retry()).layer(TimeoutLayer::new(SECOND)).service(upstream.clone());
    assert_eq!(send(&service, get()).await.unwrap().status(), 200);
    assert_eq!(upstream.times(), [Duration::ZERO, 1100 * MS, 2300 * MS]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_does_not_go_beyond_the_deadline_of_its_call() {
    let upstream = Upstream::answering([hang()]);
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(2500 * MS))
        .layer(retry())
        .layer(TimeoutLayer::new(SECOND))
        .service(upstream.clone());
    let began = Instant::now();
    // The third attempt begins at 2,300 ms, with 200 ms left.
    assert_eq!(timed_out(send(&service, get()).await), (TimeoutScope::Total, 2500 * MS));
    assert_eq!((began.elapsed(), upstream.count()), (2500 * MS, 3));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_cut_by_the_deadline_has_the_scope_total() {
    let service = TimeoutLayer::new(SECOND).layer(Upstream::answering([hang()]));
    let request = with(get(), CallOptions::new().deadline(Instant::now() + 300 * MS));
    let result = send(&service, request).await;
    assert_eq!(timed_out(result), (TimeoutScope::Total, 300 * MS));
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_call_asks_for_is_not_that_of_an_attempt() {
    let service = TimeoutLayer::new(SECOND).layer(Upstream::answering([hang()]));
    let request = with(get(), CallOptions::new().timeout(100 * MS));
    assert_eq!(timed_out(send(&service, request).await), (TimeoutScope::Attempt, SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_ends_with_the_head_of_its_response() {
    let slow = Script::of(&[Step::Wait(5 * SECOND), Step::Data("late".into())]);
    let service = TimeoutLayer::new(SECOND).layer(Upstream::answering([status(200).body(&slow)]));
    let body = send(&service, get()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "late");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_of_no_time_lets_an_answer_through_that_is_there_at_once() {
    let layer = TimeoutLayer::new(Duration::ZERO);
    let ready = layer.layer(Upstream::answering([status(200)]));
    assert_eq!(send(&ready, get()).await.unwrap().status(), 200);
    let slow = layer.layer(Upstream::answering([status(200).after(MS)]));
    assert_eq!(timed_out(send(&slow, get()).await), (TimeoutScope::Attempt, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_until_the_deadline_is_a_failure_and_a_slow_reader_is_no_failure() {
    for (is_reader_slow, state) in [(true, State::Closed), (false, State::Open)] {
        let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(SECOND))
            .layer(CircuitBreakerLayer::new(circuit.clone()))
            .layer(TimeoutLayer::new(5 * SECOND))
            .service(Upstream::answering([status(200).body(&Script::of(&[Step::Stall]))]));
        let body = send(&service, get()).await.unwrap().into_body();
        if is_reader_slow {
            tokio::time::advance(SECOND).await;
            drop(body);
        } else {
            assert_eq!(body_timed_out(body.collect().await).0, TimeoutScope::Total);
        }
        assert_eq!(circuit.state(), state);
    }
}

// ===== A share of the total time =====

/// A total time of which an attempt has a second.
const TOTAL: Duration = Duration::from_millis(3400);

fn policy(retries: u32) -> RetryLayer {
    RetryLayer::new(RetryPolicy::builder().max_retries(retries).build().unwrap())
}

/// The layers of a client that bound the time.
fn client(
    retry: RetryLayer,
    upstream: Upstream,
) -> impl Service<Request<()>, Response = u16, Error = Error<io::Error>> + Clone {
    ServiceBuilder::new()
        .map_response(|response: Response<_>| response.status().as_u16())
        .layer(DeadlineLayer::new(10 * SECOND))
        .layer(retry)
        .layer(TimeoutLayer::share_of(10 * SECOND))
        .service(upstream)
}

/// A request body of which no copy can be made.
struct SentOnce;

impl TryCloneBody for SentOnce {
    fn try_clone(&self) -> Option<Self> {
        None
    }
}

/// Makes a call through `retry` with a total time of [`TOTAL`]. Returns the result and the time that the call took.
async fn with_share<R>(
    retry: RetryLayer,
    answer: support::Answer,
    request: R,
) -> (Result<u16, Error<io::Error>>, Duration)
where
    R: HasCallOptions + RetryableRequest,
{
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(TOTAL))
        .layer(retry)
        .layer(TimeoutLayer::share_of(TOTAL))
        .service(Upstream::answering([answer]));
    let began = Instant::now();
    let result = send(&service, request).await.map(|response| response.status().as_u16());
    (result, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_has_all_the_time_that_is_left() {
    let spent = || RetryBudget::builder().initial(0.0).build().unwrap();
    for (answer, expected) in [(status(200).after(3 * SECOND), 3 * SECOND), (hang(), TOTAL)] {
        for (result, took) in [
            with_share(policy(0), answer.clone(), get()).await,
            with_share(policy(3), answer.clone(), post()).await,
            with_share(policy(3), answer.clone(), get().map(|()| SentOnce)).await,
            with_share(policy(3).budget(spent()), answer.clone(), get()).await,
        ] {
            assert_eq!(took, expected);
            if expected == TOTAL {
                assert_eq!(timed_out(result), (TimeoutScope::Total, TOTAL));
            } else {
                assert_eq!(result.unwrap(), 200);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_another_can_follow_has_its_share() {
    let upstream = Upstream::answering([hang()]);
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(TOTAL))
        .layer(retry())
        .layer(TimeoutLayer::share_of(TOTAL))
        .service(upstream.clone());
    assert_eq!(timed_out(send(&service, get()).await), (TimeoutScope::Attempt, SECOND));
    assert_eq!(upstream.times(), [Duration::ZERO, 1100 * MS, 2300 * MS]);

    // Without a retry layer, another attempt may follow for all that the timeout layer knows.
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(TOTAL))
        .layer(TimeoutLayer::share_of(TOTAL))
        .service(upstream);
    assert_eq!(timed_out(send(&service, get()).await), (TimeoutScope::Attempt, SECOND));
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_the_last_attempt_has_its_share() {
    let service = ServiceBuilder::new()
        .layer(policy(0))
        .layer(TimeoutLayer::share_of(TOTAL))
        .service(Upstream::answering([hang()]));
    for request in [get(), with(get(), CallOptions::new().timeout(TOTAL))] {
        assert_eq!(timed_out(send(&service, request).await), (TimeoutScope::Attempt, SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_user_sets_cuts_the_last_attempt_too() {
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(TOTAL))
        .layer(policy(0))
        .layer(TimeoutLayer::new(SECOND).upload_rate(1))
        .service(Upstream::answering([hang()]));
    let request = with(get(), CallOptions::new().body_length(1024 * 1024));
    assert_eq!(timed_out(send(&service, request).await), (TimeoutScope::Attempt, SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_share_is_that_of_the_calls_own_time() {
    let service = TimeoutLayer::share_of(100 * SECOND).layer(Upstream::answering([hang()]));
    let request = || with(get(), CallOptions::new().timeout(TOTAL));
    assert_eq!(timed_out(send(&service, request()).await), (TimeoutScope::Attempt, SECOND));
    let service = DeadlineLayer::new(100 * SECOND).layer(service);
    assert_eq!(timed_out(send(&service, request()).await), (TimeoutScope::Attempt, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_end_of_the_share_cuts_the_attempt() {
    let service = TimeoutLayer::share_of(100 * SECOND).layer(Upstream::answering([hang()]));
    let request = with(get(), CallOptions::new().deadline(Instant::now() + SECOND).attempt(1, false));
    assert_eq!(timed_out(send(&service, request).await), (TimeoutScope::Total, SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_request_adds_the_time_that_it_takes_to_send() {
    const KIB: u64 = 1024;
    for (layer, length, expected) in [
        (TimeoutLayer::share_of(TOTAL), 0, SECOND),
        (TimeoutLayer::share_of(TOTAL), 64 * KIB, 1500 * MS),
        (TimeoutLayer::share_of(TOTAL), 256 * KIB, 3 * SECOND),
        (TimeoutLayer::share_of(TOTAL).upload_rate(64 * KIB), 64 * KIB, 2 * SECOND),
    ] {
        let service = layer.layer(Upstream::answering([hang()]));
        let call = Call::new(get()).body_length(length);
        assert_eq!(timed_out(send(&service, call).await), (TimeoutScope::Attempt, expected), "{length}");
    }
    let call = with(
        Request::put("http://sku.internal/").body(()).unwrap(),
        CallOptions::new().body_length(12 * KIB * KIB),
    );
    let upstream = Upstream::answering([status(200).after(6 * SECOND)]);
    assert_eq!(send(&client(policy(3), upstream.clone()), call).await.unwrap(), 200);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_end_of_the_share_counts() {
    // The answer arrives in the same moment in which the share ends, shortly after it, and just before the deadline.
    for after in [SECOND, 1001 * MS, 3399 * MS] {
        let (result, took) = with_share(policy(0), status(200).after(after), get()).await;
        assert_eq!((result.unwrap(), took), (200, after));
    }
}

// ===== Cases from users of other libraries =====

#[tokio::test(start_paused = true)]
async fn a_post_is_answered_after_half_of_its_timeout() {
    let service = client(policy(3), Upstream::answering([status(200).after(500 * MS)]));
    assert_eq!(send(&service, with(post(), CallOptions::new().timeout(SECOND))).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_get_is_answered_after_a_third_of_its_timeout() {
    // A fresh budget pays for one retry, so the second attempt has all the time that is left.
    let upstream = Upstream::answering([status(200).after(SECOND)]);
    let service = client(policy(3), upstream.clone());
    let request = with(get(), CallOptions::new().timeout(3 * SECOND));
    assert_eq!(send(&service, request).await.unwrap(), 200);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_get_without_retries_is_answered_after_half_of_the_total_time() {
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(SECOND))
        .layer(policy(0))
        .layer(TimeoutLayer::share_of(SECOND))
        .service(Upstream::answering([status(200).after(500 * MS)]));
    assert_eq!(send(&service, get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn an_upload_over_a_slow_link_is_sent_once() {
    let upstream = Upstream::answering([status(200).after(3 * SECOND)]);
    let options = CallOptions::new().timeout(6 * SECOND).body_length(12 * 1024 * 1024);
    let put = with(Request::put("http://sku.internal/").body(()).unwrap(), options);
    assert_eq!(send(&client(policy(3), upstream.clone()), put).await.unwrap(), 200);
    assert_eq!(upstream.count(), 1);
}

// ===== Not HTTP =====

#[tokio::test(start_paused = true)]
async fn any_service_has_a_total_time_and_one_for_each_attempt() {
    let inner = || {
        ServiceBuilder::new().map_err(Error::from_upstream).service_fn(async |call: Call<Duration>| {
            tokio::time::sleep(call.into_inner()).await;
            Ok::<_, io::Error>("an answer of any type")
        })
    };
    let deadline = DeadlineLayer::new(SECOND).non_http().layer(inner());
    let timeout = TimeoutLayer::new(SECOND).layer(inner());
    for (service, scope) in [
        (util::Either::Left(deadline), TimeoutScope::Total),
        (util::Either::Right(timeout), TimeoutScope::Attempt),
    ] {
        assert_eq!(send(&service, Call::new(500 * MS)).await.unwrap(), "an answer of any type");
        let began = Instant::now();
        assert_eq!(timed_out(send(&service, Call::new(2 * SECOND)).await), (scope, SECOND));
        assert_eq!(began.elapsed(), SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_deadlines_the_error_names_the_one_that_has_passed() {
    for outer in [10 * SECOND, Duration::MAX] {
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(outer))
            .layer(DeadlineLayer::new(SECOND))
            .service(Upstream::answering([hang()]));
        let error = send(&service, get()).await.unwrap_err();
        assert_eq!(error.to_string(), "deadline passed after 1 s (1 attempt)");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_only_the_outermost_layer_checks_ends_the_call_with_its_name_and_its_attempts() {
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(2 * SECOND))
        .layer(RetryLayer::new(RetryPolicy::default()).name("sku"))
        .service(Upstream::answering([fault(io::ErrorKind::ConnectionReset), hang()]));
    let began = Instant::now();
    let error = send(&service, get()).await.unwrap_err();
    assert_eq!(error.to_string(), "sku: deadline passed after 2 s (2 attempts)");
    assert_eq!((error.stop_reason(), began.elapsed()), (Some(StopReason::Deadline), 2 * SECOND));
}

// ===== Promises =====

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_or_cut_drops_the_call_below() {
    // Promise: dropping any future leaks nothing.
    struct Flag(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    for cut in [false, true] {
        let dropped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = std::sync::Arc::clone(&dropped);
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(SECOND))
            .map_err(Error::from_upstream)
            .service_fn(move |_: Request<()>| {
                let flag = Flag(std::sync::Arc::clone(&flag));
                async move {
                    let _flag = flag;
                    std::future::pending::<io::Result<Response<TestBody>>>().await
                }
            });
        let mut call = tokio_test::task::spawn(service.oneshot(get()));
        assert!(call.poll().is_pending());
        if cut {
            tokio::time::advance(SECOND).await;
            assert!(call.poll().is_ready());
        }
        drop(call);
        assert!(dropped.load(std::sync::atomic::Ordering::Relaxed));
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    // The mock panics if it is called before it was polled ready.
    for total in [true, false] {
        let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<TestBody>>();
        let mock = mock.map_err(|error| Error::from_upstream(io::Error::other(error)));
        let [of_call, of_attempt] = both(SECOND, || mock.clone());
        let mut service = if total { of_call } else { of_attempt };
        handle.allow(0);
        let mut ready = tokio_test::task::spawn(std::future::poll_fn(|cx| service.poll_ready(cx)));
        // The deadline layer is ready at once, and waits inside the call.
        assert_eq!(ready.poll().is_ready(), total);
        if !total {
            handle.allow(1);
            assert!(ready.is_woken());
            ready.await.unwrap();
        }
        let mut call = tokio_test::task::spawn(service.call(get()));
        assert!(call.poll().is_pending());
        if total {
            assert!(handle.poll_request().is_pending());
            handle.allow(1);
            assert!(call.is_woken() && call.poll().is_pending());
        }
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_response(Response::new(Script::of(&[]).sized().start()));
        assert_eq!(call.await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned() {
    // Promise: no background task.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(2 * SECOND))
        .layer(TimeoutLayer::new(SECOND))
        .service(Upstream::answering([hang()]));
    let mut call = tokio_test::task::spawn(send(&service, get()));
    assert!(call.poll().is_pending());
    assert_eq!(tasks(), before);
    call.await.unwrap_err();
    assert_eq!(tasks(), before);
}
