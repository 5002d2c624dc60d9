//! The documented differences, by the name of their row.

/// The reason for a second connection.
const TWO_CONNECTIONS: &str = "over HTTP/2, steadfast has two connections to one address, so that a retry can use \
                               another one, and so that a connection that dies does not carry all calls.";

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
    ("20 calls one after another", TWO_CONNECTIONS),
    ("20 calls one after another, chunked bodies", TWO_CONNECTIONS),
    ("20 calls one after another, HEAD", TWO_CONNECTIONS),
    ("two hosts", TWO_CONNECTIONS),
    ("https through a tunnel", TWO_CONNECTIONS),
    ("https through a tunnel with credentials", TWO_CONNECTIONS),
];

pub(crate) fn reason(what: &str) -> Option<&'static str> {
    REASONS.iter().find(|(row, _)| *row == what).map(|(_, reason)| *reason)
}
