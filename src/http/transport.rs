//! Sorts the errors of HTTP clients: the fault, whether the request was sent, and a short text for logs.
//!
//! Different clients report the same fault in different types, often inside boxes and wrappers. This file maps known
//! types to one description.

use std::error::Error as StdError;
use std::io;

use crate::BoxError;

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

/// The error of an HTTP client, as [`HttpClassifier`](super::HttpClassifier) sees it.
///
/// A fault does not tell whether the request was sent: the [`Error`](crate::Error::with_sent) around it does.
#[diagnostic::on_unimplemented(
    message = "`HttpClassifier` does not know the error `{Self}`",
    note = "enable the feature `reqwest` or `hyper` for their errors; for an error of your own, implement \
            `steadfast::http::TransportError`, or give each layer a classifier of your own: `.classifier(classify::from_fn(…))`"
)]
pub trait TransportError {
    /// Returns the kind of fault.
    fn fault(&self) -> Fault;
}

impl TransportError for std::convert::Infallible {
    fn fault(&self) -> Fault {
        match *self {}
    }
}

impl TransportError for io::Error {
    fn fault(&self) -> Fault {
        fault_of(self)
    }
}

/// Finds one of the errors below in a box, through any number of wrappers. An unknown error counts as
/// [`Fault::Exchange`].
impl TransportError for BoxError {
    fn fault(&self) -> Fault {
        fault_of(&**self)
    }
}

#[cfg(feature = "reqwest")]
impl TransportError for reqwest::Error {
    fn fault(&self) -> Fault {
        of_reqwest(self).fault
    }
}

#[cfg(feature = "hyper")]
impl TransportError for hyper_util::client::legacy::Error {
    fn fault(&self) -> Fault {
        of_hyper_util(self).fault
    }
}

#[cfg(feature = "hyper")]
impl TransportError for hyper::Error {
    fn fault(&self) -> Fault {
        of_hyper(self).fault
    }
}

/// Facts about an error, from its type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
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

const fn seen(fault: Fault, sent: Sent, text: &'static str) -> Seen {
    Seen { fault, sent, text: Some(text) }
}

const NO_CONNECTION: Seen = seen(Fault::Connect, Sent::No, "connection failed");
const BROKE_OFF: Seen = seen(Fault::Exchange, Sent::Maybe, "connection broke off");
#[cfg(any(feature = "reqwest", feature = "hyper"))]
const BAD_REQUEST: Seen = seen(Fault::Caller, Sent::NotAttempted, "the request cannot be sent");
#[cfg(any(feature = "reqwest", feature = "hyper"))]
const BAD_BODY: Seen = seen(Fault::Caller, Sent::Maybe, "the request's own body or headers failed");

/// Returns the facts about an error of a known type; `None` for an unknown type or a mere wrapper.
pub(crate) fn inspect(error: &(dyn StdError + 'static)) -> Option<Seen> {
    #[cfg(feature = "reqwest")]
    if let Some(error) = error.downcast_ref() {
        return Some(of_reqwest(error));
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref() {
        return Some(of_hyper_util(error));
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref() {
        return Some(of_hyper(error));
    }
    if is_wrapper(error) {
        return None;
    }
    error.downcast_ref().map(of_io)
}

/// True if an error or one of its causes is a timeout.
pub(crate) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    let of_io = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    causes(error).any(|error| {
        #[cfg(feature = "reqwest")]
        if error.downcast_ref().is_some_and(reqwest::Error::is_timeout) {
            return true;
        }
        #[cfg(any(feature = "reqwest", feature = "hyper"))]
        if error.downcast_ref().is_some_and(hyper::Error::is_timeout) {
            return true;
        }
        error.is::<tokio::time::error::Elapsed>() || error.downcast_ref().is_some_and(of_io)
    })
}

/// Returns the fault of an error in any wrapper. The outermost error of a known type decides.
pub(crate) fn fault_of(error: &(dyn StdError + 'static)) -> Fault {
    causes(error).find_map(inspect).map_or(Fault::Exchange, |seen| seen.fault)
}

/// True if the type of an error is that of an HTTP client.
pub(crate) fn is_of_a_client(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(feature = "reqwest")]
    if error.is::<reqwest::Error>() {
        return true;
    }
    #[cfg(feature = "hyper")]
    if error.is::<hyper_util::client::legacy::Error>() {
        return true;
    }
    #[cfg(any(feature = "reqwest", feature = "hyper"))]
    if error.is::<hyper::Error>() {
        return true;
    }
    let _ = error;
    false
}

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
        // Stop at an error of the request's own body. Its causes come from elsewhere, perhaps from another call.
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

fn of_io(error: &io::Error) -> Seen {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, UnexpectedEof,
    };
    match error.kind() {
        // Only a refused connection was certainly never established: a host can also become unreachable later.
        ConnectionRefused => NO_CONNECTION,
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => BROKE_OFF,
        _ => Seen { text: None, ..BROKE_OFF },
    }
}

#[cfg(feature = "reqwest")]
fn of_reqwest(error: &reqwest::Error) -> Seen {
    if is_callers_fault(error) {
        BAD_BODY
    } else if error.is_connect() {
        // The failed host may be the target of a redirect. `ReqwestService` knows, and corrects `sent`.
        Seen { sent: Sent::Maybe, ..NO_CONNECTION }
    } else if error.is_builder() {
        BAD_REQUEST
    } else if error.is_redirect() {
        seen(Fault::Caller, Sent::Maybe, "redirect not followed")
    } else if error.is_decode() {
        seen(Fault::Caller, Sent::Maybe, "response body cannot be decoded")
    } else if error.is_status() {
        seen(Fault::Caller, Sent::Maybe, "status taken for an error")
    } else if error.is_upgrade() {
        seen(Fault::Caller, Sent::Maybe, "connection not upgraded")
    } else if error.is_timeout() {
        seen(Fault::Exchange, Sent::Maybe, "client timed out")
    } else {
        BROKE_OFF
    }
}

#[cfg(feature = "hyper")]
fn of_hyper_util(error: &hyper_util::client::legacy::Error) -> Seen {
    if error.is_connect() {
        NO_CONNECTION
    } else if error.source().is_none() {
        // Without a cause, the client rejected the request: no absolute URI, or an unknown version.
        BAD_REQUEST
    } else if is_callers_fault(error) {
        BAD_BODY
    } else {
        BROKE_OFF
    }
}

#[cfg(feature = "hyper")]
fn of_hyper(error: &hyper::Error) -> Seen {
    if error.is_user() { BAD_BODY } else { BROKE_OFF }
}

/// True if hyper blames the caller, anywhere in the chain: for a request body that failed, or an invalid header.
#[cfg(any(feature = "reqwest", feature = "hyper"))]
fn is_callers_fault(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|error| error.downcast_ref().is_some_and(hyper::Error::is_user))
}
