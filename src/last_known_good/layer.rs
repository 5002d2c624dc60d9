use std::time::Duration;

use tower::Layer;

use super::mode::{Background, Foreground};
use super::{Fallback, KeepWarm, LastKnownGood};
use crate::http::HttpClassifier;

/// Answers from the last good response when everything below has failed; see the [module](super).
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use steadfast::{Error, last_known_good::{Fallback, LastKnownGoodLayer}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let fallback = Fallback::builder().max_age(Duration::from_secs(600)).build()?;
/// let service = ServiceBuilder::new()
///     .layer(LastKnownGoodLayer::new(fallback.clone()))
///     .map_err(Error::Upstream)
///     .service_fn(async |_: http::Request<Full<Bytes>>| {
///         Ok::<_, std::io::Error>(http::Response::new(Full::new(Bytes::from("an answer"))))
///     });
/// let response = service.oneshot(http::Request::new(Full::default())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LastKnownGoodLayer<C = HttpClassifier, M = Foreground> {
    pub(super) config: Config<C>,
    pub(super) mode: M,
}

/// What every service of a layer shares.
#[derive(Debug, Clone)]
pub(super) struct Config<C> {
    /// `None` keeps and serves nothing.
    pub(super) fallback: Option<Fallback>,
    pub(super) classifier: C,
}

impl LastKnownGoodLayer {
    /// Keeps responses in `fallback`, and judges with the default [`HttpClassifier`].
    pub fn new(fallback: Fallback) -> Self {
        let config = Config { fallback: Some(fallback), classifier: HttpClassifier::new() };
        Self { config, mode: Foreground }
    }
}

impl<C, M> LastKnownGoodLayer<C, M> {
    /// Judges results with this classifier.
    pub fn classifier<D>(self, classifier: D) -> LastKnownGoodLayer<D, M> {
        let config = Config { fallback: self.config.fallback, classifier };
        LastKnownGoodLayer { config, mode: self.mode }
    }
}

impl<C, M: Into<Background>> LastKnownGoodLayer<C, M> {
    /// Serves what is kept when the upstream has not answered within `soft_limit`, as [`Cause::Slow`](super::Cause::Slow);
    /// the call goes on behind, within its deadline, and renews what is kept. Where nothing is kept, it is waited for as ever.
    ///
    /// **This spawns** a tokio task for each call that goes on, at most [64](Self::max_refreshes) at a time and one for each
    /// request. Beyond that, the call is dropped when it has been answered.
    pub fn serve_stale_after(self, soft_limit: Duration) -> LastKnownGoodLayer<C, Background> {
        LastKnownGoodLayer { config: self.config, mode: self.mode.into().soft_limit(soft_limit) }
    }

    /// Fetches what is called again from time to time, for as long as there is the handle.
    ///
    /// **This spawns** a tokio task for each URI that is kept warm; see [`KeepWarm`].
    pub fn keep_warm(self, warm: &KeepWarm) -> LastKnownGoodLayer<C, Background> {
        LastKnownGoodLayer { config: self.config, mode: self.mode.into().keep_warm(warm.downgrade()) }
    }
}

impl<C> LastKnownGoodLayer<C, Background> {
    /// How many calls go on behind at a time. Default 64.
    pub fn max_refreshes(self, max: usize) -> Self {
        Self { mode: self.mode.max_refreshes(max), ..self }
    }
}

#[cfg(feature = "reqwest")]
impl LastKnownGoodLayer<HttpClassifier, Background> {
    /// Keeps and serves nothing.
    pub(crate) fn none() -> Self {
        let config = Config { fallback: None, classifier: HttpClassifier::new() };
        Self { config, mode: Background::new() }
    }
}

/// The same, for where calls could go on behind; they do not, unless they are told to.
impl<C> From<LastKnownGoodLayer<C, Foreground>> for LastKnownGoodLayer<C, Background> {
    fn from(layer: LastKnownGoodLayer<C, Foreground>) -> Self {
        Self { config: layer.config, mode: layer.mode.into() }
    }
}

impl<S, C: Clone, M: Clone> Layer<S> for LastKnownGoodLayer<C, M> {
    type Service = LastKnownGood<S, C, M>;

    fn layer(&self, inner: S) -> Self::Service {
        LastKnownGood::new(inner, self.clone())
    }
}
