//! The time of day, for data that outlives the process or comes from another process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A wall clock that advances with tokio's clock. The system clock is read once, at construction.
///
/// A test can therefore pause and advance the wall clock. If the system clock changes while the process runs, no
/// entry becomes older or younger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    /// The wall-clock time at `at`, since 1970-01-01 UTC.
    time: Duration,
    at: Instant,
}

impl WallClock {
    #[allow(clippy::disallowed_methods)] // Reads the system clock once.
    pub(crate) fn start() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { time, at: Instant::now() }
    }

    /// Returns the time since 1970-01-01 UTC.
    pub(crate) fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Duration {
        self.time + instant.saturating_duration_since(self.at)
    }
}
