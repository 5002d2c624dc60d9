//! The future of a call to the stack of an upstream. It waits, if necessary, until the stack is ready.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project::pin_project;
use tower::Service;
use tower::util::Oneshot;

use super::map::InFlight;

/// The future of [`PerUpstreamService`](super::PerUpstreamService).
///
/// Cancel safe: the future holds the call, and no other resource.
#[pin_project]
pub struct ResponseFuture<S: Service<Req>, Req> {
    #[pin]
    stage: StackStage<S, Req>,
    /// Marks the upstream as in use, where the map asks for it.
    in_flight: Option<InFlight>,
}

#[pin_project(project = StackStageProj)]
enum StackStage<S: Service<Req>, Req> {
    /// The usual case: the stack was ready, and has been called.
    Called(#[pin] S::Future),
    /// The stack was not ready, and is called once it is ready.
    Waiting(#[pin] Oneshot<S, Req>),
    /// The stack failed to become ready. `None` after the error has been returned.
    Failed(Option<S::Error>),
}

impl<S: Service<Req>, Req> ResponseFuture<S, Req> {
    pub(super) fn new(mut stack: S, request: Req, in_flight: Option<InFlight>) -> Self {
        // This poll needs no waker, because `Oneshot` polls a pending stack again, with the waker of the task.
        let stage = match stack.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => StackStage::Called(stack.call(request)),
            Poll::Ready(Err(error)) => StackStage::Failed(Some(error)),
            Poll::Pending => StackStage::Waiting(Oneshot::new(stack, request)),
        };
        Self { stage, in_flight }
    }
}

impl<S: Service<Req>, Req> Future for ResponseFuture<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StackStageProj::Called(future) => future.poll(cx),
            StackStageProj::Waiting(oneshot) => oneshot.poll(cx),
            StackStageProj::Failed(error) => {
                Poll::Ready(Err(error.take().expect("polled after it was ready")))
            }
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ResponseFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("per_upstream::ResponseFuture").finish_non_exhaustive()
    }
}
