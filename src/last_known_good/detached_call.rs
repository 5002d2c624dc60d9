//! A call that its caller may leave.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

/// A call that can leave its caller, if it may outlive it.
#[pin_project(project = DetachedCallProj)]
#[derive(Debug)]
pub(super) enum DetachedCall<F> {
    /// The call is its caller's.
    Inline(#[pin] F),
    /// `None` once it has left.
    Boxed(Option<Pin<Box<F>>>),
}

impl<F> DetachedCall<F> {
    /// `may_go_on` if the caller may be answered before the call has ended.
    pub(super) fn new(call: F, may_go_on: bool) -> Self {
        if may_go_on { Self::Boxed(Some(Box::pin(call))) } else { Self::Inline(call) }
    }

    /// A call that has left the caller before it.
    pub(super) const fn detached(call: Pin<Box<F>>) -> Self {
        Self::Boxed(Some(call))
    }

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
