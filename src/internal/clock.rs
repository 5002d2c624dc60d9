//! The one clock of a call: when it ends, and a timer that is registered only once something has to wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::runtime::{Handle, RuntimeFlavor};
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

    /// Whether the end has come, without registering a timer.
    pub(crate) fn has_elapsed(&self) -> bool {
        has_passed(self.at)
    }
}

/// The timer of a layer that cuts what is below it at the deadline.
///
/// The layers below end at the same moment, and know more: a stale answer, or how many attempts there were. In the same task
/// they are polled first. For those in another task, this timer gives way: for a few turns of the scheduler, or, where tasks run
/// on several threads, for a few milliseconds. On a single thread, a timer that nobody has polled in its last few milliseconds is
/// late already, and gives way no more.
#[pin_project]
#[derive(Debug)]
pub(crate) struct CutTimer {
    #[pin]
    timer: Timer,
    layer: CutLayer,
    /// How often it still gives way; `None` before its last few milliseconds.
    turns: Option<u8>,
}

/// Which layer cuts. Of two, the inner one is to be first.
#[derive(Debug, Clone, Copy)]
enum CutLayer {
    Cache,
    Deadline,
}

impl CutLayer {
    /// For how many turns a timer gives way: more than there are tasks between two layers of any stack that makes sense.
    const fn turns(self) -> u8 {
        match self {
            Self::Cache => 4,
            Self::Deadline => 8,
        }
    }

    /// For how long a timer gives way to other threads.
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

    /// Ready once the end has come and the others have had their turns; never, if there is no end.
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
