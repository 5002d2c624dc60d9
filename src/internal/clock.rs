//! Deadlines as instants, and timers that are registered only when first polled.
//!
//! Most calls end before any time limit, so a timer for each limit would be wasted work. A [`Timer`] creates its
//! `Sleep` on the first poll, that is, when the call first has to wait. At a deadline, a [`CutTimer`] gives the
//! layers below time to end the call themselves. An instant of `None` always means "never".

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, Sleep};

/// The share of a call's total time that one attempt needs at most. With the other defaults of a client, three
/// attempts and their backoffs fit into a call.
const ATTEMPT_SHARE: f64 = 1.0 / 3.4;

/// Returns the share of `total` for one attempt.
pub(crate) fn share_of(total: Duration) -> Duration {
    Duration::try_from_secs_f64(total.as_secs_f64() * ATTEMPT_SHARE).unwrap_or(total)
}

/// Returns `now` plus `after`, or `None` (never) if the sum is beyond the range of the clock.
pub(crate) fn after(now: Instant, after: Duration) -> Option<Instant> {
    now.checked_add(after)
}

/// Returns the earlier of two instants.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (end, None) | (None, end) => end,
    }
}

/// True if an event at `end` comes too late for `deadline`.
pub(crate) fn misses(deadline: Option<Instant>, end: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| end.is_none_or(|end| end >= deadline))
}

/// True if the deadline has passed. Reads the clock only if a deadline is set.
pub(crate) fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// A timer that costs nothing until its first poll.
#[pin_project]
#[derive(Debug)]
pub(crate) struct Timer {
    at: Option<Instant>,
    #[pin]
    sleep: Option<Sleep>,
}

impl Timer {
    pub(crate) const fn new(at: Option<Instant>) -> Self {
        Self { at, sleep: None }
    }

    /// Returns the instant at which the timer fires; `None` if never.
    pub(crate) const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Ready once `at` has passed; never ready if `at` is `None`.
    pub(crate) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.at {
            Some(at) => self.poll_until(at, cx),
            None => Poll::Pending,
        }
    }

    fn poll_until(self: Pin<&mut Self>, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.sleep.is_none() {
            this.sleep.set(Some(tokio::time::sleep_until(at)));
        }
        this.sleep.as_pin_mut().map_or(Poll::Pending, |sleep| sleep.poll(cx))
    }

    /// True if `at` has passed. Registers no timer.
    pub(crate) fn has_elapsed(&self) -> bool {
        has_passed(self.at)
    }
}

/// The timer of a layer that cuts off the layers below at the deadline.
///
/// The layers below end the call at the deadline, too, and with a better result: a stale response, or an error with
/// the number of attempts. If the layers below are in the same task, their result comes first, because the cutting
/// layer polls them before its timer. Layers in another task need a moment to report their result, so the timer waits
/// a little longer than the deadline:
///
/// - On a current-thread runtime, the timer yields for a few turns of the scheduler.
/// - On a multi-threaded runtime, the timer waits 2 ms longer in the cache, and 10 ms longer in the deadline layer.
///
/// On a current-thread runtime, the timer also wakes the task 5 ms before the deadline. If the task is nevertheless
/// polled only after the deadline, the timer does not yield, because the task is late already.
#[pin_project]
#[derive(Debug)]
pub(crate) struct CutTimer {
    #[pin]
    timer: Timer,
    layer: CutLayer,
    /// The number of yields left. `None` until the first poll or, on a current-thread runtime, until 5 ms before the
    /// deadline.
    turns: Option<u8>,
}

/// The layer that cuts. Of two such layers, the inner layer must cut before the outer one, so the inner layer waits
/// for a shorter time.
#[derive(Debug, Clone, Copy)]
enum CutLayer {
    Cache,
    Deadline,
}

impl CutLayer {
    /// The number of yields. It is larger than the number of tasks between two layers in usual stacks.
    const fn turns(self) -> u8 {
        match self {
            Self::Cache => 4,
            Self::Deadline => 8,
        }
    }

    /// The extra time after the deadline on a multi-threaded runtime.
    const fn time(self) -> Duration {
        match self {
            Self::Cache => Duration::from_millis(2),
            Self::Deadline => Duration::from_millis(10),
        }
    }
}

impl CutTimer {
    pub(crate) const fn of_cache(end: Option<Instant>) -> Self {
        Self { timer: Timer::new(end), layer: CutLayer::Cache, turns: None }
    }

    pub(crate) const fn of_deadline(end: Option<Instant>) -> Self {
        Self { timer: Timer::new(end), layer: CutLayer::Deadline, turns: None }
    }

    /// Ready once the deadline and the extra time have passed; never ready without a deadline.
    pub(crate) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        const ALMOST: Duration = Duration::from_millis(5);
        let mut this = self.project();
        let Some(end) = this.timer.at else { return Poll::Pending };
        let turns = match this.turns {
            Some(turns) => turns,
            none if is_multi_threaded() => {
                this.timer.set(Timer::new(after(end, this.layer.time())));
                none.insert(0)
            }
            none => {
                ready!(this.timer.as_mut().poll_until(end.checked_sub(ALMOST).unwrap_or(end), cx));
                if Instant::now() >= end {
                    return Poll::Ready(());
                }
                this.timer.set(Timer::new(Some(end)));
                none.insert(this.layer.turns())
            }
        };
        ready!(this.timer.poll_elapsed(cx));
        if *turns > 0 {
            *turns -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

fn is_multi_threaded() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() != RuntimeFlavor::CurrentThread)
}
