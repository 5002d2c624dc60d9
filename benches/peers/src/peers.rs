//! The peers as tower services, configured to behave like steadfast.
//!
//! Settings that cost a peer time are left out where a case does not need them.

use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use failsafe::futures::CircuitBreaker as _;
use failsafe::{FailurePolicy, StateMachine};
use recloser::{AnyError, AsyncRecloser, RecloserFuture};
use tower::Service;
use tower::retry::Policy;
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::{CircuitBreakerConfigBuilder, CircuitBreakerLayer, FnClassifier};
use tower_resilience_retry::{RetryConfigBuilder, RetryLayer};
use tower_resilience_timelimiter::TimeLimiterLayer;

use crate::upstream::Reply;

// ===== recloser =====

#[derive(Clone)]
pub struct Recloser<S> {
    pub inner: S,
    pub breaker: AsyncRecloser,
}

impl<S: Service<Req>, Req> Service<Req> for Recloser<S> {
    type Response = S::Response;
    type Error = recloser::Error<S::Error>;
    type Future = RecloserFuture<S::Future, AnyError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(recloser::Error::Inner)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.breaker.call(self.inner.call(request))
    }
}

// ===== failsafe =====

#[derive(Clone)]
pub struct Failsafe<S, P> {
    pub inner: S,
    pub breaker: StateMachine<P, ()>,
}

impl<S, P, Req> Service<Req> for Failsafe<S, P>
where
    S: Service<Req>,
    P: FailurePolicy + Send + Sync,
{
    type Response = S::Response;
    type Error = failsafe::Error<S::Error>;
    type Future = failsafe::futures::ResponseFuture<S::Future, P, (), failsafe::Any>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(failsafe::Error::Inner)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.breaker.call(self.inner.call(request))
    }
}

// ===== tower =====

/// Retries at once, up to this number of times.
#[derive(Debug, Clone)]
pub struct Retries(pub u32);

impl<Req: Clone, Res: Reply, E> Policy<Req, Res, E> for Retries {
    type Future = Ready<()>;

    fn retry(&mut self, _request: &mut Req, result: &mut Result<Res, E>) -> Option<Ready<()>> {
        let worth_it = result.as_ref().map_or(true, Reply::is_transient);
        self.0 = self.0.checked_sub(1).filter(|_| worth_it)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        (self.0 > 0).then(|| request.clone())
    }
}

// ===== tower-resilience =====

/// Retries the same responses as steadfast.
pub fn resilience_retry<Req: 'static, Res: Reply, E: 'static>() -> RetryConfigBuilder<Req, Res, E> {
    RetryLayer::builder()
        .max_attempts(4)
        .exponential_backoff(Duration::from_millis(100))
        .retry_on_response(Res::is_transient)
}

/// True if a result is a failure.
type Judge<Res, E> = fn(&Result<Res, E>) -> bool;

/// A breaker that counts failures in a row and classifies responses by status. Callers may configure it further.
pub fn resilience_breaker<Res: Reply, E: 'static>() -> CircuitBreakerConfigBuilder<FnClassifier<Judge<Res, E>>>
{
    let judge: Judge<Res, E> =
        |result| result.as_ref().map_or(true, |reply| reply.status().is_server_error());
    CircuitBreakerLayer::builder().consecutive_failures(10).failure_classifier(judge)
}

pub fn resilience_bulkhead() -> BulkheadLayer {
    BulkheadLayer::builder().max_concurrent_calls(128).build().expect("a valid bulkhead")
}

pub fn resilience_timeout(after: Duration) -> TimeLimiterLayer {
    TimeLimiterLayer::builder().timeout_duration(after).build()
}
