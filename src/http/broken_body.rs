//! The mark of a response whose body broke off while a layer read it.
//!
//! The head of such a response can be worth more than an error: a 201 names the created resource in `Location`. So
//! the response is passed up as it is, with the mark in its extensions and a body that fails where it broke off. The
//! layers above judge the attempt as if it had failed with [`ErrorKind::Body`](crate::ErrorKind::Body). If no attempt
//! or stale response replaces the response, the caller gets its head.

use super::client_errors::SharedError;
use crate::{BoxError, Error};

/// Marks a response whose body broke off, and holds the cause. In the extensions of the response.
#[derive(Debug, Clone)]
pub(crate) struct BrokenBody(SharedError);

impl BrokenBody {
    pub(crate) fn new(cause: BoxError) -> Self {
        Self(SharedError::new(cause))
    }

    /// Returns the error as which the attempt is judged.
    pub(crate) fn error<E>(&self) -> Error<E> {
        Error::from_body(self.0.clone())
    }

    /// Returns the error with which the body fails.
    pub(crate) fn cause(&self) -> BoxError {
        self.0.clone().into()
    }
}
