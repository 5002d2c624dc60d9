//! Decides from the method and the headers whether a request may be sent twice.

use http::{HeaderMap, Method};

use crate::RetrySafety;

/// Returns the retry safety of a request.
///
/// RFC 9110 §9.2.2 names the idempotent methods: the safe methods, PUT and DELETE. With an `Idempotency-Key`
/// (draft-ietf-httpapi-idempotency-key-header), the upstream recognises a repeated request, so a request of any
/// method is idempotent.
pub(super) fn retry_safety(method: &Method, headers: &HeaderMap) -> RetrySafety {
    if method.is_idempotent() || headers.contains_key("idempotency-key") {
        RetrySafety::Idempotent
    } else {
        RetrySafety::UnlessSent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_rfc_9110_may_be_sent_twice_and_no_others() {
        let none = HeaderMap::new();
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE]
        {
            assert_eq!(retry_safety(&method, &none), RetrySafety::Idempotent, "{method}");
        }
        for method in [Method::POST, Method::PATCH, Method::CONNECT, Method::from_bytes(b"QUERY2").unwrap()] {
            assert_eq!(retry_safety(&method, &none), RetrySafety::UnlessSent, "{method}");
        }
    }

    #[test]
    fn an_idempotency_key_lets_a_post_be_sent_twice() {
        let mut headers = HeaderMap::new();
        headers.insert("Idempotency-Key", "8e03978e".parse().unwrap());
        assert_eq!(retry_safety(&Method::POST, &headers), RetrySafety::Idempotent);
    }
}
