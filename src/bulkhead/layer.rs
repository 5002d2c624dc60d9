//! The layer that puts a bulkhead around a service.

use tower::Layer;

use super::{Bulkhead, BulkheadService};
use crate::{Http, NonHttp};

/// Bounds the number of calls in flight; see the [module](super).
///
/// ```
/// use steadfast::{Error, bulkhead::{Bulkhead, BulkheadLayer}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let bulkhead = Bulkhead::builder().max_concurrent(64).build()?;
/// let service = ServiceBuilder::new()
///     .layer(BulkheadLayer::new(bulkhead.clone()))
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BulkheadLayer<K = Http> {
    bulkhead: Option<Bulkhead>,
    kind: K,
}

impl BulkheadLayer {
    /// Makes a layer that takes permits from `bulkhead`.
    pub const fn new(bulkhead: Bulkhead) -> Self {
        Self::optional(Some(bulkhead))
    }

    /// Makes a layer that lets every call through if `bulkhead` is `None`.
    pub(crate) const fn optional(bulkhead: Option<Bulkhead>) -> Self {
        Self { bulkhead, kind: Http }
    }

    /// Adapts the layer to a service whose responses are not HTTP. A call then holds its permit only until the
    /// response comes.
    pub fn non_http(self) -> BulkheadLayer<NonHttp> {
        BulkheadLayer { bulkhead: self.bulkhead, kind: NonHttp }
    }
}

impl<S, K: Copy> Layer<S> for BulkheadLayer<K> {
    type Service = BulkheadService<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService::new(inner, self.bulkhead.clone(), self.kind)
    }
}
