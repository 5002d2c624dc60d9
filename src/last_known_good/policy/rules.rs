//! The caching rules as pure functions: which responses may be stored, for how long and to which requests they may be
//! served, and which responses invalidate an entry.
//!
//! # Implementation
//!
//! The rules are few and must be right. The crate `http-cache-semantics` is not used, because its version 3.0
//!
//! - recognizes directives only in lower case, and so stores a response with `No-Store`;
//! - splits quoted strings at commas;
//! - compares only the first line of each header that `Vary` names, even if the header has several lines;
//! - serves one caller's response to others if it is marked `public`;
//! - panics on an `Age` of 2⁶⁴ − 1;
//! - ignores `stale-if-error`;
//! - depends on a version of the crate `time` that needs a newer Rust than `steadfast` does.
//!
//! The crate `iri-string` resolves URI references, and `httpdate` parses dates.

use std::time::{Duration, SystemTime};

use http::header::{
    CONNECTION, CONTENT_LOCATION, DATE, ETAG, EXPIRES, HOST, LAST_MODIFIED, LOCATION, RANGE, SET_COOKIE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};

use crate::http::fields::lists;

use crate::http::HttpRequest;
use crate::http::cache_control::CacheControl;
use crate::http::media_type::is_of_type;

// ===== Requests =====

/// The role of the cache for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// An entry within `limits` may answer the request. The upstream's response may be stored if `may_store` is true.
    Cacheable { may_store: bool, limits: Limits },
    /// A response with status 2xx or 3xx invalidates the entries of the URI (RFC 9111 §4.4).
    Invalidate,
    /// The cache ignores the request.
    Nothing,
}

pub(crate) fn role(request: &impl HttpRequest) -> Role {
    let (method, headers) = (request.method(), request.headers());
    if !method.is_safe() {
        return Role::Invalidate;
    }
    // `is_whole` excludes three kinds of requests. A request for a range gets only a part of the response (RFC 9111
    // §3.3). An upgraded connection cannot be replayed. A request body is not part of the key: RFC 9110 §9.3.1 gives
    // the body of a GET no meaning, but some upstreams read it as a search query.
    let is_whole = !headers.contains_key(RANGE) && !headers.contains_key(UPGRADE) && !request.has_body();
    if !matches!(*method, Method::GET | Method::HEAD) || !is_whole || !has_one_host(headers) {
        return Role::Nothing;
    }
    let cache_control = CacheControl::parse(headers);
    // RFC 9111 §5.2.1.5: `no-store` in a request forbids storing the response.
    Role::Cacheable { may_store: !cache_control.no_store, limits: Limits::new(&cache_control) }
}

/// True if the request has no `Host` header, or a single one whose value is text (RFC 9112 §3.2).
fn has_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    hosts.next().is_none_or(|host| host.to_str().is_ok()) && hosts.next().is_none()
}

/// The limits that a request's `Cache-Control` sets for a stored response (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    none: bool,
    max_age: Option<Duration>,
    max_stale: Option<Duration>,
    min_fresh: Option<Duration>,
}

impl Limits {
    fn new(asked: &CacheControl) -> Self {
        match asked.stale_if_error {
            // An entry is served in place of a failure, and `stale-if-error` is made for this case. The directive
            // therefore overrides the others (RFC 5861 §4).
            Some(stale) => Self { max_stale: Some(stale), ..Self::default() },
            None => Self {
                none: asked.no_cache,
                max_age: asked.fresh_for,
                max_stale: asked.max_stale,
                min_fresh: asked.min_fresh,
            },
        }
    }

    /// True if the request accepts a response with this age and freshness lifetime.
    pub(crate) fn accept(&self, age: Duration, fresh_for: Duration) -> bool {
        !self.none
            && self.max_age.is_none_or(|max| age <= max)
            && self.max_stale.is_none_or(|max| age <= fresh_for.saturating_add(max))
            && self.min_fresh.is_none_or(|min| age.saturating_add(min) <= fresh_for)
    }
}

// ===== Responses =====

/// The settings on which the rules for responses depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The maximum age of a stale response, where the origin server sets no other limit.
    pub(crate) max_age: Duration,
    /// True if the `Cache-Control` of a response counts only for the freshness lifetime.
    pub(crate) ignore_origin: bool,
}

/// The time for which a response is fresh, and the time for which it may be served. Both begin when the response is
/// generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) fresh_for: Duration,
    pub(crate) served_for: Duration,
}

impl Rules {
    /// Returns the lifetime of a response, or `None` if the response must not be stored (RFC 9111 §3). `is_private`
    /// is true if only one caller may get the entry.
    ///
    /// By default, a response may be served until it reaches the age `max_age`. With `stale-if-error`, it may be
    /// served for the stated time after it stops being fresh (RFC 5861 §4). A response with `must-revalidate`,
    /// `proxy-revalidate` or `s-maxage` is served only while fresh (RFC 9111 §4.2.4, §5.2.2.2, §5.2.2.8, §5.2.2.10).
    /// A response with `no-cache` is never served (§5.2.2.4).
    pub(crate) fn lifetime(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        is_private: bool,
    ) -> Option<Lifetime> {
        // The body of a 206 is only a part (§3.3). The body of a 226 depends on a copy that the caller already has
        // (RFC 3229).
        let is_part = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::IM_USED);
        let is_whole = status.is_success() && !is_part;
        // `Set-Cookie` may begin a session, which must not be replayed. A stream of events has no end.
        if !is_whole || headers.contains_key(SET_COOKIE) || is_stream(headers) {
            return None;
        }
        let directives = CacheControl::parse(headers);
        let fresh_for = directives.fresh_for.or_else(|| expires_after(headers)).unwrap_or_default();
        if self.ignore_origin {
            return Some(Lifetime { fresh_for, served_for: self.max_age });
        }
        // §5.2.2.7: `private` applies only to shared caches, and a private entry is not shared.
        if directives.no_store || directives.no_cache || (directives.private && !is_private) {
            return None;
        }
        let served_for = if directives.must_revalidate {
            fresh_for
        } else {
            directives.stale_if_error.map_or(self.max_age, |stale| fresh_for.saturating_add(stale))
        };
        (served_for > Duration::ZERO).then_some(Lifetime { fresh_for, served_for })
    }
}

/// True if the body is a live stream, which is of no use to later callers.
fn is_stream(headers: &HeaderMap) -> bool {
    ["text/event-stream", "multipart/x-mixed-replace"].iter().any(|it| is_of_type(headers, it))
}

/// Returns the time from `Date` to `Expires` (RFC 9111 §5.3); `None` without an `Expires`. If `Date` is missing, or
/// if one of the two headers is invalid or duplicate, the time is zero: the response counts as expired.
fn expires_after(headers: &HeaderMap) -> Option<Duration> {
    let date = |name: &HeaderName| -> Option<SystemTime> {
        let mut values = headers.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        httpdate::parse_http_date(value.to_str().ok()?).ok()
    };
    headers.contains_key(EXPIRES).then(|| {
        let both = date(&EXPIRES).zip(date(&DATE));
        both.and_then(|(expires, date)| expires.duration_since(date).ok()).unwrap_or_default()
    })
}

/// True if a response with this status revokes the caller's earlier entry: the resource is gone, or the caller may
/// not see it.
///
/// Only this caller's entry is invalidated. Otherwise, a caller without access could remove the entries of all
/// others.
pub(crate) fn revokes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS
    )
}

/// True if the body ends when its connection closes. Such a body can be truncated unnoticed (RFC 9112 §6.3).
pub(crate) fn ends_with_connection(version: Version, headers: &HeaderMap, has_length: bool) -> bool {
    let closes = || headers.get_all(CONNECTION).iter().any(|line| lists(line, "close"));
    !has_length
        && !headers.contains_key(TRANSFER_ENCODING)
        && (version < Version::HTTP_11 || (version == Version::HTTP_11 && closes()))
}

/// True for 2xx and 3xx: with such a response status, an unsafe request invalidates entries (RFC 9111 §4.4).
pub(crate) fn invalidates(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Returns the URIs in `Location` and `Content-Location`. A successful unsafe request may have changed these
/// resources, too (RFC 9111 §4.4).
pub(crate) fn referenced_uris(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| headers.get(name)?.to_str().ok())
}

/// True if a 304 revalidates the response with the headers `kept` (RFC 9111 §4.3.4). The two must have the same
/// `ETag`, or the same `Last-Modified` if the 304 has no `ETag`. A 304 with neither header revalidates nothing, since
/// it may be about any response.
pub(crate) fn revalidates(not_modified: &HeaderMap, kept: &HeaderMap) -> bool {
    let named = [ETAG, LAST_MODIFIED].into_iter().find_map(|name| Some((not_modified.get(&name)?, name)));
    named.is_some_and(|(value, name)| kept.get(name) == Some(value))
}

/// True for the headers that a 304 must not replace. They describe the body, and a 304 has no body (RFC 9111 §3.2).
pub(crate) fn is_of_the_body(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-encoding" | "content-length" | "content-range" | "content-type")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const RULES: Rules = Rules { max_age: HOUR, ignore_origin: false };

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line =
            |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        lines.iter().map(line).collect()
    }

    fn kept(status: u16, lines: &[(&'static str, &str)]) -> Option<Duration> {
        let status = StatusCode::from_u16(status).unwrap();
        RULES.lifetime(status, &headers(lines), false).map(|it| it.served_for)
    }

    fn asked(method: Method, lines: &[(&'static str, &str)], body: &str) -> Role {
        let mut request = Request::new(body.to_owned());
        *request.method_mut() = method;
        *request.headers_mut() = headers(lines);
        role(&request)
    }

    #[test]
    fn a_successful_response_is_stored_for_the_maximum_age() {
        assert_eq!(kept(200, &[]), Some(HOUR));
        assert_eq!(kept(204, &[("cache-control", "max-age=1")]), Some(HOUR));
    }

    #[test]
    fn only_whole_successful_responses_are_stored() {
        for status in [101, 206, 226, 301, 304, 404, 429, 500, 503] {
            assert_eq!(kept(status, &[]), None, "{status}");
        }
        for stream in
            ["text/event-stream", "Text/Event-Stream; charset=utf-8", "multipart/x-mixed-replace; boundary=x"]
        {
            assert_eq!(kept(200, &[("content-type", stream)]), None, "{stream}");
        }
        assert_eq!(kept(200, &[("content-type", "multipart/mixed")]), Some(HOUR));
    }

    #[test]
    fn a_response_that_the_origin_forbids_to_store_is_not_stored() {
        for forbidden in ["no-store", "private", "no-cache", "no-store, max-age=60", "must-revalidate"] {
            assert_eq!(kept(200, &[("cache-control", forbidden)]), None, "{forbidden}");
        }
        assert_eq!(kept(200, &[("set-cookie", "session=1")]), None);
    }

    #[test]
    fn a_private_response_is_stored_only_for_its_own_caller() {
        let kept = |value| RULES.lifetime(StatusCode::OK, &headers(&[("cache-control", value)]), true);
        assert!(kept("private").is_some());
        assert!(kept("private, max-age=60").is_some());
        assert_eq!(kept("private, no-store"), None);
    }

    #[test]
    fn an_ignored_origin_still_excludes_set_cookie() {
        let rules = Rules { ignore_origin: true, ..RULES };
        let kept = |name, value| rules.lifetime(StatusCode::OK, &headers(&[(name, value)]), false);
        for value in ["no-store", "private", "no-cache", "max-age=1, must-revalidate", "stale-if-error=0"] {
            assert_eq!(kept("cache-control", value).map(|it| it.served_for), Some(HOUR), "{value}");
        }
        assert_eq!(kept("set-cookie", "session=1"), None);
    }

    #[test]
    fn must_revalidate_limits_serving_to_the_freshness_lifetime() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(kept(200, &[("cache-control", "max-age=60, must-revalidate")]), minute);
        assert_eq!(
            kept(200, &[("cache-control", "max-age=60, proxy-revalidate, stale-if-error=900")]),
            minute
        );
        let dates = |expires| {
            [
                ("cache-control", "must-revalidate"),
                ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
                ("expires", expires),
            ]
        };
        assert_eq!(kept(200, &dates("Thu, 01 Jan 2026 00:01:00 GMT")), minute);
        for passed in ["Wed, 31 Dec 2025 23:59:00 GMT", "0", "soon"] {
            assert_eq!(kept(200, &dates(passed)), None, "{passed}");
        }
    }

    #[test]
    fn stale_if_error_replaces_the_maximum_age() {
        let kept = |value| kept(200, &[("cache-control", value)]);
        assert_eq!(kept("stale-if-error=30"), Some(Duration::from_secs(30)));
        assert_eq!(kept("max-age=60, stale-if-error=30"), Some(Duration::from_secs(90)));
        assert_eq!(kept("stale-if-error=86400"), Some(24 * HOUR));
        assert_eq!(kept("stale-if-error=0"), None);
    }

    #[test]
    fn only_requests_for_a_whole_response_are_cacheable() {
        for header in ["range", "upgrade"] {
            assert_eq!(asked(Method::GET, &[(header, "x")], ""), Role::Nothing, "{header}");
        }
        assert_eq!(asked(Method::OPTIONS, &[], ""), Role::Nothing);
        assert_eq!(asked(Method::GET, &[], "a search"), Role::Nothing);
        assert_eq!(asked(Method::DELETE, &[("cookie", "x")], ""), Role::Invalidate);
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(
                asked(method, &[], ""),
                Role::Cacheable { may_store: true, limits: Limits::default() }
            );
        }
        let unkept = asked(Method::GET, &[("cache-control", "no-store")], "");
        assert_eq!(unkept, Role::Cacheable { may_store: false, limits: Limits::default() });
    }

    #[test]
    fn a_request_limits_the_entries_that_it_accepts() {
        let takes = |value, age, fresh_for| {
            let Role::Cacheable { limits, .. } = asked(Method::GET, &[("cache-control", value)], "") else {
                panic!("{value}");
            };
            limits.accept(Duration::from_secs(age), Duration::from_secs(fresh_for))
        };
        for (value, age, fresh_for, taken) in [
            ("", 9999, 0, true),
            ("no-cache", 0, 60, false),
            ("max-age=60", 60, 0, true),
            ("max-age=60", 61, 3600, false),
            ("max-age=0", 1, 60, false),
            ("max-stale", 9999, 60, true),
            ("max-stale=10", 70, 60, true),
            ("max-stale=10", 71, 60, false),
            ("max-age=0, max-stale=10", 70, 60, false),
            ("max-age=70, max-stale=10", 70, 60, true),
            ("max-age=70, max-stale=9", 70, 60, false),
            ("min-fresh=10", 50, 60, true),
            ("min-fresh=10", 51, 60, false),
            ("stale-if-error=10", 70, 60, true),
            ("stale-if-error=10", 71, 60, false),
            ("max-age=0, stale-if-error=10", 70, 60, true),
            ("no-cache, stale-if-error=10", 70, 60, true),
            ("stale-if-error=x", 1, 0, false),
        ] {
            assert_eq!(takes(value, age, fresh_for), taken, "{value} {age} {fresh_for}");
        }
    }

    #[test]
    fn a_304_revalidates_the_response_with_the_same_validator() {
        let etag = [("etag", "\"1\"")];
        let modified = [("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")];
        let both = [etag[0], modified[0]];
        for (not_modified, kept, same) in [
            (&etag[..], &etag[..], true),
            (&etag, &both, true),
            (&both, &both, true),
            (&modified, &both, true),
            (&etag, &modified, false),
            (&both, &modified, false),
            (&etag, &[("etag", "\"2\"")], false),
            (&[], &both, false),
        ] {
            assert_eq!(
                revalidates(&headers(not_modified), &headers(kept)),
                same,
                "{not_modified:?} {kept:?}"
            );
        }
    }
}
