//! The cases whose instructions are counted. Each case builds its service and checks its state before and after the
//! count.
//!
//! Two things affect the counts. There is no vDSO under valgrind: libc's part of a clock reading is counted and the
//! kernel's is not. And libc chooses its `memcpy` for the processor: without AVX, the counts are up to a third
//! higher.

#[path = "../../support/mod.rs"]
mod support;
#[path = "../../support/upstream.rs"]
mod upstream;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use gungraun::prelude::*;
use http::Response;
use http_body_util::Full;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::deadline::DeadlineLayer;
use steadfast::endpoints::{Endpoints, EndpointsService, fixed};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, ErrorInfo, Outcome, classify};
use steadfast_instructions::CALLS;
use tower::layer::util::Identity;
use tower::{Layer, Service, ServiceBuilder};

use support::{Get, get, poll_once, start_call};
use upstream::READY;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A service, the hosts to call through it, and a check of the claimed state.
struct Case<S> {
    service: S,
    hosts: Vec<&'static str>,
    check: Box<dyn Fn(&mut S)>,
}

impl<S> Case<S> {
    /// A case whose calls all go to one host. The check makes a call, so that the cost of the first call is not
    /// counted.
    fn new(mut service: S, check: impl Fn(&mut S) + 'static) -> Self {
        check(&mut service);
        Self { service, hosts: vec![get().request().host; CALLS], check: Box::new(check) }
    }

    fn check(mut self) {
        (self.check)(&mut self.service);
    }
}

// ===== The cases =====

/// A healthy call through retry(breaker(bulkhead)).
fn three_steps() -> Case<impl Service<Call<Get>>> {
    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(Bulkhead::default()))
        .service(READY);
    Case::new(service, move |service| {
        assert!(poll_once(start_call(service, get())).is_ok());
        assert_eq!(circuit.state(), State::Closed);
    })
}

/// A healthy call through the whole stack: timeout(retry(breaker(bulkhead(timeout)))).
fn five_steps() -> Case<impl Service<Call<Get>>> {
    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(3 * SECOND))
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(Bulkhead::default()))
        .layer(TimeoutLayer::new(SECOND))
        .service(READY);
    Case::new(service, move |service| {
        assert!(poll_once(start_call(service, get())).is_ok());
        assert_eq!(circuit.state(), State::Closed);
    })
}

/// A closed circuit breaker alone.
fn closed(circuit: CircuitBreaker) -> Case<impl Service<Call<Get>>> {
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(READY);
    Case::new(service, move |service| {
        assert!(poll_once(start_call(service, get())).is_ok());
        assert_eq!(circuit.state(), State::Closed);
    })
}

/// A circuit breaker with both rates over a time window.
fn rates() -> CircuitBreaker {
    CircuitBreaker::builder().failure_rate(0.5).slow_calls(SECOND, 0.5).build().unwrap()
}

/// An open circuit breaker, which refuses.
fn open() -> Case<impl Service<Call<Get>>> {
    let circuit = CircuitBreaker::builder()
        .consecutive_failures(1, Duration::ZERO)
        .max_open_for(HOUR)
        .open_for(HOUR)
        .build()
        .unwrap();
    let classifier = classify::from_fn(|_: Result<&Response<Full<Bytes>>, &ErrorInfo>| Outcome::transient());
    let mut service = CircuitBreakerLayer::new(circuit.clone()).classifier(classifier).layer(READY);
    assert!(poll_once(start_call(&mut service, get())).is_ok());
    Case::new(service, move |service| {
        assert!(poll_once(start_call(service, get())).is_err_and(|error| error.is_circuit_open()));
        assert_eq!(circuit.state(), State::Open);
    })
}

/// An attempt at one of ten healthy endpoints: the choice, and the record of the answer.
fn ten_endpoints() -> Case<impl Service<Call<Get>>> {
    let endpoints = Endpoints::builder().seed(1).build(fixed(0..10_u32), |_: &u32| READY).unwrap();
    let service = EndpointsService::new(endpoints.clone());
    Case::new(service, move |service| {
        for _ in 0..100 {
            assert!(poll_once(start_call(service, get())).is_ok());
        }
        assert!(endpoints.list().iter().all(|endpoint| endpoint.latency().is_some()));
    })
}

/// The lookup of an upstream alone: one call to each of a hundred known upstreams.
fn hundred_upstreams() -> Case<impl Service<Call<Get>>> {
    let hosts: Vec<&'static str> =
        (0..CALLS).map(|number| &*format!("sku-{number}.internal").leak()).collect();
    let called = hosts.clone();
    let service = PerUpstreamLayer::new(|_: &UpstreamKey| (Identity::new(), ())).layer(READY);
    let case = Case::new(service, move |service| {
        for host in &called {
            assert!(poll_once(start_call(service, Call::new(Get { host }))).is_ok());
        }
        assert_eq!(service.upstreams().len(), CALLS);
    });
    Case { hosts, ..case }
}

// ===== The counted function =====

#[library_benchmark(teardown = Case::check)]
#[bench::retry_breaker_bulkhead(three_steps())]
#[bench::five_steps(five_steps())]
#[bench::breaker_closed(closed(CircuitBreaker::default()))]
#[bench::breaker_closed_rates(closed(rates()))]
#[bench::breaker_open(open())]
#[bench::endpoints_10(ten_endpoints())]
#[bench::per_upstream_100(hundred_upstreams())]
fn calls<S: Service<Call<Get>>>(mut case: Case<S>) -> Case<S> {
    for host in &case.hosts {
        drop(black_box(poll_once(start_call(&mut case.service, black_box(Call::new(Get { host }))))));
    }
    case
}

library_benchmark_group!(name = hot_path, benchmarks = calls);
main!(library_benchmark_groups = hot_path);
