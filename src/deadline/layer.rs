//! The deadline layer, and the ways to set its limit.

use std::time::Duration;

use tower::Layer;

use super::config::DeadlineSettings;
use super::service::DeadlineService;
use crate::{Http, NonHttp};

/// Limits the time of each call as a whole; see the [module](super).
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Error, deadline::DeadlineLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     .layer(DeadlineLayer::new(Duration::from_secs(3)))
///     // … retry, circuit breaker, bulkhead …
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "total timeout")]
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer<K = Http> {
    settings: DeadlineSettings,
    kind: K,
}

impl DeadlineLayer {
    /// Gives each call the time `after` as a whole: for attempts, the waits between them, and the reading of the
    /// body. With zero, no request is sent.
    ///
    /// A call's own [timeout](crate::CallOptions::timeout) replaces `after`. The layer never moves a call's own
    /// [deadline](crate::CallOptions::deadline) later. A late call ends with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). The scope of the error is
    /// [`Total`](crate::TimeoutScope::Total).
    pub const fn new(after: Duration) -> Self {
        Self { settings: DeadlineSettings { after: Some(after), is_checked_below: false }, kind: Http }
    }

    /// Makes a layer that stamps deadlines but arms no timer, for a stack whose layers all check the deadline. If
    /// `after` is `None`, the layer bounds only calls with a timeout or a deadline of their own.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn checked_below(after: Option<Duration>) -> Self {
        Self { settings: DeadlineSettings { after, is_checked_below: true }, kind: Http }
    }
}

impl<K> DeadlineLayer<K> {
    /// Makes the layer fit a service whose responses are not HTTP. A call then ends with its response: there is
    /// no body to cut.
    pub fn non_http(self) -> DeadlineLayer<NonHttp> {
        DeadlineLayer { settings: self.settings, kind: NonHttp }
    }
}

impl<S, K: Copy> Layer<S> for DeadlineLayer<K> {
    type Service = DeadlineService<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.settings, self.kind)
    }
}
