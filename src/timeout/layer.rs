use std::time::Duration;

use tower::Layer;

use super::config::TimeoutSettings;
use super::service::TimeoutService;

/// Bounds an attempt in time; see the [module](super).
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
#[derive(Debug, Clone, Copy)]
pub struct TimeoutLayer {
    settings: TimeoutSettings,
}

impl TimeoutLayer {
    /// Bounds one attempt, up to the head of its response. Zero lets only an answer through that is ready at once.
    ///
    /// Its clock runs from the moment at which the answer has to be waited for.
    pub const fn new(after: Duration) -> Self {
        Self::optional(Some(after))
    }

    /// Bounds an attempt by the deadline of its call, and by a time of its own if it has one.
    pub(crate) const fn optional(after: Option<Duration>) -> Self {
        Self { settings: TimeoutSettings { after, share: None } }
    }

    /// Gives an attempt this share of the total time that its call asks for, if it asks for one.
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
