//! The signals to the task.
//!
//! # Memory ordering
//!
//! The signals guard no data, and [`Notify`] synchronizes the task with its wakers, so relaxed accesses suffice. A
//! use can read an outdated `USED` only in the moment in which a look-up begins. The next use then sets the state.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use tokio::sync::Notify;

/// The signals to the task.
#[derive(Default)]
pub(super) struct Signals {
    pub(super) state: AtomicU8,
    /// True if an early look-up is asked for.
    pub(super) is_hinted: AtomicBool,
    /// Wakes the task after a change of the other signals.
    pub(super) changed: Notify,
}

/// No task runs.
pub(super) const STOPPED: u8 = 0;
/// A task runs, and the name was not used since the last look-up began.
pub(super) const UNUSED: u8 = 1;
/// A task runs, and the name was used since the last look-up began.
pub(super) const USED: u8 = 2;

impl Signals {
    /// Changes the state. False if the state is not `from`.
    pub(super) fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }

    /// Clears the signals when a look-up begins. The look-up serves every use and hint before this moment.
    pub(super) fn clear(&self) {
        // The state first: a hint in between marks a use, and no hint remains without a use.
        self.state.store(UNUSED, Relaxed);
        self.is_hinted.store(false, Relaxed);
    }

    pub(super) fn is_used(&self) -> bool {
        self.state.load(Relaxed) == USED
    }
}
