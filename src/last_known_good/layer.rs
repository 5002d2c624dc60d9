use std::time::Duration;

use tower::Layer;

use super::{LastKnownGood, MemoryStore};
use crate::http::HttpClassifier;

/// Answers from the last good response when everything below has failed; see the [module](super).
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use steadfast::{Error, last_known_good::{LastKnownGoodLayer, MemoryStore}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     .layer(LastKnownGoodLayer::new(MemoryStore::default()).max_age(Duration::from_secs(600)))
///     .map_err(Error::Upstream)
///     .service_fn(async |_: http::Request<Full<Bytes>>| {
///         Ok::<_, std::io::Error>(http::Response::new(Full::new(Bytes::from("an answer"))))
///     });
/// let response = service.oneshot(http::Request::new(Full::default())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LastKnownGoodLayer<C = HttpClassifier> {
    /// `None` keeps and serves nothing.
    pub(super) store: Option<MemoryStore>,
    pub(super) max_age: Duration,
    pub(super) max_entry_bytes: usize,
    pub(super) classifier: C,
}

impl LastKnownGoodLayer {
    /// Keeps responses in `store`, and judges with the default [`HttpClassifier`].
    pub fn new(store: MemoryStore) -> Self {
        Self::optional(Some(store))
    }

    pub(crate) fn optional(store: Option<MemoryStore>) -> Self {
        Self {
            store,
            max_age: Duration::from_secs(60 * 60),
            max_entry_bytes: 1024 * 1024,
            classifier: HttpClassifier::new(),
        }
    }
}

impl<C> LastKnownGoodLayer<C> {
    /// How old a response may be and still be served, where its origin says nothing by `stale-if-error`. Default: an
    /// hour.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// The largest body that is kept, in bytes. Default: 1 MiB.
    pub fn max_entry_bytes(mut self, bytes: usize) -> Self {
        self.max_entry_bytes = bytes;
        self
    }

    /// Judges results with this classifier.
    pub fn classifier<D>(self, classifier: D) -> LastKnownGoodLayer<D> {
        LastKnownGoodLayer {
            store: self.store,
            max_age: self.max_age,
            max_entry_bytes: self.max_entry_bytes,
            classifier,
        }
    }
}

impl<S, C: Clone> Layer<S> for LastKnownGoodLayer<C> {
    type Service = LastKnownGood<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        LastKnownGood::new(inner, self.clone())
    }
}

impl<C: Clone> Clone for LastKnownGoodLayer<C> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), classifier: self.classifier.clone(), ..*self }
    }
}
