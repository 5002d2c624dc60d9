//! The retry: which calls are retried, when and how often, and the result that the caller gets in the end.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

mod bodies;
mod budget;
mod eligibility;
mod in_hand;
mod options;
mod outcomes;
mod result;
mod service;
mod waits;

#[path = "../support/mod.rs"]
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
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerLayer};
use steadfast::deadline::DeadlineLayer;
use steadfast::http::{HeldBody, HttpClassifier, ReplayBody, ReplayBodyLayer};
use steadfast::retry::{Attempts, Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{
    BoxError, Call, CallOptions, Error, ErrorInfo, HasCallOptions, Outcome, RetrySafety, RetryableRequest,
    StopReason, classify,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_test::mock;

use support::{MS, SECOND, Script, Step, TestBody, Upstream, fault, get, hang, post, send, status};

/// Three retries, after waits of 100, 200 and 400 ms, without a budget.
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

fn stopped<B>(response: &Response<B>) -> Option<StopReason> {
    attempts(response).and_then(|attempts| attempts.stop_reason)
}

fn with(mut request: Request<()>, options: CallOptions) -> Request<()> {
    request.extensions_mut().insert(options);
    request
}

fn with_header(mut request: Request<()>, name: &'static str, value: &'static str) -> Request<()> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// Makes one call through `layer`; returns the result and the upstream.
async fn one<L>(
    layer: &L,
    answers: impl IntoIterator<Item = support::Answer>,
    request: Request<()>,
) -> (Result<Response<HeldBody<TestBody>>, Error<io::Error>>, Upstream)
where
    L: Layer<Upstream>,
    L::Service:
        Service<Request<()>, Response = Response<HeldBody<TestBody>>, Error = Error<io::Error>> + Clone,
{
    let upstream = Upstream::answering(answers);
    let service = layer.layer(upstream.clone());
    (send(&service, request).await, upstream)
}

fn approximately(tokens: f64, expected: f64) {
    assert!((tokens - expected).abs() < 1e-6, "{tokens} tokens, not {expected}");
}

fn retry_after(seconds: &str) -> support::Answer {
    status(503).header("retry-after", seconds)
}
