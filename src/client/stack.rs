//! The client's stack of layers, as a concrete type without boxed services.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tower::{Layer, Service};

use super::classifier::StackClassifier;
use super::origin_factory::OriginFactory;
use super::origins::UpstreamOrigins;
use crate::buffer_body::{BufferBodyLayer, BufferBodyService};
use crate::bulkhead::{Bulkhead, BulkheadLayer, BulkheadService};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService, State};
use crate::deadline::{self, DeadlineService};
use crate::endpoints::EndpointStatus;
use crate::last_known_good::{LastKnownGoodService, PrefetchService};
use crate::per_upstream::{KeyExtractor, KeyRef, MakeStack, PerUpstreamService, UpstreamKey};
use crate::retry::{RetryBudget, RetryLayer, RetryPolicy, RetryService};
use crate::timeout::{TimeoutLayer, TimeoutService};
use crate::{Call, Http};

/// The whole stack: the layers that all upstreams share, around a stack for each upstream.
pub(super) type Stack = DeadlineService<BelowDeadline>;

type BelowDeadline = PrefetchService<
    LastKnownGoodService<PerUpstreamService<(), MakeUpstreamStack, StackKey>, StackClassifier>,
>;

/// The future of a call to the stack. The layers that all upstreams share are always ready, so no call waits for
/// them.
pub(super) type StackFuture =
    deadline::ResponseFuture<<BelowDeadline as Service<Call<reqwest::Request>>>::Future, Http>;

/// The layers of one upstream.
pub(super) type UpstreamStack = RetryService<
    CircuitBreakerService<
        BulkheadService<TimeoutService<BufferBodyService<UpstreamOrigins>>>,
        StackClassifier,
    >,
    StackClassifier,
>;

/// Makes the stack of each upstream. The circuit breaker, the bulkhead and the budget are templates: each upstream
/// gets its own.
#[derive(Debug)]
pub(super) struct MakeUpstreamStack {
    pub(super) timeout: TimeoutLayer,
    pub(super) retry: RetryPolicy,
    pub(super) budget: Option<RetryBudget>,
    pub(super) circuit_breaker: Option<CircuitBreaker>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) buffer_body: BufferBodyLayer,
    pub(super) origin_factory: OriginFactory,
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
            origins: UpstreamOrigins::new(self.origin_factory.clone()),
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
            timeout: self.timeout,
            buffer_body: self.buffer_body,
            origins: handle.origins.clone(),
        };
        (layer, handle)
    }

    /// True while the circuit is open, half-open or forced, and while calls hold permits or wait for them.
    fn is_in_use(&self, upstream: &UpstreamHandle) -> bool {
        let is_unusual = |circuit: &CircuitBreaker| circuit.state() != State::Closed;
        let has_calls = |bulkhead: &Bulkhead| bulkhead.in_flight() > 0 || bulkhead.waiting() > 0;
        upstream.circuit_breaker().is_some_and(is_unusual) || upstream.bulkhead().is_some_and(has_calls)
    }
}

/// The layers of one upstream, outermost first. Each layer bounds its waits by the deadline.
#[derive(Debug)]
pub(super) struct StackLayer {
    retry: RetryLayer<StackClassifier>,
    circuit_breaker: CircuitBreakerLayer<StackClassifier>,
    bulkhead: BulkheadLayer,
    timeout: TimeoutLayer,
    buffer_body: BufferBodyLayer,
    origins: UpstreamOrigins,
}

/// The bottom of the stack belongs to the upstream, so the layers need no service below.
impl Layer<()> for StackLayer {
    type Service = UpstreamStack;

    fn layer(&self, (): ()) -> UpstreamStack {
        let service = self.buffer_body.layer(self.origins.clone());
        let service = self.timeout.layer(service);
        let service = self.bulkhead.layer(service);
        let service = self.circuit_breaker.layer(service);
        self.retry.layer(service)
    }
}

/// Finds the key of the upstream of a request: the request's origin, or the result of the user's function.
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

/// The state of one upstream: its name, and handles to inspect and change its layers.
///
/// A handle is `None` if the client was built without that layer or budget.
#[derive(Debug, Clone)]
pub struct UpstreamHandle {
    name: Arc<str>,
    circuit_breaker: Option<CircuitBreaker>,
    bulkhead: Option<Bulkhead>,
    retry_budget: Option<RetryBudget>,
    origins: UpstreamOrigins,
}

impl UpstreamHandle {
    /// Returns the name: scheme and authority, or the result of the key function.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the circuit breaker.
    pub const fn circuit_breaker(&self) -> Option<&CircuitBreaker> {
        self.circuit_breaker.as_ref()
    }

    /// Returns the bulkhead.
    pub const fn bulkhead(&self) -> Option<&Bulkhead> {
        self.bulkhead.as_ref()
    }

    /// Returns the retry budget.
    pub const fn retry_budget(&self) -> Option<&RetryBudget> {
        self.retry_budget.as_ref()
    }

    /// Returns the state of each endpoint. Empty before the first call. If there is a single address, the list contains
    /// its [lanes](EndpointStatus::lane).
    ///
    /// The address is `None` where reqwest resolves the name itself: for a name with one address, for a client that was
    /// handed in, for a client behind a proxy, and for a name whose addresses are not known yet.
    ///
    /// ```
    /// let client = steadfast::Client::new();
    /// for endpoint in client.upstream_at("http://sku.internal")?.endpoints() {
    ///     println!("{:?}: {}, {:?}", endpoint.address(), endpoint.state(), endpoint.latency());
    /// }
    /// # Ok::<(), reqwest::Error>(())
    /// ```
    pub fn endpoints(&self) -> Vec<EndpointStatus<Option<SocketAddr>>> {
        self.origins.endpoints()
    }
}
