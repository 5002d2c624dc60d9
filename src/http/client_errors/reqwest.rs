//! The errors of reqwest.

use std::error::Error as StdError;

use super::facts::{
    BAD_BODY, BAD_REQUEST, BROKE_OFF, ErrorFacts, Fault, NO_CONNECTION, Sent, TransportError, facts,
};
use super::hyper::is_callers_fault;

impl TransportError for ::reqwest::Error {
    fn fault(&self) -> Fault {
        of_reqwest(self).fault
    }
}

pub(super) fn inspect(error: &(dyn StdError + 'static)) -> Option<ErrorFacts> {
    error.downcast_ref().map(of_reqwest)
}

pub(super) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref().is_some_and(::reqwest::Error::is_timeout)
}

pub(super) fn is_error(error: &(dyn StdError + 'static)) -> bool {
    error.is::<::reqwest::Error>()
}

fn of_reqwest(error: &::reqwest::Error) -> ErrorFacts {
    if is_callers_fault(error) {
        BAD_BODY
    } else if error.is_connect() {
        // The failed host may be the target of a redirect. `ReqwestService` corrects `sent` if there was no redirect.
        ErrorFacts { sent: Sent::Maybe, ..NO_CONNECTION }
    } else if error.is_builder() {
        BAD_REQUEST
    } else if error.is_redirect() {
        facts(Fault::Caller, Sent::Maybe, "redirect not followed")
    } else if error.is_decode() {
        facts(Fault::Caller, Sent::Maybe, "response body cannot be decoded")
    } else if error.is_status() {
        facts(Fault::Caller, Sent::Maybe, "status taken for an error")
    } else if error.is_upgrade() {
        facts(Fault::Caller, Sent::Maybe, "connection not upgraded")
    } else if error.is_timeout() {
        facts(Fault::Exchange, Sent::Maybe, "client timed out")
    } else {
        BROKE_OFF
    }
}
