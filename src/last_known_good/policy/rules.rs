//! What may be kept, for how long and to whom it may be served, and what ends it: the rules, apart from the doing.

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

/// What a fallback may have to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It may be answered with a kept response, if that is within the limits, and its own response may be kept.
    Cacheable { may_store: bool, limits: Limits },
    /// If it succeeds, what is kept for its URI is no longer known to be good (RFC 9111 §4.4).
    Invalidate,
    /// None.
    Nothing,
}

pub(crate) fn role(request: &impl HttpRequest) -> Role {
    let (method, headers) = (request.method(), request.headers());
    if !method.is_safe() {
        return Role::Invalidate;
    }
    // RFC 9110 §9.3.1 gives the body of a GET no meaning, but some upstreams search by it. A part of a response is none
    // (RFC 9111 §3.3), and what a connection is upgraded to cannot be played again.
    let is_whole = !headers.contains_key(RANGE) && !headers.contains_key(UPGRADE) && !request.has_body();
    if !matches!(*method, Method::GET | Method::HEAD) || !is_whole || !has_one_host(headers) {
        return Role::Nothing;
    }
    let cache_control = CacheControl::parse(headers);
    // RFC 9111 §5.2.1.5.
    Role::Cacheable { may_store: !cache_control.no_store, limits: Limits::new(&cache_control) }
}

/// Whether it can be said where a request goes: a host that is no text, or several, are everybody's guess (RFC 9112 §3.2).
fn has_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    hosts.next().is_none_or(|host| host.to_str().is_ok()) && hosts.next().is_none()
}

/// What a request says of the kept response that it would take (RFC 9111 §5.2.1).
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
            // RFC 5861 §4: if the upstream fails, and else nothing is answered from here, this is what counts.
            Some(stale) => Self { max_stale: Some(stale), ..Self::default() },
            None => Self {
                none: asked.no_cache,
                max_age: asked.fresh_for,
                max_stale: asked.max_stale,
                min_fresh: asked.min_fresh,
            },
        }
    }

    /// Whether a response of this age, which is fresh for so long, is taken.
    pub(crate) fn take(&self, age: Duration, fresh_for: Duration) -> bool {
        !self.none
            && self.max_age.is_none_or(|max| age <= max)
            && self.max_stale.is_none_or(|max| age <= fresh_for.saturating_add(max))
            && self.min_fresh.is_none_or(|min| age.saturating_add(min) <= fresh_for)
    }
}

// ===== Responses =====

/// What holds for every response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How old a response may be and still be served, where its origin does not say so.
    pub(crate) max_age: Duration,
    /// Whether what the origin says in `Cache-Control` is passed over.
    pub(crate) ignore_origin: bool,
}

/// For how long a response is fresh, and for how long it may be served, counted from when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) fresh_for: Duration,
    pub(crate) served_for: Duration,
}

impl Rules {
    /// `None` if the response may not be kept (RFC 9111 §3). `is_private` says that it is kept for one caller alone.
    ///
    /// Without a word from the origin it is served for `max_age`. `stale-if-error` replaces that (RFC 5861 §4), counted from
    /// the end of the response's freshness. What must be revalidated is served while it is fresh (RFC 9111 §4.2.4,
    /// §5.2.2.2, §5.2.2.8, §5.2.2.10), and what must always be revalidated never is (§5.2.2.4).
    pub(crate) fn lifetime(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        is_private: bool,
    ) -> Option<Lifetime> {
        // §3.3: a part is none. What a 226 is depends on what the request said of the caller's own copy (RFC 3229).
        let is_part = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::IM_USED);
        let is_whole = status.is_success() && !is_part;
        // A session that is begun once must not be begun again; a stream of events has no end that can be kept.
        if !is_whole || headers.contains_key(SET_COOKIE) || is_stream(headers) {
            return None;
        }
        let said = CacheControl::parse(headers);
        let fresh_for = said.fresh_for.or_else(|| expires_after(headers)).unwrap_or_default();
        if self.ignore_origin {
            return Some(Lifetime { fresh_for, served_for: self.max_age });
        }
        // §5.2.2.7: the cache of one caller is not a shared one.
        if said.no_store || said.no_cache || (said.private && !is_private) {
            return None;
        }
        let served_for = if said.must_revalidate {
            fresh_for
        } else {
            said.stale_if_error.map_or(self.max_age, |stale| fresh_for.saturating_add(stale))
        };
        (served_for > Duration::ZERO).then_some(Lifetime { fresh_for, served_for })
    }
}

/// Whether the body is made for whoever listens, and would be worth nothing to another.
fn is_stream(headers: &HeaderMap) -> bool {
    ["text/event-stream", "multipart/x-mixed-replace"].iter().any(|it| is_of_type(headers, it))
}

/// RFC 9111 §5.3: how long after its `Date` a response expires. A date that is none, or is said twice, has passed.
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

/// Whether an answer with this status says that what its caller had before is not theirs to have any more: the thing is gone,
/// or they may not see it.
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

/// Whether the end of the body is that of its connection, so that nobody can tell whether it is whole (RFC 9112 §6.3).
pub(crate) fn ends_with_connection(version: Version, headers: &HeaderMap, has_length: bool) -> bool {
    let closes = || headers.get_all(CONNECTION).iter().any(|line| lists(line, "close"));
    !has_length
        && !headers.contains_key(TRANSFER_ENCODING)
        && (version < Version::HTTP_11 || (version == Version::HTTP_11 && closes()))
}

/// Whether a request with an unsafe method has done what it asked for (RFC 9111 §4.4).
pub(crate) fn has_changed_something(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// What such an answer refers to, beside its own URI, that it may have changed (RFC 9111 §4.4).
pub(crate) fn refers_to(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| headers.get(name)?.to_str().ok())
}

/// Whether a 304 is about the response with these headers (RFC 9111 §4.3.4): the same `ETag`, or, if it has none, the
/// same `Last-Modified`. One that names neither may be about any.
pub(crate) fn revalidates(not_modified: &HeaderMap, kept: &HeaderMap) -> bool {
    let named = [ETAG, LAST_MODIFIED].into_iter().find_map(|name| Some((not_modified.get(&name)?, name)));
    named.is_some_and(|(value, name)| kept.get(name) == Some(value))
}

/// The headers that a 304 may not replace: they are about the body, which it does not have (RFC 9111 §3.2).
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
    fn a_good_answer_is_kept_for_the_configured_age() {
        assert_eq!(kept(200, &[]), Some(HOUR));
        assert_eq!(kept(204, &[("cache-control", "max-age=1")]), Some(HOUR));
    }

    #[test]
    fn only_whole_good_answers_are_kept() {
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
    fn what_the_origin_forbids_is_not_kept() {
        for forbidden in ["no-store", "private", "no-cache", "no-store, max-age=60", "must-revalidate"] {
            assert_eq!(kept(200, &[("cache-control", forbidden)]), None, "{forbidden}");
        }
        assert_eq!(kept(200, &[("set-cookie", "session=1")]), None);
    }

    #[test]
    fn what_is_private_is_kept_for_the_one_caller_it_was_for() {
        let kept = |value| RULES.lifetime(StatusCode::OK, &headers(&[("cache-control", value)]), true);
        assert!(kept("private").is_some());
        assert!(kept("private, max-age=60").is_some());
        assert_eq!(kept("private, no-store"), None);
    }

    #[test]
    fn an_origin_that_is_ignored_forbids_nothing_but_what_would_be_wrong() {
        let rules = Rules { ignore_origin: true, ..RULES };
        let kept = |name, value| rules.lifetime(StatusCode::OK, &headers(&[(name, value)]), false);
        for value in ["no-store", "private", "no-cache", "max-age=1, must-revalidate", "stale-if-error=0"] {
            assert_eq!(kept("cache-control", value).map(|it| it.served_for), Some(HOUR), "{value}");
        }
        assert_eq!(kept("set-cookie", "session=1"), None);
    }

    #[test]
    fn what_must_be_revalidated_is_served_only_while_it_is_fresh() {
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
    fn stale_if_error_sets_how_old_is_too_old() {
        let kept = |value| kept(200, &[("cache-control", value)]);
        assert_eq!(kept("stale-if-error=30"), Some(Duration::from_secs(30)));
        assert_eq!(kept("max-age=60, stale-if-error=30"), Some(Duration::from_secs(90)));
        assert_eq!(kept("stale-if-error=86400"), Some(24 * HOUR));
        assert_eq!(kept("stale-if-error=0"), None);
    }

    #[test]
    fn requests_for_less_or_more_than_a_whole_response_are_left_alone() {
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
    fn a_request_says_what_it_would_take() {
        let takes = |value, age, fresh_for| {
            let Role::Cacheable { limits, .. } = asked(Method::GET, &[("cache-control", value)], "") else {
                panic!("{value}");
            };
            limits.take(Duration::from_secs(age), Duration::from_secs(fresh_for))
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
    fn a_304_is_about_what_has_the_same_validator() {
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
