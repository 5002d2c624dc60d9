//! The errors of HTTP/2 streams, as h2 reports them below hyper.

use super::facts::{BAD_BODY, ErrorFacts, NOT_PROCESSED};

/// Returns the facts that the error of a stream states; `None` if the stream just broke off.
///
/// A `GOAWAY` frame names the last stream that the server has processed. Whatever the reason in the frame, h2 passes
/// the error only to later streams, and to streams that were never opened.
pub(super) fn of_stream(error: &h2::Error) -> Option<ErrorFacts> {
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || is_refused) {
        Some(NOT_PROCESSED)
    } else if error.is_reset() && !error.is_remote() && !error.is_library() {
        // hyper itself has reset the stream, because the body of the request has failed.
        Some(BAD_BODY)
    } else {
        None
    }
}
