//! Stacks: retry(breaker(bulkhead)), and the five steps, timeout(retry(breaker(bulkhead(timeout)))).

use std::time::Duration;

use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::deadline::DeadlineLayer;
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{HasCallOptions, RetryableRequest};
use tower::{Service, ServiceBuilder};
use tower_resilience_circuitbreaker::CircuitState;

use super::SECOND;
use super::retry::Copies;
use crate::floor;
use crate::measure::Suite;
use crate::peers::{resilience_breaker, resilience_bulkhead, resilience_retry, resilience_timeout};
use crate::upstream::{Broken, HttpCall, HttpUpstream, INNER, Inner, WrappedBroken, http_get};

pub const LIMITS: (Duration, Duration) = (TOTAL, SECOND);
const TOTAL: Duration = Duration::from_secs(10);

/// A service callable from a task on any thread.
pub trait Callable<Req>:
    Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static
{
}

impl<S, Req> Callable<Req> for S where
    S: Service<Req, Response: Send, Error: Send, Future: Send> + Clone + Send + 'static
{
}

/// A request type that all libraries can copy.
pub trait Request: HasCallOptions + RetryableRequest + Clone + Send + 'static {}

impl<Req: HasCallOptions + RetryableRequest + Clone + Send + 'static> Request for Req {}

/// A stack, and a check that it is healthy.
pub type Checked<S> = (S, Box<dyn Fn()>);

pub fn steadfast_three<Req: Request>(inner: Inner) -> Checked<impl Callable<Req>> {
    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(Bulkhead::default()))
        .service(HttpUpstream::<WrappedBroken>::new(inner));
    (service, Box::new(move || assert_eq!(circuit.state(), State::Closed)))
}

pub fn steadfast_five<Req: Request>(inner: Inner) -> Checked<impl Callable<Req>> {
    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(TOTAL))
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(Bulkhead::default()))
        .layer(TimeoutLayer::new(SECOND))
        .service(HttpUpstream::<WrappedBroken>::new(inner));
    (service, Box::new(move || assert_eq!(circuit.state(), State::Closed)))
}

pub fn resilience_three<Req: Request>(inner: Inner) -> Checked<impl Callable<Req>> {
    let (breaker, handle) = resilience_breaker().build_with_handle().unwrap();
    let service = ServiceBuilder::new()
        .layer(resilience_retry::<Req, _, _>().build())
        .layer(breaker)
        .layer(resilience_bulkhead())
        .service(HttpUpstream::<Broken>::new(inner));
    (service, Box::new(move || assert_eq!(handle.state(), CircuitState::Closed)))
}

pub fn resilience_five<Req: Request>(inner: Inner) -> Checked<impl Callable<Req>> {
    let (breaker, handle) = resilience_breaker().build_with_handle().unwrap();
    let service = ServiceBuilder::new()
        .layer(resilience_timeout(TOTAL))
        .layer(resilience_retry::<Req, _, _>().build())
        .layer(breaker)
        .layer(resilience_bulkhead())
        .layer(resilience_timeout(SECOND))
        .service(HttpUpstream::<Broken>::new(inner));
    (service, Box::new(move || assert_eq!(handle.state(), CircuitState::Closed)))
}

pub fn floor(inner: Inner, limits: Option<(Duration, Duration)>) -> Checked<floor::Stack> {
    let state = floor::State::new();
    let service = floor::Stack { state: state.clone(), upstream: HttpUpstream::new(inner), limits };
    let check = move || {
        assert!(state.is_closed());
        assert_eq!(state.free_permits(), 128);
    };
    (service, Box::new(check))
}

pub fn add(suite: &mut Suite) {
    for inner in INNER {
        suite.group(format!("retry(breaker(bulkhead)), http::Request, {inner}"), |group| {
            group.baseline("the copy alone", inner, Copies(HttpUpstream::<Broken>::new(inner)), http_get);
            group.checked("steadfast", inner, steadfast_three(inner));
            group.checked("tower-resilience", inner, resilience_three(inner));
            group.checked("floor", inner, floor(inner, None));
        });
        suite.group(format!("five-step stack, http::Request, {inner}"), |group| {
            group.baseline("the copy alone", inner, Copies(HttpUpstream::<Broken>::new(inner)), http_get);
            group.checked("steadfast", inner, steadfast_five(inner));
            group.checked("tower-resilience", inner, resilience_five(inner));
            group.checked("floor", inner, floor(inner, Some(LIMITS)));
        });
    }
}

impl crate::measure::Group {
    fn checked(
        &mut self,
        library: &'static str,
        inner: Inner,
        (service, check): Checked<impl Callable<HttpCall>>,
    ) {
        self.healthy(library, inner, service, http_get);
        self.check(check);
    }
}
