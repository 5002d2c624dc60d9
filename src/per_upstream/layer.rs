//! The layer that puts a stack for each upstream around one service.

use std::sync::Arc;

use tower::Layer;

use super::key::{KeyFn, Origin};
use super::make_stack::MakeStack;
use super::service::PerUpstreamService;

/// Makes a stack of layers for each upstream; see the [module](super).
///
/// Default: upstreams are told apart by scheme and authority, and by a `Host` header that differs from the URI. At
/// most 1,000 upstreams are known at a time.
///
/// The service below must fail with an [`Error`](crate::Error). The request must have the options of the call
/// ([`HasCallOptions`](crate::HasCallOptions)), because the deadline in the options bounds the wait for a stack.
///
/// ```
/// use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
/// use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
/// use steadfast::{Error, bulkhead::{BulkheadLayer, Bulkhead}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let circuit = CircuitBreaker::builder().build()?;
/// let bulkhead = Bulkhead::builder().max_concurrent(64).build()?; // a pattern, like the circuit
/// let per_upstream = PerUpstreamLayer::new(move |upstream: &UpstreamKey| {
///     let circuit = circuit.fresh(upstream.to_string());
///     let layers = ServiceBuilder::new()
///         .layer(CircuitBreakerLayer::new(circuit.clone()))
///         .layer(BulkheadLayer::new(bulkhead.fresh(upstream.to_string())))
///         .into_inner();
///     (layers, circuit)
/// });
/// let service = ServiceBuilder::new()
///     .layer(per_upstream)
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::get("http://sku.internal/").body(String::new())?).await?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "per host")]
#[derive(Debug, Clone)]
pub struct PerUpstreamLayer<M, K = Origin> {
    make_stack: Arc<M>,
    key: Arc<K>,
    max_upstreams: usize,
}

impl<M: MakeStack> PerUpstreamLayer<M> {
    /// Returns a layer that makes the stack of each upstream with `make_stack`, usually a closure. Write the type of
    /// the closure's argument, `|upstream: &UpstreamKey|`, because the compiler cannot infer this type.
    pub fn new(make_stack: M) -> Self {
        Self { make_stack: Arc::new(make_stack), key: Arc::new(Origin), max_upstreams: 1000 }
    }
}

impl<M, K> PerUpstreamLayer<M, K> {
    /// Sets the largest number of upstreams known at a time. Zero counts as one. Default: 1,000.
    ///
    /// Choose more than the number of upstreams that are used at the same time. If all upstreams are [in
    /// use](super#bounds), a new upstream displaces another, even one whose circuit is open.
    pub fn max_upstreams(mut self, upstreams: usize) -> Self {
        self.max_upstreams = upstreams.max(1);
        self
    }

    /// Tells upstreams apart by `function`. Default: by scheme and authority.
    pub fn key_by<F, Req, N>(self, function: F) -> PerUpstreamLayer<M, KeyFn<F, Req, N>>
    where
        F: Fn(&Req) -> N,
        N: AsRef<str>,
    {
        self.key(KeyFn::new(function))
    }

    pub(crate) fn key<L>(self, key: L) -> PerUpstreamLayer<M, L> {
        PerUpstreamLayer {
            make_stack: self.make_stack,
            key: Arc::new(key),
            max_upstreams: self.max_upstreams,
        }
    }
}

impl<S, M, K> Layer<S> for PerUpstreamLayer<M, K>
where
    S: Clone,
    M: MakeStack,
    M::Layer: Layer<S>,
{
    type Service = PerUpstreamService<S, M, K>;

    fn layer(&self, inner: S) -> Self::Service {
        PerUpstreamService::new(
            inner,
            Arc::clone(&self.make_stack),
            Arc::clone(&self.key),
            self.max_upstreams,
        )
    }
}
