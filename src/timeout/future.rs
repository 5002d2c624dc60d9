//! The future of one attempt. It polls the attempt first, and then the timer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;

use super::config::{Allowance, AttemptLimit};
use crate::internal::clock::Timer;
use crate::internal::signals::{TimeUp, Wait, last_poll, raise_wait};
use crate::{Error, TimeoutScope};

/// The future of [`TimeoutService`](super::TimeoutService).
///
/// Cancel safe: a drop of the future drops only the attempt.
#[pin_project]
pub struct ResponseFuture<F> {
    /// `None` if the deadline passed before the attempt could start.
    #[pin]
    future: Option<F>,
    clock: Clock,
    #[pin]
    timer: Timer,
}

/// The clock of an attempt, which starts when the attempt first has to wait.
#[derive(Debug, Clone, Copy)]
enum Clock {
    Stopped(Allowance),
    Running(AttemptLimit),
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(future: Option<F>, allowance: Allowance) -> Self {
        Self { future, clock: Clock::Stopped(allowance), timer: Timer::new(None) }
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, Error<E>>>,
{
    type Output = Result<Res, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(mut future) = this.future.as_pin_mut() else {
            let late = Error::timeout(TimeoutScope::Total, Some(Duration::ZERO));
            return Poll::Ready(Err(late.with_attempts(0).with_sent(false)));
        };
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            return polled;
        }
        let limit = match *this.clock {
            Clock::Running(limit) => limit,
            Clock::Stopped(allowance) => {
                let now = Instant::now();
                raise_wait(Wait::Upstream(now));
                let (end, limit) = allowance.begin(now);
                *this.clock = Clock::Running(limit);
                this.timer.set(Timer::new(end));
                limit
            }
        };
        if !limit.after.is_zero() {
            ready!(this.timer.poll_elapsed(cx));
        }
        // A layer below may hold the head of a response whose body stalls.
        let time_up = TimeUp { is_total: limit.scope == TimeoutScope::Total, after: limit.after };
        match last_poll(time_up, || future.poll(cx)) {
            Poll::Pending => Poll::Ready(Err(Error::timeout(limit.scope, Some(limit.after)))),
            last @ Poll::Ready(_) => last,
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("timeout::ResponseFuture").field("clock", &self.clock).finish_non_exhaustive()
    }
}
