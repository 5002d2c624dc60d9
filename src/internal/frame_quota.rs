//! A bound on the frames that one poll reads from a body.
//!
//! A loop over the frames of a body normally ends its poll when the next frame has not arrived. If frames arrive
//! faster than the loop reads them, the loop never ends its poll. The other tasks of the thread then wait, and so
//! does the timer of the call itself. Empty frames are the worst case, because they reach no limit in bytes. So each
//! poll has a quota of frames. When the quota is used up, the loop yields to the runtime.

use std::task::{Context, Poll};

/// The frames that a loop may still read in the current poll.
pub(crate) struct FrameQuota(u16);

impl FrameQuota {
    /// Creates the quota of one poll. A body of 1 MiB in the 8 KiB frames of hyper fits into one quota.
    pub(crate) const fn of_a_poll() -> Self {
        Self(256)
    }

    /// Takes one frame from the quota. If no frame is left, wakes the task, so that the runtime polls the task again,
    /// and returns `Pending`.
    #[inline]
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(left) = self.0.checked_sub(1) {
            self.0 = left;
            Poll::Ready(())
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}
