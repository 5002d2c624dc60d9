//! The errors of hyper and of hyper-util's client. reqwest's errors contain those of hyper, so parts of this file
//! serve the feature `reqwest` as well.

use std::error::Error as StdError;

use super::facts::causes;
#[cfg(feature = "hyper")]
use super::facts::{BAD_BODY, BAD_REQUEST, BROKE_OFF, ErrorFacts, Fault, NO_CONNECTION, TransportError};

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
    } else if is_callers_fault(error) {
        BAD_BODY
    } else {
        BROKE_OFF
    }
}

#[cfg(feature = "hyper")]
fn of_hyper(error: &::hyper::Error) -> ErrorFacts {
    if error.is_user() { BAD_BODY } else { BROKE_OFF }
}

/// True if hyper blames the caller for any error in the chain, such as a failed request body or an invalid header.
pub(super) fn is_callers_fault(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|error| error.downcast_ref().is_some_and(::hyper::Error::is_user))
}
