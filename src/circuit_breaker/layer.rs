use std::marker::PhantomData;

use tower::Layer;

use super::{CircuitBreaker, CircuitBreakerService};
use crate::http::HttpClassifier;
use crate::{Http, NonHttp};

/// Refuses calls while their circuit is open; see the [module](super).
///
/// ```
/// use steadfast::{Error, circuit_breaker::{CircuitBreaker, CircuitBreakerLayer}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let circuit = CircuitBreaker::builder().build()?;
/// let service = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(circuit.clone()))
///     .map_err(Error::Upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CircuitBreakerLayer<C = HttpClassifier, K = Http> {
    circuit: Option<CircuitBreaker>,
    classifier: C,
    kind: PhantomData<fn() -> K>,
}

impl CircuitBreakerLayer {
    /// Guards with `circuit`, and the default [`HttpClassifier`].
    pub fn new(circuit: CircuitBreaker) -> Self {
        Self::optional(Some(circuit))
    }

    /// Lets every call through, if there is no circuit.
    pub(crate) fn optional(circuit: Option<CircuitBreaker>) -> Self {
        Self { circuit, classifier: HttpClassifier::new(), kind: PhantomData }
    }
}

impl<C, K> CircuitBreakerLayer<C, K> {
    /// Judges results with this classifier.
    pub fn classifier<D>(self, classifier: D) -> CircuitBreakerLayer<D, K> {
        CircuitBreakerLayer { circuit: self.circuit, classifier, kind: PhantomData }
    }

    /// For a service whose responses are not HTTP.
    pub fn non_http(self) -> CircuitBreakerLayer<C, NonHttp> {
        CircuitBreakerLayer { circuit: self.circuit, classifier: self.classifier, kind: PhantomData }
    }
}

impl<S, C: Clone, K> Layer<S> for CircuitBreakerLayer<C, K> {
    type Service = CircuitBreakerService<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.circuit.clone(), self.classifier.clone())
    }
}

impl<C: Clone, K> Clone for CircuitBreakerLayer<C, K> {
    fn clone(&self) -> Self {
        Self { circuit: self.circuit.clone(), classifier: self.classifier.clone(), kind: PhantomData }
    }
}
