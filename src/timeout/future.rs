use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::BodyWatch;
use super::service::Limit;
use crate::deadline::Timer;
use crate::message::Attach;
use crate::{Error, TimeoutScope};

/// The future of [`Timeout`](super::Timeout).
///
/// Cancel safe: it holds nothing but the call itself.
#[pin_project]
pub struct ResponseFuture<F, K> {
    /// `None` if there was no time left to make the call.
    #[pin]
    future: Option<F>,
    #[pin]
    timer: Timer,
    limit: Limit,
    kind: PhantomData<fn() -> K>,
}

impl<F, K> ResponseFuture<F, K> {
    pub(super) fn new(future: Option<F>, limit: Limit) -> Self {
        let timer = Timer::new(limit.end.filter(|_| limit.enforced));
        Self { future, timer, limit, kind: PhantomData }
    }
}

impl<F, K, Res, E> Future for ResponseFuture<F, K>
where
    F: Future<Output = Result<Res, Error<E>>>,
    K: Attach<Res, BodyWatch>,
{
    type Output = Result<K::Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Limit { end, after, scope, bounds_body, .. } = *this.limit;
        let timed_out = Err(Error::Timeout { scope, after });
        let Some(future) = this.future.as_pin_mut() else { return Poll::Ready(timed_out) };
        if let Poll::Ready(result) = future.poll(cx) {
            // An attempt that was cut by the deadline of the call knows only what was left for it.
            let result = result.map_err(|error| match error {
                Error::Timeout { scope: TimeoutScope::Total, .. } => Error::Timeout { scope, after },
                error => error,
            });
            let body_end = end.filter(|_| bounds_body);
            return Poll::Ready(result.map(|response| K::attach(response, BodyWatch::new(body_end, after))));
        }
        this.timer.poll_elapsed(cx).map(|()| timed_out)
    }
}

impl<F, K> fmt::Debug for ResponseFuture<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("timeout::ResponseFuture").field("limit", &self.limit).finish_non_exhaustive()
    }
}
