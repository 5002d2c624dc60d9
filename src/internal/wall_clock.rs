//! The time of day, for what outlives the process or comes from another one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A clock that shows the time of day and runs with tokio's time: read from the system once, when it is made.
///
/// So it stands still, and is moved on, with the paused time of a test; and a system's clock that is set while the process
/// runs makes nothing older or younger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    /// Since the beginning of 1970.
    time: Duration,
    at: Instant,
}

impl WallClock {
    #[allow(clippy::disallowed_methods)] // The one look at the system's clock.
    pub(crate) fn start() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { time, at: Instant::now() }
    }

    /// The time since the beginning of 1970.
    pub(crate) fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Duration {
        self.time + instant.saturating_duration_since(self.at)
    }
}
