//! Cache keys: method, URI, `Host` header, and the caller's partition.
//!
//! Two requests share an entry only if their keys are equal. The `Display` form of a key is the entry's name in a
//! store.

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

use http::{Method, Uri};
use iri_string::types::{UriAbsoluteStr, UriReferenceStr};

use crate::http::{HttpRequest, default_port};
use crate::last_known_good::policy::credentials::Partition;

/// The cache key of a request. Two requests with equal keys may share an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The hash of `text`. Computed once, because each call needs the hash several times.
    hash: u64,
    /// The URI. If the `Host` header differs from the URI's authority, a space and the header follow, in lower case.
    text: String,
    uri_length: usize,
    head: bool,
    partition: Option<Partition>,
}

impl Key {
    /// Returns the key of a request. Every method other than HEAD counts as GET.
    pub(crate) fn new(
        request: &impl HttpRequest,
        partition: Option<Partition>,
        hasher: &impl BuildHasher,
    ) -> Self {
        let head = *request.method() == Method::HEAD;
        Self::of(request, request.host_header().unwrap_or_default(), head, partition, hasher)
    }

    fn of(
        request: &impl HttpRequest,
        host: &str,
        head: bool,
        partition: Option<Partition>,
        hasher: &impl BuildHasher,
    ) -> Self {
        let mut text = String::with_capacity(longest_uri(request) + " ".len() + host.len());
        push_uri(&mut text, request);
        let uri_length = text.len();
        if !host.is_empty() {
            // The separator is a space, because a URI contains none.
            text.push(' ');
            text.push_str(host);
            text[uri_length..].make_ascii_lowercase();
        }
        Self { hash: hasher.hash_one(&text), text, uri_length, head, partition }
    }

    /// Resolves a URI reference from a response header. Returns the GET key of the target, without a partition;
    /// `None` if the reference is invalid or the target has another origin.
    pub(crate) fn resolve(&self, reference: &str, hasher: &impl BuildHasher) -> Option<Self> {
        let base = UriAbsoluteStr::new(self.uri()).ok()?;
        let resolved = UriReferenceStr::new(reference).ok()?.resolve_against(base).to_string();
        let without_fragment = resolved.split('#').next()?;
        let uri: Uri = without_fragment.parse().ok()?;
        let target = Self::of(&uri, self.text[self.uri_length..].trim_start(), false, None, hasher);
        (target.origin() == self.origin()).then_some(target)
    }

    /// Returns the GET key and the HEAD key for the URI and caller of this key.
    pub(crate) fn either_method(&self) -> [Self; 2] {
        [false, true].map(|head| Self { head, ..self.clone() })
    }

    /// Returns this key without its partition.
    pub(crate) fn public(&self) -> Self {
        Self { partition: None, ..self.clone() }
    }

    /// The hash of the URI and the `Host` header; equal for both methods and all callers.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The hash of the URI, the `Host` header and the caller; equal for both methods.
    pub(crate) fn hash_of_caller(&self) -> u64 {
        // Without a partition, the 1 makes the result differ from `hash()`.
        let caller = self.partition.map_or(1, Partition::word);
        self.hash.rotate_left(32) ^ caller
    }

    pub(crate) fn uri(&self) -> &str {
        &self.text[..self.uri_length]
    }

    /// The URI, followed by the `Host` header if the header differs from the URI's authority.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) const fn method(&self) -> Method {
        if self.head { Method::HEAD } else { Method::GET }
    }

    pub(crate) const fn partition(&self) -> Option<Partition> {
        self.partition
    }

    /// The approximate size of the key's heap memory in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.text.len()
    }

    /// The scheme and the authority.
    fn origin(&self) -> &str {
        origin(self.uri())
    }

    /// The upstream's name, for log events.
    pub(crate) fn upstream(&self) -> &str {
        upstream_of(self.uri())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
        self.partition.hash(state);
    }
}

/// The name of the entry in a store: the method, the partition (`-` if the key has none), and the text. A caller can
/// choose the text, so the text comes last, where it cannot imitate another partition.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(partition) => write!(f, "{} {partition} {}", self.method(), self.text),
            None => write!(f, "{} - {}", self.method(), self.text),
        }
    }
}

fn origin(uri: &str) -> &str {
    let authority = uri.find("://").map_or(0, |at| at + 3);
    let end = uri[authority..].find('/').map_or(uri.len(), |at| authority + at);
    &uri[..end]
}

/// Finds the upstream's name in a URI, or in the name of a stored entry or tombstone.
pub(crate) fn upstream_of(name: &str) -> &str {
    let uri = name.split(' ').find(|part| part.contains("://")).unwrap_or(name);
    let origin = origin(uri);
    let Some((scheme, _)) = origin.split_once("://") else { return origin };
    let default = default_port(scheme).map(|port| format!(":{port}"));
    default.and_then(|port| origin.strip_suffix(port.as_str())).unwrap_or(origin)
}

/// An upper bound for the length of the URI that `push_uri` writes.
fn longest_uri(request: &impl HttpRequest) -> usize {
    let punctuation_and_port = "://:65535?".len();
    let query = request.query().map_or(0, str::len);
    request.scheme().len() + request.host().len() + request.path().len() + query + punctuation_and_port
}

/// Appends the normalized URI: scheme and host in lower case, and an explicit port. Equivalent URIs become equal.
fn push_uri(uri: &mut String, request: &impl HttpRequest) {
    uri.push_str(request.scheme());
    uri.push_str("://");
    uri.push_str(request.host());
    uri.make_ascii_lowercase();
    if let Some(port) = request.port() {
        // Writing to a string cannot fail.
        let _ = write!(uri, ":{port}");
    }
    uri.push_str(request.path());
    if let Some(query) = request.query() {
        uri.push('?');
        uri.push_str(query);
    }
}

/// A hasher with a seed. Two URIs whose hashes collide share an invalidation counter. With the same seed, the same
/// URIs collide again.
pub(crate) struct SeededHasher(pub(crate) u64);

impl BuildHasher for SeededHasher {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;
    use std::sync::LazyLock;

    use http::Request;

    use super::*;

    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

    fn key_of(request: &Request<String>) -> Key {
        Key::new(request, None, &*HASHER)
    }

    fn key(method: Method, uri: &str) -> Key {
        key_of(&Request::builder().method(method).uri(uri).body(String::new()).unwrap())
    }

    #[test]
    fn equivalent_uris_have_equal_keys() {
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
        assert_ne!(to("a.example").to_string(), to("b.example").to_string());
    }

    #[test]
    fn a_difference_in_any_part_makes_another_key() {
        let one = key(Method::GET, "http://a/x?y");
        for other in
            ["https://a/x?y", "http://b/x?y", "http://a:81/x?y", "http://a/X?y", "http://a/x?z", "http://a/x"]
        {
            assert_ne!(one, key(Method::GET, other), "{other}");
            assert_ne!(one.to_string(), key(Method::GET, other).to_string(), "{other}");
        }
        let head = key(Method::HEAD, "http://a/x?y");
        assert_ne!(one, head);
        assert_ne!(one.to_string(), head.to_string());
        assert_eq!(head.either_method(), [one.clone(), head.clone()]);
        assert_eq!(one.hash(), head.hash());
    }

    #[test]
    fn the_name_in_a_store_contains_the_upstream() {
        for (uri, upstream) in [
            ("http://sku.internal/v1?x=http://other/", "http://sku.internal"),
            ("https://sku.internal:8443/", "https://sku.internal:8443"),
            ("https://sku.internal:80/", "https://sku.internal:80"),
        ] {
            let key = key(Method::GET, uri);
            assert_eq!((key.upstream(), upstream_of(&key.to_string())), (upstream, upstream));
            assert_eq!(upstream_of(&format!("GONE * {}", key.text())), upstream);
        }
        assert_eq!(upstream_of("no URI"), "no URI");
    }

    #[test]
    fn a_reference_is_resolved_and_must_have_the_same_origin() {
        let key = key(Method::GET, "http://sku.internal/v1/items?page=1");
        let resolve = |reference| key.resolve(reference, &*HASHER).map(|it| it.uri().to_owned());
        for (reference, resolved) in [
            ("/v1/items/42", "http://sku.internal:80/v1/items/42"),
            ("items/42", "http://sku.internal:80/v1/items/42"),
            ("../v2/items#top", "http://sku.internal:80/v2/items"),
            ("?page=2", "http://sku.internal:80/v1/items?page=2"),
            ("//SKU.internal/x", "http://sku.internal:80/x"),
            ("http://sku.internal:80/x", "http://sku.internal:80/x"),
        ] {
            assert_eq!(resolve(reference).as_deref(), Some(resolved), "{reference}");
        }
        for foreign in
            ["http://sku.internal:81/x", "https://sku.internal/x", "//other/x", "http://[", "\u{0}"]
        {
            assert_eq!(resolve(foreign), None, "{foreign}");
        }
    }
}
