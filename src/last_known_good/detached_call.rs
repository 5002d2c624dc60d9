//! A call that can be taken out of its caller's future and continue in a task.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

/// A call of the inner service. Boxed only if the call may continue in a task, so that other calls allocate nothing.
#[pin_project(project = DetachedCallProj)]
#[derive(Debug)]
pub(super) enum DetachedCall<F> {
    /// Dropped with the caller's future.
    Inline(#[pin] F),
    /// Can be taken out; `None` afterwards.
    Boxed(Option<Pin<Box<F>>>),
}

impl<F> DetachedCall<F> {
    /// Wraps a call. With `may_detach`, the call can be [taken out](Self::take).
    pub(super) fn new(call: F, may_detach: bool) -> Self {
        if may_detach { Self::Boxed(Some(Box::pin(call))) } else { Self::Inline(call) }
    }

    /// Wraps a call that was taken out of its caller's future.
    pub(super) const fn detached(call: Pin<Box<F>>) -> Self {
        Self::Boxed(Some(call))
    }

    /// Takes the call out; `None` if the call is inline or was already taken out.
    pub(super) fn take(self: Pin<&mut Self>) -> Option<Pin<Box<F>>> {
        match self.project() {
            DetachedCallProj::Inline(_) => None,
            DetachedCallProj::Boxed(call) => call.take(),
        }
    }
}

impl<F: Future> Future for DetachedCall<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            DetachedCallProj::Inline(call) => call.poll(cx),
            DetachedCallProj::Boxed(Some(call)) => call.as_mut().poll(cx),
            DetachedCallProj::Boxed(None) => Poll::Pending,
        }
    }
}
