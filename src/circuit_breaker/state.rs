//! The state of a circuit, as users see it.

use std::fmt;
use std::time::Duration;

/// What a circuit is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls go through.
    Closed,
    /// Calls are refused. The first one after the open time finds the circuit half-open.
    Open,
    /// A few probes go through, and decide.
    HalfOpen,
    /// Calls are refused until the circuit is reset.
    ForcedOpen,
    /// Calls go through whatever their results, until the circuit is reset.
    ForcedClosed,
}

impl State {
    /// The state in one word, as it stands in logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be seen of a circuit at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What the circuit is doing.
    pub state: State,
    /// How many failures there have been in a row, while it is closed.
    pub consecutive_failures: u16,
    /// How many calls are in the window of the rates; 0 without one.
    pub window_calls: u32,
    /// The share of them that failed.
    pub failure_rate: f64,
    /// The share of them that were slow.
    pub slow_rate: f64,
    /// How long until an open circuit lets a probe through.
    pub retry_after: Option<Duration>,
    /// How many probes are under way.
    pub probes_in_flight: usize,
    /// How many calls were refused so far; in shadow, would have been.
    pub refused: u64,
    /// How often the circuit has opened so far, failed rounds of probes included.
    pub trips: u64,
}
