//! The future of one attempt. It polls the attempt first, and then the timer.
//!
//! An attempt has one timer. When the timer fires at the end of a share of the total time, the attempt is polled once
//! more, and a layer below may signal that a body still arrives. If the attempt goes on, the timer is set again.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;

use super::config::{Allowance, AttemptLimit, Extension};
use crate::internal::clock::Timer;
use crate::internal::signals::{Wait, last_poll, listen_arriving, raise_wait};
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
        let mut limit = match *this.clock {
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
        loop {
            if !limit.after.is_zero() {
                ready!(this.timer.as_mut().poll_elapsed(cx));
            }
            let Some(ended) = this.timer.at().filter(|_| limit.is_share()) else { break };
            let listening = listen_arriving();
            let polled = future.as_mut().poll(cx);
            let arriving = listening.heard();
            if polled.is_ready() {
                return polled;
            }
            let Some(Extension { end, limit: next, is_overdue }) = limit.extended(ended, arriving) else {
                break;
            };
            if is_overdue {
                raise_wait(Wait::Overdue);
            }
            limit = next;
            *this.clock = Clock::Running(limit);
            this.timer.set(Timer::new(end));
        }
        // A layer below may hold the head of a response whose body stalls.
        match last_poll(limit.time_up(), || future.poll(cx)) {
            Poll::Pending => Poll::Ready(Err(limit.error())),
            last @ Poll::Ready(_) => last,
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("timeout::ResponseFuture").field("clock", &self.clock).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};

    use http::Response;
    use http_body_util::Full;
    use tower::{Layer as _, Service as _};

    use super::*;
    use crate::internal::signals::{Arriving, listen_wait, raise_arriving};
    use crate::timeout::TimeoutLayer;
    use crate::{Call, HasCallOptions as _};

    type Answer = Result<Response<Full<bytes::Bytes>>, Error<std::io::Error>>;

    const MS: Duration = Duration::from_millis(1);
    /// A total time of which an attempt has a second.
    const TOTAL: Duration = Duration::from_millis(3400);

    /// Runs an attempt to its end. Returns the time of each `Overdue`, and of the end.
    async fn overdue_at(
        layer: TimeoutLayer,
        another_may_follow: bool,
        attempt: impl Future<Output = Answer>,
    ) -> (Vec<Duration>, Duration) {
        let began = Instant::now();
        let mut call = Call::new(()).deadline(began + TOTAL);
        call.set_options(call.options().attempt(1, another_may_follow));
        let mut attempt = Some(attempt);
        let mut service = layer.layer(tower::service_fn(|_: Call<()>| attempt.take().expect("one attempt")));
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        let mut future = std::pin::pin!(service.call(call));
        let mut overdue = Vec::new();
        poll_fn(|cx| {
            let listening = listen_wait();
            let polled = future.as_mut().poll(cx);
            if listening.heard() == Some(Wait::Overdue) {
                overdue.push(began.elapsed());
            }
            polled.map(drop)
        })
        .await;
        (overdue, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_attempt_is_overdue_once_its_share_is_over() {
        let second = 1000 * MS;
        let share = TimeoutLayer::share_of(TOTAL);
        assert_eq!(overdue_at(share, false, pending()).await, (vec![second], TOTAL));
        assert_eq!(overdue_at(share, true, pending()).await, (vec![], second));
        assert_eq!(overdue_at(TimeoutLayer::new(second), false, pending()).await, (vec![], second));
        let slow = async {
            for _ in 0..20 {
                tokio::time::sleep(100 * MS).await;
            }
            Ok(Response::default())
        };
        assert_eq!(overdue_at(share, false, slow).await, (vec![second], 2000 * MS));
        assert_eq!(overdue_at(share, false, ready(Ok(Response::default()))).await, (vec![], Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_attempt_is_overdue_only_when_its_body_is_idle() {
        let began = Instant::now();
        // Data arrives every 100 ms for the first two seconds.
        let mut tick = tokio::time::interval(100 * MS);
        let arriving = poll_fn(move |cx| {
            while began.elapsed() < 2000 * MS && tick.poll_tick(cx).is_ready() {}
            let last = Instant::now().min(began + 2000 * MS);
            raise_arriving(Arriving { last, idle_timeout: 500 * MS });
            Poll::Pending
        });
        let (overdue, end) = overdue_at(TimeoutLayer::share_of(TOTAL), false, arriving).await;
        assert_eq!((overdue, end), (vec![2500 * MS], TOTAL));
    }
}
