//! The facts about an error of an HTTP client, and the iterator over its causes.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::BoxError;

/// The kind of fault that left a request without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// No connection was established.
    Connect,
    /// No connection can be established, now or later: the certificate is not trusted, or the client lacks TLS.
    Impossible,
    /// The exchange broke off, or took too long.
    Exchange,
    /// The HTTP/2 server has declared the request as not processed (RFC 9113 §8.7).
    NotProcessed,
    /// A mistake of the caller: the request could not be built, its body failed, or the response was not of the kind
    /// that the caller asked for.
    Caller,
}

impl Fault {
    /// True if there was no connection.
    pub(crate) const fn is_connect(self) -> bool {
        matches!(self, Self::Connect | Self::Impossible)
    }
}

/// The error of an HTTP client, as [`HttpClassifier`](crate::http::HttpClassifier) sees it.
///
/// The fault does not say whether the request was sent; the [`Error`](crate::Error::with_sent) around this error
/// does.
#[diagnostic::on_unimplemented(
    message = "`HttpClassifier` does not know the error `{Self}`",
    note = "enable the feature `reqwest` or `hyper` for their errors; for an error of your own, implement \
            `steadfast::http::TransportError`, or give each layer a classifier of your own: `.classifier(classify::from_fn(…))`"
)]
pub trait TransportError {
    /// Returns the kind of fault.
    fn fault(&self) -> Fault;
}

/// The facts that an error of a known type states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorFacts {
    pub(crate) fault: Fault,
    pub(crate) sent: Sent,
    /// The meaning in a few words; `None` if the error's own text is better.
    pub(crate) text: Option<&'static str>,
}

/// How far the request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The request was not handed to a connector.
    NotAttempted,
    /// The request was handed to a connector, but not sent, or the server has not processed it.
    No,
    Maybe,
}

pub(super) const fn facts(fault: Fault, sent: Sent, text: &'static str) -> ErrorFacts {
    ErrorFacts { fault, sent, text: Some(text) }
}

pub(super) const NO_CONNECTION: ErrorFacts = facts(Fault::Connect, Sent::No, "connection failed");
#[cfg(any(feature = "reqwest", feature = "hyper"))]
pub(super) const NEVER_BEGUN: ErrorFacts =
    facts(Fault::Exchange, Sent::No, "connection closed before the request was sent");
#[cfg(all(feature = "http2", any(feature = "reqwest", feature = "hyper")))]
pub(super) const NOT_PROCESSED: ErrorFacts =
    facts(Fault::NotProcessed, Sent::No, "the server has not processed the request");
#[cfg(any(feature = "reqwest", feature = "hyper"))]
pub(super) const RUNTIME_GONE: ErrorFacts =
    facts(Fault::Exchange, Sent::Maybe, "the task of the connection has ended");
pub(super) const BROKE_OFF: ErrorFacts = facts(Fault::Exchange, Sent::Maybe, "connection broke off");
#[cfg(any(feature = "reqwest", feature = "hyper"))]
pub(super) const BAD_REQUEST: ErrorFacts =
    facts(Fault::Caller, Sent::NotAttempted, "the request cannot be sent");
#[cfg(any(feature = "reqwest", feature = "hyper"))]
pub(super) const BAD_BODY: ErrorFacts =
    facts(Fault::Caller, Sent::Maybe, "the request's own body or headers failed");

/// True if an error is an `io::Error` that only wraps another error.
pub(crate) fn is_wrapper(error: &(dyn StdError + 'static)) -> bool {
    error
        .downcast_ref()
        .is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::Other && error.get_ref().is_some())
}

/// Returns an error and its causes, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        // Stop at an error of the request's own body: the causes of such an error come from elsewhere, perhaps from
        // another call.
        #[cfg(any(feature = "reqwest", feature = "hyper"))]
        if error.downcast_ref().is_some_and(is_callers_mistake) {
            return None;
        }
        if let Some(SharedError(shared)) = error.downcast_ref() {
            return Some(&**shared);
        }
        // `io::Error::source` skips the wrapped error and returns that error's source. Visit the wrapped error, too.
        match error.downcast_ref().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// True if hyper blames the caller, for example for a failed request body or an invalid header.
#[cfg(any(feature = "reqwest", feature = "hyper"))]
fn is_callers_mistake(error: &hyper::Error) -> bool {
    error.is_user() && !is_of_ended_runtime(error)
}

/// True if the task of the connection was dropped, usually because its runtime has ended. hyper counts this error
/// among the user's mistakes, and has no predicate for it.
#[cfg(any(feature = "reqwest", feature = "hyper"))]
pub(super) fn is_of_ended_runtime(error: &hyper::Error) -> bool {
    error.is_user() && error.to_string().starts_with("dispatch task is gone")
}

/// An error that several values share. It has the text and the sources of the inner error, so that a chain of causes
/// does not repeat the text.
#[derive(Clone)]
pub(crate) struct SharedError(Arc<dyn StdError + Send + Sync>);

impl SharedError {
    pub(crate) fn new(error: BoxError) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for SharedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
