use std::time::Duration;

use tower::Layer;

use super::mode::{Background, Foreground, Unwarmed};
use super::warm::Warmed;
use super::{KeepWarm, LastKnownGood, LastKnownGoodService};
use crate::http::HttpClassifier;

/// Answers from the last good response when everything below has failed; see the [module](super).
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use steadfast::{Error, last_known_good::{LastKnownGood, LastKnownGoodLayer}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let fallback = LastKnownGood::builder().max_age(Duration::from_secs(600)).build()?;
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
pub struct LastKnownGoodLayer<C = HttpClassifier, M = Foreground>(pub(super) Config<C, M>);

/// What every call of a layer shares.
#[derive(Debug, Clone)]
pub(super) struct Config<C, M> {
    /// `None` keeps and serves nothing.
    pub(super) fallback: Option<LastKnownGood>,
    pub(super) classifier: C,
    pub(super) mode: M,
}

impl LastKnownGoodLayer {
    /// Keeps responses in `fallback`, and judges with the default [`HttpClassifier`].
    pub fn new(fallback: LastKnownGood) -> Self {
        Self(Config { fallback: Some(fallback), classifier: HttpClassifier::new(), mode: Foreground })
    }
}

impl<C, M> LastKnownGoodLayer<C, M> {
    /// Judges results with this classifier.
    pub fn classifier<D>(self, classifier: D) -> LastKnownGoodLayer<D, M> {
        let Config { fallback, mode, .. } = self.0;
        LastKnownGoodLayer(Config { fallback, classifier, mode })
    }

    fn with_mode<N>(self, change: impl FnOnce(M) -> N) -> LastKnownGoodLayer<C, N> {
        let Config { fallback, classifier, mode } = self.0;
        LastKnownGoodLayer(Config { fallback, classifier, mode: change(mode) })
    }
}

impl<C> LastKnownGoodLayer<C, Foreground> {
    /// Serves what is kept when the upstream has not answered within `soft_limit`, as [`Cause::Slow`](super::Cause::Slow);
    /// the call goes on behind, within its deadline, and renews what is kept. Where nothing is kept, it is waited for as ever.
    ///
    /// **This spawns** a tokio task for each call that goes on, at most [64](LastKnownGoodLayer::max_refreshes) at a time
    /// and one for each request. Beyond that, the call is dropped when it has been answered.
    pub fn serve_stale_after(self, soft_limit: Duration) -> LastKnownGoodLayer<C, Background> {
        self.with_mode(|Foreground| Background::new(Unwarmed).soft_limit(soft_limit))
    }

    /// Fetches what is called again from time to time, for as long as there is the handle.
    ///
    /// **This spawns** a tokio task for each URI that is kept warm; see [`KeepWarm`].
    pub fn keep_warm(self, warm: &KeepWarm) -> LastKnownGoodLayer<C, Background<Warmed>> {
        self.with_mode(|Foreground| Background::new(warm.downgrade()))
    }
}

impl<C, W> LastKnownGoodLayer<C, Background<W>> {
    /// How many calls go on behind at a time. Default 64.
    pub fn max_refreshes(self, max: usize) -> Self {
        self.with_mode(|mode| mode.max_refreshes(max))
    }
}

impl<C> LastKnownGoodLayer<C, Background> {
    /// See [`LastKnownGoodLayer::keep_warm`].
    pub fn keep_warm(self, warm: &KeepWarm) -> LastKnownGoodLayer<C, Background<Warmed>> {
        self.with_mode(|mode| mode.warmed_by(warm.downgrade()))
    }
}

impl<C> LastKnownGoodLayer<C, Background<Warmed>> {
    /// See [`LastKnownGoodLayer::serve_stale_after`].
    pub fn serve_stale_after(self, soft_limit: Duration) -> Self {
        self.with_mode(|mode| mode.soft_limit(soft_limit))
    }
}

/// The layer of a client, which can do both, whether or not it does.
#[cfg(feature = "reqwest")]
impl LastKnownGoodLayer<HttpClassifier, Background<Warmed>> {
    /// Keeps and serves nothing.
    pub(crate) fn none() -> Self {
        let mode = Background::new(Warmed::default());
        Self(Config { fallback: None, classifier: HttpClassifier::new(), mode })
    }
}

impl<C> From<LastKnownGoodLayer<C, Foreground>> for LastKnownGoodLayer<C, Background<Warmed>> {
    fn from(layer: LastKnownGoodLayer<C, Foreground>) -> Self {
        layer.with_mode(|Foreground| Background::new(Warmed::default()))
    }
}

impl<C> From<LastKnownGoodLayer<C, Background>> for LastKnownGoodLayer<C, Background<Warmed>> {
    fn from(layer: LastKnownGoodLayer<C, Background>) -> Self {
        layer.with_mode(|mode| mode.warmed_by(Warmed::default()))
    }
}

impl<S, C: Clone, M: Clone> Layer<S> for LastKnownGoodLayer<C, M> {
    type Service = LastKnownGoodService<S, C, M>;

    fn layer(&self, inner: S) -> Self::Service {
        LastKnownGoodService::new(inner, self.0.clone())
    }
}
