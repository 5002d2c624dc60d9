//! What may be kept, and for how long it may be served: the rules, apart from the doing.

use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, RANGE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::entry::detached;
use crate::http::cache_control::CacheControl;

/// What the store may have to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its response may be kept, and it may be answered from the store.
    Full,
    /// It may be answered from the store, but asked for its response not to be kept (RFC 9111 §5.2.1.5).
    ServeOnly,
    /// If it succeeds, what is kept for its URI is no longer known to be good (RFC 9111 §4.4).
    Invalidate,
    /// None.
    Nothing,
}

pub(super) fn part(method: &Method, headers: &HeaderMap, has_body: bool) -> Part {
    if !method.is_safe() {
        return Part::Invalidate;
    }
    // A value that is marked sensitive is a credential, whatever the name of its header.
    let alike_for_all = [AUTHORIZATION, COOKIE, RANGE].iter().all(|header| !headers.contains_key(header))
        && !headers.values().any(HeaderValue::is_sensitive);
    // RFC 9110 §9.3.1 gives the body of a GET no meaning, but some upstreams search by it.
    if !matches!(*method, Method::GET | Method::HEAD) || !alike_for_all || has_body {
        return Part::Nothing;
    }
    if CacheControl::parse(headers).no_store { Part::ServeOnly } else { Part::Full }
}

/// For how long a response may be served, counted from when it was made; `None` if it may not be kept.
///
/// Without a word from the origin that is `max_age`. `stale-if-error` replaces it (RFC 5861 §4), counted from the end of
/// the response's freshness. What must be revalidated is served while it is fresh (RFC 9111 §5.2.2.2).
pub(super) fn lifetime(status: StatusCode, headers: &HeaderMap, max_age: Duration) -> Option<Duration> {
    let cache_control = CacheControl::parse(headers);
    let keeps = status.is_success()
        && status != StatusCode::PARTIAL_CONTENT
        && !headers.contains_key(SET_COOKIE)
        && !(cache_control.no_store || cache_control.private || cache_control.no_cache);
    if !keeps {
        return None;
    }
    let fresh_for = cache_control.fresh_for.unwrap_or_default();
    let lifetime = if cache_control.must_revalidate {
        fresh_for
    } else {
        cache_control.stale_if_error.map_or(max_age, |stale| fresh_for.saturating_add(stale))
    };
    (lifetime > Duration::ZERO).then_some(lifetime)
}

/// Whether an answer with this status says that the thing is gone, and its last good state with it.
pub(super) fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// A copy of a request's headers, in one piece: what the response varies on is known only when it has come.
pub(super) struct RequestHeaders(Vec<(HeaderName, HeaderValue)>);

impl RequestHeaders {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let mut copy = Vec::with_capacity(headers.len());
        copy.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self(copy)
    }

    fn get_all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value)
    }
}

/// The request headers that a response depends on, with what they were (RFC 9111 §4.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Vary(Vec<(HeaderName, Vec<HeaderValue>)>);

impl Vary {
    /// `None` if the response depends on more than headers: `Vary: *`, or a line that cannot be read.
    pub(super) fn new(response: &HeaderMap, request: &RequestHeaders) -> Option<Self> {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            for name in line.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                // `*` is not a header name's letter, but it is a token, so it would parse as one.
                let name = (name != "*").then(|| HeaderName::try_from(name).ok()).flatten()?;
                let values = request.get_all(&name).map(detached).collect();
                names.push((name, values));
            }
        }
        Some(Self(names))
    }

    /// What it takes in memory, in bytes, near enough.
    pub(super) fn weight(&self) -> usize {
        let values = |values: &Vec<HeaderValue>| values.iter().map(|value| value.len() + 64).sum::<usize>();
        self.0.iter().map(|(name, it)| name.as_str().len() + 64 + values(it)).sum()
    }

    /// Whether a request is the same in all of them.
    pub(super) fn matches(&self, request: &RequestHeaders) -> bool {
        self.0.iter().all(|(name, values)| request.get_all(name).eq(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line =
            |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        lines.iter().map(line).collect()
    }

    fn kept(status: u16, lines: &[(&'static str, &str)]) -> Option<Duration> {
        lifetime(StatusCode::from_u16(status).unwrap(), &headers(lines), HOUR)
    }

    #[test]
    fn a_good_answer_is_kept_for_the_configured_age() {
        assert_eq!(kept(200, &[]), Some(HOUR));
        assert_eq!(kept(204, &[("cache-control", "max-age=1")]), Some(HOUR));
    }

    #[test]
    fn only_whole_good_answers_are_kept() {
        for status in [206, 301, 304, 404, 429, 500, 503] {
            assert_eq!(kept(status, &[]), None, "{status}");
        }
    }

    #[test]
    fn what_the_origin_forbids_is_not_kept() {
        for forbidden in ["no-store", "private", "no-cache", "no-store, max-age=60", "must-revalidate"] {
            assert_eq!(kept(200, &[("cache-control", forbidden)]), None, "{forbidden}");
        }
        assert_eq!(kept(200, &[("set-cookie", "session=1")]), None);
    }

    #[test]
    fn what_must_be_revalidated_is_served_only_while_it_is_fresh() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(kept(200, &[("cache-control", "max-age=60, must-revalidate")]), minute);
        assert_eq!(
            kept(200, &[("cache-control", "max-age=60, proxy-revalidate, stale-if-error=900")]),
            minute
        );
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
    fn requests_that_are_not_alike_for_all_are_left_alone() {
        for header in ["authorization", "cookie", "range"] {
            assert_eq!(part(&Method::GET, &headers(&[(header, "x")]), false), Part::Nothing, "{header}");
        }
        assert_eq!(part(&Method::OPTIONS, &HeaderMap::new(), false), Part::Nothing);
        assert_eq!(part(&Method::GET, &HeaderMap::new(), false), Part::Full);
        assert_eq!(part(&Method::HEAD, &HeaderMap::new(), false), Part::Full);
        assert_eq!(part(&Method::GET, &HeaderMap::new(), true), Part::Nothing);
        assert_eq!(part(&Method::DELETE, &headers(&[("cookie", "x")]), false), Part::Invalidate);
        assert_eq!(part(&Method::GET, &headers(&[("cache-control", "no-store")]), false), Part::ServeOnly);
    }

    #[test]
    fn an_answer_that_varies_goes_only_to_an_equal_request() {
        let response = headers(&[("vary", "Accept-Language, , X-Tenant")]);
        let request = |lines| RequestHeaders::new(&headers(lines));
        let german = request(&[("accept-language", "de")]);
        let vary = Vary::new(&response, &german).unwrap();
        assert!(vary.matches(&german));
        assert!(!vary.matches(&request(&[("accept-language", "en")])));
        assert!(!vary.matches(&request(&[])));
        assert!(!vary.matches(&request(&[("accept-language", "de"), ("x-tenant", "1")])));
    }

    #[test]
    fn an_answer_that_varies_on_everything_is_not_kept() {
        for vary in ["*", "accept, *", "not a name"] {
            let request = RequestHeaders::new(&HeaderMap::new());
            assert_eq!(Vary::new(&headers(&[("vary", vary)]), &request), None, "{vary}");
        }
    }
}
