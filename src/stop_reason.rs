//! The reason why no further attempt followed.

use std::fmt;

/// The reason why a call was not retried, or not retried again.
///
/// The reasons `CircuitOpen`, `BulkheadFull` and `Overloaded` can stand on a response, too: the attempt that was
/// refused is then the retry after this response.
#[doc(alias = "Stop")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// All allowed attempts were made: the retries of the policy, or the resends of a request that was not processed.
    Exhausted,
    /// The upstream's retry budget had no token.
    Budget,
    /// The wait for another attempt would have lasted past the deadline of the call, or the deadline has passed.
    Deadline,
    /// The retry safety of the request forbids another attempt: it is `Never`, or it is `UnlessSent` and the request
    /// may have been sent.
    NotIdempotent,
    /// The request cannot be sent again, for example because its body is a stream.
    NotReplayable,
    /// The circuit breaker refused the attempt, or the retry's advisor expected a refusal.
    CircuitOpen,
    /// The retry's advisor, usually the circuit breaker, advised against another attempt after many failures.
    Failing,
    /// The bulkhead refused the attempt.
    BulkheadFull,
    /// A load-shedding layer of tower refused the attempt.
    Overloaded,
    /// The upstream asked for a longer wait than the policy allows.
    RetryAfterTooLong,
    /// There is no tokio runtime.
    NoRuntime,
    /// The upstream has no endpoint.
    NoEndpoint,
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
            Self::NoRuntime => "no_runtime",
            Self::NoEndpoint => "no_endpoint",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
