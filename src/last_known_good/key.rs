//! What a response is kept under: its method and its URI.

use std::sync::Arc;

use http::{Method, header::HOST};

use crate::http::HttpRequest;

/// The method and the URI of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    head: bool,
    uri: Arc<str>,
}

impl Key {
    /// The key of a request, as if it were a GET unless it is a HEAD.
    pub(super) fn new(request: &impl HttpRequest) -> Self {
        Self { head: *request.method() == Method::HEAD, uri: uri(request).into() }
    }

    /// The key of the same URI for the other of the two methods.
    pub(super) fn sibling(&self) -> Self {
        Self { head: !self.head, uri: Arc::clone(&self.uri) }
    }

    pub(super) fn uri(&self) -> &Arc<str> {
        &self.uri
    }
}

/// The URI with its scheme and host in lower case and its port spelled out, so that equal ones are equal.
fn uri(request: &impl HttpRequest) -> String {
    let host = match request.host() {
        // A request in origin form says its host in the header.
        "" => request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
        host => host,
    };
    let mut uri =
        String::with_capacity(16 + host.len() + request.path().len() + request.query().map_or(0, str::len));
    uri.push_str(request.scheme());
    uri.push_str("://");
    uri.push_str(host);
    uri.make_ascii_lowercase();
    if let Some(port) = request.port() {
        uri.push(':');
        uri.push_str(&port.to_string());
    }
    uri.push_str(request.path());
    if let Some(query) = request.query() {
        uri.push('?');
        uri.push_str(query);
    }
    uri
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn key(method: Method, uri: &str) -> Key {
        Key::new(&Request::builder().method(method).uri(uri).body(String::new()).unwrap())
    }

    #[test]
    fn equal_uris_are_equal_however_they_are_written() {
        assert_eq!(
            key(Method::GET, "http://SKU.internal/a?b"),
            key(Method::GET, "HTTP://sku.internal:80/a?b")
        );
        assert_eq!(key(Method::GET, "https://a/"), key(Method::GET, "https://a:443"));
    }

    #[test]
    fn what_differs_in_any_part_is_another_key() {
        let one = key(Method::GET, "http://a/x?y");
        for other in
            ["https://a/x?y", "http://b/x?y", "http://a:81/x?y", "http://a/X?y", "http://a/x?z", "http://a/x"]
        {
            assert_ne!(one, key(Method::GET, other), "{other}");
        }
        assert_ne!(one, key(Method::HEAD, "http://a/x?y"));
        assert_eq!(one, key(Method::HEAD, "http://a/x?y").sibling());
    }
}
