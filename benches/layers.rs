//! The cost of each layer: the healthy path, the refusals, the whole stack, and the inner service alone as the floor.
//!
//! Every service is built once, outside the timed loop, and the claimed state of a bench is asserted before it runs.
//! The inner service of a `ready` bench answers at once, and its calls are polled without a runtime. The inner
//! service of a `waits` bench has to be polled twice, in a task of a current-thread runtime, so that the work of a
//! layer for waiting calls is timed, above all the timers. Subtract the floor, which is mostly the cost of the
//! runtime.
//!
//! Run with `cargo bench --bench layers`. An argument runs only the benches whose names contain it.

mod support;
#[path = "support/upstream.rs"]
mod upstream;

use std::convert::Infallible;
use std::future::poll_fn;
use std::hint::black_box;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{Empty, Full};
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State, Window};
use steadfast::deadline::DeadlineLayer;
use steadfast::endpoints::{Endpoints, EndpointsService, fixed};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{Attempts, Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, Error, ErrorInfo, Outcome, RetryableRequest, classify};
use tokio::runtime::Runtime;
use tower::layer::util::Identity;
use tower::{Layer, Service, ServiceBuilder};

use support::{Get, get, poll_once, start_call};
use upstream::{READY, Upstream};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// An inner service whose calls have to be polled twice.
const WAITS: Upstream = Upstream { waits: true };

// ===== Timing =====

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Benches a service whose calls are ready at the first poll.
fn bench_ready<S, Req>(c: &mut Criterion, name: &str, mut service: S, request: impl Fn() -> Req)
where
    S: Service<Req>,
{
    let runtime = runtime();
    let _context = runtime.enter();
    c.bench_function(name, |b| b.iter(|| poll_once(start_call(&mut service, black_box(request())))));
}

/// Benches sequential calls in a task of `runtime`.
fn bench_in_task<S, Req>(
    c: &mut Criterion,
    name: &str,
    runtime: &Runtime,
    service: &S,
    request: impl Fn() -> Req + Copy + Send + 'static,
) where
    S: Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
    Req: Send,
{
    c.bench_function(name, |b| {
        b.iter_custom(|iterations| {
            let mut service = service.clone();
            let calls = async move {
                // The runtime's clock may be paused, so the system's clock is read.
                #[allow(clippy::disallowed_methods)]
                let start = std::time::Instant::now();
                for _ in 0..iterations {
                    assert!(poll_fn(|cx| service.poll_ready(cx)).await.is_ok());
                    drop(black_box(service.call(black_box(request())).await));
                }
                start.elapsed()
            };
            runtime.block_on(async { tokio::spawn(calls).await.unwrap() })
        });
    });
}

/// Benches a layer over both kinds of inner service.
fn bench_layer<L, S>(c: &mut Criterion, name: &str, layer: &L)
where
    L: Layer<Upstream, Service = S>,
    S: Service<Call<Get>, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static,
{
    bench_ready(c, &format!("{name}/ready"), layer.layer(READY), get);
    bench_in_task(c, &format!("{name}/waits"), &runtime(), &layer.layer(WAITS), get);
}

// ===== Layers =====

fn layers(c: &mut Criterion) {
    bench_layer(c, "floor", &Identity::new());
    bench_start(c, "floor/starts", READY);
    // The least cost of a timeout, and of a circuit with a window: one reading of the clock.
    c.bench_function("floor/clock", |b| b.iter(tokio::time::Instant::now));
    bench_layer(c, "timeout_total", &DeadlineLayer::new(3 * SECOND));
    bench_layer(c, "timeout_attempt", &TimeoutLayer::new(SECOND));
    bench_layer(c, "retry", &RetryLayer::new(RetryPolicy::default()));
    bench_layer(c, "bulkhead", &BulkheadLayer::new(Bulkhead::default()));
    bench_layer(c, "buffer_body", &BufferBodyLayer::new());

    let in_a_row = CircuitBreaker::default();
    let time = CircuitBreaker::builder().failure_rate(0.5).build().unwrap();
    let calls = CircuitBreaker::builder().window(Window::Calls(100)).failure_rate(0.5).build().unwrap();
    let slow = CircuitBreaker::builder().slow_calls(SECOND, 0.5).build().unwrap();
    for (rule, circuit) in [("in_a_row", in_a_row), ("time", time), ("calls", calls), ("slow", slow)] {
        bench_layer(c, &format!("circuit_{rule}"), &CircuitBreakerLayer::new(circuit.clone()));
        assert_eq!(circuit.state(), State::Closed);
    }
}

/// One attempt: the choice of an endpoint, and the record of its answer. Subtract the floor.
fn endpoints(c: &mut Criterion) {
    for count in [1, 10] {
        let endpoints = Endpoints::builder().build(fixed(0..count), |_: &u32| READY).unwrap();
        let mut service = EndpointsService::new(endpoints.clone());
        for _ in 0..200 {
            assert!(poll_once(start_call(&mut service, get())).is_ok());
        }
        assert_eq!(endpoints.list().len(), count as usize);
        assert!(endpoints.list().iter().all(|endpoint| endpoint.latency().is_some()));
        bench_ready(c, &format!("endpoints_{count}/ready"), service.clone(), get);
        bench_start(c, &format!("endpoints_{count}/starts"), service);
    }
}

/// The start of a call, without its future. For endpoints, this is the choice, the start of the attempt, and a reading of
/// the clock. A batch is short, so that no endpoint seems to be silent.
fn bench_start<S: Service<Call<Get>>>(c: &mut Criterion, name: &str, mut service: S) {
    let runtime = runtime();
    let _context = runtime.enter();
    c.bench_function(name, |b| {
        b.iter_batched(
            || (),
            |()| start_call(&mut service, black_box(get())),
            BatchSize::NumIterations(1000),
        );
    });
}

fn stack(c: &mut Criterion) {
    let circuit = CircuitBreaker::default();
    let five = ServiceBuilder::new()
        .layer(DeadlineLayer::new(3 * SECOND))
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .layer(BulkheadLayer::new(Bulkhead::default()))
        .layer(TimeoutLayer::new(SECOND))
        .into_inner();
    bench_layer(c, "stack", &five);

    // A real request needs a replay copy: first the copy alone, then the stack with the copy.
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_static("http://sku.internal/v1/items/42");
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("bench"));
    let call = || Call::new(request.try_clone().unwrap());
    c.bench_function("http_request/copy", |b| b.iter(call));
    let runtime = runtime();
    let _context = runtime.enter();
    let mut service = five.layer(READY);
    c.bench_function("http_request/stack", |b| {
        // Each response is dropped at once, because it holds a permit.
        b.iter_batched(call, |call| drop(poll_once(start_call(&mut service, call))), BatchSize::SmallInput);
    });
}

// ===== Refusals =====

fn refusals(c: &mut Criterion) {
    let runtime = runtime();
    let _context = runtime.enter();

    let circuit = CircuitBreaker::builder()
        .consecutive_failures(1, Duration::ZERO)
        .max_open_for(HOUR)
        .open_for(HOUR)
        .build()
        .unwrap();
    let classifier = classify::from_fn(|_: Result<&Response<Full<Bytes>>, &ErrorInfo>| Outcome::transient());
    let mut service = CircuitBreakerLayer::new(circuit.clone()).classifier(classifier).layer(READY);
    drop(poll_once(start_call(&mut service, get())));
    assert_eq!(circuit.state(), State::Open);
    assert!(poll_once(start_call(&mut service, get())).is_err_and(|error| error.is_circuit_open()));
    bench_ready(c, "refusal/circuit_open", service, get);
    assert_eq!(circuit.state(), State::Open);

    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let mut service = BulkheadLayer::new(bulkhead.clone()).layer(READY);
    let held = poll_once(start_call(&mut service, get())).unwrap();
    assert_eq!(bulkhead.in_flight(), 1);
    assert!(poll_once(start_call(&mut service, get())).is_err_and(|error| error.is_bulkhead_full()));
    bench_ready(c, "refusal/bulkhead_full", service, get);
    assert_eq!(bulkhead.in_flight(), 1);
    drop(held);
}

// ===== The budget =====

/// A service that fails the first call of each clone. The retry layer clones the service for each of its calls, so
/// every call fails once.
#[derive(Debug, Clone)]
struct FailsFirst {
    fails: bool,
}

impl<Req> Service<Req> for FailsFirst {
    type Response = Response<Empty<Bytes>>;
    type Error = Error<Infallible>;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Req) -> Self::Future {
        let mut response = Response::new(Empty::new());
        if std::mem::replace(&mut self.fails, false) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        std::future::ready(Ok(response))
    }
}

/// The cost of the budget for a healthy call.
fn budget(c: &mut Criterion) {
    let policy = RetryPolicy::default();
    bench_ready(c, "budget/none", RetryLayer::new(policy.clone()).without_budget().layer(READY), get);
    let full = RetryBudget::builder().initial(10.0).build().unwrap();
    bench_ready(c, "budget/full", RetryLayer::new(policy.clone()).budget(full).layer(READY), get);
    let filling = RetryBudget::builder().capacity(1e6).initial(0.0).per_success(0.001).build().unwrap();
    let mut service = RetryLayer::new(policy).budget(filling.clone()).layer(READY);
    drop(poll_once(start_call(&mut service, get())));
    assert!(filling.tokens() > 0.0);
    bench_ready(c, "budget/deposit", service, get);
    assert!(filling.tokens() < 1e6);
}

/// The cost of the budget for a call that is retried once.
fn retried(c: &mut Criterion) {
    // The paused clock skips the wait between the attempts, so that only the work is timed.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let policy = RetryPolicy::builder().backoff(Backoff::new().jitter(Jitter::None)).build().unwrap();
    let upstream = FailsFirst { fails: true };
    // A success deposits the token that the retry has taken.
    let even = RetryBudget::builder().per_success(1.0).per_failure(0.0).build().unwrap();
    let without = RetryLayer::new(policy.clone()).without_budget().layer(upstream.clone());
    let with = RetryLayer::new(policy).budget(even.clone()).layer(upstream);
    let attempts = runtime.block_on(async { with.clone().call(get()).await.unwrap() });
    assert_eq!(attempts.extensions().get::<Attempts>().map(|attempts| attempts.made), Some(2));
    bench_in_task(c, "budget/retried_without", &runtime, &without, get);
    let before = even.retries();
    bench_in_task(c, "budget/retried_with", &runtime, &with, get);
    assert!(even.retries() > before && even.tokens() >= 1.0);
}

// ===== Per upstream =====

fn per_upstream(c: &mut Criterion) {
    for count in [1, 100] {
        let hosts: Vec<&'static str> =
            (0..count).map(|number| &*format!("sku-{number}.internal").leak()).collect();
        let layer = PerUpstreamLayer::new(|_: &UpstreamKey| (Identity::new(), ()));
        let mut service = layer.layer(READY);
        for host in &hosts {
            drop(poll_once(start_call(&mut service, Call::new(Get { host }))));
        }
        assert_eq!(service.upstreams().len(), count);
        let next = std::cell::Cell::new(0);
        let in_turn = || {
            let number = next.get();
            next.set((number + 1) % hosts.len());
            Call::new(Get { host: hosts[number] })
        };
        bench_ready(c, &format!("per_upstream/{count}"), service.clone(), in_turn);
        assert_eq!(service.upstreams().len(), count);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .nresamples(10_000);
    // Pausing tokio's clock makes it slower for the rest of the process, so `retried` runs last.
    targets = layers, endpoints, stack, refusals, budget, per_upstream, retried
}
criterion_main!(benches);
