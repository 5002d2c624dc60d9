//! Which requests may be sent twice.

use http::{HeaderMap, Method};

use crate::Resend;

/// What a method and its headers permit.
///
/// RFC 9110 §9.2.2 names the idempotent methods: the safe ones, PUT and DELETE. An `Idempotency-Key`
/// (draft-ietf-httpapi-idempotency-key-header) makes any request one that the upstream recognises when it comes
/// again.
pub(super) fn resend(method: &Method, headers: &HeaderMap) -> Resend {
    if method.is_idempotent() || headers.contains_key("idempotency-key") {
        Resend::Always
    } else {
        Resend::IfNotSent
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
            assert_eq!(resend(&method, &none), Resend::Always, "{method}");
        }
        for method in [Method::POST, Method::PATCH, Method::CONNECT, Method::from_bytes(b"QUERY2").unwrap()] {
            assert_eq!(resend(&method, &none), Resend::IfNotSent, "{method}");
        }
    }

    #[test]
    fn an_idempotency_key_lets_a_post_be_sent_twice() {
        let mut headers = HeaderMap::new();
        headers.insert("Idempotency-Key", "8e03978e".parse().unwrap());
        assert_eq!(resend(&Method::POST, &headers), Resend::Always);
    }
}
