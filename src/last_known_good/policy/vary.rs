//! `Vary`: the request headers on which a response depends (RFC 9111 §4.1).

use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::fields::detached;
use crate::last_known_good::policy::credentials::Credentials;

/// A copy of a request's headers, except the credentials. The copy is read when `Vary` arrives with the response,
/// after the request has been sent. Credentials are left out, because the entry's key already separates callers.
#[derive(Clone)]
pub(crate) struct RequestHeaders(Vec<(HeaderName, HeaderValue)>);

impl RequestHeaders {
    /// `credentials` is `None` for a request without credentials.
    pub(crate) fn new(headers: &HeaderMap, credentials: Option<&Credentials>) -> Self {
        let mut copy = Vec::with_capacity(headers.len());
        let is_other = |name: &HeaderName| credentials.is_none_or(|it| !it.include(headers, name));
        let others = headers.iter().filter(|(name, _)| is_other(name));
        copy.extend(others.map(|(name, value)| (name.clone(), value.clone())));
        Self(copy)
    }

    fn get_all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value)
    }
}

/// The names and values of the request headers on which a response depends, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Vary(Vec<(HeaderName, Vec<HeaderValue>)>);

impl Vary {
    /// Returns `None` if the response depends on more than headers (`Vary: *`), or if a `Vary` line is unreadable.
    pub(crate) fn new(response: &HeaderMap, request: &RequestHeaders) -> Option<Self> {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            for name in line.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                // `*` is a token, so it would parse as a header name.
                names.push((name != "*").then(|| HeaderName::try_from(name).ok()).flatten()?);
            }
        }
        // Sort and deduplicate, because `a, b` and `b, a, a` are equivalent.
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let values = |name: HeaderName| {
            let values = request.get_all(&name).map(detached).collect();
            (name, values)
        };
        Some(Self(names.into_iter().map(values).collect()))
    }

    /// Restores the `Vary` of an entry from a store.
    pub(crate) const fn of(lines: Vec<(HeaderName, Vec<HeaderValue>)>) -> Self {
        Self(lines)
    }

    /// True if the response depends on no request header.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (&HeaderName, &[HeaderValue])> {
        self.0.iter().map(|(name, values)| (name, &**values))
    }

    /// The approximate size of this value's heap memory in bytes.
    pub(crate) fn weight(&self) -> usize {
        let values = |values: &Vec<HeaderValue>| values.iter().map(|value| value.len() + 64).sum::<usize>();
        self.0.iter().map(|(name, it)| name.as_str().len() + 64 + values(it)).sum()
    }

    /// True if the request has the stored values for every name in `Vary`. Values are compared byte by byte.
    pub(crate) fn matches(&self, request: &RequestHeaders) -> bool {
        self.0.iter().all(|(name, values)| request.get_all(name).eq(values))
    }

    /// True if the other response depends on the same header names, whatever the values.
    pub(crate) fn has_names_of(&self, other: &Self) -> bool {
        self.0.iter().map(|(name, _)| name).eq(other.0.iter().map(|(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line =
            |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        lines.iter().map(line).collect()
    }

    fn request(lines: &[(&'static str, &str)]) -> RequestHeaders {
        RequestHeaders::new(&headers(lines), Some(&Credentials::new([0; 32], Vec::new())))
    }

    #[test]
    fn an_answer_that_varies_goes_only_to_an_equal_request() {
        let response = headers(&[("vary", "Accept-Language, , X-Tenant")]);
        let german = request(&[("accept-language", "de")]);
        let vary = Vary::new(&response, &german).unwrap();
        assert!(vary.matches(&german));
        assert!(!vary.matches(&request(&[("accept-language", "en")])));
        assert!(!vary.matches(&request(&[("accept-language", "de"), ("accept-language", "en")])));
        assert!(!vary.matches(&request(&[])));
        assert!(!vary.matches(&request(&[("accept-language", "de"), ("x-tenant", "1")])));
    }

    #[test]
    fn a_response_that_varies_on_everything_is_not_stored() {
        for vary in ["*", "accept, *", "not a name"] {
            assert_eq!(Vary::new(&headers(&[("vary", vary)]), &request(&[])), None, "{vary}");
        }
    }

    #[test]
    fn the_order_and_case_of_names_do_not_matter() {
        let request = request(&[("accept", "a"), ("accept-language", "b")]);
        let vary = |line| Vary::new(&headers(&[("vary", line)]), &request).unwrap();
        assert_eq!(vary("accept, accept-language"), vary("Accept-Language, ACCEPT, accept"));
        assert!(!vary("accept").has_names_of(&vary("accept-language")));
    }

    #[test]
    fn vary_holds_no_credential() {
        let vary =
            Vary::new(&headers(&[("vary", "authorization")]), &request(&[("authorization", "secret")]));
        assert!(!format!("{vary:?}").contains("secret"));
    }
}
