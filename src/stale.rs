//! The mark on a stale response: the age and the cause.

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};

use crate::http::broken_body::BrokenBody;
use crate::{Error, ErrorKind, TimeoutScope};

/// The mark of a stale response, found in its extensions.
///
/// ```
/// use steadfast::last_known_good::Stale;
///
/// fn as_of<B>(response: &http::Response<B>) -> String {
///     match response.extensions().get::<Stale>() {
///         Some(stale) => format!("as of {} seconds ago, since {}", stale.age.as_secs(), stale.cause),
///         None => "as of now".to_owned(),
///     }
/// }
/// ```
#[doc(alias = "stale-while-revalidate")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// The time since the upstream sent this response.
    pub age: Duration,
    /// The reason why the upstream could not answer this call.
    pub cause: Cause,
}

/// The reason why a stale response was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The upstream answered with this status.
    Status(StatusCode),
    /// The upstream could not be reached, or did not answer.
    Transport,
    /// The body of the answer did not arrive whole.
    Body,
    /// The call or the attempt took too long.
    Timeout(TimeoutScope),
    /// The upstream had not answered within the [soft limit]. Its answer may arrive later.
    ///
    /// [soft limit]: crate::last_known_good::LastKnownGoodBuilder::serve_stale_after
    Slow,
    /// The circuit breaker refused the call.
    CircuitOpen,
    /// The bulkhead refused the call.
    BulkheadFull,
    /// A load-shedding layer of tower refused the call.
    Overloaded,
}

impl Cause {
    /// Returns the cause in one word, for labels. `Display` writes a clause for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Transport => "transport",
            Self::Body => "body",
            Self::Timeout(_) => "timeout",
            Self::Slow => "slow",
            Self::CircuitOpen => "circuit_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::Overloaded => "overloaded",
        }
    }

    pub(crate) fn of<B, E>(result: &Result<Response<B>, Error<E>>) -> Self {
        match result {
            Ok(response) => match response.extensions().get::<BrokenBody>() {
                Some(broken) => Self::of_kind(broken.kind()),
                None => Self::Status(response.status()),
            },
            Err(error) => Self::of_kind(error.kind()),
        }
    }

    const fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            // A `Client` refuses a call without a runtime above the cache; in a stack, the client at the bottom does.
            ErrorKind::Upstream | ErrorKind::NoRuntime | ErrorKind::NoEndpoint => Self::Transport,
            ErrorKind::Body => Self::Body,
            ErrorKind::Timeout { scope, .. } => Self::Timeout(scope),
            ErrorKind::CircuitOpen { .. } => Self::CircuitOpen,
            ErrorKind::BulkheadFull { .. } => Self::BulkheadFull,
            ErrorKind::Overloaded => Self::Overloaded,
        }
    }

    /// Returns the value for the header `Cache-Status` (RFC 9211), with `hit` after a local refusal (§2.1), otherwise
    /// with `fwd=stale` (§2.2). `ttl` is the remaining freshness in seconds, negative for a stale response (§2.4).
    pub(crate) fn cache_status(self, ttl: i64) -> HeaderValue {
        let (parameter, detail) = match self {
            Self::Status(_) => ("fwd=stale", ""),
            Self::Transport => ("fwd=stale", "; detail=transport"),
            Self::Body => ("fwd=stale", "; detail=body"),
            Self::Timeout(_) => ("fwd=stale", "; detail=timeout"),
            Self::Slow => ("fwd=stale", "; detail=slow"),
            Self::CircuitOpen => ("hit", "; detail=circuit-open"),
            Self::BulkheadFull => ("hit", "; detail=bulkhead-full"),
            Self::Overloaded => ("hit", "; detail=overloaded"),
        };
        let status = match self {
            Self::Status(status) => format!("; fwd-status={}", status.as_u16()),
            _ => String::new(),
        };
        HeaderValue::try_from(format!("steadfast; {parameter}{status}; ttl={ttl}{detail}"))
            .unwrap_or(HeaderValue::from_static("steadfast; fwd=stale"))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the upstream answered {}", status.as_u16()),
            Self::Transport => f.write_str("the upstream could not be reached"),
            Self::Body => f.write_str("the body did not arrive whole"),
            Self::Timeout(scope) => write!(f, "the {scope} timeout has passed"),
            Self::Slow => f.write_str("the upstream has not answered yet"),
            Self::CircuitOpen => f.write_str("the circuit is open"),
            Self::BulkheadFull => f.write_str("the bulkhead is full"),
            Self::Overloaded => f.write_str("a load-shedding layer refused"),
        }
    }
}
