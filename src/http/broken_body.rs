//! The mark of a response whose body broke off, or took too long, while a layer read the body.
//!
//! The head of such a response can be worth more than an error: a 201 names the created resource in `Location`. So
//! the response is passed up as it is, with the mark in its extensions and a body that fails where it broke off. The
//! layers above judge the attempt as if it had failed with [`ErrorKind::Body`], or with a timeout. If no attempt or
//! stale response replaces the response, the caller gets its head.

use super::client_errors::SharedError;
use crate::{BoxError, Error, ErrorInfo, ErrorKind};

/// Marks a response whose body broke off or took too long, and holds the cause. Stored in the extensions of the
/// response.
#[derive(Debug, Clone)]
pub(crate) struct BrokenBody(SharedError);

impl BrokenBody {
    pub(crate) fn new(cause: BoxError) -> Self {
        Self(SharedError::new(cause))
    }

    /// Returns the kind of the error that the judge sees: a timeout if the body took too long.
    pub(crate) fn kind(&self) -> ErrorKind {
        ErrorInfo::find(&self.0).map_or(ErrorKind::Body, ErrorInfo::kind)
    }

    /// Returns the error that the judge sees.
    pub(crate) fn error<E>(&self) -> Error<E> {
        Error::from_body(self.0.clone()).with_kind(self.kind())
    }

    /// Returns the error with which the body fails.
    pub(crate) fn cause(&self) -> BoxError {
        match self.kind() {
            // A shared error would hide the kind of the `io::Error` from reqwest.
            ErrorKind::Timeout { scope, after: Some(after) } => Error::body_timeout(scope, after),
            _ => self.0.clone().into(),
        }
    }
}
