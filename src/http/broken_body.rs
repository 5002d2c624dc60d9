//! The mark of a response whose body broke off, or took too long, while a layer read the body.
//!
//! The head of such a response can be worth more than an error: a 201 names the created resource in `Location`. So
//! the response is passed up as it is, with the mark in its extensions and a body that fails where it broke off. The
//! layers above judge the attempt as if it had failed with [`ErrorKind::Body`], or with a timeout. If no attempt or
//! stale response replaces the response, the caller gets its head.
//!
//! The layer that chooses endpoints stands below the layer that reads the body, and records the fault first. So it
//! passes the endpoint up, by a [signal](crate::internal::signals), and the response then names the endpoint.

use std::time::Duration;

use super::client_errors::SharedError;
use crate::internal::signals::{Signal, SignalScope};
use crate::{BoxError, EndpointId, Error, ErrorKind, RetryTerms, TimeoutScope};

thread_local! {
    static FAULT: Signal<BodyFault> = const { Signal::silent() };
}

/// The fault of an endpoint whose body has broken off or stalled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyFault {
    pub(crate) endpoint: EndpointId,
    pub(crate) terms: RetryTerms,
}

/// Tells the layer that reads the body which endpoint has failed.
pub(crate) fn raise_body_fault(fault: BodyFault) {
    FAULT.with(|signal| signal.set(Some(fault)));
}

/// Opens a scope for the poll of a body. If the body of an endpoint fails, the scope hears of it.
pub(crate) fn listen_body_fault() -> SignalScope<BodyFault> {
    SignalScope::enter(&FAULT, None)
}

/// Marks a response whose body broke off or took too long, and holds the cause. Stored in the extensions of the
/// response.
#[derive(Debug, Clone)]
pub(crate) struct BrokenBody {
    cause: SharedError,
    kind: ErrorKind,
    /// True if a share of the caller's own timeout has cut the body.
    is_callers_share: bool,
}

impl BrokenBody {
    /// The mark of a body that broke off.
    pub(crate) fn broken_off(cause: BoxError) -> Self {
        Self { cause: SharedError::new(cause), kind: ErrorKind::Body, is_callers_share: false }
    }

    /// The mark of a body that did not arrive within the time limit.
    pub(crate) fn late(scope: TimeoutScope, is_callers_share: bool, after: Duration) -> Self {
        let cause = SharedError::new(Error::body_timeout(scope, after));
        Self { cause, kind: ErrorKind::Timeout { scope, after: Some(after) }, is_callers_share }
    }

    /// Returns the kind of error as which the attempt is judged.
    pub(crate) const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the error as which the attempt is judged.
    pub(crate) fn error<E>(&self) -> Error<E> {
        let error = Error::from_body(self.cause.clone()).with_kind(self.kind);
        if self.is_callers_share { error.cut_by_callers_share() } else { error }
    }

    /// Returns the error with which the body fails.
    pub(crate) fn cause(&self) -> BoxError {
        match self.kind {
            // A shared error would hide the kind of the `io::Error` from reqwest.
            ErrorKind::Timeout { scope, after: Some(after) } => Error::body_timeout(scope, after),
            _ => self.cause.clone().into(),
        }
    }
}
