use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::time::Instant;

use super::BodyWatch;
use super::limit::{Attempt, Limit};
use crate::Error;
use crate::deadline::Timer;
use crate::message::Attach;
use crate::poll::{Wait, say_wait};

/// The future of [`Timeout`](super::Timeout).
///
/// Cancel safe: it holds nothing but the call itself.
#[pin_project]
pub struct ResponseFuture<F, K> {
    /// `None` if there was no time left to make the call.
    #[pin]
    future: Option<F>,
    clock: Clock,
    #[pin]
    timer: Timer,
    kind: PhantomData<fn() -> K>,
}

/// The clock of a call runs from its beginning, and that of an attempt from its first wait.
#[derive(Debug)]
enum Clock {
    Running(Limit),
    Stopped(Attempt),
}

impl<F, K> ResponseFuture<F, K> {
    pub(super) fn of_call(future: Option<F>, limit: Limit) -> Self {
        Self { future, clock: Clock::Running(limit), timer: Timer::new(limit.end), kind: PhantomData }
    }

    pub(super) fn of_attempt(future: Option<F>, attempt: Attempt) -> Self {
        let clock = Clock::Stopped(attempt);
        Self { future, clock, timer: Timer::new(None), kind: PhantomData }
    }
}

impl<F, K, Res, E> Future for ResponseFuture<F, K>
where
    F: Future<Output = Result<Res, Error<E>>>,
    K: Attach<Res, BodyWatch>,
{
    type Output = Result<K::Response, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Clock::Running(limit) = this.clock {
            limit.say();
        }
        if let Some(future) = this.future.as_pin_mut() {
            match future.poll(cx) {
                Poll::Ready(Ok(response)) => {
                    let watch = match this.clock {
                        Clock::Running(limit) => limit.watch(),
                        Clock::Stopped(_) => BodyWatch::none(),
                    };
                    return Poll::Ready(Ok(K::attach(response, watch)));
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(match this.clock {
                        Clock::Running(limit) => limit.rephrase(error),
                        Clock::Stopped(_) => error,
                    }));
                }
                Poll::Pending => {}
            }
        }
        let limit = match *this.clock {
            Clock::Running(limit) => limit,
            Clock::Stopped(attempt) => {
                let now = Instant::now();
                say_wait(Wait::Upstream(now));
                let limit = attempt.begin(now);
                *this.clock = Clock::Running(limit);
                this.timer.set(Timer::new(limit.end));
                limit
            }
        };
        if limit.is_over() {
            return Poll::Ready(Err(limit.passed()));
        }
        this.timer.poll_elapsed(cx).map(|()| Err(limit.passed()))
    }
}

impl<F, K> fmt::Debug for ResponseFuture<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("timeout::ResponseFuture").field("clock", &self.clock).finish_non_exhaustive()
    }
}
