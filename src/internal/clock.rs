//! The one clock of a call: when it ends, and a timer that is registered only once something has to wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::{Instant, Sleep};

/// The instant `after` from `now`; `None`, that is never, where no clock reaches.
pub(crate) fn after(now: Instant, after: Duration) -> Option<Instant> {
    now.checked_add(after)
}

/// The earlier of two ends, where `None` is never.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (end, None) | (None, end) => end,
    }
}

/// Whether something that ends at `end` would end too late for `deadline`.
pub(crate) fn misses(deadline: Option<Instant>, end: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| end.is_none_or(|end| end >= deadline))
}

/// Whether the deadline has passed. Reads the clock only if there is one.
pub(crate) fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// A timer that costs nothing until it is first polled.
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

    /// Ready once the end has come; never, if there is none.
    pub(crate) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(at) = *this.at else { return Poll::Pending };
        if this.sleep.is_none() {
            this.sleep.set(Some(tokio::time::sleep_until(at)));
        }
        this.sleep.as_pin_mut().map_or(Poll::Pending, |sleep| sleep.poll(cx))
    }

    /// Whether the end has come, without registering a timer.
    pub(crate) fn has_elapsed(&self) -> bool {
        has_passed(self.at)
    }
}

/// The timer of a layer that cuts what is below it at the deadline.
///
/// What is below ends at the same moment, and knows more: how many attempts there were. Where it runs in another task, it may
/// not have been polled yet. So this timer gives way for a few turns of the scheduler before it is over.
#[pin_project]
#[derive(Debug)]
pub(crate) struct CutTimer {
    #[pin]
    timer: Timer,
    turns: u8,
}

impl CutTimer {
    /// More than there are tasks between two layers of any stack that makes sense.
    const TURNS: u8 = 4;

    pub(crate) const fn new(at: Option<Instant>) -> Self {
        Self { timer: Timer::new(at), turns: 0 }
    }

    /// Ready once the end has come and the others have had their turns; never, if there is no end.
    pub(crate) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        ready!(this.timer.poll_elapsed(cx));
        if *this.turns < Self::TURNS {
            *this.turns += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
