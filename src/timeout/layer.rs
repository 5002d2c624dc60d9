use std::marker::PhantomData;
use std::time::Duration;

use tower::Layer;

use super::TimeoutService;
use crate::{Http, NonHttp, TimeoutScope};

/// Bounds a call, or an attempt, in time; see the [module](super).
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Error, timeout::TimeoutLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::total(Duration::from_secs(3)))
///     // … retry, breaker, bulkhead …
///     .layer(TimeoutLayer::attempt(Duration::from_secs(1)))
///     .map_err(Error::Upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TimeoutLayer<K = Http> {
    pub(super) scope: TimeoutScope,
    pub(super) after: Option<Duration>,
    /// For an attempt: which share of a call's own total time it has, if the call has one.
    pub(super) share: Option<f64>,
    kind: PhantomData<fn() -> K>,
}

impl TimeoutLayer<Http> {
    /// Bounds the whole call: attempts, waits between them, and the reading of the body.
    ///
    /// A call that asks for another time ([`CallOptions::timeout`](crate::CallOptions::timeout)) has that instead. With zero,
    /// nothing is sent.
    pub const fn total(after: Duration) -> Self {
        Self::new(TimeoutScope::Total, Some(after))
    }
}

impl TimeoutLayer<NonHttp> {
    /// Bounds one attempt, up to the head of its response. Zero lets only an answer through that is ready at once.
    ///
    /// Its clock runs from the moment at which the answer has to be waited for.
    pub const fn attempt(after: Duration) -> Self {
        Self::optional_attempt(Some(after))
    }

    /// Bounds an attempt by the deadline of its call, and by a time of its own if it has one.
    pub(crate) const fn optional_attempt(after: Option<Duration>) -> Self {
        Self::new(TimeoutScope::Attempt, after)
    }

    /// Gives an attempt this share of the total time that its call asks for, if it asks for one.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn share(mut self, share: Option<f64>) -> Self {
        self.share = share;
        self
    }
}

impl<K> TimeoutLayer<K> {
    const fn new(scope: TimeoutScope, after: Option<Duration>) -> Self {
        Self { scope, after, share: None, kind: PhantomData }
    }

    /// For a service whose responses are not HTTP. An attempt's time ends with the head, so that it is so already.
    pub const fn non_http(self) -> TimeoutLayer<NonHttp> {
        let Self { scope, after, share, .. } = self;
        TimeoutLayer { scope, after, share, kind: PhantomData }
    }
}

impl<S, K> Layer<S> for TimeoutLayer<K> {
    type Service = TimeoutService<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService::new(inner, *self)
    }
}

impl<K> Clone for TimeoutLayer<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for TimeoutLayer<K> {}
