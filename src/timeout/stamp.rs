//! The total timeout of a stack that bounds every wait by the deadline itself: it stamps, and needs no timer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use http_body::Body;
use pin_project::pin_project;
use tower::{Layer, Service};

use super::BodyWatch;
use super::limit::Limit;
use crate::http::body::WatchedBody;
use crate::message::Attach;
use crate::{Error, HasCallOptions, Http};

/// Stamps the deadline of the call on the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StampLayer {
    after: Option<Duration>,
}

impl StampLayer {
    /// The total time of a call that does not ask for another one.
    pub(crate) const fn new(after: Option<Duration>) -> Self {
        Self { after }
    }
}

impl<S> Layer<S> for StampLayer {
    type Service = Stamp<S>;

    fn layer(&self, inner: S) -> Stamp<S> {
        Stamp { inner, after: self.after }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Stamp<S> {
    inner: S,
    after: Option<Duration>,
}

impl<Req, S, B, E> Service<Req> for Stamp<S>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Response<B>, Error = Error<E>>,
    B: Body,
{
    type Response = Response<WatchedBody<B, BodyWatch>>;
    type Error = Error<E>;
    type Future = StampFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let limit = Limit::of_call(&mut request, self.after, true);
        // Nothing is sent once the deadline has passed.
        let future = (!limit.is_over()).then(|| self.inner.call(request));
        StampFuture { future, limit }
    }
}

#[pin_project]
pub(crate) struct StampFuture<F> {
    /// `None` if there was no time left to make the call.
    #[pin]
    future: Option<F>,
    limit: Limit,
}

impl<F, B, E> Future for StampFuture<F>
where
    F: Future<Output = Result<Response<B>, Error<E>>>,
    B: Body,
{
    type Output = Result<Response<WatchedBody<B, BodyWatch>>, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.limit.say();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Ready(Err(this.limit.passed())) };
        Poll::Ready(match ready!(future.poll(cx)) {
            Ok(response) => Ok(Http::attach(response, this.limit.watch())),
            Err(error) => Err(this.limit.rephrase(error)),
        })
    }
}
