//! What can go wrong, in one flat type that every layer shares.

use std::fmt;
use std::time::Duration;

/// A boxed error, as the tower and hyper crates use it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call has no answer.
///
/// Every layer of this crate is a service from `Error<E>` to `Error<E>`, where `E` is the error of the client
/// at the bottom: nothing is nested and nothing is boxed to say no. The innermost service joins with
/// `.map_err(Error::Upstream)`.
///
/// An answer of the upstream is never turned into an error: when the attempts run out on a 503, the caller gets
/// that 503.
///
/// ```
/// use std::time::Duration;
/// use steadfast::Error;
///
/// fn advice<E>(error: &Error<E>) -> &'static str {
///     match error {
///         Error::CircuitOpen { .. } => "the upstream is known to be down",
///         error if error.is_refusal() => "we are too busy to ask",
///         _ => "we asked and it did not work",
///     }
/// }
///
/// let error = Error::<std::io::Error>::CircuitOpen { retry_after: Some(Duration::from_secs(2)) };
/// assert_eq!(advice(&error), "the upstream is known to be down");
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The client at the bottom failed: the connection, the protocol, or the request itself.
    #[error("the upstream could not be asked or did not answer")]
    Upstream(#[source] E),

    /// The circuit breaker refused the call; nothing was sent.
    #[error("the circuit is open{}", OptionalWait(*.retry_after))]
    CircuitOpen {
        /// How long until the circuit will let a probe through. `None` while the circuit is forced open.
        retry_after: Option<Duration>,
    },

    /// The bulkhead refused the call, at once or after its bounded wait; nothing was sent.
    #[error("the bulkhead is full: {max_concurrent} calls are in flight")]
    BulkheadFull {
        /// How many calls the bulkhead lets through at a time.
        max_concurrent: usize,
    },

    /// The time for one attempt, or for the whole call, ran out.
    #[error("the {scope} timeout of {after:?} has passed")]
    Timeout {
        /// Which of the two clocks ran out.
        scope: TimeoutScope,
        /// How much time there was.
        after: Duration,
    },

    /// The response began, but its body could not be read whole.
    #[error("the response body could not be read")]
    Body(#[source] BoxError),
}

/// Which clock a timeout is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutScope {
    /// The whole call: every attempt and every wait between them.
    Total,
    /// One attempt.
    Attempt,
}

impl<E> Error<E> {
    /// Whether the circuit breaker refused the call.
    pub fn is_circuit_open(&self) -> bool {
        matches!(self, Self::CircuitOpen { .. })
    }

    /// Whether the bulkhead refused the call.
    pub fn is_bulkhead_full(&self) -> bool {
        matches!(self, Self::BulkheadFull { .. })
    }

    /// Whether the call was refused on this side, so that the upstream never saw it.
    ///
    /// A refusal says nothing about the upstream: it is never retried, and never counted against it.
    pub fn is_refusal(&self) -> bool {
        self.is_circuit_open() || self.is_bulkhead_full()
    }

    /// Whether a timeout of this crate ran out, be it the attempt's or the call's.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether the time of the whole call ran out.
    pub fn is_total_timeout(&self) -> bool {
        matches!(self, Self::Timeout { scope: TimeoutScope::Total, .. })
    }

    /// How long to wait before asking again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after } => *retry_after,
            _ => None,
        }
    }

    /// The error of the client at the bottom, if it is one.
    pub fn upstream(&self) -> Option<&E> {
        match self {
            Self::Upstream(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for TimeoutScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "total",
            Self::Attempt => "attempt",
        })
    }
}

/// `", retry after 2s"`, or nothing where the wait is not known.
struct OptionalWait(Option<Duration>);

impl fmt::Display for OptionalWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |wait| write!(f, ", retry after {wait:?}"))
    }
}

// An error travels through every layer by value: it stays as small as its largest cause, a boxed one.
const _: () = assert!(size_of::<Error<BoxError>>() <= 24);

// ===== ConfigError =====

/// A configuration that cannot work, found by `build()`.
///
/// It names the field, the value that was given, and what is allowed.
///
/// ```
/// use steadfast::circuit_breaker::CircuitBreaker;
///
/// let error = CircuitBreaker::builder().probes(0).build().unwrap_err();
/// assert_eq!(error.field(), "circuit_breaker.probes");
/// assert_eq!(error.to_string(), "circuit_breaker.probes is 0: it must be between 1 and 1000");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{field} is {value}: it must be {allowed}")]
pub struct ConfigError {
    field: &'static str,
    value: String,
    allowed: String,
    source: Option<BoxError>,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, value: impl fmt::Debug, allowed: impl Into<String>) -> Self {
        Self { field, value: format!("{value:?}"), allowed: allowed.into(), source: None }
    }

    /// Says what the upper bound is.
    pub(crate) fn bounded_by(mut self, what: &str) -> Self {
        self.allowed = format!("{}, {what}", self.allowed);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The name of the field, with the part it belongs to: `retry.max_retries`.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The value that was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What is allowed.
    pub fn allowed(&self) -> &str {
        &self.allowed
    }

    /// Refuses a value outside `allowed`.
    pub(crate) fn check<T: PartialOrd + fmt::Debug>(
        field: &'static str,
        value: T,
        allowed: std::ops::RangeInclusive<T>,
    ) -> Result<T, Self> {
        if allowed.contains(&value) {
            return Ok(value);
        }
        let allowed = format!("between {:?} and {:?}", allowed.start(), allowed.end());
        let allowed = allowed.replace(&format!("{MAX_DURATION:?}"), "a year");
        Err(Self::new(field, value, allowed))
    }
}

/// The longest time that a configuration may name. It keeps every sum of an instant and a duration in range.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(60 * 60 * 24 * 365);

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn display_prints_one_level_and_source_keeps_the_cause() {
        let error = Error::Upstream(std::io::Error::other("reset by peer"));
        assert_eq!(error.to_string(), "the upstream could not be asked or did not answer");
        assert_eq!(error.source().unwrap().to_string(), "reset by peer");
    }

    #[test]
    fn an_open_circuit_says_when_to_come_back() {
        let error = Error::<std::io::Error>::CircuitOpen { retry_after: Some(Duration::from_millis(1500)) };
        assert_eq!(error.to_string(), "the circuit is open, retry after 1.5s");
        let forced = Error::<std::io::Error>::CircuitOpen { retry_after: None };
        assert_eq!(forced.to_string(), "the circuit is open");
    }

    #[test]
    fn a_timeout_names_its_clock() {
        let error = Error::<std::io::Error>::Timeout {
            scope: TimeoutScope::Attempt,
            after: Duration::from_millis(250),
        };
        assert_eq!(error.to_string(), "the attempt timeout of 250ms has passed");
    }
}
