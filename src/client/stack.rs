//! The stack of the client, concrete and nameable.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tower::{Layer, Service};

use super::reqwest_service::ReqwestService;
use crate::buffer_body::{BufferBodyLayer, BufferBodyService};
use crate::bulkhead::{Bulkhead, BulkheadLayer, BulkheadService};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService};
use crate::deadline::DeadlineService;
use crate::http::{HttpClassifier, TransportError};
use crate::last_known_good::{LastKnownGoodService, PrefetchService};
use crate::per_upstream::{KeyExtractor, KeyRef, MakeStack, PerUpstreamService, UpstreamKey};
use crate::retry::{RetryBudget, RetryLayer, RetryPolicy, RetryService};
use crate::timeout::{TimeoutLayer, TimeoutService};
use crate::{Call, Classify};

/// What every call goes through.
pub(super) type Stack = DeadlineService<
    PrefetchService<
        LastKnownGoodService<
            PerUpstreamService<ReqwestService, MakeUpstreamStack, StackKey>,
            StackClassifier,
        >,
    >,
>;

/// The future of a call to the stack.
pub(super) type StackFuture = <Stack as Service<Call<reqwest::Request>>>::Future;

/// What the calls to one upstream go through.
pub(super) type UpstreamStack = RetryService<
    CircuitBreakerService<
        BulkheadService<TimeoutService<BufferBodyService<ReqwestService>>>,
        StackClassifier,
    >,
    StackClassifier,
>;

/// How the stack of an upstream is made: what is shared by all, and patterns for what is not.
#[derive(Debug)]
pub(super) struct MakeUpstreamStack {
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) attempt_share: Option<f64>,
    pub(super) retry: RetryPolicy,
    pub(super) budget: Option<RetryBudget>,
    pub(super) circuit_breaker: Option<CircuitBreaker>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) buffer_body: BufferBodyLayer,
    pub(super) classifier: StackClassifier,
}

impl MakeStack for MakeUpstreamStack {
    type Layer = StackLayer;
    type Handles = UpstreamHandle;

    fn make(&self, upstream: &UpstreamKey) -> (StackLayer, UpstreamHandle) {
        let name: Arc<str> = upstream.to_string().into();
        let handle = UpstreamHandle {
            circuit_breaker: self.circuit_breaker.as_ref().map(|pattern| pattern.fresh(Arc::clone(&name))),
            bulkhead: self.bulkhead.as_ref().map(|pattern| pattern.fresh(Arc::clone(&name))),
            retry_budget: self.budget.as_ref().map(|pattern| pattern.fresh(Arc::clone(&name))),
            name,
        };
        let retry = RetryLayer::new(self.retry.clone()).name(Arc::clone(&handle.name));
        let retry = match &handle.retry_budget {
            Some(budget) => retry.budget(budget.clone()),
            None => retry.without_budget(),
        };
        let retry = match &handle.circuit_breaker {
            Some(circuit_breaker) => retry.advised_by(circuit_breaker.clone()),
            None => retry,
        };
        let layer = StackLayer {
            retry: retry.classifier(self.classifier.clone()),
            circuit_breaker: CircuitBreakerLayer::optional(handle.circuit_breaker.clone())
                .classifier(self.classifier.clone()),
            bulkhead: BulkheadLayer::optional(handle.bulkhead.clone()),
            timeout: TimeoutLayer::optional(self.attempt_timeout).share(self.attempt_share),
            buffer_body: self.buffer_body,
        };
        (layer, handle)
    }
}

/// The layers of one upstream, outermost first. Each bounds its waits by the deadline.
#[derive(Debug)]
pub(super) struct StackLayer {
    retry: RetryLayer<StackClassifier>,
    circuit_breaker: CircuitBreakerLayer<StackClassifier>,
    bulkhead: BulkheadLayer,
    timeout: TimeoutLayer,
    buffer_body: BufferBodyLayer,
}

impl Layer<ReqwestService> for StackLayer {
    type Service = UpstreamStack;

    fn layer(&self, client: ReqwestService) -> UpstreamStack {
        let service = self.buffer_body.layer(client);
        let service = self.timeout.layer(service);
        let service = self.bulkhead.layer(service);
        let service = self.circuit_breaker.layer(service);
        self.retry.layer(service)
    }
}

/// The key of an upstream: its origin, or what the function says.
#[derive(Clone, Default)]
pub(super) struct StackKey(pub(super) Option<KeyFunction>);

pub(super) type KeyFunction = Arc<dyn Fn(&reqwest::Request) -> String + Send + Sync>;

impl KeyExtractor<Call<reqwest::Request>> for StackKey {
    fn with_key<T>(&self, call: &Call<reqwest::Request>, with: impl FnOnce(KeyRef<'_>) -> T) -> T {
        match &self.0 {
            Some(function) => with(KeyRef::Named(function(call.request()).into())),
            None => with(KeyRef::origin(call.request())),
        }
    }
}

impl fmt::Debug for StackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StackKey")
    }
}

/// The classifier of every layer, or what the function says for a request.
#[derive(Clone)]
pub(super) struct StackClassifier {
    pub(super) default: HttpClassifier,
    pub(super) choose: Option<ClassifierFunction>,
}

pub(super) type ClassifierFunction = Arc<dyn Fn(&reqwest::Request) -> Option<HttpClassifier> + Send + Sync>;

impl<B, E> Classify<Call<reqwest::Request>, Response<B>, E> for StackClassifier
where
    E: TransportError + 'static,
{
    type Judge = HttpClassifier;

    fn judge(&self, call: &Call<reqwest::Request>) -> HttpClassifier {
        let chosen = self.choose.as_ref().and_then(|choose| choose(call.request()));
        chosen.unwrap_or_else(|| self.default.clone())
    }
}

impl fmt::Debug for StackClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.default.fmt(f)
    }
}

/// What a client knows of one upstream, to be looked at and acted on.
///
/// A part that the client was built without is `None`.
#[derive(Debug, Clone)]
pub struct UpstreamHandle {
    name: Arc<str>,
    circuit_breaker: Option<CircuitBreaker>,
    bulkhead: Option<Bulkhead>,
    retry_budget: Option<RetryBudget>,
}

impl UpstreamHandle {
    /// Its scheme and authority, or what the key function says.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its circuit breaker.
    pub const fn circuit_breaker(&self) -> Option<&CircuitBreaker> {
        self.circuit_breaker.as_ref()
    }

    /// Its bulkhead.
    pub const fn bulkhead(&self) -> Option<&Bulkhead> {
        self.bulkhead.as_ref()
    }

    /// Its retry budget.
    pub const fn retry_budget(&self) -> Option<&RetryBudget> {
        self.retry_budget.as_ref()
    }
}
