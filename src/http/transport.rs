//! What the errors of HTTP clients mean.

use std::error::Error as StdError;
use std::io;

use crate::BoxError;

/// What kind of fault left a request without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No connection came about.
    Connect,
    /// The exchange broke off, or took too long.
    Exchange,
    /// The caller's own: the request could not be built, its body failed, or the response was not what the
    /// caller asked to have.
    Caller,
}

/// The error of an HTTP client, as [`HttpClassifier`](super::HttpClassifier) sees it.
///
/// Whether anything was sent is the [error's to say](crate::Error::with_sent), not the fault's.
pub trait TransportError {
    /// What kind of fault it is.
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

/// One of the errors below, in a box, however often it was wrapped. What is not known broke off.
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

/// What is known of an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) fault: Fault,
    pub(crate) sent: Sent,
    /// What it means, in a few words; `None` if it says so itself.
    pub(crate) text: Option<&'static str>,
}

/// How far the request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It was not handed to a connector.
    NotAttempted,
    /// It was not sent.
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

/// What is known of the type of an error; `None` if nothing is.
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

/// Whether an error, or one of its causes, is a timeout.
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

/// The fault that an error is, whatever it is wrapped in: the outermost error that is known decides.
pub(crate) fn fault_of(error: &(dyn StdError + 'static)) -> Fault {
    causes(error).find_map(inspect).map_or(Fault::Exchange, |seen| seen.fault)
}

/// Whether an error is that of an HTTP client.
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

/// Whether an error is an `io::Error` that was made of another one, and says nothing but that.
pub(crate) fn is_wrapper(error: &(dyn StdError + 'static)) -> bool {
    error
        .downcast_ref()
        .is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::Other && error.get_ref().is_some())
}

/// An error and its causes, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        // The error of a request's own body comes from another source, perhaps another call, and says nothing about this call.
        #[cfg(any(feature = "reqwest", feature = "hyper"))]
        if error.downcast_ref().is_some_and(hyper::Error::is_user) {
            return None;
        }
        // As its source, an `io::Error` gives that of the error which it was made of.
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
        // Only a refusal cannot befall a connection that has come about: a host can become unreachable at any time.
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
        // Perhaps that of a host which another redirected to: `ReqwestService` knows, and says so.
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
        // Without a cause it is the request that the client refused: no absolute URI, an unknown version.
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

/// Whether hyper, somewhere below, found the caller at fault: a request body that failed, a header that cannot be.
#[cfg(any(feature = "reqwest", feature = "hyper"))]
fn is_callers_fault(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|error| error.downcast_ref().is_some_and(hyper::Error::is_user))
}
