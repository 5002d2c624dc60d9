//! The errors of reqwest.

use std::error::Error as StdError;
use std::io;

use super::facts::{
    BAD_REQUEST, BROKE_OFF, ErrorFacts, Fault, NO_CONNECTION, Sent, TransportError, causes, facts,
};
use super::hyper::of_exchange;
#[cfg(feature = "rustls")]
use super::tls::is_untrusted_certificate;

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

/// Returns the facts that reqwest's error states about the request that failed, which may be a redirected one.
///
/// `sent` is therefore never `No`: an earlier host may have seen the request. `ReqwestService` knows whether a
/// redirect was followed; see [`is_unsent`].
fn of_reqwest(error: &::reqwest::Error) -> ErrorFacts {
    let facts = of_hop(error);
    if facts.sent == Sent::No { ErrorFacts { sent: Sent::Maybe, ..facts } } else { facts }
}

/// True if the failed request was not sent, or not processed. In a chain of redirects, the earlier requests were sent
/// nevertheless.
pub(crate) fn is_unsent(error: &::reqwest::Error) -> bool {
    of_hop(error).sent == Sent::No
}

fn of_hop(error: &::reqwest::Error) -> ErrorFacts {
    // This check comes first. reqwest's predicates also look at the causes of a failed request body, and these causes
    // can be about another call.
    if let Some(facts) = of_exchange(error) {
        facts
    } else if error.is_connect() {
        of_connect(error)
    } else if error.is_builder() {
        BAD_REQUEST
    } else if error.is_redirect() {
        facts(Fault::Caller, Sent::Maybe, "redirect not followed")
    } else if let Some(facts) = of_decoding(error) {
        facts
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

/// Removes userinfo, query and fragment from the URL of the error, because the error's texts show the URL. The URL
/// can be the target of a redirect.
pub(crate) fn hide_secrets(error: &mut ::reqwest::Error) {
    if let Some(url) = error.url_mut() {
        url.set_query(None);
        url.set_fragment(None);
        if url.cannot_be_a_base() {
            // Not an HTTP URL: `user:password@host`, for example, has the scheme `user`.
            url.set_path("");
        }
        // These calls fail for a URL without a host, which has no userinfo.
        let _ = url.set_password(None);
        let _ = url.set_username("");
    }
}

fn of_connect(error: &::reqwest::Error) -> ErrorFacts {
    #[cfg(feature = "rustls")]
    if is_untrusted_certificate(error) {
        return facts(Fault::Impossible, Sent::No, "certificate not trusted");
    }
    if error.is_timeout() {
        return facts(Fault::Connect, Sent::No, "connect timed out");
    }
    // The connector of hyper-util has no predicate for this error.
    if causes(error).any(|error| error.to_string() == "invalid URL, scheme is not http") {
        return facts(Fault::Impossible, Sent::No, "the client is built without TLS");
    }
    NO_CONNECTION
}

/// Returns the facts about a response body that cannot be decoded; `None` for any other error.
///
/// The error of a decompressor stands directly below reqwest's own errors, while the faults of a connection are
/// errors of hyper. A body that ends too early was cut off. No retry can help with any other body that cannot be
/// decoded.
fn of_decoding(error: &::reqwest::Error) -> Option<ErrorFacts> {
    let is_cut = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
    let of_decoder = causes(error)
        .find(|error| !error.is::<::reqwest::Error>())
        .filter(|cause| error.is_body() && !error.is_timeout() && !cause.is::<::hyper::Error>());
    if of_decoder.and_then(|cause| cause.downcast_ref()).is_some_and(is_cut) {
        return Some(BROKE_OFF);
    }
    let facts = facts(Fault::Caller, Sent::Maybe, "response body cannot be decoded");
    (of_decoder.is_some() || error.is_decode()).then_some(facts)
}
