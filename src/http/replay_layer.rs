//! The layer that makes the bodies of requests replayable.

use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower::{Layer, Service};

use super::ReplayBody;
use crate::Call;

/// Makes the bodies of requests replayable, so that a retry below can send them again.
///
/// Turns `Request<B>` into `Request<ReplayBody<B>>`. Only streaming bodies need this layer: bodies in memory
/// ([`TryCloneBody`](super::TryCloneBody)) can be sent again without it.
///
/// Default: keeps a copy of up to 64 KiB of each body, for as long as another attempt can follow. A longer body is
/// sent once.
///
/// ```
/// use steadfast::{http::ReplayBodyLayer, retry::{RetryLayer, RetryPolicy}};
/// use tower::ServiceBuilder;
///
/// let layers = ServiceBuilder::new()
///     .layer(ReplayBodyLayer::new(256 * 1024))
///     .layer(RetryLayer::new(RetryPolicy::default()));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ReplayBodyLayer {
    limit: usize,
}

impl ReplayBodyLayer {
    /// Creates a layer that keeps a copy of up to `limit` bytes of each body. `ReplayBodyLayer::default()` keeps up
    /// to 64 KiB. The limit bounds the memory of the copy, however small the frames of the body are.
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl Default for ReplayBodyLayer {
    /// Keeps up to 64 KiB of each body.
    fn default() -> Self {
        Self::new(64 * 1024)
    }
}

impl<S> Layer<S> for ReplayBodyLayer {
    type Service = ReplayBodyService<S>;

    fn layer(&self, inner: S) -> ReplayBodyService<S> {
        ReplayBodyService { inner, limit: self.limit }
    }
}

/// The service that [`ReplayBodyLayer`] makes.
#[derive(Debug, Clone, Copy)]
pub struct ReplayBodyService<S> {
    inner: S,
    limit: usize,
}

impl<S, B> Service<Request<B>> for ReplayBodyService<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.inner.call(request.map(|body| ReplayBody::new(body, self.limit)))
    }
}

impl<S, B> Service<Call<Request<B>>> for ReplayBodyService<S>
where
    S: Service<Call<Request<ReplayBody<B>>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<Request<B>>) -> S::Future {
        let limit = self.limit;
        self.inner.call(call.map(|request| request.map(|body| ReplayBody::new(body, limit))))
    }
}
