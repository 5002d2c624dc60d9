//! Timestamps of entries. They are wall-clock times, since an entry in a store can outlive the process.

use std::time::Duration;

/// A wall-clock time in nanoseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct UnixNanos(pub(crate) u64);

impl UnixNanos {
    /// Converts a time of [`WallClock`](crate::internal::wall_clock::WallClock). Saturates in the year 2554.
    pub(crate) fn new(since_1970: Duration) -> Self {
        Self(since_1970.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Adds a duration; saturates at the maximum.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(Self::new(time).0))
    }

    /// Subtracts a duration; saturates at zero.
    pub(crate) fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(Self::new(time).0))
    }
}
