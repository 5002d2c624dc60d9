//! The future of a call to the stack of an upstream. It waits, if necessary, until the stack is ready.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use super::map::InFlight;
use crate::internal::when_ready::{NotCalled, Polled, WhenReady};
use crate::{Error, HasCallOptions};

/// The future of [`PerUpstreamService`](super::PerUpstreamService).
///
/// Cancel safe: the future holds the call, and no other resource. A call that is dropped while it waits for its stack
/// is not sent.
#[pin_project]
pub struct ResponseFuture<S: Service<Req>, Req> {
    #[pin]
    call: WhenReady<S, Req>,
    /// Marks the upstream as in use, if the map asks for a mark or the call has to wait.
    in_flight: Option<InFlight>,
}

impl<S, Req> ResponseFuture<S, Req>
where
    S: Service<Req>,
    Req: HasCallOptions,
{
    #[inline]
    pub(super) fn new(stack: Polled<S, S::Error>, request: Req, in_flight: Option<InFlight>) -> Self {
        Self { call: stack.call(request, |request| request.options().end_of_wait()), in_flight }
    }
}

impl<S, Req, Res, E> Future for ResponseFuture<S, Req>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
{
    type Output = Result<Res, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match ready!(this.call.poll_called(cx)) {
            Ok(future) => future.poll(cx),
            Err(not_called) => Poll::Ready(Err(error(not_called, this.in_flight.as_ref()))),
        }
    }
}

/// Returns the error of a call that was not sent, with the name of the upstream.
#[cold]
fn error<E>(not_called: NotCalled<Error<E>>, upstream: Option<&InFlight>) -> Error<E> {
    let error = Error::from(not_called);
    match upstream {
        // A layer of the stack may have set the name already. An error with a name allocates nothing here.
        Some(upstream) if error.upstream().is_none() => error.with_upstream(upstream.key().to_string()),
        _ => error,
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ResponseFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("per_upstream::ResponseFuture").finish_non_exhaustive()
    }
}
