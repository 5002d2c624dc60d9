//! A cheap inner service.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use steadfast::Error;
use tower::Service;

/// The inner service. Its calls are ready at the first poll or, with `waits`, at the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upstream {
    pub(crate) waits: bool,
}

pub(crate) const READY: Upstream = Upstream { waits: false };

impl<Req> Service<Req> for Upstream {
    type Response = Response<Full<Bytes>>;
    type Error = Error<Infallible>;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Req) -> Answer {
        Answer { waits: self.waits }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    waits: bool,
}

impl Future for Answer {
    type Output = Result<Response<Full<Bytes>>, Error<Infallible>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(Response::new(Full::new(Bytes::from_static(b"an answer in one piece")))))
    }
}
