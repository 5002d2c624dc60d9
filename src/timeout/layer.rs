//! The timeout layer, and the ways to set its limit.

use std::time::Duration;

use tower::Layer;

use super::config::TimeoutSettings;
use super::service::TimeoutService;

/// Limits the time of each attempt; see the [module](super).
///
/// [`new`](Self::new) gives every attempt the same time. [`share_of`](Self::share_of) follows the rule of a `Client`.
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
        Self { settings: TimeoutSettings::Fixed(after) }
    }

    /// Gives each attempt the time `total` divided by 3.4 while another attempt can follow. A call's own
    /// [timeout](crate::CallOptions::timeout) replaces `total`.
    ///
    /// - The last possible attempt has all the time until the deadline of its call. Only a
    ///   [`RetryLayer`](crate::retry::RetryLayer) above knows that [no other attempt can
    ///   follow](crate::CallOptions::another_may_follow). Without a deadline, the last attempt is cut like the
    ///   others.
    /// - A request body of [known length](crate::CallOptions::body_length) adds its length divided by the
    ///   [upload rate](Self::upload_rate).
    /// - A response body that a [`BufferBodyLayer`](crate::buffer_body::BufferBodyLayer) reads is not cut while it
    ///   arrives; see its [idle timeout](crate::buffer_body::BufferBodyLayer::idle_timeout).
    ///
    /// ```
    /// use std::time::Duration;
    /// use steadfast::{Error, deadline::DeadlineLayer, timeout::TimeoutLayer};
    /// use steadfast::retry::{RetryLayer, RetryPolicy};
    /// use tower::{ServiceBuilder, ServiceExt};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// const TOTAL: Duration = Duration::from_secs(10);
    /// let service = ServiceBuilder::new()
    ///     .layer(DeadlineLayer::new(TOTAL))
    ///     .layer(RetryLayer::new(RetryPolicy::default()))
    ///     .layer(TimeoutLayer::share_of(TOTAL))
    ///     .map_err(Error::from_upstream)
    ///     .service_fn(async |_: http::Request<String>| {
    ///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
    ///     });
    /// let response = service.oneshot(http::Request::new(String::new())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn share_of(total: Duration) -> Self {
        Self { settings: TimeoutSettings::share_of(total) }
    }

    /// Sets the rate at which request bodies are assumed to be sent at least, in bytes per second. Zero counts as 1.
    /// Default: 128 KiB per second. Applies only to a layer from [`share_of`](Self::share_of).
    pub const fn upload_rate(mut self, bytes_per_second: u64) -> Self {
        if let TimeoutSettings::Share { upload_rate, .. } = &mut self.settings {
            *upload_rate = if bytes_per_second == 0 { 1 } else { bytes_per_second };
        }
        self
    }

    /// Returns the time of an attempt without a request body; `None` if only the deadline bounds it.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn after(&self) -> Option<Duration> {
        self.settings.after()
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService::new(inner, self.settings)
    }
}
