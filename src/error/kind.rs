//! The kinds of errors, and the scopes of timeouts.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// A boxed error, as the tower and hyper crates use it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The kind of failure.
#[doc(alias = "refusal")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The client at the bottom failed, because of the connection, the protocol, or the request itself.
    Upstream,
    /// The circuit breaker refused the attempt before it was sent.
    CircuitOpen {
        /// The time to wait before another call; `None` while the circuit is forced open.
        retry_after: Option<Duration>,
    },
    /// The bulkhead refused the attempt, at once or after a bounded wait. Nothing was sent.
    BulkheadFull {
        /// The number of attempts that the bulkhead allows in flight.
        max_concurrent: usize,
    },
    /// A load-shedding layer of tower refused the attempt before it was sent.
    Overloaded,
    /// The time limit of an attempt, of the whole call, or of a timeout layer of tower has passed.
    Timeout {
        /// The scope of the time limit.
        scope: TimeoutScope,
        /// The length of the time limit, if known.
        after: Option<Duration>,
    },
    /// The response began, but its body could not be read whole.
    Body,
    /// The call was polled outside of a tokio runtime. Nothing was sent.
    NoRuntime,
    /// The discovery of the upstream's [endpoints](crate::endpoints) has ended without an endpoint. Nothing was sent.
    NoEndpoint,
}

/// The part of a call that a time limit bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutScope {
    /// The whole call: all attempts, and the waits between attempts.
    Total,
    /// One attempt.
    Attempt,
    /// The services below a timeout layer of tower.
    Other,
}

impl ErrorKind {
    /// Returns the kind in one word, for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::BulkheadFull { .. } => "bulkhead_full",
            Self::Overloaded => "overloaded",
            Self::Timeout { .. } => "timeout",
            Self::Body => "body",
            Self::NoRuntime => "no_runtime",
            Self::NoEndpoint => "no_endpoint",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TimeoutScope {
    /// Returns the scope of an attempt's time limit, which can be the deadline of its call.
    pub(crate) const fn of(is_total: bool) -> Self {
        if is_total { Self::Total } else { Self::Attempt }
    }

    /// Returns the scope in one word, as used in logs.
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
