//! The spans of a scenario.

use tokio::time::Instant;

use super::replica::Kill;

/// A span of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// The spans by which the figures of a scenario are taken.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The healthy phase, without its beginning.
    pub(super) warm: Window,
    pub(super) fault: Fault,
}

#[derive(Debug)]
pub(super) struct Fault {
    /// Calls that start in this span count for freshness and attempts.
    pub(super) whole: Window,
    /// Calls and requests in this span count for percentiles and shares.
    pub(super) settled: Window,
    /// The replicas whose share of the requests is of interest: the bad ones, or the new ones.
    pub(super) watched: Vec<usize>,
    pub(super) kills: Vec<Kill>,
    /// The span in which no replica has a good answer.
    pub(super) outage: Option<Window>,
}

// ===== impl Window =====

impl Window {
    pub(super) fn contains(self, at: Instant) -> bool {
        self.from <= at && at < self.until
    }

    pub(super) fn since(from: Instant) -> Self {
        Self { from, until: Instant::now() }
    }
}

// ===== impl Fault =====

impl Fault {
    /// All figures are of the whole span.
    pub(super) fn over(whole: Window) -> Self {
        Self { whole, settled: whole, watched: Vec::new(), kills: Vec::new(), outage: None }
    }
}
