//! The layer that prefetches URIs, and the method `build` of its builder.

use std::sync::Arc;

use tower::Layer;

use super::config::PrefetchBuilder;
use super::registry::Registry;
use super::service::PrefetchService;
use crate::ConfigError;
use crate::internal::rng::SharedRng;
use crate::last_known_good::LastKnownGood;

/// Fetches each called URI periodically in the background, so that its entry is recent when an outage begins.
///
/// Put this layer above the [`LastKnownGoodLayer`](crate::last_known_good::LastKnownGoodLayer), which stores the
/// responses.
///
/// The first call of a URI registers the URI, if the request is cacheable and has no credentials. A fetch repeats
/// that call, with the same headers and time limit; if that call had no deadline, the limit is 60 s. After a fetch
/// that did not fail, a URI without an entry in memory is removed. An answer such as 404 is no failure. Each failed
/// fetch doubles the time to the next one, up to 16 times [`every`](PrefetchBuilder::every), so that an upstream that
/// is down gets few requests. A fetch is skipped if the entry was received less than half of `every` ago, unless the
/// previous fetch failed.
///
/// **This spawns** a tokio task for each URI. When all clones of the layer and of its services are dropped, the tasks
/// end and release the service below.
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
#[doc(alias = "KeepWarm")]
#[doc(alias = "keep warm")]
#[derive(Debug, Clone)]
pub struct PrefetchLayer {
    registry: Option<Arc<Registry>>,
}

impl PrefetchLayer {
    /// Returns a builder with the defaults.
    pub const fn builder() -> PrefetchBuilder {
        PrefetchBuilder::new()
    }

    /// Makes a layer that fetches nothing.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn none() -> Self {
        Self { registry: None }
    }

    /// Returns the registered URIs, in no particular order.
    pub fn uris(&self) -> Vec<String> {
        self.registry.as_ref().map(|registry| registry.uris()).unwrap_or_default()
    }
}

impl PrefetchBuilder {
    /// Builds the layer. `last_known_good` must be the cache of the
    /// [`LastKnownGoodLayer`](crate::last_known_good::LastKnownGoodLayer) below.
    ///
    /// # Errors
    ///
    /// Fails if a setting is out of its range.
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
