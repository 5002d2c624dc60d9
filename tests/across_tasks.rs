//! All facts that one layer needs from another travel in types. A service between two layers may therefore move the
//! call to another task, or hide the call's type, without changing any result.
//!
//! Each kind of service is put into each gap of the whole stack, and the results are compared with the plain stack's.

mod support;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::deadline::DeadlineLayer;
use steadfast::http::HttpRequest;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer, PrefetchLayer};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{BoxError, Call, Error, HasCallOptions, ResponseExt};
use support::{Answer, MS, SECOND, Script, Step, Upstream, fault, hang, status};
use tokio::time::Instant;
use tower::buffer::Buffer;
use tower::layer::util::Identity;
use tower::util::{BoxCloneSyncService, Either};
use tower::{Layer, Service, ServiceExt};

type Ask = Call<Request<Empty<Bytes>>>;
type Body = UnsyncBoxBody<Bytes, BoxError>;
/// A service of which only the request, the response and the error are known.
type Opaque = BoxCloneSyncService<Ask, Response<Body>, Error<BoxError>>;

fn opaque<S, B>(service: S) -> Opaque
where
    S: Service<Ask, Response = Response<B>, Error = Error<BoxError>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let boxed = |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
    BoxCloneSyncService::new(service.map_response(boxed))
}

// ===== Services between two layers =====

#[derive(Debug, Clone, Copy, PartialEq)]
enum Between {
    Nothing,
    Spawn,
    Buffer,
    Either,
    Boxed,
    /// Polls a call of another stack within the same poll.
    Join,
    /// tower's own layers, which box errors.
    LimitAndTimeout,
}

const BETWEEN: [Between; 6] = [
    Between::Spawn,
    Between::Buffer,
    Between::Either,
    Between::Boxed,
    Between::Join,
    Between::LimitAndTimeout,
];

impl Between {
    fn put_around(self, inner: Opaque) -> Opaque {
        match self {
            Self::Nothing => inner,
            Self::Spawn => opaque(Spawned(inner)),
            Self::Buffer => opaque(Buffer::new(inner, 16).map_err(Error::from_boxed)),
            Self::Either => opaque(Either::<Opaque, Spawned>::Left(inner)),
            Self::Boxed => opaque(opaque(inner)),
            Self::Join => opaque(Joined { inner, noise: noise() }),
            Self::LimitAndTimeout => {
                let limit = tower::limit::ConcurrencyLimit::new(inner, 1000);
                let timeout = tower::timeout::Timeout::new(limit, Duration::from_secs(1_000_000));
                opaque(tower::load_shed::LoadShed::new(timeout).map_err(Error::from_boxed))
            }
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Error<BoxError>>> + Send>>;

/// Runs each call in a task of its own.
#[derive(Clone)]
struct Spawned(Opaque);

impl Service<Ask> for Spawned {
    type Response = Response<Body>;
    type Error = Error<BoxError>;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, ask: Ask) -> Answering {
        let call = tokio::spawn(self.0.call(ask));
        Box::pin(async move { call.await.expect("the call does not panic") })
    }
}

/// Polls a call of another stack before and after each poll of the inner call.
#[derive(Clone)]
struct Joined {
    inner: Opaque,
    noise: Opaque,
}

impl Service<Ask> for Joined {
    type Response = Response<Body>;
    type Error = Error<BoxError>;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ask: Ask) -> Answering {
        let call = self.inner.call(ask);
        let noise = || {
            let noise = self.noise.clone();
            async move {
                loop {
                    let _ = noise.clone().oneshot(get()).await;
                    tokio::task::yield_now().await;
                }
            }
        };
        let (before, after) = (noise(), noise());
        Box::pin(async move {
            let (mut call, mut before, mut after) = (pin!(call), pin!(before), pin!(after));
            poll_fn(move |cx| {
                let mut quiet = Context::from_waker(std::task::Waker::noop());
                let _: Poll<()> = before.as_mut().poll(&mut quiet);
                let polled = call.as_mut().poll(cx);
                let _: Poll<()> = after.as_mut().poll(&mut quiet);
                polled
            })
            .await
        })
    }
}

/// A stack that fails, retries, discards bodies, trips a circuit and waits for permits.
fn noise() -> Opaque {
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO).build().unwrap();
    let body = Script::of(&[Step::Data("no".into()), Step::Stall]);
    let service = opaque(Upstream::answering([status(503).body(&body)]).map_err(Error::from_boxed));
    let service = opaque(BulkheadLayer::new(bulkhead).layer(service));
    let service = opaque(CircuitBreakerLayer::new(circuit.clone()).layer(service));
    opaque(RetryLayer::new(policy()).advised_by(circuit).layer(service))
}

// ===== The stack =====

fn policy() -> RetryPolicy {
    RetryPolicy::builder().backoff(Backoff::new().jitter(Jitter::None)).build().unwrap()
}

fn get() -> Ask {
    Call::new(Request::get("http://sku.internal/v1/items/42").body(Empty::new()).unwrap())
}

fn post() -> Ask {
    Call::new(Request::post("http://sku.internal/v1/items").body(Empty::new()).unwrap())
}

/// The handles and the upstream of one run.
struct Parts {
    circuit: CircuitBreaker,
    bulkhead: Bulkhead,
    budget: RetryBudget,
    upstream: Upstream<Ask>,
}

impl Parts {
    fn new(answers: &[Answer]) -> Self {
        let circuit = CircuitBreaker::builder().name("sku").consecutive_failures(4, Duration::ZERO);
        Self {
            circuit: circuit.seed(1).build().unwrap(),
            bulkhead: Bulkhead::builder().name("sku").max_concurrent(2).max_waiting(0).build().unwrap(),
            budget: RetryBudget::builder().name("sku").initial(10.0).build().unwrap(),
            upstream: Upstream::answering(answers.iter().cloned()),
        }
    }

    /// The whole stack, with `between` in the gap `gap`, counted from the upstream.
    fn stack(&self, between: Between, gap: usize) -> Opaque {
        let retry = RetryLayer::new(policy())
            .name("sku")
            .budget(self.budget.clone())
            .advised_by(self.circuit.clone());
        let at = |here, service| if here == gap { between.put_around(service) } else { service };
        let service = opaque(self.upstream.clone().map_err(Error::from_boxed));
        let service = at(0, service);
        let service = at(1, opaque(BufferBodyLayer::new().layer(service)));
        let service = at(2, opaque(TimeoutLayer::new(SECOND).layer(service)));
        let service = at(3, opaque(BulkheadLayer::new(self.bulkhead.clone()).layer(service)));
        let service = at(4, opaque(CircuitBreakerLayer::new(self.circuit.clone()).layer(service)));
        let service = at(5, opaque(retry.layer(service)));
        let per_upstream = PerUpstreamLayer::new(|_: &UpstreamKey| (Identity::new(), ()));
        let service = at(6, opaque(per_upstream.layer(service)));
        let cache = LastKnownGood::default();
        let prefetch = PrefetchLayer::builder().every(3600 * SECOND).build(&cache).unwrap();
        let service = at(7, opaque(LastKnownGoodLayer::new(cache).layer(service)));
        let service = at(8, opaque(prefetch.layer(service)));
        opaque(DeadlineLayer::new(4 * SECOND).layer(service))
    }
}

const GAPS: usize = 9;

// ===== Observations =====

/// The observations of the caller and the upstream, and the state of the handles after the calls.
#[derive(Debug, PartialEq)]
struct Observed {
    answers: Vec<String>,
    took: Duration,
    /// The method of each request, the attempt's number, and whether another attempt could follow.
    requests: Vec<(String, u32, bool)>,
    parts: String,
}

/// Makes the calls one after the other.
async fn play(
    answers: &[Answer],
    asks: &[fn() -> Ask],
    before: fn(&Parts),
    (between, gap): (Between, usize),
) -> Observed {
    let parts = Parts::new(answers);
    before(&parts);
    let service = parts.stack(between, gap);
    let began = Instant::now();
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(match service.clone().oneshot(ask()).await {
            Ok(response) => {
                let (status, attempts, stale) =
                    (response.status(), response.attempts(), response.stale().is_some());
                let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                format!("{status} {attempts} {stale} {body:?}")
            }
            Err(error) => format!("{error} {:?} {}", error.stop_reason(), error.maybe_sent()),
        });
    }
    let took = began.elapsed();
    // Time for discarded bodies to return their permits.
    tokio::time::sleep(100 * SECOND).await;
    let requests = parts.upstream.take_seen().into_iter().map(|ask| {
        let options = ask.options();
        (ask.method().to_string(), options.get_attempt(), options.another_may_follow())
    });
    let requests = requests.collect();
    let (circuit, bulkhead) = (parts.circuit.snapshot(), parts.bulkhead.in_flight());
    let parts = format!(
        "{:?} {} {} {bulkhead} {}",
        circuit.state,
        circuit.trips,
        circuit.refused,
        parts.budget.tokens()
    );
    Observed { answers, took, requests, parts }
}

async fn play_with_each_between(answers: &[Answer], asks: &[fn() -> Ask], before: fn(&Parts)) -> Observed {
    let plain = play(answers, asks, before, (Between::Nothing, 0)).await;
    for between in BETWEEN {
        for gap in 0..GAPS {
            let observed = play(answers, asks, before, (between, gap)).await;
            assert_eq!(observed, plain, "{between:?} in gap {gap}");
        }
    }
    plain
}

fn as_it_is(_: &Parts) {}

#[tokio::test(start_paused = true)]
async fn a_fault_is_retried_and_the_answer_counts_the_attempts() {
    let body = Script::of(&[Step::Data("good".into())]).sized();
    let answers = [status(503), fault(io::ErrorKind::ConnectionReset), status(200).body(&body)];
    let observed = play_with_each_between(&answers, &[get], as_it_is).await;
    assert_eq!(observed.answers, ["200 OK 3 false Ok(b\"good\")"]);
    let get = |number| ("GET".to_owned(), number, true);
    assert_eq!(observed.requests, [get(1), get(2), get(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_may_have_been_sent_is_sent_once() {
    for answer in [fault(io::ErrorKind::ConnectionReset), hang(), status(503)] {
        let observed = play_with_each_between(&[answer], &[post], as_it_is).await;
        assert_eq!(observed.requests, [("POST".to_owned(), 1, false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_not_sent_is_retried() {
    let answers = [fault(io::ErrorKind::ConnectionRefused), status(200)];
    let observed = play_with_each_between(&answers, &[post], as_it_is).await;
    assert_eq!(observed.requests.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_circuit_is_no_retry_and_names_the_upstream() {
    let observed = play_with_each_between(&[status(200)], &[get], |parts| parts.circuit.force_open()).await;
    assert_eq!(observed.answers, ["sku: circuit open (0 attempts) Some(CircuitOpen) false"]);
    assert_eq!(observed.parts, "ForcedOpen 0 1 0 10");
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_opens_the_circuit_ends_the_call_with_the_answer_in_hand() {
    let observed = play_with_each_between(&[status(503)], &[get, get, get], as_it_is).await;
    assert!(observed.answers[0].starts_with("503 Service Unavailable 4 false"), "{observed:?}");
    assert!(observed.answers[1].starts_with("sku: circuit open, retry after"), "{observed:?}");
    assert_eq!(observed.requests.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn hangs_are_cut_and_the_deadline_ends_the_call() {
    let observed = play_with_each_between(&[hang()], &[get, post], as_it_is).await;
    assert!(observed.answers[0].contains("deadline passed after 4 s (4 attempts)"), "{observed:?}");
    assert!(observed.answers[1].starts_with("sku: attempt timed out after 1 s (1 attempt"), "{observed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_retried_and_then_answered_stale() {
    let good = Script::of(&[Step::Data("good".into())]).sized();
    let broken = Script::of(&[Step::Data("ha".into()), Step::Fail]).sized();
    let answers = [status(200).body(&good), status(200).body(&broken)];
    let observed = play_with_each_between(&answers, &[get, get], as_it_is).await;
    assert_eq!(observed.answers[1], "200 OK 4 true Ok(b\"good\")");
}

/// Only advice is lost: in another task, a discarded body keeps its permit until dropped.
#[tokio::test(start_paused = true)]
async fn permits_come_back_whatever_stands_between() {
    let stalls = Script::of(&[Step::Data("no".into()), Step::Stall]);
    let answers = [status(503).body(&stalls), status(200)];
    play_with_each_between(&answers, &[get, get], as_it_is).await;
}

#[tokio::test(start_paused = true)]
async fn a_custom_layer_sees_each_attempt() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let upstream = Upstream::<Ask>::answering([status(503), status(200)]);
    let service = RetryLayer::new(policy()).layer(upstream.map_request(move |ask: Ask| {
        assert_eq!(ask.options().get_attempt() as usize, seen.fetch_add(1, Ordering::Relaxed) + 1);
        ask
    }));
    assert_eq!(service.oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(MS * 1000, SECOND);
}

// ===== The deadline =====

/// A stack whose upstream hangs after one good answer, so that only the cache can answer at the deadline. `between`
/// stands below and above the cache.
fn cut_by_the_cache(between: Between, deadline: Duration) -> Opaque {
    let good = Script::of(&[Step::Data("good".into())]).sized();
    let upstream = Upstream::<Ask>::answering([status(200).body(&good), hang()]);
    let service = opaque(upstream.map_err(Error::from_boxed));
    let service = opaque(RetryLayer::new(policy()).name("sku").layer(service));
    let service =
        opaque(LastKnownGoodLayer::new(LastKnownGood::default()).layer(between.put_around(service)));
    opaque(DeadlineLayer::new(deadline).layer(between.put_around(service)))
}

async fn answer(service: Opaque) -> String {
    match service.oneshot(get()).await {
        Ok(response) => {
            let is_stale = response.stale().is_some();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            format!("{body:?} {is_stale}")
        }
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn at_a_deadline_that_no_other_layer_checks_the_cache_still_answers() {
    for between in [Between::Nothing, Between::Spawn, Between::Buffer, Between::Boxed] {
        let service = cut_by_the_cache(between, 2 * SECOND);
        assert_eq!(answer(service.clone()).await, "b\"good\" false");
        let began = Instant::now();
        assert_eq!(answer(service.clone()).await, "b\"good\" true", "{between:?}");
        assert_eq!(began.elapsed(), 2 * SECOND);
    }
}
