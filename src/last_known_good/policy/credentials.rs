//! Partitions: each caller with credentials has a part of the cache to itself.
//!
//! An entry in a partition is a private entry. The key of the entry contains a digest of the credentials, not the
//! credentials themselves. In the terms of RFC 9111, a partition is a private cache. A response marked `private` may
//! therefore be stored. The response to a request with `Authorization` may be stored even without `public`, because
//! RFC 9111 §3.5 restricts only shared caches.
//!
//! A cache without the `digest_key` setting draws a random digest key. The private entries of this cache are kept
//! only in memory: no other process could compute their names in a store.

use std::fmt;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::HttpRequest;

/// The request headers that count as credentials, and the digest key.
pub(crate) struct Credentials {
    headers: Vec<HeaderName>,
    key: [u8; 32],
}

/// The digest of a caller's credentials: 128 bits of keyed BLAKE3. The digest key is secret, so an attacker can
/// neither find two credentials with the same digest nor check a guess at a caller's credentials.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Partition([u8; 16]);

impl Credentials {
    /// Counts the well-known credential headers and `others` as credentials.
    pub(crate) fn new(key: [u8; 32], others: Vec<HeaderName>) -> Self {
        let known = ["api-key", "x-api-key", "x-auth-token", "x-access-token"];
        let mut headers = vec![AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];
        headers.extend(known.map(HeaderName::from_static));
        headers.extend(others);
        Self { headers, key }
    }

    /// True if the header `name` is a credential: because of its name, or because at least one of its values is
    /// marked sensitive.
    pub(crate) fn include(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        self.headers.contains(name) || headers.get_all(name).iter().any(HeaderValue::is_sensitive)
    }

    /// Returns the partition of a request, or `None` for a request without credentials.
    pub(crate) fn of(&self, request: &impl HttpRequest) -> Option<Partition> {
        let (userinfo, all) = (request.userinfo(), request.headers());
        let is_any = || all.iter().any(|(name, value)| value.is_sensitive() || self.headers.contains(name));
        if userinfo.is_none() && !is_any() {
            return None;
        }
        let headers = all.iter().filter(|(name, _)| self.include(all, name));
        // Sort by name, so that the order of headers does not matter. The sort is stable, so the values of one name
        // stay in order.
        let mut sorted: Vec<_> =
            headers.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect();
        sorted.sort_by_key(|(name, _)| *name);
        let mut digest = blake3::Hasher::new_keyed(&self.key);
        // The userinfo of the URI gets the empty name, which no header can have.
        for (name, value) in userinfo.map(|it| (&b""[..], it.as_bytes())).into_iter().chain(sorted) {
            for part in [name, value] {
                digest.update(&part.len().to_le_bytes()).update(part);
            }
        }
        let mut partition = [0; 16];
        digest.finalize_xof().fill(&mut partition);
        Some(Partition(partition))
    }
}

impl Partition {
    /// The low 64 bits of the digest. They are random enough for a hash.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) const fn word(self) -> u64 {
        u128::from_le_bytes(self.0) as u64
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Partition")
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(headers: &[(&str, &str)]) -> Option<Partition> {
        let request = headers.iter().fold(Request::builder(), |it, (name, value)| it.header(*name, *value));
        Credentials::new([7; 32], Vec::new()).of(&request.body(String::new()).unwrap())
    }

    #[test]
    fn a_request_without_credentials_has_no_partition() {
        assert_eq!(of(&[("accept", "secret"), ("x-tenant", "a")]), None);
    }

    #[test]
    fn the_order_of_headers_does_not_change_the_partition() {
        let one = of(&[("authorization", "a"), ("cookie", "b")]);
        assert!(one.is_some());
        assert_eq!(one, of(&[("cookie", "b"), ("accept", "x"), ("authorization", "a")]));
    }

    #[test]
    fn any_difference_in_credentials_makes_another_partition() {
        let all = [
            of(&[]),
            of(&[("authorization", "a")]),
            of(&[("authorization", "A")]),
            of(&[("authorization", "")]),
            of(&[("cookie", "a")]),
            of(&[("cookie", "aa")]),
            of(&[("cookie", "a"), ("cookie", "a")]),
            of(&[("cookie", "a"), ("cookie", "b")]),
            of(&[("cookie", "b"), ("cookie", "a")]),
            of(&[("cookie", "a, b")]),
            of(&[("authorization", "acookie"), ("cookie", "b")]),
            of(&[("authorization", "a"), ("cookie", "cookieb")]),
            of(&[("authorization", "a"), ("x-api-key", "a")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn another_key_makes_another_digest() {
        let request = Request::builder().header("cookie", "a").body(String::new()).unwrap();
        assert_ne!(
            Credentials::new([1; 32], Vec::new()).of(&request),
            Credentials::new([2; 32], Vec::new()).of(&request)
        );
    }

    #[test]
    fn a_user_in_the_uri_is_a_credential() {
        let credentials = Credentials::new([7; 32], Vec::new());
        let of = |uri: &str| credentials.of(&uri.parse::<http::Uri>().unwrap());
        assert_eq!(of("http://sku.internal/"), None);
        assert!(of("http://alice@sku.internal/").is_some());
        assert_ne!(of("http://alice@sku.internal/"), of("http://bob@sku.internal/"));
    }
}
