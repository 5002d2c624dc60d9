//! The timeout layer, and the ways to set its limit.

use std::time::Duration;

use tower::Layer;

use super::config::TimeoutSettings;
use super::service::TimeoutService;

/// Limits the time of each attempt; see the [module](super).
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Error, timeout::TimeoutLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     // … deadline, retry, circuit breaker, bulkhead …
///     .layer(TimeoutLayer::new(Duration::from_secs(1)))
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "attempt timeout")]
#[doc(alias = "per-try timeout")]
#[derive(Debug, Clone, Copy)]
pub struct TimeoutLayer {
    settings: TimeoutSettings,
}

impl TimeoutLayer {
    /// Gives each attempt the time `after` to get the head of its response. With zero, only a response that is ready
    /// at once gets through.
    ///
    /// The clock starts when the attempt first has to wait. A late attempt ends with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). The scope of the error is
    /// [`Total`](crate::TimeoutScope::Total) if the call's deadline came first, and otherwise
    /// [`Attempt`](crate::TimeoutScope::Attempt).
    pub const fn new(after: Duration) -> Self {
        Self::optional(Some(after))
    }

    /// Bounds each attempt by the deadline of its call, and by `after` if it is set.
    pub(crate) const fn optional(after: Option<Duration>) -> Self {
        Self { settings: TimeoutSettings { after, share: None } }
    }

    /// For a call with its own timeout, replaces `after` by this share of that timeout.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn share(mut self, share: Option<f64>) -> Self {
        self.settings.share = share;
        self
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService::new(inner, self.settings)
    }
}
