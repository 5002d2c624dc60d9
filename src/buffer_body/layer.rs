//! The body buffering layer, and its builder methods.

use std::time::Duration;

use tower::Layer;

use super::config::BufferBodySettings;
use super::service::BufferBodyService;

/// Reads small response bodies as part of the attempt; see the [module](super).
///
/// Default: reads bodies whose stated length is at most 1 MiB. A body is idle after 2 s without data.
///
/// ```
/// use steadfast::{Error, buffer_body::BufferBodyLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     .layer(BufferBodyLayer::new().limit(64 * 1024))
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BufferBodyLayer {
    settings: BufferBodySettings,
}

impl BufferBodyLayer {
    /// Returns the default layer.
    pub const fn new() -> Self {
        let idle_timeout = Duration::from_secs(2);
        Self { settings: BufferBodySettings { limit: 1024 * 1024, unsized_bodies: false, idle_timeout } }
    }

    /// Sets the length, in bytes, of the largest body that the layer reads. With zero, it reads none. Default: 1 MiB.
    pub const fn limit(mut self, bytes: usize) -> Self {
        self.settings.limit = bytes;
        self
    }

    /// If `true`, also reads bodies of unstated length, up to the limit. Default: `false`, because the reader of a
    /// stream wants its first bytes at once.
    ///
    /// If a body turns out longer than the limit, the caller gets the part that was read, and then the rest as a
    /// stream. Event streams are never read. A body that the client below decompresses counts as a body of unstated
    /// length.
    pub const fn unsized_bodies(mut self, read: bool) -> Self {
        self.settings.unsized_bodies = read;
        self
    }

    /// Sets the idle timeout: a body that is being read is idle after this time without data. The share of an attempt
    /// bounds the idle timeout. The head of the response counts as data, an empty frame does not. With zero, a body
    /// is idle as soon as the reader has to wait for data. Default: 2 s.
    ///
    /// A [`TimeoutLayer`](crate::timeout::TimeoutLayer) above, made by
    /// [`share_of`](crate::timeout::TimeoutLayer::share_of), cuts an attempt at the end of its time only if its body
    /// is idle. A body that arrives extends the attempt until the body is idle, at most to the deadline of the call.
    /// An attempt timeout that you set with [`new`](crate::timeout::TimeoutLayer::new) cuts a body that arrives, too.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = timeout;
        self
    }
}

impl Default for BufferBodyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for BufferBodyLayer {
    type Service = BufferBodyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BufferBodyService::new(inner, self.settings)
    }
}
