use std::marker::PhantomData;

use tower::Layer;

use super::{Bulkhead, Compartment};
use crate::{Http, Plain};

/// Bounds the calls in flight; see the [module](super).
///
/// ```
/// use steadfast::{Error, bulkhead::{BulkheadLayer, Compartment}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let compartment = Compartment::builder().max_concurrent(64).build()?;
/// let service = ServiceBuilder::new()
///     .layer(BulkheadLayer::new(compartment.clone()))
///     .map_err(Error::Upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BulkheadLayer<K = Http> {
    compartment: Option<Compartment>,
    kind: PhantomData<fn() -> K>,
}

impl BulkheadLayer {
    /// Takes permits from `compartment`.
    pub fn new(compartment: Compartment) -> Self {
        Self::optional(Some(compartment))
    }

    /// Lets every call through, if there is no compartment.
    pub(crate) fn optional(compartment: Option<Compartment>) -> Self {
        Self { compartment, kind: PhantomData }
    }

    /// For a service whose responses are not HTTP: a permit is held until the response has come.
    pub fn plain(self) -> BulkheadLayer<Plain> {
        BulkheadLayer { compartment: self.compartment, kind: PhantomData }
    }
}

impl<S, K> Layer<S> for BulkheadLayer<K> {
    type Service = Bulkhead<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Bulkhead::new(inner, self.compartment.clone())
    }
}

impl<K> Clone for BulkheadLayer<K> {
    fn clone(&self) -> Self {
        Self { compartment: self.compartment.clone(), kind: PhantomData }
    }
}
