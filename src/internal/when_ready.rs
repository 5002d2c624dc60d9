//! A call to a service that may not be ready yet. The wait for the service is part of the call, and ends at the
//! latest at the deadline of the call.
//!
//! Some layers are always ready, and wait inside the call, because only the request tells the service and the
//! deadline. If the service is ready, the layer polls it once. If the service is not ready, the layer makes one
//! allocation, for the request, the service and a timer.
//!
//! ```text
//! Polled::new(service)      polls the service once, without a waker
//!   .call(request, end)     calls a ready service, or begins the wait
//! WhenReady::call           does both with a borrowed service, which is cloned only for the wait
//! WhenReady::poll_called    waits, calls, and yields the future of the service
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::clock::Timer;

/// A service that has been polled for readiness once.
pub(crate) struct Polled<S, E> {
    service: S,
    readiness: Poll<Result<(), E>>,
}

impl<S, E> Polled<S, E> {
    /// Polls `service`. The poll needs no waker, because [`WhenReady`] polls a pending service again, with the waker
    /// of the task.
    #[inline]
    pub(crate) fn new<Req>(mut service: S) -> Self
    where
        S: Service<Req, Error = E>,
    {
        let readiness = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        Self { service, readiness }
    }

    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.readiness, Poll::Ready(Ok(())))
    }

    /// Calls the service if it is ready. Otherwise the call waits until the instant that `end` returns for the
    /// request, or without a limit for `None`. For a ready service, `end` is not called, so the clock is not read.
    #[inline]
    pub(crate) fn call<Req>(
        mut self,
        request: Req,
        end: impl FnOnce(&Req) -> Option<Instant>,
    ) -> WhenReady<S, Req>
    where
        S: Service<Req, Error = E>,
    {
        WhenReady(match self.readiness {
            Poll::Ready(Ok(())) => Stage::Called(self.service.call(request)),
            Poll::Ready(Err(error)) => Stage::NotCalled(Some(error)),
            Poll::Pending => {
                let end = end(&request);
                Stage::Waiting(Box::pin(ReadyWait::new(self.service, request, end)))
            }
        })
    }
}

/// A call that waits until its service is ready.
///
/// Cancel safe: a drop during the wait drops the request unsent.
#[pin_project]
pub(crate) struct WhenReady<S: Service<Req>, Req>(#[pin] Stage<S, Req>);

#[pin_project(project = StageProj)]
enum Stage<S: Service<Req>, Req> {
    /// The usual case: the service was ready, and has been called.
    Called(#[pin] S::Future),
    /// Boxed, because a wait is rare, and the future of a call should be small.
    Waiting(Pin<Box<ReadyWait<S, Req>>>),
    /// The service failed to become ready, or the deadline passed. `None` after the error has been returned.
    NotCalled(Option<S::Error>),
}

/// The future of a service that has been called, or the reason why the service was not called.
type CallOf<'a, S, Req> =
    Result<Pin<&'a mut <S as Service<Req>>::Future>, NotCalled<<S as Service<Req>>::Error>>;

/// The reason why a service was not called. Nothing was sent.
pub(crate) enum NotCalled<E> {
    /// The service failed to become ready.
    Failed(E),
    /// The deadline passed. The duration is the time from the start of the wait to the deadline.
    Late(Duration),
}

impl<S: Service<Req> + Clone, Req> WhenReady<S, Req> {
    /// Calls `service` in place if it is ready. Otherwise `service` moves into the call, which waits, and a clone
    /// takes its place. See [`Polled::call`] for `end`.
    #[inline]
    pub(crate) fn call(service: &mut S, request: Req, end: impl FnOnce(&Req) -> Option<Instant>) -> Self {
        let readiness = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        if matches!(readiness, Poll::Ready(Ok(()))) {
            return Self(Stage::Called(service.call(request)));
        }
        let clone = service.clone();
        Polled { service: std::mem::replace(service, clone), readiness }.call(request, end)
    }
}

impl<S: Service<Req>, Req> WhenReady<S, Req> {
    /// Waits until the service has been called, and returns the service's future. The timer runs only during this
    /// wait, and does not bound the future of the service.
    ///
    /// # Panics
    ///
    /// Panics if polled again after an error.
    #[inline]
    pub(crate) fn poll_called(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallOf<'_, S, Req>> {
        if !matches!(self.0, Stage::Called(_)) {
            if let Err(error) = ready!(self.as_mut().poll_wait(cx)) {
                return Poll::Ready(Err(error));
            }
        }
        match self.project().0.project() {
            StageProj::Called(future) => Poll::Ready(Ok(future)),
            _ => unreachable!("the wait has ended, and has called the service"),
        }
    }

    #[cold]
    fn poll_wait(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NotCalled<S::Error>>> {
        let mut stage = self.project().0;
        let called = match stage.as_mut().project() {
            StageProj::Called(_) => return Poll::Ready(Ok(())),
            StageProj::NotCalled(error) => {
                Err(NotCalled::Failed(error.take().expect("polled after it was ready")))
            }
            StageProj::Waiting(waiting) => ready!(waiting.as_mut().poll_call(cx)),
        };
        Poll::Ready(match called {
            Ok(future) => {
                stage.set(Stage::Called(future));
                Ok(())
            }
            Err(error) => {
                stage.set(Stage::NotCalled(None));
                Err(error)
            }
        })
    }
}

/// A request that waits for a service, and the timer of the wait.
#[pin_project]
struct ReadyWait<S, Req> {
    service: S,
    /// `None` after the call.
    request: Option<Req>,
    #[pin]
    timer: Timer,
    limit: Duration,
}

impl<S: Service<Req>, Req> ReadyWait<S, Req> {
    fn new(service: S, request: Req, end: Option<Instant>) -> Self {
        let limit = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        Self { service, request: Some(request), timer: Timer::new(end), limit }
    }

    /// Calls the service once it is ready. The service is polled before the timer, but is not called after the
    /// deadline.
    fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Future, NotCalled<S::Error>>> {
        let this = self.project();
        let is_late = match this.service.poll_ready(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(NotCalled::Failed(error))),
            Poll::Ready(Ok(())) => this.timer.has_elapsed(),
            Poll::Pending => {
                ready!(this.timer.poll_elapsed(cx));
                true
            }
        };
        if is_late {
            return Poll::Ready(Err(NotCalled::Late(*this.limit)));
        }
        let request = this.request.take().expect("polled after it was ready");
        Poll::Ready(Ok(this.service.call(request)))
    }
}
