//! The errors of hyper and of hyper-util's client. reqwest's errors contain those of hyper, so parts of this file
//! serve the feature `reqwest` as well.

use std::error::Error as StdError;

use super::facts::{BAD_BODY, ErrorFacts, NEVER_BEGUN, RUNTIME_GONE, causes, is_of_ended_runtime};
#[cfg(feature = "hyper")]
use super::facts::{BAD_REQUEST, BROKE_OFF, Fault, NO_CONNECTION, TransportError};
#[cfg(feature = "http2")]
use super::http2;

#[cfg(feature = "hyper")]
impl TransportError for ::hyper_util::client::legacy::Error {
    fn fault(&self) -> Fault {
        of_hyper_util(self).fault
    }
}

#[cfg(feature = "hyper")]
impl TransportError for ::hyper::Error {
    fn fault(&self) -> Fault {
        of_hyper(self).fault
    }
}

#[cfg(feature = "hyper")]
pub(super) fn inspect(error: &(dyn StdError + 'static)) -> Option<ErrorFacts> {
    error.downcast_ref().map(of_hyper_util).or_else(|| error.downcast_ref().map(of_hyper))
}

pub(super) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref().is_some_and(::hyper::Error::is_timeout)
}

pub(super) fn is_error(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(feature = "hyper")]
    if error.is::<::hyper_util::client::legacy::Error>() {
        return true;
    }
    error.is::<::hyper::Error>()
}

#[cfg(feature = "hyper")]
fn of_hyper_util(error: &::hyper_util::client::legacy::Error) -> ErrorFacts {
    if error.is_connect() {
        NO_CONNECTION
    } else if error.source().is_none() {
        // If the error has no cause, the client rejected the request itself, for example because the URI is not
        // absolute.
        BAD_REQUEST
    } else {
        of_exchange(error).unwrap_or(BROKE_OFF)
    }
}

#[cfg(feature = "hyper")]
fn of_hyper(error: &::hyper::Error) -> ErrorFacts {
    of_exchange(error).unwrap_or(BROKE_OFF)
}

/// Finds the statement of hyper or h2 about a failed exchange in the chain of causes; `None` if the exchange just
/// broke off.
pub(super) fn of_exchange(error: &(dyn StdError + 'static)) -> Option<ErrorFacts> {
    causes(error).find_map(|error| {
        #[cfg(feature = "http2")]
        if let Some(facts) = error.downcast_ref().and_then(http2::of_stream) {
            return Some(facts);
        }
        let error: &::hyper::Error = error.downcast_ref()?;
        if is_of_ended_runtime(error) {
            Some(RUNTIME_GONE)
        } else if error.is_user() {
            Some(BAD_BODY)
        } else if error.is_canceled() {
            // hyper cancels only a request that it has not begun to write.
            Some(NEVER_BEGUN)
        } else {
            None
        }
    })
}
