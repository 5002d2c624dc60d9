//! The request headers that a response depends on (RFC 9111 §4.1).

use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::fields::detached;
use crate::last_known_good::policy::credentials::Credentials;

/// A copy of a request's headers, in one piece: what the response varies on is known only when it has come. Credentials
/// are not among them: an answer is kept for the one caller who has them.
#[derive(Clone)]
pub(crate) struct RequestHeaders(Vec<(HeaderName, HeaderValue)>);

impl RequestHeaders {
    /// Without `credentials`, the request has none.
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

/// The request headers that a response depends on, with what they were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Vary(Vec<(HeaderName, Vec<HeaderValue>)>);

impl Vary {
    /// `None` if the response depends on more than headers: `Vary: *`, or a line that cannot be read.
    pub(crate) fn new(response: &HeaderMap, request: &RequestHeaders) -> Option<Self> {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            for name in line.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                // `*` is not a header name's letter, but it is a token, so it would parse as one.
                names.push((name != "*").then(|| HeaderName::try_from(name).ok()).flatten()?);
            }
        }
        // In one order and once each, so that equal ones are equal.
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let values = |name: HeaderName| {
            let values = request.get_all(&name).map(detached).collect();
            (name, values)
        };
        Some(Self(names.into_iter().map(values).collect()))
    }

    /// That of a response which was kept elsewhere.
    pub(crate) const fn of(lines: Vec<(HeaderName, Vec<HeaderValue>)>) -> Self {
        Self(lines)
    }

    /// Whether the response is the same for all requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (&HeaderName, &[HeaderValue])> {
        self.0.iter().map(|(name, values)| (name, &**values))
    }

    /// What it takes in memory, in bytes, near enough.
    pub(crate) fn weight(&self) -> usize {
        let values = |values: &Vec<HeaderValue>| values.iter().map(|value| value.len() + 64).sum::<usize>();
        self.0.iter().map(|(name, it)| name.as_str().len() + 64 + values(it)).sum()
    }

    /// Whether a request is the same in all of them.
    pub(crate) fn matches(&self, request: &RequestHeaders) -> bool {
        self.0.iter().all(|(name, values)| request.get_all(name).eq(values))
    }

    /// Whether another response depends on the same headers, whatever they were.
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
    fn an_answer_that_varies_on_everything_is_not_kept() {
        for vary in ["*", "accept, *", "not a name"] {
            assert_eq!(Vary::new(&headers(&[("vary", vary)]), &request(&[])), None, "{vary}");
        }
    }

    #[test]
    fn names_are_the_same_in_any_order() {
        let request = request(&[("accept", "a"), ("accept-language", "b")]);
        let vary = |line| Vary::new(&headers(&[("vary", line)]), &request).unwrap();
        assert_eq!(vary("accept, accept-language"), vary("Accept-Language, ACCEPT, accept"));
        assert!(!vary("accept").has_names_of(&vary("accept-language")));
    }

    #[test]
    fn a_credential_is_not_kept() {
        let vary =
            Vary::new(&headers(&[("vary", "authorization")]), &request(&[("authorization", "secret")]));
        assert!(!format!("{vary:?}").contains("secret"));
    }
}
