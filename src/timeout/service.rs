use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::future::Allowance;
use super::{ResponseFuture, TimeoutLayer};
use crate::internal::clock;
use crate::{Error, HasCallOptions};

/// The service that [`TimeoutLayer`] makes.
#[derive(Debug, Clone, Copy)]
pub struct TimeoutService<S> {
    inner: S,
    layer: TimeoutLayer,
}

impl<S> TimeoutService<S> {
    pub(super) const fn new(inner: S, layer: TimeoutLayer) -> Self {
        Self { inner, layer }
    }

    fn allowance(&self, request: &impl HasCallOptions) -> Allowance {
        let options = request.options();
        let share = self.layer.share.zip(options.get_timeout()).map(|(share, total)| scale(total, share));
        Allowance { after: share.or(self.layer.after), deadline: options.get_deadline() }
    }
}

/// A share, below 1, of any time.
fn scale(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(time)
}

impl<Req, S, Res, E> Service<Req> for TimeoutService<S>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>>,
{
    type Response = Res;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let allowance = self.allowance(&request);
        let unchecked = request.options().unchecked_deadline();
        // Nothing is sent once the deadline has passed.
        let future = (!clock::has_passed(unchecked)).then(|| self.inner.call(request));
        ResponseFuture::new(future, allowance)
    }
}
