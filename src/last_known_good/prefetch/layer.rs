use std::sync::Arc;

use tower::Layer;

use super::config::PrefetchBuilder;
use super::registry::Registry;
use super::service::PrefetchService;
use crate::ConfigError;
use crate::internal::rng::SharedRng;
use crate::last_known_good::LastKnownGood;

/// Fetches URIs again from time to time, in the background, while the upstream is well. It stands above the
/// [`LastKnownGoodLayer`](crate::last_known_good::LastKnownGoodLayer) that keeps what is fetched.
///
/// A URI is registered when it is first called, if its response may be kept and the call has no credentials, and is fetched
/// again with the headers of that call and within as much time. A fetch that fails doubles the wait for the next, up to 16
/// times, so that an upstream that is down is asked next to nothing; one that a caller has made unnecessary is left out.
///
/// **This spawns** a tokio task for each URI. They all end when the last clone of the layer and of its services is dropped.
///
/// ```
/// use std::time::Duration;
/// use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer, PrefetchLayer};
/// use tower::ServiceBuilder;
///
/// let last_known_good = LastKnownGood::default();
/// let prefetch = PrefetchLayer::builder().every(Duration::from_secs(30)).max_uris(20).build(&last_known_good)?;
/// let layers = ServiceBuilder::new()
///     .layer(prefetch.clone())
///     .layer(LastKnownGoodLayer::new(last_known_good));
/// assert_eq!(prefetch.uris().len(), 0); // nothing has been called yet
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "keep warm")]
#[derive(Debug, Clone)]
pub struct PrefetchLayer {
    registry: Option<Arc<Registry>>,
}

impl PrefetchLayer {
    /// A builder that starts from the defaults.
    pub const fn builder() -> PrefetchBuilder {
        PrefetchBuilder::new()
    }

    /// Fetches nothing.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn none() -> Self {
        Self { registry: None }
    }

    /// The URIs that are fetched again, in no particular order.
    pub fn uris(&self) -> Vec<String> {
        self.registry.as_ref().map(|registry| registry.uris()).unwrap_or_default()
    }
}

impl PrefetchBuilder {
    /// The layer. `last_known_good` is the cache of the layer below it, which keeps what is fetched.
    pub fn build(self, last_known_good: &LastKnownGood) -> Result<PrefetchLayer, ConfigError> {
        self.validate()?;
        let rng = SharedRng::new(self.seed);
        let registry = Registry::new(last_known_good.clone(), self.every, self.max_uris, rng);
        Ok(PrefetchLayer { registry: Some(Arc::new(registry)) })
    }
}

impl<S> Layer<S> for PrefetchLayer {
    type Service = PrefetchService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PrefetchService::new(inner, self.registry.clone())
    }
}
