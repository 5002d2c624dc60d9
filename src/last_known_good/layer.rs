//! The layer that puts a last-known-good cache around a service.
//!
//! The same type is used whether slow calls may continue in tasks or the cache spawns no tasks. An earlier version
//! had type states for this difference, in seven files.

use tower::Layer;

use super::handle::LastKnownGood;
use super::service::LastKnownGoodService;
use crate::http::HttpClassifier;

/// Answers a call with the last good response when the layers below have failed; see the [module](super).
///
/// The futures of the service below must be `Send + 'static`, because a slow call may continue in a task after its
/// caller was answered ([`serve_stale_after`](super::LastKnownGoodBuilder::serve_stale_after)).
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use steadfast::{Error, last_known_good::{LastKnownGood, LastKnownGoodLayer}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let last_known_good = LastKnownGood::builder().max_age(Duration::from_secs(600)).build()?;
/// let service = ServiceBuilder::new()
///     .layer(LastKnownGoodLayer::new(last_known_good.clone()))
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: http::Request<Full<Bytes>>| {
///         Ok::<_, std::io::Error>(http::Response::new(Full::new(Bytes::from("an answer"))))
///     });
/// let response = service.oneshot(http::Request::new(Full::default())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LastKnownGoodLayer<C = HttpClassifier> {
    last_known_good: Option<LastKnownGood>,
    classifier: C,
}

impl LastKnownGoodLayer {
    /// Makes a layer that stores responses in `last_known_good`, and classifies results with the default
    /// [`HttpClassifier`].
    pub const fn new(last_known_good: LastKnownGood) -> Self {
        Self::optional(Some(last_known_good))
    }

    /// Makes a layer that stores and serves nothing if `last_known_good` is `None`.
    pub(crate) const fn optional(last_known_good: Option<LastKnownGood>) -> Self {
        Self { last_known_good, classifier: HttpClassifier::new() }
    }
}

impl<C> LastKnownGoodLayer<C> {
    /// Sets the classifier of results.
    pub fn classifier<D>(self, classifier: D) -> LastKnownGoodLayer<D> {
        LastKnownGoodLayer { last_known_good: self.last_known_good, classifier }
    }
}

impl<S, C: Clone> Layer<S> for LastKnownGoodLayer<C> {
    type Service = LastKnownGoodService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        LastKnownGoodService::new(inner, self.last_known_good.clone(), self.classifier.clone())
    }
}
