//! Describes the errors of HTTP clients: the fault, whether the request was sent, and a short text for logs.
//!
//! Different clients report the same fault in different types, often inside boxes and wrappers. Each client has a
//! file that maps the client's types to `ErrorFacts`. To support another client, add a file, and a line for it in
//! `inspect`, `is_timeout` and `is_of_a_client`.

mod facts;
#[cfg(all(feature = "http2", any(feature = "reqwest", feature = "hyper")))]
mod http2;
#[cfg(any(feature = "reqwest", feature = "hyper"))]
mod hyper;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "rustls")]
mod tls;

use std::error::Error as StdError;
use std::io;

use self::facts::{BROKE_OFF, ErrorFacts, NO_CONNECTION};
pub use self::facts::{Fault, TransportError};
pub(crate) use self::facts::{Sent, SharedError, causes, is_wrapper};
#[cfg(feature = "reqwest")]
pub(crate) use self::reqwest::{hide_secrets, is_unsent};
use crate::BoxError;

/// Returns the facts about an error of a known type; `None` for an unknown type or a mere wrapper.
pub(crate) fn inspect(error: &(dyn StdError + 'static)) -> Option<ErrorFacts> {
    #[cfg(feature = "reqwest")]
    if let Some(facts) = reqwest::inspect(error) {
        return Some(facts);
    }
    #[cfg(feature = "hyper")]
    if let Some(facts) = hyper::inspect(error) {
        return Some(facts);
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
        if reqwest::is_timeout(error) {
            return true;
        }
        #[cfg(any(feature = "reqwest", feature = "hyper"))]
        if hyper::is_timeout(error) {
            return true;
        }
        error.is::<tokio::time::error::Elapsed>() || error.downcast_ref().is_some_and(of_io)
    })
}

/// True if the type of an error belongs to an HTTP client.
pub(crate) fn is_of_a_client(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(feature = "reqwest")]
    if reqwest::is_error(error) {
        return true;
    }
    #[cfg(any(feature = "reqwest", feature = "hyper"))]
    if hyper::is_error(error) {
        return true;
    }
    let _ = error;
    false
}

/// Returns the root cause of a client's error, if its text adds to the summary of the fault. An error of reqwest or
/// of hyper-util's client would repeat the summary and add the URL. The root of a timeout says only that time is up, in
/// words that depend on the timer that fires first.
pub(crate) fn telling_root<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    #[cfg(feature = "reqwest")]
    if reqwest::is_timeout(error) {
        return None;
    }
    causes(error).last().filter(|root| {
        #[cfg(feature = "reqwest")]
        if reqwest::is_error(*root) {
            return false;
        }
        #[cfg(feature = "hyper")]
        if root.is::<::hyper_util::client::legacy::Error>() {
            return false;
        }
        !root.is::<tokio::time::error::Elapsed>()
    })
}

/// Finds the fault of an error, wrapped or not. The outermost error of a known type decides.
pub(crate) fn fault_of(error: &(dyn StdError + 'static)) -> Fault {
    causes(error).find_map(inspect).map_or(Fault::Exchange, |facts| facts.fault)
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

/// Finds an error of a known type in the box, wrapped or not. If no type is known, the fault is [`Fault::Exchange`].
impl TransportError for BoxError {
    fn fault(&self) -> Fault {
        fault_of(&**self)
    }
}

fn of_io(error: &io::Error) -> ErrorFacts {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, UnexpectedEof,
    };
    match error.kind() {
        // Only `ConnectionRefused` proves that no connection was established. `HostUnreachable`, for example, can
        // also come later, on an established connection.
        ConnectionRefused => NO_CONNECTION,
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => BROKE_OFF,
        _ => ErrorFacts { text: None, ..BROKE_OFF },
    }
}
