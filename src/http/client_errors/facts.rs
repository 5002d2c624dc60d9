//! The facts about an error of an HTTP client, and the iterator over its causes.

use std::error::Error as StdError;
use std::io;

/// The kind of fault that left a request without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No connection was established.
    Connect,
    /// The exchange broke off, or took too long.
    Exchange,
    /// A mistake of the caller: the request could not be built, its body failed, or the response was not of the kind
    /// that the caller asked for.
    Caller,
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
    /// The request was handed to a connector, but not sent.
    No,
    Maybe,
}

pub(super) const fn facts(fault: Fault, sent: Sent, text: &'static str) -> ErrorFacts {
    ErrorFacts { fault, sent, text: Some(text) }
}

pub(super) const NO_CONNECTION: ErrorFacts = facts(Fault::Connect, Sent::No, "connection failed");
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
        if error.downcast_ref().is_some_and(hyper::Error::is_user) {
            return None;
        }
        // `io::Error::source` skips the wrapped error and returns that error's source. Visit the wrapped error, too.
        match error.downcast_ref().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}
