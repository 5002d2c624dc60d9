//! The service of the timeout layer. It starts an attempt unless the deadline of the call has passed.

use std::task::{Context, Poll};

use tower::Service;

use super::config::TimeoutSettings;
use super::future::ResponseFuture;
use crate::internal::clock;
use crate::{Error, HasCallOptions, SteadfastError};

/// The service of a [`TimeoutLayer`](super::TimeoutLayer).
#[derive(Debug, Clone, Copy)]
pub struct TimeoutService<S> {
    inner: S,
    settings: TimeoutSettings,
}

impl<S> TimeoutService<S> {
    pub(super) const fn new(inner: S, settings: TimeoutSettings) -> Self {
        Self { inner, settings }
    }
}

impl<Req, S, Res, E> Service<Req> for TimeoutService<S>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>>,
    S::Error: SteadfastError,
{
    type Response = Res;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let options = request.options();
        let allowance = self.settings.allowance(&options);
        // Nothing is sent after the deadline. The check is left out if all other layers check the deadline.
        let future = (!clock::has_passed(options.unchecked_deadline())).then(|| self.inner.call(request));
        ResponseFuture::new(future, allowance)
    }
}
