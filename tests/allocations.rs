//! Promise: the closed, healthy path of every layer allocates nothing beyond the one replay copy of the request.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

#[path = "support/ping.rs"]
mod ping;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerLayer, State, Window};
use steadfast::deadline::DeadlineLayer;
use steadfast::endpoints::{Endpoints, EndpointsService, fixed};
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, Error, ErrorInfo, Outcome, RetryableRequest, classify};
use tower::{Layer, Service, ServiceBuilder};

use ping::Ping;

const SECOND: Duration = Duration::from_secs(1);

// ===== Requests and upstream =====

fn ping() -> Call<Ping> {
    Call::new(Ping)
}

/// An HTTP request whose copy allocates nothing: no headers, no extensions, and a constant URI.
fn get() -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from_static("http://sku.internal/v1/items/42");
    request
}

/// A service without allocations of its own. It answers at once, or after `waits` pending polls.
#[derive(Debug, Clone, Copy)]
struct Upstream {
    waits: u32,
}

const AT_ONCE: Upstream = Upstream { waits: 0 };
const AFTER_A_WAIT: Upstream = Upstream { waits: 1 };

impl<Req> Service<Req> for Upstream {
    type Response = Response<Full<Bytes>>;
    type Error = Error<Infallible>;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Req) -> Answer {
        Answer { waits: self.waits }
    }
}

#[derive(Debug)]
struct Answer {
    waits: u32,
}

impl Future for Answer {
    type Output = Result<Response<Full<Bytes>>, Error<Infallible>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(left) = self.waits.checked_sub(1) {
            self.waits = left;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(Response::new(Full::new(Bytes::from_static(b"an answer in one piece")))))
    }
}

// ===== The measurement =====

/// Polls a future on this thread, at most ten times, until it is ready.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("the call waits for something that does not come");
}

/// Polls a service ready, and calls it.
fn begin<S: Service<Req>, Req>(service: &mut S, request: Req) -> S::Future
where
    S::Error: std::fmt::Debug,
{
    poll_fn(|cx| service.poll_ready(cx)).now_or_never().expect("the service is ready at once").unwrap();
    service.call(request)
}

/// Makes a call, and reads the body of the response to the end.
fn call<S, Req, B, E>(service: &mut S, request: Req)
where
    S: Service<Req, Response = Response<B>, Error = Error<E>>,
    B: Body,
    E: std::fmt::Debug,
{
    let response = run(begin(service, request)).unwrap();
    let mut body = pin!(response.into_body());
    while let Some(Some(frame)) = body.as_mut().frame().now_or_never() {
        assert!(frame.is_ok());
    }
}

/// The number of runs before the measured run. One-time allocations happen in these runs.
const WARM_UPS: usize = 3;

/// Counts the allocations of one run of `what`, after [`WARM_UPS`] runs.
fn allocations(mut what: impl FnMut()) -> u64 {
    for _ in 0..WARM_UPS {
        what();
    }
    allocation_counter::measure(what).count_total
}

/// Counts the allocations of one call through `layer`, with requests from `request`.
fn of_a_call<L, Req, B, E>(layer: L, upstream: Upstream, request: impl Fn() -> Req) -> u64
where
    L: Layer<Upstream, Service: Service<Req, Response = Response<B>, Error = Error<E>>>,
    B: Body,
    E: std::fmt::Debug,
{
    let mut service = layer.layer(upstream);
    // The requests are made beforehand, so that only the call is measured.
    let mut requests = vec_of(request);
    allocations(|| call(&mut service, requests.pop().expect("there are enough")))
}

/// Makes as many values as [`allocations`] takes.
fn vec_of<T>(make: impl Fn() -> T) -> Vec<T> {
    (0..=WARM_UPS).map(|_| make()).collect()
}

/// Asserts that calls allocate nothing, with both kinds of request and both upstreams.
macro_rules! assert_free {
    ($layer:expr) => {{
        assert_eq!(of_a_call($layer, AT_ONCE, ping), 0, "ready at once");
        assert_eq!(of_a_call($layer, AFTER_A_WAIT, ping), 0, "after a wait");
        assert_eq!(of_a_call($layer, AT_ONCE, get), 0, "an http::Request, ready at once");
        assert_eq!(of_a_call($layer, AFTER_A_WAIT, get), 0, "an http::Request, after a wait");
    }};
}

fn circuit_breaker(builder: CircuitBreakerBuilder) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(builder.build().unwrap())
}

// ===== The measurement itself =====

#[test]
fn an_allocation_is_counted() {
    let boxes = ServiceBuilder::new().map_response(|response: Response<Full<Bytes>>| response.map(Box::new));
    assert_eq!(of_a_call(boxes, AT_ONCE, ping), 1);
}

// ===== Each layer alone =====

#[tokio::test(start_paused = true)]
async fn the_service_below_allocates_nothing_by_itself() {
    assert_free!(tower::layer::util::Identity::new());
}

#[tokio::test(start_paused = true)]
async fn endpoints_allocate_nothing() {
    let of = |upstream: Upstream| {
        let endpoints = Endpoints::builder().seed(1).build(fixed(0..10), move |_: &u32| upstream).unwrap();
        let mut service = EndpointsService::new(endpoints);
        // Each endpoint makes its service for its first attempt.
        (0..200).for_each(|_| call(&mut service, ping()));
        allocations(|| call(&mut service, ping()))
    };
    assert_eq!((of(AT_ONCE), of(AFTER_A_WAIT)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn lanes_allocate_nothing_also_when_they_are_looked_after() {
    let endpoints = Endpoints::builder().seed(1).max_lanes(8).build(fixed([0]), |_: &u32| AT_ONCE).unwrap();
    let mut service = EndpointsService::new(endpoints);
    // After 3 s, the latency of a lane counts for that of all.
    for _ in 0..20 {
        call(&mut service, ping());
        tokio::time::advance(Duration::from_millis(300)).await;
    }
    assert_eq!(allocation_counter::measure(|| call(&mut service, ping())).count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn retry_allocates_nothing() {
    assert_free!(RetryLayer::new(RetryPolicy::default()));
}

#[tokio::test(start_paused = true)]
async fn retry_with_a_budget_that_refills_allocates_nothing() {
    let budget = RetryBudget::builder().per_call(0.2).per_second(10.0).build().unwrap();
    assert_free!(RetryLayer::new(RetryPolicy::default()).budget(budget.clone()));
}

#[tokio::test(start_paused = true)]
async fn retry_without_a_budget_allocates_nothing() {
    assert_free!(RetryLayer::new(RetryPolicy::default()).without_budget());
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_counts_failures_in_a_row_allocates_nothing() {
    assert_free!(circuit_breaker(CircuitBreaker::builder()));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_rates_a_window_of_time_allocates_nothing() {
    assert_free!(circuit_breaker(CircuitBreaker::builder().window(Window::Time(SECOND)).failure_rate(0.5)));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_rates_a_window_of_calls_allocates_nothing() {
    let circuit = CircuitBreaker::builder().window(Window::Calls(2)).minimum_calls(1).failure_rate(0.5);
    assert_free!(circuit_breaker(circuit.clone()));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_looks_for_slow_calls_allocates_nothing() {
    assert_free!(circuit_breaker(CircuitBreaker::builder().slow_calls(SECOND, 0.5)));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_with_every_rule_allocates_nothing() {
    let circuit = CircuitBreaker::builder().name("sku").failure_rate(0.5).slow_calls(SECOND, 0.5);
    assert_free!(circuit_breaker(circuit.clone()));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_without_rules_allocates_nothing() {
    assert_free!(circuit_breaker(CircuitBreaker::builder().without_consecutive_failures()));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_closed_allocates_nothing() {
    let circuit = CircuitBreaker::default();
    circuit.force_closed();
    assert_free!(CircuitBreakerLayer::new(circuit.clone()));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_in_shadow_allocates_nothing() {
    let circuit = CircuitBreaker::builder().shadow(true).build().unwrap();
    circuit.force_open();
    assert_free!(CircuitBreakerLayer::new(circuit.clone()));
    assert!(circuit.snapshot().refused > 0);
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_allocates_nothing() {
    assert_free!(BulkheadLayer::new(Bulkhead::default()));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_allocates_nothing() {
    assert_free!(TimeoutLayer::new(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_allocates_nothing() {
    let total = DeadlineLayer::new(SECOND);
    assert_eq!(of_a_call(total, AT_ONCE, ping), 0);
    assert_eq!(of_a_call(total, AFTER_A_WAIT, ping), 0);
    assert_eq!(of_a_call(total, AT_ONCE, || Call::new(get())), 0);
    assert_eq!(of_a_call(total, AFTER_A_WAIT, || Call::new(get())), 0);
}

/// In a bare `http::Request`, the options are the first entry of empty extensions. A `Call` avoids their allocation.
#[tokio::test(start_paused = true)]
async fn a_total_timeout_over_a_bare_http_request_allocates_only_its_extensions() {
    let extensions = allocations(|| {
        http::Extensions::new().insert(steadfast::CallOptions::new());
    });
    assert!(extensions > 0);
    assert_eq!(of_a_call(DeadlineLayer::new(SECOND), AT_ONCE, get), extensions);
    assert_eq!(of_a_call(DeadlineLayer::new(SECOND), AFTER_A_WAIT, get), extensions);
}

#[tokio::test(start_paused = true)]
async fn buffering_a_body_in_one_piece_allocates_nothing() {
    assert_free!(BufferBodyLayer::new());
    assert_free!(BufferBodyLayer::new().unsized_bodies(true));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_buffered_allocates_nothing() {
    assert_free!(BufferBodyLayer::new().limit(0));
}

#[tokio::test(start_paused = true)]
async fn looking_up_a_known_upstream_allocates_nothing() {
    let stack_maker = |_: &UpstreamKey| (tower::layer::util::Identity::new(), ());
    let by_origin = || PerUpstreamLayer::new(stack_maker);
    assert_eq!(of_a_call(by_origin(), AT_ONCE, get), 0);
    assert_eq!(of_a_call(by_origin(), AT_ONCE, || Call::new(get())), 0);
    assert_eq!(of_a_call(by_origin(), AFTER_A_WAIT, get), 0);
    let by_name = by_origin().key_by(|_: &Call<Ping>| "sku");
    assert_eq!(of_a_call(by_name, AT_ONCE, ping), 0);
}

#[tokio::test(start_paused = true)]
async fn an_uncacheable_request_allocates_nothing_in_last_known_good() {
    let layer = || LastKnownGoodLayer::new(LastKnownGood::default());
    let options = || {
        let mut request = get();
        *request.method_mut() = http::Method::OPTIONS;
        request
    };
    assert_eq!(of_a_call(layer(), AT_ONCE, options), 0);
    assert_eq!(of_a_call(layer(), AFTER_A_WAIT, options), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_answer_allocates_only_the_key_and_the_requests_headers_in_last_known_good() {
    let layer = || LastKnownGoodLayer::new(LastKnownGood::default());
    assert_eq!(of_a_call(layer(), AT_ONCE, get), 1, "the key");
    assert_eq!(of_a_call(layer(), AFTER_A_WAIT, get), 1, "the key, after a wait");
    // Copies of static header values allocate nothing.
    let with_headers = || {
        let mut request = get();
        for name in [http::header::ACCEPT, http::header::ACCEPT_LANGUAGE, http::header::USER_AGENT] {
            request.headers_mut().insert(name, http::HeaderValue::from_static("the same"));
        }
        request
    };
    assert_eq!(of_a_call(layer(), AT_ONCE, with_headers), 2, "the key, and the headers in one piece");
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_repeated_answer_is_not_copied() {
    for size in [1024, 1024 * 1024] {
        let body = Bytes::from(vec![b'x'; size]);
        let mut service = LastKnownGoodLayer::new(LastKnownGood::default()).layer(tower::service_fn(
            move |_: Request<Empty<Bytes>>| {
                std::future::ready(Ok::<_, Error<Infallible>>(Response::new(Full::new(body.clone()))))
            },
        ));
        let mut requests = vec_of(get);
        for _ in 0..WARM_UPS {
            call(&mut service, requests.pop().unwrap());
        }
        let request = requests.pop().unwrap();
        let copied = allocation_counter::measure(|| call(&mut service, request)).bytes_total;
        assert!(copied < 128, "{copied} bytes");
    }
}

// ===== For services whose responses are not HTTP =====

#[tokio::test(start_paused = true)]
async fn the_layers_around_a_non_http_service_allocate_nothing() {
    let judge = classify::from_fn(|_: Result<&Response<Full<Bytes>>, &ErrorInfo>| Outcome::Success);
    let layers = || {
        ServiceBuilder::new()
            .layer(DeadlineLayer::new(3 * SECOND).non_http())
            .layer(RetryLayer::new(RetryPolicy::default()).classifier(judge.clone()).non_http())
            .layer(CircuitBreakerLayer::new(CircuitBreaker::default()).classifier(judge.clone()).non_http())
            .layer(BulkheadLayer::new(Bulkhead::default()).non_http())
            .layer(TimeoutLayer::new(SECOND))
            .into_inner()
    };
    assert_eq!(of_a_call(layers(), AT_ONCE, ping), 0);
    assert_eq!(of_a_call(layers(), AFTER_A_WAIT, ping), 0);
}

// ===== The stack =====

fn stack<S>() -> impl Layer<S, Service = Stack<S>> {
    ServiceBuilder::new()
        .layer(DeadlineLayer::new(3 * SECOND))
        .layer(RetryLayer::new(RetryPolicy::default()))
        .layer(CircuitBreakerLayer::new(CircuitBreaker::default()))
        .layer(BulkheadLayer::new(Bulkhead::default()))
        .layer(TimeoutLayer::new(SECOND))
        .into_inner()
}

type Stack<S> = steadfast::deadline::DeadlineService<
    steadfast::retry::RetryService<
        steadfast::circuit_breaker::CircuitBreakerService<
            steadfast::bulkhead::BulkheadService<steadfast::timeout::TimeoutService<S>>,
        >,
    >,
>;

#[tokio::test(start_paused = true)]
async fn the_stack_of_five_layers_allocates_nothing() {
    // Known mistake 35.
    assert_eq!(of_a_call(stack(), AT_ONCE, ping), 0);
    assert_eq!(of_a_call(stack(), AT_ONCE, || Call::new(get())), 0);
}

#[tokio::test(start_paused = true)]
async fn the_stack_of_five_layers_allocates_nothing_when_it_has_to_wait() {
    assert_eq!(of_a_call(stack(), AFTER_A_WAIT, ping), 0);
    assert_eq!(of_a_call(stack(), AFTER_A_WAIT, || Call::new(get())), 0);
}

#[tokio::test(start_paused = true)]
async fn the_stack_of_a_known_upstream_allocates_nothing() {
    let per_upstream = || {
        let layers =
            |_: &UpstreamKey| (ServiceBuilder::new().layer(stack()).layer(BufferBodyLayer::new()), ());
        PerUpstreamLayer::new(layers)
    };
    assert_eq!(of_a_call(per_upstream(), AT_ONCE, || Call::new(get())), 0);
    assert_eq!(of_a_call(per_upstream(), AFTER_A_WAIT, || Call::new(get())), 0);
}

/// A call with headers allocates as much as one copy of the request, and no more.
#[tokio::test(start_paused = true)]
async fn the_stack_allocates_the_one_replay_copy_and_no_more() {
    let with_headers = || {
        let mut request = get();
        request.headers_mut().insert(http::header::ACCEPT, "application/json".parse().unwrap());
        request.headers_mut().insert("x-request-id", "8e03978e".parse().unwrap());
        Call::new(request)
    };
    // Each request is new, because a second copy of the same strings costs less than the first.
    let mut requests = vec_of(with_headers);
    let copy = allocations(|| assert!(requests.pop().is_some_and(|request| request.try_clone().is_some())));
    assert!(copy > 0);
    assert_eq!(of_a_call(stack(), AT_ONCE, with_headers), copy);
    assert_eq!(of_a_call(stack(), AFTER_A_WAIT, with_headers), copy);
}

// ===== Refusals =====

/// Counts the allocations of a call that `service` refuses with an error for which `is_refusal` is true.
fn of_a_refusal<S, E>(service: &mut S, is_refusal: fn(&Error<E>) -> bool) -> u64
where
    S: Service<Call<Ping>, Error = Error<E>>,
    E: std::fmt::Debug,
{
    allocations(|| {
        let refused = run(begin(service, ping())).err();
        assert!(refused.as_ref().is_some_and(is_refusal));
    })
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_refuses_without_an_allocation() {
    let circuit =
        CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).failure_rate(0.5).build().unwrap();
    let judge = classify::from_fn(|_: Result<&Response<Full<Bytes>>, &ErrorInfo>| Outcome::transient());
    let mut service = CircuitBreakerLayer::new(circuit.clone()).classifier(judge).layer(AT_ONCE);
    call(&mut service, ping());
    assert_eq!(circuit.state(), State::Open);
    assert_eq!(of_a_refusal(&mut service, |error| error.is_circuit_open()), 0);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_open_refuses_without_an_allocation() {
    let circuit = CircuitBreaker::default();
    circuit.force_open();
    let mut service = CircuitBreakerLayer::new(circuit).layer(AT_ONCE);
    assert_eq!(of_a_refusal(&mut service, |error| error.is_circuit_open()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_without_a_queue_refuses_without_an_allocation() {
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let mut service = BulkheadLayer::new(bulkhead.clone()).layer(AT_ONCE);
    let held = run(begin(&mut service, ping())).unwrap();
    assert_eq!(bulkhead.in_flight(), 1);
    assert_eq!(of_a_refusal(&mut service, |error| error.is_bulkhead_full()), 0);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_stack_hands_a_refusal_on_without_an_allocation() {
    let circuit = CircuitBreaker::default();
    circuit.force_open();
    let mut service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(3 * SECOND))
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .layer(BulkheadLayer::new(Bulkhead::default()))
        .layer(TimeoutLayer::new(SECOND))
        .service(AT_ONCE);
    assert_eq!(of_a_refusal(&mut service, |error| error.is_circuit_open()), 0);
}
