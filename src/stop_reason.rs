//! The number of attempts of a call, and the reason why no attempt followed.

use std::fmt;

/// The number of attempts of a call, in the extensions of the response. An error has [its own
/// count](crate::ErrorInfo::attempts).
///
/// A response without this extension took one attempt and needed no other: the healthy path writes nothing.
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
    /// The number of requests handed to a connector, the one of this response included. For a stale response, only
    /// failed requests count, and the number can be 0.
    pub made: u32,
    /// The reason why no attempt followed, if the last attempt had failed.
    pub stopped: Option<StopReason>,
}

impl Attempts {
    pub(crate) const fn new(made: u32, stopped: Option<StopReason>) -> Self {
        Self { made, stopped }
    }
}

/// The reason why a call was not retried, or not retried again.
#[doc(alias = "Stop")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// All retries of the policy were made.
    Exhausted,
    /// The upstream's retry budget had no token.
    Budget,
    /// The wait would have ended after the deadline of the call, or the deadline has passed.
    Deadline,
    /// The request must not be sent again, or may have been sent and must not be sent twice.
    NotIdempotent,
    /// The body of the request cannot be sent again.
    NotReplayable,
    /// The circuit breaker refused.
    CircuitOpen,
    /// The circuit breaker advised against another attempt, after many failures in a row.
    Failing,
    /// The bulkhead refused.
    BulkheadFull,
    /// A load-shedding layer of tower refused.
    Overloaded,
    /// The upstream asked for a longer wait than the policy allows.
    RetryAfterTooLong,
}

impl StopReason {
    /// Returns the reason in one word, as used in logs.
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
