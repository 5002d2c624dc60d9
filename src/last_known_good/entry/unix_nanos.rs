//! When something was, as it is kept: by the time of day, since it may outlive the process.

use std::time::Duration;

/// Nanoseconds since the beginning of 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct UnixNanos(pub(crate) u64);

impl UnixNanos {
    /// The time of day, as [`WallClock`](crate::internal::wall_clock::WallClock) tells it.
    pub(crate) fn new(since_1970: Duration) -> Self {
        Self(since_1970.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    /// How long after `earlier` this was; nothing, if it was before.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// So long after.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(Self::new(time).0))
    }

    /// So long before.
    pub(crate) fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(Self::new(time).0))
    }
}
