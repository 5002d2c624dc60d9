use std::time::Duration;

use tower::Layer;

use super::config::DeadlineSettings;
use super::service::DeadlineService;
use crate::{Http, NonHttp};

/// Bounds a whole call in time; see the [module](super).
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
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer<K = Http> {
    settings: DeadlineSettings,
    kind: K,
}

impl DeadlineLayer {
    /// Bounds a call: attempts, waits between them, and the reading of the body.
    ///
    /// A call that asks for another time ([`CallOptions::timeout`](crate::CallOptions::timeout)) has that instead, and never more
    /// than its own [deadline](crate::CallOptions::deadline) leaves. With zero, nothing is sent.
    pub const fn new(after: Duration) -> Self {
        Self { settings: DeadlineSettings { after: Some(after), is_checked_below: false }, kind: Http }
    }

    /// Bounds a call in a stack whose layers all check the deadline, so that this one needs no timer. Without a time of its
    /// own, it bounds the calls that ask for one.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn checked_below(after: Option<Duration>) -> Self {
        Self { settings: DeadlineSettings { after, is_checked_below: true }, kind: Http }
    }
}

impl<K> DeadlineLayer<K> {
    /// For a service whose responses are not HTTP: the call ends with the response.
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
