//! The public state of a circuit, and a snapshot of the circuit's counts.

use std::fmt;
use std::time::Duration;

/// The state of a circuit. In [shadow mode](super::CircuitBreakerBuilder::shadow), all calls go through in every
/// state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls go through, and their outcomes are counted.
    Closed,
    /// Calls are refused. The first call after the open time makes the circuit half-open.
    Open,
    /// A few probes go through and decide whether the circuit closes or opens again. Other calls are refused.
    HalfOpen,
    /// Calls are refused until the circuit is reset or forced closed.
    ForcedOpen,
    /// Calls go through, and their outcomes do not count, until the circuit is reset or forced open.
    ForcedClosed,
}

impl State {
    /// Returns the state as one word, for logs and labels.
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

/// The state and the counts of a circuit at one moment.
#[doc(alias = "metrics")]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state of the circuit.
    pub state: State,
    /// The number of failures in a row; 0 unless the circuit is closed.
    pub consecutive_failures: u16,
    /// The number of calls in the window; 0 if no rate is configured.
    pub window_calls: u32,
    /// The share of failed calls in the window, from 0 to 1.
    pub failure_rate: f64,
    /// The share of slow calls in the window, from 0 to 1.
    pub slow_rate: f64,
    /// The time until an open circuit lets a probe through; `None` in every other state.
    pub retry_after: Option<Duration>,
    /// The number of probes in flight.
    pub probes_in_flight: usize,
    /// The number of calls refused so far; in shadow mode, the number that would have been refused.
    pub refused: u64,
    /// The number of times that the circuit has opened or, after a failed round of probes, opened again.
    pub trips: u64,
}
