//! How many attempts a call took, and why it took no more.

use std::fmt;

/// How many attempts an answer took, in the extensions of the response. An error says it
/// [itself](crate::ErrorInfo::attempts).
///
/// Absent means one, and that there was no reason to want more: the healthy path writes nothing.
///
/// ```
/// use steadfast::retry::Attempts;
///
/// fn attempts<B>(response: &http::Response<B>) -> u32 {
///     response.extensions().get::<Attempts>().map_or(1, |attempts| attempts.made)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempts {
    /// How many requests were handed to a connector, this response's own among them. For a stale response, those that were
    /// made in vain, which can be none.
    pub made: u32,
    /// Why there was no further one, where the last had failed.
    pub stopped: Option<StopReason>,
}

impl Attempts {
    pub(crate) const fn new(made: u32, stopped: Option<StopReason>) -> Self {
        Self { made, stopped }
    }
}

/// Why a call was not retried, or not again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// Every retry of the policy was made.
    Exhausted,
    /// The budget of the upstream had no token.
    Budget,
    /// The wait would have ended after the deadline of the call, or the deadline has passed.
    Deadline,
    /// The request may have been sent, and may not be sent twice.
    NotIdempotent,
    /// The body of the request cannot be sent again.
    NotReplayable,
    /// The circuit breaker refused.
    CircuitOpen,
    /// The circuit breaker advised against it: this attempt was one of many in a row that failed.
    Failing,
    /// The bulkhead refused.
    BulkheadFull,
    /// A load-shedding layer of tower refused.
    Overloaded,
    /// The upstream asked for a longer wait than the policy allows.
    RetryAfterTooLong,
}

impl StopReason {
    /// The reason in one word, as it stands in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::NotIdempotent => "not_idempotent",
            Self::NotReplayable => "not_replayable",
            Self::CircuitOpen => "circuit_open",
            Self::Failing => "failing",
            Self::BulkheadFull => "bulkhead_full",
            Self::Overloaded => "overloaded",
            Self::RetryAfterTooLong => "retry_after_too_long",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
