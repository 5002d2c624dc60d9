//! The layer that puts a circuit breaker around a service.

use tower::Layer;

use super::{CircuitBreaker, CircuitBreakerService};
use crate::http::HttpClassifier;
use crate::{Http, NonHttp};

/// Refuses calls while the circuit of their upstream is open; see the [module](super).
///
/// ```
/// use steadfast::{Error, circuit_breaker::{CircuitBreaker, CircuitBreakerLayer}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let circuit_breaker = CircuitBreaker::builder().build()?;
/// let service = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(circuit_breaker.clone()))
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CircuitBreakerLayer<C = HttpClassifier, K = Http> {
    circuit: Option<CircuitBreaker>,
    classifier: C,
    kind: K,
}

impl CircuitBreakerLayer {
    /// Makes a layer that guards services with `circuit_breaker`, and judges results with the default
    /// [`HttpClassifier`].
    pub const fn new(circuit_breaker: CircuitBreaker) -> Self {
        Self::optional(Some(circuit_breaker))
    }

    /// Makes a layer with an optional circuit breaker. Without a circuit breaker, every call goes through.
    pub(crate) const fn optional(circuit: Option<CircuitBreaker>) -> Self {
        Self { circuit, classifier: HttpClassifier::new(), kind: Http }
    }
}

impl<C, K> CircuitBreakerLayer<C, K> {
    /// Judges results with `classifier`. To ignore the outcomes of a route, use
    /// [`classify::by_request`](crate::classify::by_request).
    pub fn classifier<D>(self, classifier: D) -> CircuitBreakerLayer<D, K> {
        CircuitBreakerLayer { circuit: self.circuit, classifier, kind: self.kind }
    }

    /// Makes the layer fit a service whose responses are not HTTP. The layer then observes no bodies.
    pub fn non_http(self) -> CircuitBreakerLayer<C, NonHttp> {
        CircuitBreakerLayer { circuit: self.circuit, classifier: self.classifier, kind: NonHttp }
    }
}

impl<S, C: Clone, K: Copy> Layer<S> for CircuitBreakerLayer<C, K> {
    type Service = CircuitBreakerService<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.circuit.clone(), self.classifier.clone(), self.kind)
    }
}
