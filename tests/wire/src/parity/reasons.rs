//! The documented differences, by the name of their row.

const BULKHEAD: &str = "the bulkhead allows 128 answers in flight, until their bodies are read or dropped, and 128 \
    waiters for 1 s. The queue does not tell a burst from an overload yet. This difference is to go.";

const ATTEMPT_TIME: &str = "an attempt has the total time divided by 3.4, even where no other attempt can follow. This \
    difference is to go.";

/// Each row that differs, and the reason.
pub(crate) const REASONS: &[(&str, &str)] = &[
    (
        "the URL and the status of an error",
        "the URL of an error has no userinfo, query or fragment, since they can hold secrets and errors are logged.",
    ),
    (
        "user agent and default headers, set on the client's builder",
        "the layers see default headers, so these are added before reqwest adds `Accept`. The order of headers with \
        different names has no meaning (RFC 9110 §5.3).",
    ),
    (
        "GET answered by 503: the requests that arrive",
        "steadfast retries a request that may be sent twice. The caller gets the answer of the last attempt.",
    ),
    (
        "a chunked body that takes 11 s, no timeout set",
        "a call has a total time of 10 s by default, the reading of its body included. reqwest has no timeout by \
        default.",
    ),
    (
        "300 streamed answers open at once",
        "the bulkhead counts an answer as in flight until its body ends, and allows 128 by default.",
    ),
    ("5,000 GETs at once", BULKHEAD),
    ("200 small answers awaited together, then read", BULKHEAD),
    ("POST answered after half of the request's timeout", ATTEMPT_TIME),
    ("GET answered after half of the request's timeout", ATTEMPT_TIME),
    ("POST answered after 3.2 s, no timeout set", ATTEMPT_TIME),
    ("POST of a body that takes 3.2 s, no timeout set", ATTEMPT_TIME),
];

pub(crate) fn reason(what: &str) -> Option<&'static str> {
    REASONS.iter().find(|(row, _)| *row == what).map(|(_, reason)| *reason)
}
