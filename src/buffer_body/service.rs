//! The service of body buffering. Its future does all the work.

use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use tower::Service;

use super::body::BufferedBody;
use super::config::BufferBodySettings;
use super::future::ResponseFuture;
use crate::{BoxError, Error, SteadfastError};

/// The service of a [`BufferBodyLayer`](super::BufferBodyLayer).
#[derive(Debug, Clone, Copy)]
pub struct BufferBodyService<S> {
    inner: S,
    settings: BufferBodySettings,
}

impl<S> BufferBodyService<S> {
    pub(super) const fn new(inner: S, settings: BufferBodySettings) -> Self {
        Self { inner, settings }
    }
}

impl<Req, S, B, E> Service<Req> for BufferBodyService<S>
where
    S: Service<Req, Response = Response<B>, Error = Error<E>>,
    S::Error: SteadfastError,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Response = Response<BufferedBody<B>>;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture::new(self.inner.call(request), self.settings)
    }
}
