//! The future of one call. It polls the call first, and then a timer that cuts a late call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use super::body::DeadlineBody;
use super::config::CallLimit;
use crate::internal::clock::{self, CutTimer};
use crate::internal::when_ready::WhenReady;
use crate::response_kind::ResponseKind;
use crate::{Error, HasCallOptions};

/// The future of [`DeadlineService`](super::DeadlineService).
///
/// Cancel safe: a drop of the future drops only the call.
#[pin_project]
pub struct ResponseFuture<F, K> {
    /// `None` if no time was left for the call.
    #[pin]
    future: Option<F>,
    limit: CallLimit,
    /// Never ready if all layers below are known to check the deadline.
    #[pin]
    timer: CutTimer,
    kind: K,
}

impl<F, K> ResponseFuture<F, K> {
    pub(super) fn new(future: Option<F>, limit: CallLimit, is_checked_below: bool, kind: K) -> Self {
        let timer = CutTimer::of_deadline(if is_checked_below { None } else { limit.end });
        Self { future, limit, timer, kind }
    }
}

impl<F, K, Res, E> Future for ResponseFuture<F, K>
where
    F: Future<Output = Result<Res, Error<E>>>,
    K: ResponseKind<Res>,
{
    type Output = Result<K::Observed<DeadlineBody>, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let limit = *this.limit;
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Ready(Err(Error::new(limit.kind()).with_attempts(0).with_sent(false)));
        };
        match future.poll(cx) {
            Poll::Ready(Ok(response)) => {
                Poll::Ready(Ok(this.kind.observe(response, DeadlineBody::new(limit.end, limit.after))))
            }
            // A layer below knows only the time that was left when the layer started, so the error gets the time of
            // the whole call. If `limit.end` has not passed, the error is of an earlier deadline and stays unchanged.
            Poll::Ready(Err(error)) if error.is_total_timeout() && clock::has_passed(limit.end) => {
                Poll::Ready(Err(error.with_kind(limit.kind())))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.timer.poll_elapsed(cx).map(|()| Err(Error::new(limit.kind()))),
        }
    }
}

/// A call that first waits, if necessary, until its service is ready.
///
/// Cancel safe: a call that is dropped while it waits is not sent.
#[pin_project]
pub struct ReadyCall<S: Service<Req>, Req>(#[pin] WhenReady<S, Req>);

impl<S: Service<Req> + Clone, Req: HasCallOptions> ReadyCall<S, Req> {
    #[inline]
    pub(super) fn new(service: &mut S, request: Req) -> Self {
        Self(WhenReady::call(service, request, |request| request.options().get_deadline()))
    }
}

impl<S, Req, Res, E> Future for ReadyCall<S, Req>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
{
    type Output = Result<Res, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(self.project().0.poll_called(cx)) {
            Ok(future) => future.poll(cx),
            Err(not_called) => Poll::Ready(Err(not_called.into())),
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ReadyCall<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCall").finish_non_exhaustive()
    }
}

impl<F, K> fmt::Debug for ResponseFuture<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("deadline::ResponseFuture").field("limit", &self.limit).finish_non_exhaustive()
    }
}
