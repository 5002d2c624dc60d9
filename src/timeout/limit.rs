//! When a call or an attempt has to end.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, TimeoutScope, deadline};

/// When something has to end, how much time that was, and by which clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) end: Option<Instant>,
    pub(super) after: Duration,
    scope: TimeoutScope,
}

/// The time that an attempt has, from the moment at which it has to be waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) after: Option<Duration>,
    /// The end of the call, which is the end of every attempt too.
    pub(super) deadline: Option<Instant>,
}

impl Limit {
    /// All the time in the world.
    pub(super) const NONE: Self = Self { end: None, after: Duration::MAX, scope: TimeoutScope::Total };

    pub(super) fn new(scope: TimeoutScope, now: Instant, end: Option<Instant>) -> Self {
        let after = end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        Self { end, after, scope }
    }

    /// Whether there was no time at all.
    pub(super) fn is_over(&self) -> bool {
        self.after.is_zero()
    }

    pub(super) fn passed<E>(&self) -> Error<E> {
        Error::Timeout { scope: self.scope, after: self.after }
    }
}

impl Attempt {
    /// The wait for it begins.
    pub(super) fn begin(self, now: Instant) -> Limit {
        let own = self.after.and_then(|after| deadline::after(now, after));
        let end = deadline::earliest(own, self.deadline);
        let cut = self.deadline.is_some() && end == self.deadline;
        Limit::new(if cut { TimeoutScope::Total } else { TimeoutScope::Attempt }, now, end)
    }
}
