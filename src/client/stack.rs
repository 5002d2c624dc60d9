//! The stack of the client, concrete and nameable.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::Upstream;
use crate::buffer_body::{BufferBodyLayer, BufferBodyService};
use crate::bulkhead::{Bulkhead, BulkheadLayer, BulkheadService};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService};
use crate::http::HttpClassifier;
use crate::last_known_good::{Background, LastKnownGoodService, Warmed};
use crate::per_upstream::{KeyExtractor, KeyRef, MakeStack, PerUpstreamService, UpstreamKey};
use crate::retry::{RetryBudget, RetryLayer, RetryPolicy, RetryService};
use crate::timeout::{Stamp, StampLayer, TimeoutLayer, TimeoutService};
use crate::{Call, NonHttp};

/// What every call goes through.
pub(super) type Stack = LastKnownGoodService<
    PerUpstreamService<Upstream, MakeUpstreamStack, StackKey>,
    HttpClassifier,
    Background<Warmed>,
>;

/// What the calls to one upstream go through.
pub(super) type UpstreamStack = Stamp<
    RetryService<
        CircuitBreakerService<BulkheadService<TimeoutService<BufferBodyService<Upstream>, NonHttp>>>,
    >,
>;

/// How the stack of an upstream is made: what is shared by all, and patterns for what is not.
#[derive(Debug)]
pub(super) struct MakeUpstreamStack {
    pub(super) total_timeout: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) attempt_share: Option<f64>,
    pub(super) retry: RetryPolicy,
    pub(super) budget: Option<RetryBudget>,
    pub(super) circuit: Option<CircuitBreaker>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) buffer_body: BufferBodyLayer,
    pub(super) classifier: HttpClassifier,
}

impl MakeStack for MakeUpstreamStack {
    type Layer = StackLayer;
    type Handles = UpstreamHandle;

    fn make(&self, upstream: &UpstreamKey) -> (StackLayer, UpstreamHandle) {
        let name: Arc<str> = upstream.to_string().into();
        let handle = UpstreamHandle {
            circuit: self.circuit.as_ref().map(|pattern| pattern.fresh(Arc::clone(&name))),
            bulkhead: self.bulkhead.as_ref().map(Bulkhead::fresh),
            budget: self.budget.as_ref().map(RetryBudget::fresh),
            name,
        };
        let retry = RetryLayer::new(self.retry.clone()).classifier(self.classifier.clone());
        let retry = match &handle.budget {
            Some(budget) => retry.budget(budget.clone()),
            None => retry.without_budget(),
        };
        let layer = StackLayer {
            // Every wait below is bounded by the deadline that it stamps.
            total: StampLayer::new(self.total_timeout),
            retry,
            circuit_breaker: CircuitBreakerLayer::optional(handle.circuit.clone())
                .classifier(self.classifier.clone()),
            bulkhead: BulkheadLayer::optional(handle.bulkhead.clone()),
            attempt: TimeoutLayer::optional_attempt(self.attempt_timeout).share(self.attempt_share),
            buffer_body: self.buffer_body,
        };
        (layer, handle)
    }
}

/// The layers of one upstream, outermost first.
#[derive(Debug)]
pub(super) struct StackLayer {
    total: StampLayer,
    retry: RetryLayer,
    circuit_breaker: CircuitBreakerLayer,
    bulkhead: BulkheadLayer,
    attempt: TimeoutLayer<NonHttp>,
    buffer_body: BufferBodyLayer,
}

impl Layer<Upstream> for StackLayer {
    type Service = UpstreamStack;

    fn layer(&self, upstream: Upstream) -> UpstreamStack {
        let service = self.buffer_body.layer(upstream);
        let service = self.attempt.layer(service);
        let service = self.bulkhead.layer(service);
        let service = self.circuit_breaker.layer(service);
        let service = self.retry.layer(service);
        self.total.layer(service)
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

/// What a client knows of one upstream, to be looked at and acted on.
///
/// A part that the client was built without is `None`.
#[derive(Debug, Clone)]
pub struct UpstreamHandle {
    name: Arc<str>,
    circuit: Option<CircuitBreaker>,
    bulkhead: Option<Bulkhead>,
    budget: Option<RetryBudget>,
}

impl UpstreamHandle {
    /// Its scheme and authority, or what the key function says.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its circuit breaker.
    pub const fn circuit(&self) -> Option<&CircuitBreaker> {
        self.circuit.as_ref()
    }

    /// Its bulkhead.
    pub const fn bulkhead(&self) -> Option<&Bulkhead> {
        self.bulkhead.as_ref()
    }

    /// Its retry budget.
    pub const fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }
}
