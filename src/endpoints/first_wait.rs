//! The wait of a call for the first endpoint of its upstream. The deadline of the call bounds the wait.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::Instant;

use super::discovery::WaitingCall;
use super::handle::Endpoints;
use crate::internal::clock::Timer;
use crate::internal::signals::time_is_up;
use crate::{Error, ErrorKind, TimeoutScope};

/// A request that waits for the first endpoint.
#[pin_project]
pub(super) struct FirstWait<A, S, Req> {
    endpoints: Endpoints<A, S>,
    place: WaitingCall,
    /// `None` once the wait is over.
    request: Option<Req>,
    #[pin]
    deadline: Timer,
}

impl<A: PartialEq + fmt::Display, S, Req> FirstWait<A, S, Req> {
    pub(super) fn new(endpoints: Endpoints<A, S>, request: Req, deadline: Option<Instant>) -> Self {
        let place = endpoints.wait();
        Self { endpoints, place, request: Some(request), deadline: Timer::new(deadline) }
    }

    pub(super) fn endpoints(&self) -> &Endpoints<A, S> {
        &self.endpoints
    }

    /// Ready with the request once an endpoint is known. An error means that nothing was sent.
    pub(super) fn poll_known<E>(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Req, Error<E>>> {
        let this = self.project();
        let error = match this.endpoints.poll_known(this.place, cx) {
            Poll::Ready(true) => {
                return Poll::Ready(Ok(this.request.take().expect("polled after it was ready")));
            }
            Poll::Ready(false) => {
                let mut error = Error::new(ErrorKind::NoEndpoint);
                error.set_upstream(this.endpoints.shared_name());
                error
            }
            Poll::Pending => {
                if let Some(limit) = time_is_up() {
                    Error::of_time_up(limit)
                } else {
                    ready!(this.deadline.poll_elapsed(cx));
                    Error::timeout(TimeoutScope::Total, None)
                }
            }
        };
        Poll::Ready(Err(error.with_attempts(0).with_sent(false)))
    }
}
