//! What a response is kept under: its method and its URI.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash, Hasher};

use http::Method;

use crate::http::HttpRequest;

/// The method and the URI of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Of all but the method, and taken once: each call needs it more than once.
    hash: u64,
    /// The URI; then the `Host` header, where the request has one of its own.
    text: String,
    uri_length: usize,
    head: bool,
}

impl Key {
    /// The key of a request, as if it were a GET unless it is a HEAD.
    pub(super) fn new(request: &impl HttpRequest, hasher: &impl BuildHasher) -> Self {
        let host = request.host_header().unwrap_or_default();
        let mut text = String::with_capacity(longest_uri(request) + host.len());
        push_uri(&mut text, request);
        let uri_length = text.len();
        text.push_str(host);
        text[uri_length..].make_ascii_lowercase();
        Self { hash: hasher.hash_one(&text), text, uri_length, head: *request.method() == Method::HEAD }
    }

    /// The key of the same URI for the other of the two methods.
    pub(super) fn sibling(&self) -> Self {
        Self { head: !self.head, ..self.clone() }
    }

    /// That of its URI: the same for both methods.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn uri(&self) -> &str {
        &self.text[..self.uri_length]
    }

    /// What it takes in memory beside itself, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.text.len()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What the URI of a request takes at most.
fn longest_uri(request: &impl HttpRequest) -> usize {
    let punctuation_and_port = "://:65535?".len();
    let query = request.query().map_or(0, str::len);
    request.scheme().len() + request.host().len() + request.path().len() + query + punctuation_and_port
}

/// The URI with its scheme and host in lower case and its port spelled out, so that equal ones are equal.
fn push_uri(uri: &mut String, request: &impl HttpRequest) {
    uri.push_str(request.scheme());
    uri.push_str("://");
    uri.push_str(request.host());
    uri.make_ascii_lowercase();
    if let Some(port) = request.port() {
        // A string takes whatever is written to it.
        let _ = write!(uri, ":{port}");
    }
    uri.push_str(request.path());
    if let Some(query) = request.query() {
        uri.push('?');
        uri.push_str(query);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;
    use std::sync::LazyLock;

    use http::Request;

    use super::*;

    fn key_of(request: &Request<String>) -> Key {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Key::new(request, &*HASHER)
    }

    fn key(method: Method, uri: &str) -> Key {
        key_of(&Request::builder().method(method).uri(uri).body(String::new()).unwrap())
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
    fn the_host_header_is_part_of_the_key() {
        let to = |host: &str| {
            let request = Request::get("http://127.0.0.1:4140/me").header("host", host);
            key_of(&request.body(String::new()).unwrap())
        };
        assert_ne!(to("a.example"), to("b.example"));
        assert_eq!(to("a.example"), to("A.example"));
        assert_ne!(to("a.example"), key(Method::GET, "http://127.0.0.1:4140/me"));
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
        assert_eq!(one.hash(), one.sibling().hash());
    }
}
