//! The kinds of errors.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// A boxed error, as the tower and hyper crates use it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client at the bottom failed: the connection, the protocol, or the request itself.
    Upstream,
    /// The circuit breaker refused; nothing was sent.
    CircuitOpen {
        /// How long until the circuit lets a probe through. `None` while it is forced open.
        retry_after: Option<Duration>,
    },
    /// The bulkhead refused, at once or after its bounded wait; nothing was sent.
    BulkheadFull {
        /// How many attempts the bulkhead lets through at a time.
        max_concurrent: usize,
    },
    /// A load-shedding layer of tower refused; nothing was sent.
    Overloaded,
    /// The time of an attempt, or of the whole call, ran out.
    Timeout {
        /// Which time it was.
        scope: TimeoutScope,
        /// How much time there was, where that is known.
        after: Option<Duration>,
    },
    /// The response began, but its body could not be read whole.
    Body,
}

/// Whose time a timeout is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutScope {
    /// The whole call: every attempt and every wait between them.
    Total,
    /// One attempt.
    Attempt,
    /// Whatever stands below a timeout layer of tower.
    Other,
}

impl ErrorKind {
    pub(super) const fn is_refusal(self) -> bool {
        matches!(self, Self::CircuitOpen { .. } | Self::BulkheadFull { .. } | Self::Overloaded)
    }

    /// The kind in one word, as it stands in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::BulkheadFull { .. } => "bulkhead_full",
            Self::Overloaded => "overloaded",
            Self::Timeout { .. } => "timeout",
            Self::Body => "body",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TimeoutScope {
    /// The scope in one word, as it stands in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Attempt => "attempt",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for TimeoutScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
