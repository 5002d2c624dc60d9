//! The facts that the result of an attempt states, for the decision about a retry and for the log.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::http::retry_after;
use crate::response_kind::{AttemptFacts as _, ResponseKind};
use crate::{EndpointId, Error, RetryTerms};

/// The cause of a retry, for the log.
pub(super) struct AttemptCause<'a, E> {
    status: Option<StatusCode>,
    error: Option<&'a Error<E>>,
}

impl<'a, E> AttemptCause<'a, E> {
    pub(super) fn new<Res, K: ResponseKind<Res>>(kind: K, result: Result<&'a Res, &'a Error<E>>) -> Self {
        Self { status: result.ok().and_then(|response| kind.status(response)), error: result.err() }
    }
}

impl<E> fmt::Display for AttemptCause<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.error, self.status) {
            (Some(error), _) => error.fmt(f),
            (None, Some(status)) => write!(f, "status {}", status.as_u16()),
            (None, None) => f.write_str("the response"),
        }
    }
}

/// The facts about an attempt that its response or its error states.
pub(super) struct AttemptReport {
    /// The number of requests that were handed to a connector.
    pub(super) requests: u32,
    pub(super) sent: bool,
    pub(super) endpoint: Option<EndpointId>,
    pub(super) terms: RetryTerms,
    pub(super) is_of_redirect_target: bool,
    /// The `Retry-After` of a response, for an outcome that does not state it.
    pub(super) retry_after: Option<Duration>,
}

impl AttemptReport {
    pub(super) fn new<Res, E, K: ResponseKind<Res>>(kind: K, result: Result<&Res, &Error<E>>) -> Self {
        match result {
            Ok(response) => Self {
                requests: kind.attempts(response),
                sent: true,
                endpoint: kind.endpoint(response),
                terms: kind.retry_terms(response),
                is_of_redirect_target: kind.is_of_redirect_target(response),
                retry_after: kind
                    .headers(response)
                    .and_then(|headers| retry_after::parse(headers, retry_after::system_time)),
            },
            Err(error) => Self {
                requests: error.attempts(),
                sent: error.maybe_sent(),
                endpoint: error.endpoint(),
                terms: error.retry_terms(),
                is_of_redirect_target: error.is_of_redirect_target(),
                retry_after: None,
            },
        }
    }
}
